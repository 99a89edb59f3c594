"""The loop: every pass counted, every slot used, every claim judged, and nothing that was found is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.noise import Noise
from auditor.plugins.attacks.pgd import PGD
from torch import Tensor

from auditor.access import Access
from auditor.arena import Arena, Place
from auditor.attack import Attack, Query, Reply, Rows, join, take
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.claims import Claims
from auditor.draws import Draws
from auditor.errors import OutOfMemory, PluginError, TargetUnavailable
from auditor.ledger import Ledger, UnitResult
from auditor.oracle import DTYPES, TargetOracle, TwinOracle
from auditor.pool import Pool
from auditor.problem import Problem
from auditor.threat import Norm, ThreatModel

Moved = Callable[[Problem, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Walk(Attack):
    """Starts at the clean input and moves as it is told; keeps a log of what it saw."""

    name: ClassVar[str] = "walk"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    steps: int = 5
    move: Moved = lambda problem, x: x
    begin: Moved = lambda problem, x: x
    log: list[Any] = field(default_factory=list)

    def start(self, problem: Problem) -> Rows:
        self.log.append(("start", problem.ids.tolist(), problem.restarts.tolist()))
        return Rows(x=self.begin(problem, problem.inputs))

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        self.log.append(("step", problem.ids.tolist(), problem.ages.tolist()))
        return replace(rows, x=self.move(problem, rows.x))

    def of(self, kind: str) -> list[Any]:
        return [entry for entry in self.log if entry[0] == kind]


def play(
    bench: Bench,
    attack: Attack,
    tmp_path: Path,
    *,
    restarts: int = 1,
    width: int = 64,
    precision: str = "float64",
    doubt: float = np.inf,
    tick: Callable[[int, int], None] = lambda done, broken: None,
) -> UnitResult:
    """One unit of work on all samples of the bench."""
    execution = replace_execution(bench, width, precision)
    search = replace(bench, execution=execution).search(tmp_path)
    place = Place(seed=bench.seed, stage=0, device="cpu", dtype=DTYPES[precision], classes=bench.target.classes)
    n = len(bench.samples)
    ledger = Ledger.of(bench.samples, np.ones(n, bool))
    arena = Arena(place, bench.samples, bench.threat, search.region, ledger, np.arange(n))
    if attack.access is Access.GRADIENT:
        assert search.twin is not None
        oracle: Any = TwinOracle(search.twin, execution)
    else:
        oracle = TargetOracle(bench.target, execution, attack.access)
    return Pool(attack, range(restarts), width, arena, oracle, Claims(arena, search.verifier), doubt).run(tick)


def replace_execution(bench: Bench, width: int, precision: str) -> Any:
    return type(bench.execution)(device="cpu", threads=1, width=width, precision=precision)


def line(n: int = 1, epsilon: float = 10.0, **options: Any) -> Bench:
    """One feature, samples at 0, label 0 as long as x < 1: the margin is 1 - x, twice the logit."""
    target = LinearTarget(np.array([[-0.5], [0.5]]), np.array([0.5, -0.5]))
    bench = linear_bench(shape=(1,), n=n)
    samples = replace(bench.samples, inputs=np.zeros((n, 1), np.float32), labels=np.zeros(n, np.int64))
    return Bench(target=target, samples=samples, threat=ThreatModel(epsilon=epsilon, **options))


def to(*places: float) -> Moved:
    """Each step goes to the next of these places."""
    values = torch.tensor(places, dtype=torch.float64)

    def move(problem: Problem, x: Tensor) -> Tensor:
        return values[problem.ages][:, None].to(x.dtype)

    return move


# what is spent


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("width", [1, 4, 64])
def test_passes_are_counted_exactly(tmp_path: Path, restarts: int, width: int) -> None:
    """PGD-10 on a sample that withstands: 10 gradients and one forward a restart, then the best point to the target."""
    bench = linear_bench(n=9, distance=0.1).at(0.05)
    found = play(bench, PGD(steps=10), tmp_path, restarts=restarts, width=width)
    assert found.spent.tolist() == [[11 * restarts, 10 * restarts, 1]] * 9
    assert found.full.all()
    assert not found.broken.any()


def test_the_target_meters_what_a_score_attack_spends(tmp_path: Path) -> None:
    bench = linear_bench(n=5, distance=0.1).at(0.05)
    before = bench.target.queries
    found = play(bench, Noise(steps=7), tmp_path, restarts=2)
    assert found.spent.tolist() == [[0, 0, 16]] * 5  # 7 + 1 queries a restart, no claim to judge
    assert bench.target.queries - before == 5 * 16


def test_a_sample_that_falls_at_once_costs_one_gradient_and_one_query(tmp_path: Path) -> None:
    found = play(line(3), Walk(steps=50, begin=to(2.0)), tmp_path, restarts=4)
    assert found.broken.all()
    # all four restarts of a sample are under way when the first breaks it, and leave with it
    assert found.spent.tolist() == [[4, 4, 1]] * 3


# slots


def test_slots_are_refilled_and_never_more_than_the_width(tmp_path: Path) -> None:
    walk = Walk(steps=3)
    found = play(line(7), walk, tmp_path, restarts=2, width=4)
    assert [len(ids) for _, ids, _ in walk.of("step")] == [4] * 9 + [2] * 3  # 14 rows of 3 steps
    started = [row for _, ids, restarts in walk.of("start") for row in zip(ids, restarts, strict=True)]
    assert sorted(started) == [(i, r) for i in range(7) for r in range(2)]
    assert found.full.all()


def test_every_row_has_every_age_once(tmp_path: Path) -> None:
    walk = Walk(steps=4)
    play(line(5), walk, tmp_path, restarts=2, width=3)
    ages = [row for _, ids, old in walk.of("step") for row in zip(ids, old, strict=True)]
    assert sorted(ages) == sorted((i, age) for i in range(5) for age in range(4) for _ in range(2))


def test_restarts_of_a_sample_that_fell_are_not_begun(tmp_path: Path) -> None:
    walk = Walk(steps=5, begin=to(2.0))
    play(line(1), walk, tmp_path, restarts=10, width=2)
    assert [restarts for _, _, restarts in walk.of("start")] == [[0, 1]]


def test_solved_rows_leave_and_the_others_stay(tmp_path: Path) -> None:
    def drift(problem: Problem, x: Tensor) -> Tensor:
        return x + torch.where(problem.ids % 2 == 0, 0.6, 0.0)[:, None]

    walk = Walk(steps=40, move=drift)
    found = play(line(8), walk, tmp_path)
    assert found.broken.tolist() == [True, False] * 4
    assert found.spent[0].tolist() == [3, 3, 1]  # at 0, 0.6 and 1.2
    assert found.spent[1].tolist() == [41, 40, 0]  # its best point is the clean input, which needs no query
    assert [len(ids) for _, ids, _ in walk.of("step")] == [8, 8, 8] + [4] * 37


def test_restarts_draw_differently(tmp_path: Path) -> None:
    seen: dict[tuple[int, int], float] = {}

    def draw(problem: Problem, x: Tensor) -> Tensor:
        points = problem.random_point()
        rows = zip(problem.ids.tolist(), problem.restarts.tolist(), points[:, 0].tolist(), strict=True)
        seen.update({(i, r): value for i, r, value in rows})
        return points

    play(line(4, epsilon=0.5), Walk(steps=1, begin=draw), tmp_path, restarts=3)
    assert len(set(seen.values())) == 12


# claims


def test_the_best_point_is_kept_not_the_last(tmp_path: Path) -> None:
    found = play(line(), Walk(steps=4, move=to(0.3, 0.9, 0.2, 0.1)), tmp_path)
    assert found.margin[0] == pytest.approx(0.1)
    assert found.best[0, 0] == np.float32(0.9)


def test_a_point_outside_is_no_best_point(tmp_path: Path) -> None:
    found = play(line(epsilon=0.5), Walk(steps=3, move=to(0.3, 0.9, 0.1)), tmp_path)
    assert found.margin[0] == pytest.approx(0.7)
    assert found.best[0, 0] == np.float32(0.3)


def test_the_target_has_the_last_word_also_where_the_twin_sees_no_break(tmp_path: Path) -> None:
    bench = line()
    bench.target.bias = np.array([0.45, -0.45], np.float32)  # type: ignore[attr-defined]
    twin = line().target.twin()
    bench.target.twin = lambda: twin  # type: ignore[method-assign]
    walk = Walk(steps=2, move=to(0.95, 0.0))  # on the twin a margin of 0.05, on the target of -0.05
    found = play(bench, walk, tmp_path)
    assert found.broken.tolist() == [True]
    assert found.adversarial[0, 0] == np.float32(0.95)
    assert play(bench, walk, tmp_path, doubt=0.06).broken.all()
    sure = play(bench, walk, tmp_path, doubt=0.04)  # the twin is known to be better than that
    assert not sure.broken.any()
    assert sure.spent[0].tolist() == [3, 2, 0]


class Stubborn(LinearTarget):
    """Answers the right label to everything; its twin can be fooled."""

    def _run(self, x: np.ndarray) -> np.ndarray:
        return np.tile(np.array([1.0, 0.0], np.float32), (len(x), 1))


def stubborn(**options: Any) -> Bench:
    bench = line(**options)
    assert isinstance(bench.target, LinearTarget)
    return replace(bench, target=Stubborn(bench.target.weight, bench.target.bias))


def test_after_a_failed_confirmation_the_next_claim_has_to_be_twice_as_clear(tmp_path: Path) -> None:
    # margins on the twin:            -0.5  -0.6  -0.9  -1.1  -2    -2.3
    walk = Walk(steps=6, move=to(1.5, 1.6, 1.9, 2.1, 3.0, 3.3))
    found = play(stubborn(), walk, tmp_path)
    assert not found.broken.any()
    # judged at -0.5 (demand 1), -1.1 (demand 2.2) and -2.3; -0.6, -0.9 and -2 are not clear enough
    assert found.rejected == {"not misclassified": 3}
    assert found.spent[0].tolist() == [7, 6, 4]  # the best point is handed in once more at the end
    assert found.full.all()


@dataclass(frozen=True, kw_only=True)
class Labels(Walk):
    """The same with labels alone."""

    access: ClassVar[Access] = Access.DECISION


class Undecided(LinearTarget):
    """Alone another label than in company, but for values from 3 on; clean inputs are what they are."""

    def _run(self, x: np.ndarray) -> np.ndarray:
        fooled = (x[:, 0] >= 3) | ((x[:, 0] > 0) & (len(x) > 1))
        return np.stack([~fooled, fooled], axis=1).astype(np.float32)


def test_labels_alone_can_not_be_clearer_so_every_claim_is_judged(tmp_path: Path) -> None:
    made = line(2)
    assert isinstance(made.target, LinearTarget)
    made = replace(made, target=Undecided(made.target.weight, made.target.bias))
    found = play(made, Labels(steps=4, move=to(1.5, 2.0, 3.0, 3.5)), tmp_path)
    assert found.broken.all()
    assert found.rejected == {"not misclassified": 4}
    assert not np.isfinite(found.margin).any()


def test_a_clean_input_that_the_twin_alone_gets_wrong_is_attacked_all_the_same(tmp_path: Path) -> None:
    made = line()
    twin = made.target.twin()
    made.target.bias = np.array([1.0, -1.0], np.float32)  # type: ignore[attr-defined]
    twin.module[1].bias.copy_(torch.tensor([-0.25, 0.25]))  # type: ignore[index, operator]
    made.target.twin = lambda: twin  # type: ignore[method-assign]
    # on the twin the margin is -0.5 - x, on the target 2 - x
    found = play(made, Walk(steps=5, move=to(0.2, 1.0, 2.75, 3.0, 4.0)), tmp_path)
    assert found.broken.all()
    assert found.adversarial[0, 0] == 2.75
    # judged at 0 (demand 1), at 1 (demand 3) and at 2.75
    assert found.rejected == {"not misclassified": 1, "unchanged input": 1}


def test_a_boast_does_not_make_later_claims_harder(tmp_path: Path) -> None:
    def restarted(problem: Problem, x: Tensor) -> Tensor:
        return torch.where(problem.restarts[:, None] == 0, x + 0.1, x + 0.7)

    found = play(line(), Boast(steps=9, move=restarted), tmp_path, restarts=2, width=1)
    assert found.broken.all()  # the second restart ends at 1.4, though the first claimed a margin of +0.8
    assert found.rejected == {"not misclassified": 1}
    assert found.spent[0, 2] == 2


def outside(problem: Problem, x: Tensor) -> Tensor:
    return x + 11


@pytest.mark.parametrize(
    ("options", "walk", "rejected"),
    [
        ({}, {"begin": outside}, {"outside the ball": 3}),
        ({"bounds": (0.0, 1.5)}, {"begin": lambda problem, x: x + 2}, {"outside the bounds": 3}),
        ({}, {"begin": lambda problem, x: x * torch.nan}, {"not finite": 3}),
        ({}, {"move": outside}, {"outside the ball": 3}),
        ({}, {"steps": 1, "move": outside}, {"outside the ball": 3}),
        ({}, {"begin": lambda problem, x: torch.cat([x, x], dim=1)}, {"wrong shape or dtype": 3}),
        ({}, {"begin": lambda problem, x: x.to(torch.float16)}, {"wrong shape or dtype": 3}),
        ({}, {"move": lambda problem, x: x[:, :0]}, {"wrong shape or dtype": 3}),
    ],
)
def test_a_claim_that_breaks_the_rules_is_counted_and_ends_its_row(
    tmp_path: Path, options: dict[str, Any], walk: dict[str, Any], rejected: dict[str, int]
) -> None:
    found = play(line(3, **options), Walk(**({"steps": 40} | walk)), tmp_path)
    assert found.rejected == rejected
    assert not found.broken.any()
    assert not found.full.any(), "a row that broke the rules did not run its budget"
    assert found.error is None
    assert (found.spent[:, 0] <= 3).all()


def test_a_liar_of_one_restart_does_not_spoil_the_others(tmp_path: Path) -> None:
    def liar(problem: Problem, x: Tensor) -> Tensor:
        return torch.where(problem.restarts[:, None] == 0, x + 11, x + 0.5)

    found = play(line(2), Walk(steps=3, begin=liar), tmp_path, restarts=2)
    assert found.rejected == {"outside the ball": 2}
    assert found.full.all()


def test_an_attack_that_stays_where_it_is_is_counted_as_unchanged(tmp_path: Path) -> None:
    found = play(line(2), Walk(steps=3), tmp_path)
    assert found.rejected == {"unchanged input": 2}
    assert found.full.all()
    assert found.spent[:, 2].tolist() == [0, 0]


@dataclass(frozen=True, kw_only=True)
class Boast(Walk):
    """Says that it is done after two steps, whatever it found."""

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        return Rows(x=self.move(problem, rows.x), done=problem.ages >= 1)


def test_a_row_that_says_it_is_done_ends_and_is_judged(tmp_path: Path) -> None:
    found = play(line(), Boast(steps=50, move=to(0.5, 0.75)), tmp_path)
    assert found.rejected == {"not misclassified": 1}
    assert found.spent[0].tolist() == [3, 2, 2]  # two gradients, one forward; the claim and the best point are judged
    assert play(line(), Boast(steps=50, move=to(0.5, 1.75)), tmp_path).broken.all()


# several points a row, probes, views


@dataclass(frozen=True, kw_only=True)
class Scout(Walk):
    """Looks at three points a row: x itself, one beyond the boundary, one outside the ball."""

    probing: bool = True

    def query(self, problem: Problem, rows: Rows) -> Query:
        points = torch.stack([rows.x, rows.x + 2, rows.x + 100], dim=1).flatten(0, 1)
        owner = torch.arange(len(problem)).repeat_interleave(3)
        probes = torch.tensor([False, True, True]).repeat(len(problem)) if self.probing else None
        return Query(points=points, owner=owner, probes=probes)


def test_probes_are_no_claims(tmp_path: Path) -> None:
    found = play(line(2), Scout(steps=4), tmp_path)
    assert not found.broken.any()
    assert found.rejected == {"unchanged input": 2}
    assert found.spent.tolist() == [[13, 12, 0]] * 2


def test_points_that_are_no_probes_are_claims(tmp_path: Path) -> None:
    found = play(line(2), Scout(steps=4, probing=False), tmp_path)
    assert found.broken.all()  # by the second of the points
    assert found.adversarial[:, 0].tolist() == [2, 2]
    # the clearest claim comes first: it was outside the ball
    assert found.rejected == {"outside the ball": 2}


# the grid


def test_points_are_asked_about_on_the_grid_and_small_steps_add_up(tmp_path: Path) -> None:
    asked: list[float] = []

    class Creep(Walk):
        def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
            asked.append(float(reply.points[0, 0]))
            return Rows(x=rows.x + 0.11)

    found = play(line(grid=0.5), Creep(steps=20), tmp_path)
    assert asked[:12] == [0, 0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1, 1]
    assert found.broken.all()
    assert found.adversarial[0, 0] == 1.5
    ended = play(line(grid=0.5), Walk(steps=1, move=to(1.3)), tmp_path)
    assert ended.adversarial[0, 0] == 1.5


def test_probes_may_lie_between_the_steps(tmp_path: Path) -> None:
    asked: list[list[float]] = []

    class Feeling(Scout):
        def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
            asked.append(reply.points[:, 0].tolist())
            return rows

    play(line(grid=0.5), Feeling(steps=1, begin=to(0.2)), tmp_path)
    assert asked == [[0.0, pytest.approx(2.2), pytest.approx(100.2)]]


# what goes wrong


class Lossy(LinearTarget):
    """Gone for good after so many answers."""

    left = 0

    def _run(self, x: np.ndarray) -> np.ndarray:
        if self.left <= 0:
            raise TargetUnavailable("gone")
        self.left -= 1
        return super()._run(x)


def lossy(left: int, n: int) -> Bench:
    bench = line(n)
    assert isinstance(bench.target, LinearTarget)
    target = Lossy(bench.target.weight, bench.target.bias)
    target.left = left
    return replace(bench, target=target)


def test_a_lost_target_leaves_its_samples_unjudged(tmp_path: Path) -> None:
    found = play(lossy(2, 5), Walk(steps=3, begin=to(2.0)), tmp_path)
    assert found.broken.sum() == 2
    assert found.lost.sum() == 3
    assert not (found.broken & found.lost).any()
    assert found.error is None


def test_a_target_that_is_lost_while_it_is_queried_loses_the_rows_under_way(tmp_path: Path) -> None:
    found = play(lossy(2, 5).at(0.5), Noise(steps=9), tmp_path, width=3)
    assert found.lost.all()
    assert not found.full.any()
    assert found.error is None


def test_an_attack_that_raises_keeps_what_it_had_found(tmp_path: Path) -> None:
    def trap(problem: Problem, x: Tensor) -> Tensor:
        if int(problem.ages.max()) == 2:
            raise ValueError("tripped")
        return x + torch.where(problem.ids == 1, 0.7, 0.1)[:, None]

    found = play(line(3), Walk(steps=9, move=trap), tmp_path)
    assert found.error == "ValueError: tripped"
    assert found.broken.tolist() == [False, True, False]
    assert not found.full[[0, 2]].any()
    np.testing.assert_allclose(found.margin[[0, 2]], 0.8, rtol=1e-6)
    assert found.spent[0].tolist() == [3, 3, 1]


@pytest.mark.parametrize("failure", [SystemExit(3), PluginError("It needs a picture.")])
def test_leaving_by_any_door_ends_the_stage_and_not_the_audit(tmp_path: Path, failure: BaseException) -> None:
    def leave(problem: Problem, x: Tensor) -> Tensor:
        raise failure

    found = play(line(), Walk(begin=leave), tmp_path)
    assert str(failure) in str(found.error)
    assert found.spent.tolist() == [[0, 0, 0]]


def test_what_a_listener_raises_is_not_the_attack_s_error(tmp_path: Path) -> None:
    def closed(done: int, broken: int) -> None:
        raise BrokenPipeError("the pipe is closed")

    with pytest.raises(BrokenPipeError):
        play(line(), Walk(steps=3), tmp_path, tick=closed)


def test_ticks_count_up_to_all_samples(tmp_path: Path) -> None:
    def drift(problem: Problem, x: Tensor) -> Tensor:
        return x + torch.where(problem.ids % 2 == 0, 0.6, 0.0)[:, None]

    ticks: list[tuple[int, int]] = []
    play(line(8), Walk(steps=9, move=drift), tmp_path, width=3, tick=lambda *seen: ticks.append(seen))
    assert ticks == sorted(ticks)
    assert ticks[-1] == (8, 4)


def test_an_interruption_is_not_swallowed(tmp_path: Path) -> None:
    def interrupt(problem: Problem, x: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(line(), Walk(move=interrupt), tmp_path)


# the same in any batch


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("attack", [PGD(steps=6), Noise(steps=4)])
def test_outcomes_do_not_depend_on_the_width(tmp_path: Path, attack: Attack, restarts: int) -> None:
    bench = linear_bench(n=30, classes=4, seed=2).at(0.12)
    reference = play(bench, attack, tmp_path, restarts=restarts)
    assert 0 < reference.broken.sum() < 30
    for width in (1, 7):
        found = play(bench, attack, tmp_path, restarts=restarts, width=width)
        np.testing.assert_array_equal(found.broken, reference.broken)
        standing = ~reference.broken
        np.testing.assert_allclose(found.best[standing], reference.best[standing], atol=1e-6)
        np.testing.assert_array_equal(found.spent[standing], reference.spent[standing])
        if restarts == 1:  # of several restarts that break a sample, it depends on the width which comes first
            np.testing.assert_array_equal(found.label, reference.label)
            np.testing.assert_array_equal(found.spent, reference.spent)
            np.testing.assert_allclose(found.adversarial, reference.adversarial, atol=1e-6)


@pytest.mark.parametrize("width", [1, 7, 64])
def test_draws_belong_to_the_sample_not_to_its_place(tmp_path: Path, width: int) -> None:
    drawn: dict[tuple[int, int, int], list[float]] = {}

    def draw(problem: Problem, x: Tensor) -> Tensor:
        values = [problem.draws.uniform(2), problem.draws.normal(2), problem.draws.signs(2)]
        rows = zip(problem.ids.tolist(), problem.restarts.tolist(), problem.ages.tolist(), strict=True)
        drawn.update(zip(rows, torch.cat(values, dim=1).tolist(), strict=True))
        return x

    bench = line(20)
    order = np.random.default_rng(width).permutation(20)
    shuffled = replace(bench, samples=bench.samples.take(order))
    play(shuffled, Walk(steps=3, move=draw), tmp_path, restarts=2, width=width)
    assert sorted(drawn) == [(i, r, age) for i in range(20) for r in range(2) for age in range(3)]
    for (i, r, age), values in drawn.items():
        source = Draws(0, 0, torch.tensor([i]), torch.tensor([r]), torch.tensor([age]), phase=2)
        expected = torch.cat([source.uniform(2), source.normal(2), source.signs(2)], dim=1)
        assert values == expected[0].tolist()


def test_two_runs_are_bit_identical(tmp_path: Path) -> None:
    bench = linear_bench(n=30, classes=4, seed=2).at(0.12)
    first, second = (play(bench, PGD(steps=6), tmp_path, restarts=2, precision="float32") for _ in range(2))
    for name in ("broken", "full", "margin", "best", "spent", "adversarial", "label", "distance"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


# rows


def test_rows_are_taken_and_joined_column_by_column() -> None:
    rows = Rows(x=torch.arange(6.0).reshape(3, 2))
    some = take(rows, torch.tensor([2, 0]))
    assert some.x.tolist() == [[4, 5], [0, 1]]
    assert some.done is None
    both = join([rows, replace(some, done=torch.tensor([True, False]))])
    assert len(both.x) == 5
    assert both.done is not None
    assert both.done.tolist() == [False, False, False, True, False]
    assert join([rows]) is rows


# the survey


@dataclass(frozen=True, kw_only=True)
class Surveying(Walk):
    """Keeps the scores at the clean input, and logs what each row finds of them."""

    name: ClassVar[str] = "surveying"

    def survey(self, problem: Problem) -> Query:
        self.log.append(("survey", problem.ids.tolist(), problem.restarts.tolist()))
        return Query(points=problem.inputs, gradient=False)

    def learn(self, problem: Problem, reply: Reply) -> Tensor:
        return reply.need_scores()

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        assert problem.notes is not None
        self.log.append(("notes", problem.ids.tolist(), problem.notes.tolist()))
        return rows


@pytest.mark.parametrize("width", [2, 64])
def test_a_survey_asks_about_each_sample_once_and_its_rows_find_their_part(tmp_path: Path, width: int) -> None:
    bench = linear_bench(n=5, distance=0.1).at(0.05)
    walk = Surveying(steps=2)
    found = play(bench, walk, tmp_path, restarts=3, width=width)
    assert [one for entry in walk.of("survey") for one in entry[1]] == [0, 1, 2, 3, 4]
    assert {restart for entry in walk.of("survey") for restart in entry[2]} == {0}
    scores = bench.target.scores(bench.samples.inputs, batch=1)
    for _, ids, notes in walk.of("notes"):
        np.testing.assert_allclose(notes, scores[ids], atol=1e-6)
    # a forward for the survey; two gradients and a forward a restart; the best point is clean, and not asked about
    assert found.spent.tolist() == [[1 + 3 * 3, 3 * 2, 0]] * 5


# memory


def short_of(memory: int) -> Callable[[Problem, Tensor], Tensor]:
    """A step that runs out of memory with more rows than this."""

    def move(problem: Problem, x: Tensor) -> Tensor:
        if len(x) > memory:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return x

    return move


def test_running_out_of_memory_is_not_the_attacks_error(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match="8 rows side by side do not fit"):
        play(line(9), Walk(steps=3, move=short_of(4)), tmp_path, width=8)


def test_with_a_single_row_it_is(tmp_path: Path) -> None:
    found = play(line(2), Walk(steps=3, move=short_of(0)), tmp_path, width=1)
    assert found.error is not None
    assert "out of memory" in found.error
