import hashlib
from pathlib import Path

import numpy as np
import pytest

from auditor import target as module
from auditor.errors import ModelError, SamplesError, TargetUnavailable, UnsupportedOperator
from auditor.preprocess import Preprocess
from auditor.target import Target, check_classes, digest_files


class Echo(Target):
    """Scores are the input's own three values; notes the batches it was run with."""

    def __init__(self, *, batch: int | None = None, fails: int = 0, width: int = 3) -> None:
        self.name, self.classes, self.shape, self.batch = "echo", 3, (3,), batch
        self.preprocess = Preprocess(scale=2.0)
        self.seen: list[int] = []
        self.fails, self.width = fails, width
        self.fit((3,))

    def _run(self, x: np.ndarray) -> np.ndarray:
        self.seen.append(len(x))
        if self.fails:
            self.fails -= 1
            raise TargetUnavailable("lost")
        return x[:, : self.width].astype(np.float64)


X = np.random.default_rng(0).random((7, 3), np.float32)


@pytest.mark.parametrize(
    ("fixed", "asked", "seen"),
    [(None, None, [7]), (None, 3, [3, 3, 1]), (1, None, [1] * 7), (1, 3, [1] * 7), (4, None, [4, 4])],
)
def test_batches_are_what_was_asked_or_what_the_file_insists_on(
    fixed: int | None, asked: int | None, seen: list[int]
) -> None:
    target = Echo(batch=fixed)
    scores = target.scores(X, batch=asked)
    np.testing.assert_array_equal(scores, 2 * X)
    assert scores.dtype == np.float32
    assert target.seen == seen
    assert target.queries == 7


def test_labels_are_the_first_largest() -> None:
    x = np.array([[1, 3, 3], [2, 0, 1]], np.float32)
    np.testing.assert_array_equal(Echo().labels(x), [1, 0])


def test_no_samples_no_scores() -> None:
    assert Echo().scores(X[:0]).shape == (0, 3)


def test_a_lost_target_is_asked_again_but_not_for_ever() -> None:
    target = Echo(fails=module.ATTEMPTS - 1)
    np.testing.assert_array_equal(target.scores(X), 2 * X)
    target = Echo(fails=module.ATTEMPTS)
    with pytest.raises(TargetUnavailable):
        target.scores(X)
    assert len(target.seen) == module.ATTEMPTS


def test_what_took_long_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", -1.0)
    target = Echo(fails=2)
    with pytest.raises(TargetUnavailable):
        target.scores(X)
    assert len(target.seen) == 1


def test_answers_of_another_shape_are_refused() -> None:
    with pytest.raises(ModelError, match=r"3 scores for each of 7 inputs, it returned an array of shape \(7, 2\)"):
        Echo(width=2).scores(X)


def test_without_a_twin_the_reason_is_said() -> None:
    with pytest.raises(UnsupportedOperator, match="gradient-free"):
        Echo().twin()


@pytest.mark.parametrize(
    ("shape", "picture"),
    [
        ((3, 224, 200), (224, 200, 3)),
        ((28, 20, 1), (28, 20, 1)),
        ((1, 28, 28), (28, 28, 1)),
        ((784,), None),
        ((9, 9, 9), None),
    ],
)
def test_pictures_are_known_by_their_channels(shape: tuple[int, ...], picture: tuple[int, int, int] | None) -> None:
    target = Echo()
    target.shape = shape
    assert target.picture == picture


def test_labels_beyond_the_classes_are_named() -> None:
    check_classes(np.array([0, 2]), 3)
    for labels in ([0, 3], [-1, 0]):
        with pytest.raises(SamplesError, match=r"0 to 2 .* 1 of 2"):
            check_classes(np.array(labels), 3)


def test_a_digest_is_over_all_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    assert digest_files([tmp_path / "a", tmp_path / "b"]) == hashlib.sha256(b"onetwo").hexdigest()
