"""Square: windows of the published size, one window a step (linf), one into another (l2, l1), and scores alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.square import Square, SquareRows, blobs

from auditor.access import Access
from auditor.attack import Reply
from auditor.bench import Bench, linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel

SHAPES = {"flat": (40,), "grey": (9, 8), "channels first": (3, 8, 10), "channels last": (8, 10, 3)}
EPSILON = 0.03125
FALL, ORDER = {Norm.L2: 2, Norm.L1: 4}, {Norm.L2: 2, Norm.L1: 1}


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


def blob(high: int, wide: int, fall: int = 2) -> np.ndarray:
    """The published formula, cell by cell: rings around the middle, the k-th from outside adding 1 / (n + 1 - k)²; in
    l1 the fourth power."""
    n = max(high // 2, wide // 2)
    cells = np.zeros((high, wide))
    for r, q in np.ndindex(high, wide):
        rings = n - max(abs(r - high // 2), abs(q - wide // 2))
        cells[r, q] = sum(1 / (n + 1 - k) ** fall for k in range(rings + 1))
    return cells


@pytest.mark.parametrize(("high", "wide"), [(1, 1), (2, 2), (3, 3), (9, 9), (25, 25), (6, 4), (1, 7)])
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("fall", [2, 4])
def test_a_window_holds_two_blobs_of_opposite_sign(high: int, wide: int, across: bool, fall: int) -> None:
    if across:
        wanted = np.concatenate([blob(wide // 2, high, fall), -blob(wide - wide // 2, high, fall)]).T
    else:
        wanted = np.concatenate([blob(high // 2, wide, fall), -blob(high - high // 2, wide, fall)])
    row, column = torch.arange(-2, 28)[None, :, None], torch.arange(-1, 29)[None, None, :]
    got = blobs(row, column, torch.tensor(high), torch.tensor(wide), torch.tensor(across).expand(1, 30, 30), fall)[0]
    np.testing.assert_allclose(got[2 : high + 2, 1 : wide + 1], wanted, rtol=0, atol=1e-12)
    assert got.count_nonzero() == high * wide, "outside it there is nothing"


@pytest.mark.parametrize("norm", FALL)
@pytest.mark.parametrize("name", SHAPES)
def test_every_proposal_spends_the_whole_epsilon(name: str, norm: Norm) -> None:
    attack = Watched(steps=40)
    made = bench(SHAPES[name], norm=norm)
    made.play(attack)
    starts = attack.log[0][0].numpy() - made.samples.inputs
    assert len(np.unique(np.sign(starts).reshape(4, -1), axis=0)) == 4, "each sample has its own blobs"
    for best, x, _ in attack.log:
        for points in (best, x):
            sizes = np.linalg.norm((points.numpy() - made.samples.inputs).reshape(4, -1), ord=ORDER[norm], axis=1)
            np.testing.assert_allclose(sizes, EPSILON, rtol=4e-4)


@pytest.mark.parametrize("norm", FALL)
def test_the_first_point_is_five_by_five_tiles(norm: Norm) -> None:
    """Each has its share of epsilon, of 75: 1 / √75 in l2, where shares are at right angles."""
    attack = Watched(steps=1)
    made = bench((3, 17, 15), norm=norm)
    made.play(attack)
    change = attack.log[0][0].numpy() - made.samples.inputs
    tiles = change[:, :, 1:16].reshape(4, 3, 5, 3, 5, 3).swapaxes(3, 4)
    assert np.abs(change[:, :, [0, 16]]).max() < 1e-7, "what is left over lies at the rim"
    for tile in tiles.reshape(-1, 3, 3):
        upright = np.concatenate([blob(1, 3, FALL[norm]), -blob(2, 3, FALL[norm])])
        upright /= np.linalg.norm(upright.ravel(), ord=ORDER[norm])
        shapes = [sign * pattern for sign in (1, -1) for pattern in (upright, upright.T)]
        wanted = EPSILON / 75 ** (1 / ORDER[norm]) * np.stack(shapes)
        assert np.abs(tile - wanted).max(axis=(1, 2)).min() < 1e-6
    assert len(np.unique(np.sign(tiles.reshape(-1, 9)), axis=0)) == 4


@pytest.mark.parametrize("name", SHAPES)
def test_a_step_in_l2_moves_what_one_window_holds_into_another(name: str) -> None:
    shape = SHAPES[name]
    attack = Watched(steps=60)
    made = bench(shape, norm=Norm.L2)
    made.play(attack)
    _, height, width = {"flat": (1, 1, 40), "grey": (1, 9, 8)}.get(name, (3, 8, 10))
    emptied = 0
    for age, (best, proposal, _) in enumerate(attack.log):
        area = Square(steps=60).area(torch.tensor([age])).item() * height * width
        side = max(round(area if height == 1 else area**0.5), 3) // 2 * 2 + 1
        window = min(side, height) * min(side, width)
        for i in range(4):
            before, after = (
                (points[i].numpy() - made.samples.inputs[i]).astype(float).reshape(shape) for points in (best, proposal)
            )
            planes = [
                np.moveaxis(p, 2, 0) if name == "channels last" else p.reshape(-1, height, width)
                for p in (before, after)
            ]
            moved = (np.abs(planes[0] - planes[1]) > 1e-6).any(axis=0)
            empty = (np.abs(planes[1]) < 1e-7).all(axis=0) & (np.abs(planes[0]) > 1e-6).any(axis=0)
            assert moved.sum() <= 2 * window
            assert moved.any()
            emptied += bool(empty.any())
    assert emptied > 60, "one of the two gives all it held"


def test_windows_of_l1_end_as_single_pixels_that_hold_all() -> None:
    """The optimum of a linear model is one pixel; on it the search spends epsilon."""
    made = linear_bench(n=6, distance=0.1, seed=2, threat=ThreatModel(norm=Norm.L1)).at(0.09)
    attack = Watched(steps=300)
    made.play(attack)
    change = (attack.log[-1][0].numpy() - made.samples.inputs).reshape(6, -1)
    slope = made.target.weight[1] - made.target.weight[0]  # type: ignore[attr-defined]
    slope = np.where(made.samples.labels == 0, 1, -1)[:, None] * slope
    assert (np.sum(change * slope, axis=1) > 0.99 * 0.09 * np.abs(slope).max(axis=1)).all()
    assert Square(steps=10).sides(replace(made.problem(), ages=torch.full((6,), 10)))[0].tolist() == [1] * 6


def test_what_the_bounds_cut_off_is_spent_elsewhere() -> None:
    made = bench((1, 12, 12), norm=Norm.L2, bounds=(0.0, 1.0))
    dark = replace(made, samples=replace(made.samples, inputs=np.zeros_like(made.samples.inputs))).at(2.0)
    attack = Watched(steps=100)
    target = dark.target
    labels = target.labels(dark.samples.inputs, batch=1)
    dark = replace(dark, samples=replace(dark.samples, labels=labels.astype(np.int64)))
    target.bias = target.bias + 1e3 * np.eye(2, dtype=np.float32)[labels[0]]  # type: ignore[attr-defined]
    dark.play(attack)
    sizes = np.array([best.flatten(1).norm(dim=1).tolist() for best, _, _ in attack.log])
    assert (sizes <= 2).all()
    assert sizes[0].max() < 1.6, "half of the first change would be darker than black"
    assert sizes[-1].min() > 1.9


def test_weights_and_frozen_features_in_l2() -> None:
    weights, frozen = np.linspace(0.2, 2, 36).reshape(6, 6), np.arange(36).reshape(6, 6) % 5 == 0
    attack = Watched(steps=30)
    made = bench((6, 6), norm=Norm.L2, weights=weights, frozen=frozen)
    assert not made.play(attack).row.rejected
    for _, x, _ in attack.log:
        change = x.numpy() - made.samples.inputs
        assert not change[:, frozen].any()
        np.testing.assert_allclose(np.linalg.norm((change / weights).reshape(4, -1), axis=1), EPSILON, rtol=1e-4)


@pytest.mark.parametrize("norm", Square.norms)
def test_rows_of_any_age_keep_house_side_by_side(norm: Norm) -> None:
    """A pool narrower than samples and restarts mixes ages; nobody's result depends on it."""
    made = linear_bench(shape=(2, 5, 5), n=6, distance=0.1, seed=3, threat=ThreatModel(norm=norm))
    made = made.at(0.12 if norm is Norm.LINF else 0.3)
    wide, narrow = (
        replace(made, execution=Execution(device="cpu", threads=1, precision="float64", width=size)) for size in (64, 5)
    )
    one, other = (each.play(Square(steps=40), restarts=2).ledger for each in (wide, narrow))
    np.testing.assert_array_equal(one.broken, other.broken)
    standing = ~one.broken
    np.testing.assert_allclose(one.best[standing], other.best[standing], atol=1e-6)
    assert standing.any()


