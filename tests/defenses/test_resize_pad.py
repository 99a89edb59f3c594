from __future__ import annotations

import numpy as np
import pytest
import torch

from auditor import Defense, UsageError
from auditor.chance import CHANCE
from auditor.host import Host
from auditor.resolve import make_defense
from auditor.testing import LinearTarget, check_defense

HOST = Host.load(bundled=["auditor.plugins.defenses.resize_pad"], installed=False)


def resize_pad(**options: float) -> Defense:
    return make_defense({"name": "resize_pad", **options}, HOST)


@pytest.mark.parametrize("shape", [(3, 8, 8), (9, 12, 3), (1, 16, 10)])
@pytest.mark.parametrize("options", [{}, {"shrink": 1.0, "grow": 1.25}, {"shrink": 0.5, "grow": 0.75}])
def test_it_keeps_its_contract(shape: tuple[int, ...], options: dict[str, float]) -> None:
    check_defense(resize_pad(**options), shape=shape)


def test_the_papers_pictures_get_the_papers_sizes() -> None:
    defense = resize_pad(shrink=1.0, grow=1.107)
    assert defense.shaped((3, 299, 299)) == (3, 331, 331)
    assert defense.shaped((299, 299, 3)) == (331, 331, 3)
    CHANCE.begin(0)
    out = defense.transform(np.ones((40, 1, 299, 299), np.float32))
    sides = out[:, 0].any(axis=1).sum(axis=1)
    assert 299 <= sides.min() < 306
    assert 324 < sides.max() <= 331


def test_every_size_and_place_comes_up_as_often_as_any_other() -> None:
    """A side of 4 made of 2, 3 or 4: for 3 there are 2 × 2 places, for 2 there are 3 × 3."""
    CHANCE.begin(0)
    n = 18_000
    out = resize_pad(shrink=0.5, grow=1.0).transform(np.ones((n, 1, 4, 4), np.float32))[:, 0]
    kinds, counts = np.unique(out.reshape(n, -1), axis=0, return_counts=True)
    assert len(kinds) == 1 + 4 + 9
    for kind, count in zip(kinds, counts, strict=True):
        assert count / n == pytest.approx({16: 1 / 3, 9: 1 / 12, 4: 1 / 27}[int(kind.sum())], rel=0.15)


def test_pixels_are_those_of_the_nearest_neighbour() -> None:
    """A row of 4 made 6 long repeats every second pixel; nothing is blended."""
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    CHANCE.begin(0)
    out = resize_pad(shrink=1.5, grow=1.5).transform(x)[0, 0]
    assert out[0].tolist() == [1, 1, 2, 3, 3, 4]
    assert out[:, 0].tolist() == [1, 1, 5, 9, 9, 13]


def test_the_gradient_is_exact_given_the_draw() -> None:
    """Each pixel of the model's sends its gradient to the one it was taken from; the black ones send none."""
    x = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0)).add(0.1).requires_grad_()
    CHANCE.begin(2)
    out = resize_pad(shrink=0.7).relaxed(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient.sum().item() == (out != 0).sum().item()
    assert (out == 0).any()


def test_it_is_random_and_has_a_gradient_of_its_own() -> None:
    target = resize_pad().wrap_target(LinearTarget(np.arange(128).reshape(2, 64), np.zeros(2), (1, 8, 8)))
    target.fit((1, 8, 8))
    twin = target.twin()
    assert twin.random
    assert twin.surrogates == ()
    x = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    CHANCE.begin(1)
    answers = np.stack([target.scores(x) for _ in range(20)])
    assert len(np.unique(answers)) > 5
    CHANCE.begin(1)
    assert np.array_equal(np.stack([target.scores(x) for _ in range(20)]), answers)


@pytest.mark.parametrize("options", [{"shrink": 0.0}, {"shrink": 1.1}, {"grow": 5.0}])
def test_shares_that_can_not_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="0 < shrink <= grow <= 4"):
        resize_pad(**options)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(UsageError, match="takes pictures"):
        resize_pad().shaped((12,))
