import numpy as np
import pytest
import torch
from torch import nn

from auditor.access import OutputKind
from auditor.ensemble import ensemble
from auditor.errors import UsageError
from auditor.preprocess import Preprocess
from auditor.spread import SPREAD
from auditor.twin import Twin

RNG = np.random.default_rng(0)
X = RNG.random((10, 6)).astype(np.float32)


def linear(weight, preprocess=None, **options):
    """A twin that scores x @ weight."""
    layer = nn.Linear(*weight.shape, bias=False, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T.copy()))
    return Twin(module=layer, preprocess=preprocess or Preprocess(), output=OutputKind.LOGITS, **options)


def weight(seed, classes=4):
    return np.random.default_rng(seed).normal(size=(6, classes)).astype(np.float32)


def margin_slope(twin):
    x = torch.from_numpy(X).clone().requires_grad_()
    logits = twin.logits(x)
    return torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), x)[0]


def loudness(scores):
    return scores.std(axis=1).mean()


def test_logits_are_the_mean_of_those_of_equal_spread():
    a, b = weight(1), 1000 * weight(2)
    expected = sum(X @ w / loudness(X @ w) for w in (a, b)) * SPREAD / 2
    np.testing.assert_allclose(ensemble([linear(a), linear(b)], X).logits(torch.from_numpy(X)), expected, rtol=1e-4)


def test_no_member_is_too_loud_to_hear_the_others():
    """1000 times the logits change nothing; in a plain mean that member would decide alone."""
    a, b = weight(1), weight(2)
    quiet, loud = ensemble([linear(a), linear(b)], X), ensemble([linear(a), linear(1000 * b)], X)
    torch.testing.assert_close(margin_slope(quiet), margin_slope(loud), rtol=1e-4, atol=1e-5)


def test_an_ensemble_of_one_points_where_it_does():
    a = linear(weight(1))
    torch.testing.assert_close(
        margin_slope(ensemble([a], X)) / margin_slope(a), torch.full((10, 6), SPREAD / loudness(X @ weight(1)))
    )


def test_each_member_brings_its_preprocessing_and_its_defences():
    a = weight(1)
    bytes_ = linear(a / 255, Preprocess(scale=255.0))
    turned = linear(a, before=(lambda x: 1 - x, lambda x: 1 - x), surrogates=("defence: turned",))
    made = ensemble([linear(a), bytes_, turned], X)
    torch.testing.assert_close(made.logits(torch.from_numpy(X)), ensemble([linear(a)], X).logits(torch.from_numpy(X)))
    assert made.surrogates == ("defence: turned",)


def test_probabilities_count_by_their_logarithms():
    scores = linear(weight(1))
    squashed = Twin(
        module=nn.Sequential(scores.module, nn.Softmax(dim=1)),
        preprocess=Preprocess(),
        output=OutputKind.PROBABILITIES,
    )
    torch.testing.assert_close(
        margin_slope(ensemble([squashed], X)), margin_slope(ensemble([scores], X)), rtol=1e-4, atol=1e-5
    )


def test_it_moves_with_its_members_and_costs_their_passes():
    made = ensemble([linear(weight(1)), linear(weight(2), random=True, passes=3)], X)
    made.module.double()
    assert made.logits(torch.from_numpy(X).double()).dtype is torch.float64
    assert (made.passes, made.random) == (4, True)


def test_a_member_may_have_been_moved_by_a_search_before():
    moved = linear(weight(1))
    moved.module.double()
    made = ensemble([moved, linear(weight(2))], X)
    made.module.double()
    assert made.logits(torch.from_numpy(X).double()).dtype is torch.float64


def test_samples_may_be_drawn_where_a_member_knows_their_shape():
    known = Preprocess(sample_shape=(2, 3), model_shape=(6,))
    made = ensemble([linear(weight(1), known)])
    assert made.logits(torch.zeros(1, 2, 3)).shape == (1, 4)
    with pytest.raises(UsageError, match="what samples look like"):
        ensemble([linear(weight(1))])


def test_members_that_cannot_be_averaged_are_refused():
    with pytest.raises(UsageError, match="these have 3, 4"):
        ensemble([linear(weight(1)), linear(weight(1, classes=3))], X)
    with pytest.raises(UsageError, match="at least one"):
        ensemble([], X)
