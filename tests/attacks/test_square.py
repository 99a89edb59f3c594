"""Square: windows of the published size, one window a step, and scores alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.square import Square, SquareRows

from auditor.access import Access
from auditor.attack import Reply
from auditor.bench import Bench, linear_bench
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Norm, ThreatModel

SHAPES = {"flat": (40,), "grey": (9, 8), "channels first": (3, 8, 10), "channels last": (8, 10, 3)}
EPSILON = 0.03125


@dataclass(frozen=True, kw_only=True)
class Watched(Square):
    """Keeps the point it had kept and the next proposal of every step."""

    log: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def step(self, problem: Problem, rows: SquareRows, reply: Reply) -> SquareRows:
        after = super().step(problem, rows, reply)
        self.log.append((after.best, after.x, after.best_loss))
        return after


def bench(shape: tuple[int, ...], n: int = 4, **options: Any) -> Bench:
    """Nothing falls at this epsilon."""
    made = linear_bench(shape=shape, n=n, seed=2, distance=0.2)
    return replace(made, threat=ThreatModel(epsilon=EPSILON, **options))


def test_the_schedule_is_the_published_one() -> None:
    """p = .8 of the area, halved at 10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000 of 10,000 (Andriushchenko 2020)."""
    area = Square(steps=10_000).area(torch.tensor([0, 10, 11, 50, 51, 201, 501, 1001, 2001, 4001, 6001, 8001, 10_000]))
    assert area.tolist() == [0.8 / 2**halvings for halvings in (0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9)]
    assert Square(steps=1000).area(torch.tensor([1, 2, 800, 801])).tolist() == [0.8, 0.4, 0.8 / 2**8, 0.8 / 2**9]


@pytest.mark.parametrize("name", SHAPES)
def test_it_starts_with_stripes_at_the_corners_of_the_box(name: str) -> None:
    shape = SHAPES[name]
    attack = Watched(steps=1)
    bench(shape).play(attack)
    made = bench(shape)
    change = attack.log[0][0].numpy() - made.samples.inputs  # the first point kept is the start
    np.testing.assert_allclose(np.abs(change), EPSILON, rtol=1e-5)
    signs = np.sign(change)
    rows = {"grey": 1, "channels first": 2, "channels last": 1}.get(name)
    if rows is not None:  # one sign a column and channel
        assert (signs == np.take(signs, [0], axis=rows)).all()
    assert len(np.unique(signs.reshape(4, -1), axis=0)) == 4, "each sample has its own stripes"


@pytest.mark.parametrize("name", SHAPES)
def test_a_step_changes_one_window_with_one_sign_a_channel(name: str) -> None:
    shape = SHAPES[name]
    attack = Watched(steps=60)
    made = bench(shape)
    made.play(attack)
    _, height, width = {"flat": (1, 1, 40), "grey": (1, 9, 8)}.get(name, (3, 8, 10))
    places = set()
    for age, (best, proposal, _) in enumerate(attack.log):
        side = Square(steps=60).area(torch.tensor([age])).item() * height * width
        sides = (1, round(side)) if height == 1 else (round(side**0.5), round(side**0.5))
        for i in range(len(best)):
            moved = (proposal - best)[i].numpy().reshape(shape)
            planes = {"flat": moved[None, None], "grey": moved[None]}.get(name, moved)
            planes = np.moveaxis(planes, 2, 0) if name == "channels last" else planes
            changed = (planes != 0).any(axis=0)
            if not changed.any():
                continue  # the window was at that corner already
            across, along = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
            assert np.ptp(across) < max(sides[0], 1)
            assert np.ptp(along) < max(sides[1], 1)
            for plane in planes:
                assert len(np.unique(np.sign(plane[plane != 0]))) <= 1
            places.add((i, int(along[0])))
    assert len({place for i, place in places if i == 0}) > 3, "windows move about"


def test_every_point_is_a_corner_of_the_box() -> None:
    made = bench((3, 6, 6), bounds=(-0.5, 1.5))
    attack = Watched(steps=30)
    made.play(attack)
    region = made.threat.region(made.samples)
    for _, x, _ in attack.log:
        assert ((x.numpy() == region.lower) | (x.numpy() == region.upper)).all()


def test_only_what_shrinks_the_margin_is_kept() -> None:
    made = bench((3, 6, 6))
    attack = Watched(steps=80)
    trial = made.play(attack)
    losses = np.array([loss.tolist() for _, _, loss in attack.log])
    assert (np.diff(losses, axis=0) >= 0).all()
    assert (losses[-1] > losses[0]).all()
    np.testing.assert_allclose(trial.ledger.margin, -losses[-1], rtol=0.05)


def test_it_needs_scores_and_nothing_else() -> None:
    made = replace(linear_bench(n=8, distance=0.05, shape=(4,)).at(0.06), access=Access.SCORE)
    trial = made.play(Square(steps=200))
    assert trial.broken.all()
    assert trial.row.forwards == trial.row.backwards == 0


def test_it_goes_on_from_the_best_point_when_warm() -> None:
    made = bench((6,), n=6)
    exact = replace(made, execution=Execution(device="cpu", threads=1, precision="float64"))
    attack = Watched(steps=1, warm=True)
    exact.play(attack)
    np.testing.assert_array_equal(attack.log[0][0].float().numpy(), made.samples.inputs)


def test_queries_are_counted_exactly() -> None:
    assert bench((6,)).play(Square(steps=9)).ledger.spent.tolist() == [[0, 0, 10]] * 4


def test_weights_scale_the_windows() -> None:
    weights = np.linspace(0.1, 1, 12)
    attack = Watched(steps=5)
    made = bench((12,), weights=weights)
    made.play(attack)
    change = np.abs(attack.log[-1][0].numpy() - made.samples.inputs)
    np.testing.assert_allclose(change, np.broadcast_to(EPSILON * weights, change.shape), rtol=1e-4)


def test_it_knows_linf_alone() -> None:
    row = bench((6,), norm=Norm.L2).play(Square()).row
    assert (row.status, row.broken) == ("skipped", 0)


def test_it_is_right() -> None:
    check_attack(Square(steps=100), seeds=1, must_break=False)
