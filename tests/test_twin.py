import pytest
import torch
from torch import nn

from auditor.access import OutputKind
from auditor.preprocess import Preprocess
from auditor.twin import Twin

Z = torch.tensor([[2.0, -1.0, 0.5], [200.0, 0.0, -300.0]])


class Fixed(nn.Module):
    """Returns the same scores whatever it is given, and remembers that."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return self.scores + 0 * x.sum()


def twin(scores, output, peeled=None, **preprocess):
    return Twin(module=Fixed(scores), preprocess=Preprocess(**preprocess), output=output, peeled=peeled)


X = torch.ones(2, 3)


def test_parameters_are_frozen_and_the_module_is_deployed():
    made = twin(Z, OutputKind.LOGITS)
    assert not any(parameter.requires_grad for parameter in made.module.parameters())
    assert not made.module.training


def test_the_module_sees_what_the_file_sees():
    made = twin(Z, OutputKind.LOGITS, scale=255.0, mean=(5.0,))
    made.logits(X)
    assert torch.equal(made.module.seen, torch.full((2, 3), 250.0))


@pytest.mark.parametrize(
    ("raw", "output", "peeled", "scores"),
    [
        (Z, OutputKind.LOGITS, None, Z),
        (Z, OutputKind.PROBABILITIES, "softmax", Z.softmax(1)),
        (Z, OutputKind.LOG_PROBABILITIES, "log_softmax", Z.log_softmax(1)),
        (Z, OutputKind.PROBABILITIES, "sigmoid", Z.sigmoid()),
        (Z.log_softmax(1), OutputKind.LOG_PROBABILITIES, None, Z.log_softmax(1)),
    ],
)
def test_logits_and_scores(raw, output, peeled, scores):
    made = twin(raw, output, peeled)
    assert torch.equal(made.logits(X), raw)
    torch.testing.assert_close(made.scores(X), scores)


def test_probabilities_become_logarithms_and_zero_stays_finite():
    made = twin(Z.softmax(1), OutputKind.PROBABILITIES)
    logits = made.logits(X)
    torch.testing.assert_close(logits[0], Z[0].log_softmax(0))
    assert logits.isfinite().all()
    assert logits[1].argmax() == 0
    assert torch.equal(made.scores(X), Z.softmax(1))


@pytest.mark.parametrize(
    ("raw", "output", "peeled"),
    [
        (torch.tensor([[0.4], [-1.0]]), OutputKind.LOGITS, None),
        (torch.tensor([0.4, -1.0]), OutputKind.LOGITS, None),
        (torch.tensor([[0.4], [-1.0]]).sigmoid(), OutputKind.PROBABILITIES, None),
        (torch.tensor([[0.4], [-1.0]]), OutputKind.PROBABILITIES, "sigmoid"),
    ],
)
def test_one_number_is_two_classes(raw, output, peeled):
    made = twin(raw, output, peeled)
    expected = torch.tensor([[0.0, 0.4], [0.0, -1.0]]).softmax(1)
    torch.testing.assert_close(made.logits(X).softmax(1), expected)
    scores = made.scores(X)
    assert scores.shape == (2, 2)
    if output is OutputKind.PROBABILITIES:
        torch.testing.assert_close(scores, expected)


def test_a_map_of_one_pixel_is_flattened():
    assert twin(Z[:, :, None, None], OutputKind.LOGITS).logits(X).shape == (2, 3)
