import numpy as np
import pytest
import torch

from auditor.access import OutputKind
from auditor.errors import ModelError
from auditor.heads import flat_columns, two_columns

Z = np.array([-3.0, 0.0, 0.5, 20.0], np.float32)
P = 1 / (1 + np.exp(-Z))
SINGLE = {OutputKind.LOGITS: Z, OutputKind.PROBABILITIES: P, OutputKind.LOG_PROBABILITIES: np.log(P)}


@pytest.mark.parametrize("kind", SINGLE)
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1)])
def test_one_column_becomes_the_pair_of_probabilities(kind: OutputKind, shape: tuple[int, ...]) -> None:
    pair = two_columns(SINGLE[kind].reshape(shape), kind)
    to_probabilities = {
        OutputKind.LOGITS: lambda s: np.exp(s) / np.exp(s).sum(axis=1, keepdims=True),
        OutputKind.PROBABILITIES: lambda s: s,
        OutputKind.LOG_PROBABILITIES: np.exp,
    }[kind]
    assert pair.shape == (4, 2)
    np.testing.assert_allclose(to_probabilities(pair), np.stack([1 - P, P], axis=1), atol=1e-6)


@pytest.mark.parametrize("kind", SINGLE)
def test_numpy_and_torch_agree(kind: OutputKind) -> None:
    from_torch = two_columns(torch.from_numpy(SINGLE[kind]), kind).numpy()
    np.testing.assert_allclose(from_torch, two_columns(SINGLE[kind], kind), rtol=1e-6)


def test_several_columns_stay() -> None:
    scores = np.arange(6.0).reshape(2, 3)
    assert two_columns(scores, OutputKind.LOGITS) is scores


@pytest.mark.parametrize("shape", [(2, 5, 1, 1), (2, 1, 5), (2, 5)])
def test_axes_of_length_one_are_dropped(shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(flat_columns(np.arange(10.0).reshape(shape)), np.arange(10.0).reshape(2, 5))


def test_an_empty_batch_keeps_its_columns() -> None:
    assert flat_columns(np.zeros((0, 5, 1, 1))).shape == (0, 5)


@pytest.mark.parametrize("shape", [(), (2, 3, 4)])
def test_a_map_of_scores_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"\[N, classes\]"):
        flat_columns(np.zeros(shape))


def test_one_column_of_labels_is_refused() -> None:
    with pytest.raises(ModelError, match="labels"):
        two_columns(np.zeros((3, 1)), OutputKind.LABELS)
