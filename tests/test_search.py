"""The search: stages in order on what still stands, skips with a reason, resumes to the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
import torch
from auditor.plugins.attacks.apgd import APGD
from auditor.plugins.attacks.fgsm import FGSM
from auditor.plugins.attacks.fmn import FMN
from auditor.plugins.attacks.noise import Noise
from auditor.plugins.attacks.pgd import PGD
from auditor.plugins.attacks.square import Square
from torch import Tensor

from auditor.access import Access
from auditor.attack import AnyAttack, Attack, LibraryAttack, Query, Reply, Rows
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import Interrupted
from auditor.events import Event, Notice, Progress, StageFinished, StageStarted, silent
from auditor.execution import Execution
from auditor.journal import Journal
from auditor.ledger import Ledger
from auditor.oracle import TwinOracle
from auditor.problem import Problem
from auditor.record import AttackRow
from auditor.search import Search
from auditor.suite import Stage
from auditor.threat import Norm, ThreatModel


def stage(attack: AnyAttack, **options: Any) -> Stage:
    return Stage(attack=attack, title=attack.name, **options)


def bench(n: int = 40, **options: Any) -> Bench:
    """Four classes; about half of the samples fall at this epsilon."""
    return replace(linear_bench(n=n, classes=4, seed=3, threat=ThreatModel(epsilon=0.12)), **options)


def play(made: Bench, suite: list[Stage], folder: Path, **changes: Any) -> tuple[Ledger, list[AttackRow]]:
    search = replace(made.search(folder), **changes)
    ledger = Ledger.of(made.samples, made.target.labels(made.samples.inputs, batch=1) == made.samples.labels)
    return ledger, search.play(suite, ledger)


@dataclass(frozen=True, kw_only=True)
class Tripping(Attack):
    """Raises at its second step."""

    name: ClassVar[str] = "tripping"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset(Norm)

    steps: int = 9

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.random_corner())

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        if int(problem.ages.max()) == 1:
            raise RuntimeError("tripped")
        return rows


@dataclass(frozen=True, kw_only=True)
class Foreign(LibraryAttack):
    """FGSM on the cross-entropy, with a loop of its own."""

    name: ClassVar[str] = "foreign"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    def run_on(
        self, model: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, threat: ThreatModel, seed: int
    ) -> Tensor:
        x = inputs.requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(x), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        return (inputs + 0.9999 * threat.epsilon * gradient.sign()).detach()


def test_each_stage_meets_what_the_ones_before_left_standing(tmp_path: Path) -> None:
    ledger, rows = play(bench(), [stage(Noise()), stage(FGSM()), stage(APGD(steps=20))], tmp_path)
    assert [row.entered for row in rows] == [40, 40 - rows[0].broken, 40 - rows[0].broken - rows[1].broken]
    assert sum(row.broken for row in rows) == ledger.broken.sum()
    assert 5 < ledger.broken.sum() < 35
    for number, row in enumerate(rows):
        assert row.status == "ran"
        assert row.broken == (ledger.stage == number).sum()
    assert [ledger.spent[:, i].sum() for i in range(3)] == [
        sum(getattr(row, name) for row in rows) for name in ("forwards", "backwards", "queries")
    ]
    assert ledger.full[~ledger.broken].all()


def test_misclassified_and_spared_samples_are_left_alone(tmp_path: Path) -> None:
    made = bench()
    labels = made.samples.labels.copy()
    labels[:10] = (labels[:10] + 1) % 4
    made = replace(made, samples=replace(made.samples, labels=labels))
    ledger, rows = play(made, [stage(FGSM())], tmp_path)
    assert rows[0].entered == 30
    assert not ledger.spent[:10].any()


def test_a_share_of_the_survivors_with_the_smallest_margins(tmp_path: Path) -> None:
    made = bench()
    ledger, rows = play(made, [stage(FGSM()), stage(PGD(steps=3), share=0.25)], tmp_path / "a")
    before, _ = play(made, [stage(FGSM())], tmp_path / "b")
    chosen = np.flatnonzero((ledger.spent - before.spent).any(axis=1))
    assert chosen.tolist() == before.entrants(0.25).tolist()
    assert rows[1].entered == len(chosen) == np.ceil(0.25 * len(before.standing))


def pairs(n: int = 40) -> Bench:
    """Two classes without bounds: one FGSM step takes epsilon / radius off every margin, in closed form."""
    exact = Execution(device="cpu", threads=1, width=16, precision="float64")
    return replace(linear_bench(n=n, classes=2, seed=5, threat=ThreatModel(epsilon=0.05)), execution=exact)


NEAR = 0.6


def far(made: Bench, near: float = NEAR) -> np.ndarray:
    """Who falls at epsilon (0), comes near (1), and stays away (2), by the radius of each alone."""
    assert isinstance(made.target, LinearTarget)
    left = 1 - made.threat.epsilon / made.target.radii(made.samples, made.threat)
    return np.digitize(left, [0.0, near])


def test_near_meets_whom_the_closed_form_says(tmp_path: Path) -> None:
    made = pairs()
    ledger, rows = play(made, [stage(FGSM()), stage(PGD(steps=3), near=NEAR)], tmp_path / "a")
    before, _ = play(made, [stage(FGSM())], tmp_path / "b")
    kinds = far(made)
    assert np.bincount(kinds).min() >= 5
    np.testing.assert_array_equal(before.broken, kinds == 0)
    np.testing.assert_array_equal((ledger.spent - before.spent).any(axis=1), kinds == 1)
    assert rows[1].entered == (kinds == 1).sum()
    asked = ~before.broken
    np.testing.assert_allclose(before.margin[asked] / ledger.clean[asked] <= NEAR, kinds[asked] == 1)


def test_who_is_near_does_not_depend_on_the_others(tmp_path: Path) -> None:
    """A share of the same samples does."""
    made = pairs()
    part = np.arange(40)[::3]
    fewer = replace(made, samples=made.samples.take(part))
    suites = {
        "near": [stage(FGSM()), stage(PGD(steps=3), near=NEAR), stage(Square(steps=5), near=0.3)],
        "share": [stage(FGSM()), stage(PGD(steps=3), share=0.3), stage(Square(steps=5), share=0.1)],
    }
    spent = {}
    for name, suite in suites.items():
        (whole, _), (some, _) = play(made, suite, tmp_path / name), play(fewer, suite, tmp_path / f"{name} of some")
        spent[name] = some.spent.tolist() == whole.spent[part].tolist()
        np.testing.assert_array_equal(some.broken, whole.broken[part])
    assert spent == {"near": True, "share": False}


def test_near_and_share_both_hold(tmp_path: Path) -> None:
    made, kinds = pairs(), far(pairs())
    before, _ = play(made, [stage(FGSM())], tmp_path / "a")
    wide, narrow = 0.9, 0.1
    for share, expected in ((wide, np.flatnonzero(kinds == 1)), (narrow, before.entrants(narrow))):
        ledger, _ = play(made, [stage(FGSM()), stage(PGD(steps=3), share=share, near=NEAR)], tmp_path / f"{share}")
        met = np.flatnonzero((ledger.spent - before.spent).any(axis=1))
        assert met.tolist() == expected.tolist()
        assert (~np.isnan(ledger.clean)).sum() == np.ceil(share * len(before.standing)), "only the share was measured"


@pytest.mark.parametrize("access", [Access.DECISION, Access.GRADIENT])
def test_near_meets_everybody_where_nothing_has_a_margin(tmp_path: Path, access: Access) -> None:
    made = bench(threat=ThreatModel(epsilon=1e-3))
    suite = [stage(Noise(steps=1)), stage(Noise(steps=2), near=0.01)]
    _, rows = play(made, suite, tmp_path, access=access)
    assert [row.entered for row in rows] == [40, 40]


def labels_only(made: Bench) -> Bench:
    made.target.access = Access.DECISION
    return made


@pytest.mark.parametrize(
    ("attack", "make", "changes", "reason"),
    [
        (
            Square(),
            lambda: bench(threat=ThreatModel(norm=Norm.L0, epsilon=1.0, bounds=(0.0, 1.0))),
            {},
            "square knows l1, l2, linf, the threat is l0",
        ),
        (FGSM(), bench, {"access": Access.SCORE}, "fgsm needs gradient access, the audit grants score"),
        (Square(), bench, {"access": Access.DECISION}, "square needs score access, the audit grants decision"),
        (FGSM(), bench, {"twin": None}, "fgsm needs gradients, and the model has no twin"),
        (Square(), lambda: labels_only(bench()), {}, "square needs scores, and the model returns labels only"),
    ],
)
def test_a_stage_that_can_not_run_is_skipped_with_the_reason(
    tmp_path: Path, attack: Attack, make: Callable[[], Bench], changes: dict[str, Any], reason: str
) -> None:
    ledger, (row,) = play(make(), [stage(attack)], tmp_path, **changes)
    assert (row.status, row.reason, row.entered, row.broken) == ("skipped", reason, 0, 0)
    assert not ledger.full.any()
    assert not ledger.spent.any()


def test_what_asks_for_labels_only_runs_everywhere(tmp_path: Path) -> None:
    _, (row,) = play(labels_only(bench()), [stage(Noise())], tmp_path, access=Access.DECISION, twin=None)
    assert row.status == "ran"
    assert row.queries > 0


def test_an_attack_that_raises_ends_its_stage_and_the_next_goes_on(tmp_path: Path) -> None:
    made = bench(threat=ThreatModel(epsilon=0.08))
    ledger, rows = play(made, [stage(Tripping()), stage(APGD(steps=20))], tmp_path)
    assert [row.status for row in rows] == ["error", "ran"]
    assert rows[0].reason == "RuntimeError: tripped"
    assert rows[0].broken > 0, "what it had found stays found"
    assert rows[1].entered == 40 - rows[0].broken
    assert ledger.full[ledger.standing].all()


def test_an_attack_of_another_library_is_judged_and_counted_like_any_other(tmp_path: Path) -> None:
    made = linear_bench(n=20, distance=0.1).at(0.11)
    ledger, (row,) = play(made, [stage(Foreign())], tmp_path)
    assert ledger.broken.all()
    assert (row.forwards, row.backwards, row.queries) == (20, 20, 20)
    below, (row,) = play(made.at(0.09), [stage(Foreign())], tmp_path)
    assert not below.broken.any()
    assert row.rejected == {"not misclassified": 20}
    assert below.full.all()


# what is heard


def test_events(tmp_path: Path) -> None:
    heard: list[Event] = []
    _, rows = play(bench(), [stage(Noise()), stage(FGSM())], tmp_path, listen=heard.append)
    assert [type(event) for event in heard if not isinstance(event, Progress)] == [StageStarted, StageFinished] * 2
    finished = [event for event in heard if isinstance(event, StageFinished)]
    assert [(event.name, event.broken, event.entrants) for event in finished] == [
        (row.name, row.broken, row.entered) for row in rows
    ]
    assert finished[-1].robust_accuracy == pytest.approx(1 - sum(row.broken for row in rows) / 40)


def test_progress_counts_over_the_whole_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.search.TICK", 0.0)
    heard: list[Event] = []
    made = bench(n=150, execution=Execution(device="cpu", threads=1, width=16))
    ledger, _ = play(made, [stage(PGD(steps=5))], tmp_path, listen=heard.append)
    progress = [event for event in heard if isinstance(event, Progress)]
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert progress[-1].done == progress[-1].entrants == 150
    assert progress[-1].robust_accuracy == pytest.approx(ledger.robust_accuracy)


# the same bits, however it got there

SUITE = [
    stage(Noise(steps=2)),
    stage(PGD(steps=5), restarts=2),
    stage(Tripping(), share=0.9),
    stage(APGD(steps=5, loss="dlr"), share=0.5),
]
"""The shares make a stage depend on the margins that stages before it left."""
HEADER = {"plan_digest": "x"}


def large() -> Bench:
    """150 samples in chunks of 64: three units a stage at most."""
    return bench(n=150, execution=Execution(device="cpu", threads=1, width=4))


def bits(ledger: Ledger, rows: list[AttackRow]) -> dict[str, Any]:
    columns = {f.name: getattr(ledger, f.name) for f in fields(ledger)}
    found = {name: array.tobytes() for name, array in columns.items() if isinstance(array, np.ndarray)}
    points = {i: x.tobytes() for i, x in sorted(ledger.adversarial.items())}
    near = {f"nearest {i}": x.tobytes() for i, x in sorted(ledger.nearest_point.items())}
    return found | points | near | {"rows": [msgspec.structs.replace(row, seconds=0.0) for row in rows]}  # type: ignore[dict-item]


def through(
    folder: Path, *, resume: bool, listen: Callable[[Event], None] = silent, suite: list[Stage] | None = None
) -> dict[str, Any]:
    made = large()
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    search = made.search(folder / "scratch")
    search = replace(search, journal=Journal(folder, HEADER, resume=resume), listen=listen)
    ledger = Ledger.of(made.samples, np.ones(150, bool))
    return bits(ledger, search.play(suite or SUITE, ledger))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return through(tmp_path_factory.mktemp("whole"), resume=False)


def test_near_1_is_no_limit(tmp_path: Path, whole: dict[str, Any]) -> None:
    assert through(tmp_path, resume=False, suite=[replace(one, near=1.0) for one in SUITE]) == whole
    assert np.isnan(np.frombuffer(whole["clean"])).all(), "nobody wanted to know"


@pytest.mark.parametrize("event", [3, 5, 6])
def test_near_is_the_same_in_a_resumed_search(tmp_path: Path, event: int) -> None:
    near = [SUITE[0], SUITE[1], replace(SUITE[1], near=0.5), replace(SUITE[3], share=1.0, near=0.4)]
    wanted = through(tmp_path / "a", resume=False, suite=near)
    assert [row.entered for row in wanted["rows"]] == sorted((row.entered for row in wanted["rows"]), reverse=True)
    assert len({row.entered for row in wanted["rows"]}) == 4
    with pytest.raises(Interrupted):
        through(tmp_path / "b", resume=False, listen=stop_at(event), suite=near)
    assert through(tmp_path / "b", resume=True, suite=near) == wanted


def test_two_runs_are_bit_identical(tmp_path: Path, whole: dict[str, Any]) -> None:
    assert through(tmp_path, resume=False) == whole
    assert any(row.broken for row in whole["rows"])
    assert len([name for name in whole if isinstance(name, int)]) > 20


def stop_at(event: int) -> Callable[[Event], None]:
    """A listener that stops the search at its n-th event."""
    heard: Iterator[int] = iter(range(1000))

    def listen(_: Event) -> None:
        if next(heard) == event:
            raise Interrupted("stopped")

    return listen


@pytest.mark.parametrize("event", range(8))
def test_stopped_between_stages_and_resumed(tmp_path: Path, whole: dict[str, Any], event: int) -> None:
    with pytest.raises(Interrupted):
        through(tmp_path, resume=False, listen=stop_at(event))
    assert through(tmp_path, resume=True) == whole


class Stopping(Journal):
    """Stops the search after so many units."""

    units = 10**6

    def write(self, key: Any, result: Any) -> None:
        if self.units == 0:
            raise Interrupted("stopped")
        self.units -= 1
        super().write(key, result)


@pytest.mark.parametrize("units", range(0, 9, 2))
def test_stopped_between_units_and_resumed(tmp_path: Path, whole: dict[str, Any], units: int) -> None:
    made = large()
    (tmp_path / "scratch").mkdir()
    journal = Stopping(tmp_path, HEADER, resume=False)
    journal.units = units
    search: Search = replace(made.search(tmp_path / "scratch"), journal=journal)
    with pytest.raises(Interrupted):
        search.play(SUITE, Ledger.of(made.samples, np.ones(150, bool)))
    assert len(Journal(tmp_path, HEADER, resume=True).done) == units
    assert through(tmp_path, resume=True) == whole


def test_a_finished_unit_is_not_computed_again(tmp_path: Path, whole: dict[str, Any]) -> None:
    through(tmp_path, resume=False)
    made = large()

    def refuse(*_: Any) -> np.ndarray:
        raise AssertionError("asked again")

    (tmp_path / "again").mkdir()
    search = replace(made.search(tmp_path / "again"), journal=Journal(tmp_path, HEADER, resume=True))
    made.target._run = refuse  # type: ignore[method-assign]
    ledger = Ledger.of(made.samples, np.ones(150, bool))
    assert bits(ledger, search.play(SUITE, ledger)) == whole


@pytest.mark.parametrize("width", [1, 7, 64])
def test_outcomes_depend_neither_on_width_nor_on_order(tmp_path: Path, width: int) -> None:
    suite = [stage(Noise(steps=2)), stage(PGD(steps=5), restarts=2), stage(APGD(steps=5, loss="dlr"))]
    exact = Execution(device="cpu", threads=1, width=64, precision="float64")
    made = bench(n=60, execution=exact)
    reference, _ = play(made, suite, tmp_path / "a")
    assert 10 < reference.broken.sum() < 50
    order = np.random.default_rng(width).permutation(60)
    shuffled = replace(
        made,
        samples=made.samples.take(order),
        execution=Execution(device="cpu", threads=1, width=width, precision="float64"),
    )
    other, _ = play(shuffled, suite, tmp_path / "b")
    np.testing.assert_array_equal(other.broken, reference.broken[order])
    np.testing.assert_array_equal(other.stage, reference.stage[order])
    standing = ~other.broken
    np.testing.assert_array_equal(other.spent[standing], reference.spent[order][standing])
    np.testing.assert_allclose(other.margin[standing], reference.margin[order][standing], atol=1e-9)


def test_another_seed_draws_otherwise(tmp_path: Path) -> None:
    first, _ = play(bench(), [stage(PGD(steps=1))], tmp_path / "a")
    second, _ = play(bench(seed=4), [stage(PGD(steps=1))], tmp_path / "b")
    assert not np.array_equal(first.best, second.best)


def test_stages_draw_otherwise(tmp_path: Path) -> None:
    made = bench(threat=ThreatModel(epsilon=1e-3))
    attack = PGD(steps=1, rel_step=1e-3)
    once, _ = play(made, [stage(attack)], tmp_path / "a")
    twice, _ = play(made, [stage(attack), stage(attack)], tmp_path / "b")
    closer = twice.margin < once.margin
    assert 5 < closer.sum() < 35, "the second stage found better points for some samples: it drew others"


def test_labels_alone_do_not_rank_samples(tmp_path: Path) -> None:
    target = LinearTarget(*scaled(bench(), 1000))  # margins far above 1
    made = replace(bench(threat=ThreatModel(epsilon=1e-3)), target=target)
    before, _ = play(made, [stage(FGSM())], tmp_path / "a")
    after, _ = play(made, [stage(Noise()), stage(FGSM())], tmp_path / "b")
    assert before.margin.min() > 1
    np.testing.assert_allclose(after.margin, before.margin)
    np.testing.assert_array_equal(after.entrants(0.3), before.entrants(0.3))


def scaled(made: Bench, factor: float) -> tuple[np.ndarray, np.ndarray]:
    assert isinstance(made.target, LinearTarget)
    return factor * made.target.weight, factor * made.target.bias


# rounds


@dataclass(frozen=True, kw_only=True)
class Lottery(Attack):
    """Breaks a sample whose id is drawn: each restart has the next id of the list, at the place where it is broken."""

    name: ClassVar[str] = "lottery"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    steps: int = 1
    drawn: tuple[int, ...] = ()

    def start(self, problem: Problem) -> Rows:
        ids = torch.tensor(self.drawn)[problem.restarts.clamp_max(len(self.drawn) - 1)]
        lucky = problem.wide(problem.ids == ids)
        return Rows(x=torch.where(lucky, problem.upper, problem.inputs))

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        return rows


def positive(n: int = 6) -> Bench:
    """One feature, label 0 below 0.5: every sample falls at the upper end of its box."""
    target = LinearTarget(np.array([[-1.0], [1.0]]), np.array([0.5, -0.5]))
    made = linear_bench(shape=(1,), n=n)
    inputs = np.full((n, 1), 0.4, np.float32)
    samples = replace(made.samples, inputs=inputs, labels=np.zeros(n, np.int64))
    return Bench(target=target, samples=samples, threat=ThreatModel(epsilon=0.3))


@pytest.mark.parametrize(
    ("drawn", "rounds", "broken", "played"),
    [
        ((0, 1, 9, 2), 9, {0, 1}, 3),  # the third breaks nobody: there is no fourth
        ((0, 1, 2, 3), 2, {0, 1}, 2),
        ((9, 1, 2, 3), 9, set(), 1),
        ((0, 1, 2, 3, 4, 5), 9, {0, 1, 2, 3, 4, 5}, 6),
    ],
)
def test_rounds_go_on_while_the_last_one_broke_somebody(
    tmp_path: Path, drawn: tuple[int, ...], rounds: int, broken: set[int], played: int
) -> None:
    ledger, (row,) = play(positive(), [stage(Lottery(drawn=drawn), rounds=rounds)], tmp_path)
    assert set(np.flatnonzero(ledger.broken).tolist()) == broken
    assert row.rounds == played
    assert row.most_rounds == rounds
    assert row.entered == 6


def test_each_round_has_restarts_of_its_own(tmp_path: Path) -> None:
    ledger, (row,) = play(positive(), [stage(Lottery(drawn=(9, 0, 9, 1, 9, 9)), restarts=2, rounds=9)], tmp_path)
    assert set(np.flatnonzero(ledger.broken).tolist()) == {0, 1}
    assert row.rounds == 3


def test_rounds_resume_bit_for_bit(tmp_path: Path) -> None:
    suite = [stage(PGD(steps=2), rounds=4)]
    made = bench(n=80, execution=Execution(device="cpu", threads=1, width=4))
    right = np.ones(80, bool)
    first = Ledger.of(made.samples, right)
    whole = bits(first, made.search(tmp_path / "a").play(suite, first))
    assert whole["rows"][0].rounds > 1
    journal = Stopping(tmp_path / "b", HEADER, resume=False)
    journal.units = 3
    with pytest.raises(Interrupted):
        replace(made.search(tmp_path / "c"), journal=journal).play(suite, Ledger.of(made.samples, right))
    again = Ledger.of(made.samples, right)
    search = replace(made.search(tmp_path / "d"), journal=Journal(tmp_path / "b", HEADER, resume=True))
    assert bits(again, search.play(suite, again)) == whole


# budgets


def test_no_sample_costs_more_than_the_budget_says(tmp_path: Path) -> None:
    suite = [stage(PGD(steps=5), restarts=3), stage(APGD(steps=7), rounds=4), stage(Square(steps=9), restarts=2)]
    ledger, rows = play(bench().at(1e-4), suite, tmp_path, doubt=-1.0)
    assert [(row.budget.forwards, row.budget.backwards, row.budget.queries) for row in rows] == [
        (18, 15, 0),
        (4 * 8, 4 * 7, 0),
        (0, 0, 20),
    ]
    assert ledger.spent.tolist() == [[18 + 8, 15 + 7, 20]] * len(ledger.spent)  # one round breaks nobody: no second


# memory


@dataclass(frozen=True, kw_only=True)
class Hungry(PGD):
    """PGD that takes the memory of so many rows at once."""

    name: ClassVar[str] = "hungry"
    room: int = 4

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        if len(problem) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().step(problem, rows, reply)


def test_where_memory_runs_out_the_search_goes_on_at_half_the_width(tmp_path: Path) -> None:
    wide = bench(execution=Execution(device="cpu", threads=1, width=16))
    narrow = bench(execution=Execution(device="cpu", threads=1, width=4))
    heard: list[Event] = []
    search = replace(wide.search(tmp_path / "a"), listen=heard.append)
    ledger = Ledger.of(wide.samples, np.ones(40, bool))
    (row,) = search.play([stage(Hungry(steps=6))], ledger)
    other, _ = play(narrow, [stage(Hungry(steps=6))], tmp_path / "b")
    assert row.status == "ran"
    assert search.narrowings == [16, 8]
    assert [event.text for event in heard if isinstance(event, Notice)] == [
        "16 rows side by side do not fit into memory. The search goes on with 8.",
        "8 rows side by side do not fit into memory. The search goes on with 4.",
    ]
    np.testing.assert_array_equal(ledger.broken, other.broken)
    assert ledger.broken.any()


def test_a_resumed_search_knows_how_much_memory_there_was(tmp_path: Path) -> None:
    made = bench(n=80, execution=Execution(device="cpu", threads=1, width=16))
    suite = [stage(Hungry(steps=6)), stage(Hungry(steps=3))]
    journal = Journal(tmp_path, HEADER, resume=False)
    first = replace(made.search(tmp_path / "a"), journal=journal)
    whole = Ledger.of(made.samples, np.ones(80, bool))
    rows = first.play(suite, whole)
    second = replace(
        made.search(tmp_path / "b"), journal=Journal(tmp_path, HEADER, resume=True), narrowings=[], oracles={}
    )
    again = Ledger.of(made.samples, np.ones(80, bool))
    assert bits(again, second.play(suite, again)) == bits(whole, rows)
    assert second.narrowings == first.narrowings == [16, 8]


def test_memory_that_runs_out_at_the_end_is_met_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few rows are left, their last points are judged after all else."""
    made = bench(n=8, execution=Execution(device="cpu", threads=1, width=32))
    search = made.search(tmp_path)
    whole = TwinOracle.ask

    def ask(self: TwinOracle, query: Query, *rest: Any) -> Reply:
        if query.gradient is False and self.execution.width > 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, query, *rest)

    monkeypatch.setattr(TwinOracle, "ask", ask)
    (row,) = search.play([stage(PGD(steps=3))], Ledger.of(made.samples, np.ones(8, bool)))
    assert row.status == "ran"
    assert search.narrowings == [32, 16]


def test_a_twin_that_does_not_fit_is_tried_with_fewer_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench(n=8, execution=Execution(device="cpu", threads=1, width=32))
    search = made.search(tmp_path)
    prepare = TwinOracle.__init__

    def init(self: TwinOracle, twin: Any, execution: Execution) -> None:
        if execution.width > 16:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        prepare(self, twin, execution)

    monkeypatch.setattr(TwinOracle, "__init__", init)
    (row,) = search.play([stage(PGD(steps=3))], Ledger.of(made.samples, np.ones(8, bool)))
    assert row.status == "ran"
    assert search.narrowings == [32]


def test_a_share_means_nothing_while_no_margin_is_known(tmp_path: Path) -> None:
    """A distance stage measures distances, no margins: the stage after it meets everybody."""
    suite = [Stage(attack=FMN(steps=1), distance=True, title="fmn"), stage(PGD(steps=2), share=0.1)]
    _, rows = play(bench(), suite, tmp_path)
    assert [row.entered for row in rows] == [40, 40]