@pytest.mark.parametrize("norm", Square.norms)
def test_a_goal_among_three_classes(norm: Norm) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.5 if norm is Norm.LINF else 2.0, bounds=(-0.5, 1.25), goal=Goal(2))
    made = linear_bench(classes=3, shape=(4, 4), n=12, seed=1, threat=threat)
    made = replace(made, samples=made.samples.take(made.samples.labels != 2))
    trial = made.play(Square(steps=300))
    assert trial.broken.all()
    assert set(trial.ledger.label) == {2}


@pytest.mark.parametrize("norm", Square.norms)
@pytest.mark.parametrize("shape", [(12,), (6, 6)])
def test_it_breaks_what_is_well_within_reach(norm: Norm, shape: tuple[int, ...]) -> None:
    made = linear_bench(shape=shape, n=8, distance=0.1, threat=ThreatModel(norm=norm))
    reach = 1.05 if norm is Norm.LINF else 2.0
    assert made.at(reach * 0.1).play(Square(steps=400)).broken.all()


def test_its_cost_is_what_it_spends() -> None:
    row = bench((6, 6), norm=Norm.L2).play(Square(steps=7)).row
    assert (row.queries, 0) == tuple(4 * cost for cost in Square(steps=7).cost(2))


@pytest.mark.parametrize("p", [0.0, 1.01, -1.0, float("nan")])
def test_p_is_a_share(p: float) -> None:
    with pytest.raises(UsageError, match="square: p is above 0 and at most 1"):
        Square(p=p)


def test_it_is_right() -> None:
    check_attack(Square(steps=50), seeds=1, must_break=False)
