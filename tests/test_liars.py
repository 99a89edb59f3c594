"""Attacks that lie, blunder or misbehave, through both doors: nothing of it counts, each lie is counted under its name,
and the stages after it find what they find without it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from auditor.access import Access
from auditor.attack import AnyAttack, Attack, LibraryAttack, Query, Reply, Rows
from auditor.certificates import Certified
from auditor.cli import main
from auditor.entry import read_record
from auditor.guard import unmoved
from auditor.host import Host
from auditor.ledger import Ledger
from auditor.observe import observe
from auditor.outcomes import settle
from auditor.problem import Problem
from auditor.record import AttackRow, Status
from auditor.suite import Stage
from auditor.testing import Bench, LinearTarget, linear_bench
from auditor.threat import Norm, ThreatModel
from auditor.twin import Twin

N = 6
FGSM = Host.load(bundled=["auditor.plugins.attacks.fgsm"], installed=False).attacks["fgsm"]


def bench(epsilon: float = 0.05) -> Bench:
    """Six samples at a distance of 0.1: nothing within 0.05 of them is adversarial."""
    threat = ThreatModel(epsilon=epsilon, bounds=(0.0, 1.0))
    made = linear_bench(shape=(40,), n=N, seed=1, distance=0.1)
    assert made.samples.inputs.min() > 0
    assert made.samples.inputs.max() < 1
    return replace(made, threat=threat)


def corner(inputs: Tensor, epsilon: float) -> Tensor:
    """A point of the ball that is no adversarial example: away from the boundary or not, it is too near."""
    return (inputs + 0.9 * epsilon).clamp(0, 1)


Lie = Callable[[Tensor, float], Tensor]
LIES: dict[str, tuple[Lie, str]] = {
    "outside the ball": (lambda x, e: (x + 3 * e).clamp(0, 1), "outside the ball"),
    "outside the bounds": (lambda x, e: torch.cat([x[:, :-1], 1 + 0 * x[:, -1:] + 0.5], dim=1), "outside the bounds"),
    "not a number": (lambda x, e: x * float("nan"), "not finite"),
    "infinite": (lambda x, e: x + float("inf"), "not finite"),
    "huge": (lambda x, e: x + 3e38, "outside the bounds"),
    "another shape": (lambda x, e: x[:, :-1], "wrong shape or dtype"),
    "fewer rows": (lambda x, e: x[:-1], "wrong shape or dtype"),
    "another axis": (lambda x, e: x[:, None], "wrong shape or dtype"),
    "whole numbers": (lambda x, e: x.round().long(), "wrong shape or dtype"),
    "half precision": (lambda x, e: x.half(), "wrong shape or dtype"),
    "the input itself": (lambda x, e: x.clone(), "unchanged input"),
    "claims success": (corner, "not misclassified"),
}


@dataclass(frozen=True, kw_only=True)
class Liar(Attack):
    """Returns a lie, as its claim of success, from its first step on."""

    name: ClassVar[str] = "liar"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    steps: int = 3
    lie: str = "the input itself"

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.inputs)

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        x = LIES[self.lie][0](problem.inputs, float(problem.epsilon[0]))
        return Rows(x=x, done=torch.ones(len(problem), dtype=torch.bool))


@dataclass(frozen=True, kw_only=True)
class LibraryLiar(LibraryAttack):
    name: ClassVar[str] = "library liar"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    lie: str = "the input itself"

    def run_on(
        self, model: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, threat: ThreatModel, seed: int
    ) -> Tensor:
        return LIES[self.lie][0](inputs, threat.epsilon)


def played(*attacks: AnyAttack, on: Bench | None = None) -> tuple[Ledger, list[AttackRow]]:
    return (on or bench()).play_suite([Stage(attack=attack, title=attack.name) for attack in attacks])


def assert_harmless(attack: AnyAttack) -> AttackRow:
    """Nothing is counted, and the stage after it breaks exactly what it breaks alone."""
    ledger, (row,) = played(attack)
    assert not ledger.broken.any()
    assert row.broken == 0
    for epsilon, falls in ((0.05, False), (0.11, True)):
        after, (_, honest) = played(attack, FGSM(), on=bench(epsilon))
        alone, (same,) = played(FGSM(), on=bench(epsilon))
        assert (honest.status, honest.rejected) == (same.status, same.rejected)
        if falls:
            legal = after.stage == 0  # at this epsilon even a liar may stumble on one
            assert (after.broken & alone.broken).all()
            assert all(np.array_equal(after.adversarial[i], alone.adversarial[i]) for i in np.flatnonzero(~legal))
        else:
            assert not after.broken.any()
    return row


@pytest.mark.parametrize("door", [Liar, LibraryLiar], ids=["rows", "library"])
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_counted_under_its_name_and_nothing_else_is(lie: str, door: type[AnyAttack]) -> None:
    row = assert_harmless(door(lie=lie))
    assert row.status == "ran"
    assert row.rejected == {LIES[lie][1]: N}


ILLEGAL = [lie for lie, (_, reason) in LIES.items() if reason not in ("unchanged input", "not misclassified")]


@pytest.mark.parametrize("door", [Liar, LibraryLiar], ids=["rows", "library"])
@pytest.mark.parametrize("lie", LIES)
def test_a_sample_that_met_only_lies_has_not_withstood(lie: str, door: type[AnyAttack]) -> None:
    made = bench()
    suite = [Stage(attack=door(lie=lie), title="liar")]
    ledger, _ = made.play_suite(suite)
    seen = observe(made.target, made.samples)
    nothing = Certified(np.zeros(N, bool), np.zeros(N, bool), np.zeros(N))
    found = settle(made.samples, made.threat, seen, ledger, suite, nothing)
    expected = {Status.ERROR, Status.UNATTACKED} if lie in ILLEGAL else {Status.WITHSTOOD}
    assert {outcome.status for outcome in found} <= expected


def failing(error: BaseException) -> Callable[[Problem], None]:
    def fail(problem: Problem) -> None:
        raise error

    return fail


def changing(name: str) -> Callable[[Problem], Tensor]:
    return lambda problem: getattr(problem, name).add_(1)


BLUNDERS: dict[str, tuple[Callable[[Problem], object], str]] = {
    "raises": (failing(RuntimeError("it broke")), "RuntimeError: it broke"),
    "exits": (failing(SystemExit(3)), "SystemExit: 3"),
    "no rows": (lambda problem: None, "blunder.step should return Rows, it returned NoneType."),
    "a bare tensor": (lambda problem: problem.inputs, "blunder.step should return Rows, it returned Tensor."),
    "done as a column": (
        lambda problem: Rows(x=problem.inputs, done=torch.ones(N, 1, dtype=torch.bool)),
        "blunder.step should return done as bool [6], it is bool [6, 1].",
    ),
    "done as numbers": (
        lambda problem: Rows(x=problem.inputs, done=torch.ones(N)),
        "blunder.step should return done as bool [6], it is float32 [6].",
    ),
    "done for some": (
        lambda problem: Rows(x=problem.inputs, done=torch.ones(2, dtype=torch.bool)),
        "blunder.step should return tensors with the batch of 6 first, done is bool [2].",
    ),
    "x as a list": (
        lambda problem: Rows(x=problem.inputs.tolist()),
        "blunder.step should return tensors with the batch of 6 first, x is of type list.",
    ),
    "state of another batch": (
        lambda problem: Carrying(x=problem.inputs, state=torch.zeros(N + 1)),
        "blunder.step should return Rows as before, it returned Carrying.",
    ),
    "changes inputs": (changing("inputs"), "blunder.step changes problem.inputs in place; clone it first."),
    "changes lower": (changing("lower"), "blunder.step changes problem.lower in place; clone it first."),
    "changes labels": (changing("labels"), "blunder.step changes problem.labels in place; clone it first."),
    "changes epsilon": (changing("epsilon"), "blunder.step changes problem.epsilon in place; clone it first."),
    "changes slots": (changing("slots"), "blunder.step changes problem.slots in place; clone it first."),
    "changes ages": (changing("ages"), "blunder.step changes problem.ages in place; clone it first."),
    "changes the best points": (changing("found"), "blunder.step changes problem.found in place; clone it first."),
}


@dataclass(frozen=True, kw_only=True)
class Carrying(Rows):
    state: Tensor


@dataclass(frozen=True, kw_only=True)
class Blunder(Attack):
    name: ClassVar[str] = "blunder"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    steps: int = 3
    kind: str = "raises"

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.inputs)

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        returned = BLUNDERS[self.kind][0](problem)
        return rows if self.kind.startswith("changes") else returned  # type: ignore[return-value]


@pytest.mark.parametrize("kind", BLUNDERS)
def test_a_blunder_ends_the_stage_with_a_sentence(kind: str) -> None:
    row = assert_harmless(Blunder(kind=kind))
    assert (row.status, row.reason) == ("error", BLUNDERS[kind][1])


def test_rows_may_change_their_own_points_in_place() -> None:
    class Frugal(Blunder):
        def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
            rows.x.add_(0.01)
            return rows

    row = assert_harmless(Frugal())
    assert (row.status, row.rejected) == ("ran", {})


def test_an_objective_is_one_number_a_point() -> None:
    class Mean(Blunder):
        def objective(self, scores: Tensor, problem: Problem, rows: Rows) -> Tensor:
            return scores.mean()

    assert assert_harmless(Mean()).reason == "An objective should be one number a point, [6], it has the shape []."


@pytest.mark.parametrize(
    ("access", "reads", "reason"),
    [
        (Access.DECISION, Reply.need_scores, "The attack reads scores, but its access is `decision`."),
        (Access.DECISION, Reply.need_loss, "The attack reads a loss, but its access is `decision`."),
        (Access.SCORE, Reply.need_gradient, "The attack reads a gradient that its query did not ask for"),
        (Access.SCORE, Reply.need_gradients, "The attack reads gradients, but its query had no cotangents"),
    ],
)
def test_what_the_access_does_not_cover_is_not_there(
    access: Access, reads: Callable[[Reply], Tensor], reason: str
) -> None:
    class Greedy(Blunder):
        def query(self, problem: Problem, rows: Rows) -> Query:
            return Query(points=rows.x, cotangents=torch.ones(N, 1, 2))

        def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
            return Rows(x=reads(reply))

    Greedy.access = access
    row = assert_harmless(Greedy())
    assert row.status == "error"
    assert row.reason is not None
    assert row.reason.startswith(reason)


def test_points_with_a_graph_behind_them_are_taken_without_it() -> None:
    class Attached(Blunder):
        def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
            return Rows(x=problem.project(rows.x + 0.01).requires_grad_())

    row = assert_harmless(Attached())
    assert (row.status, row.rejected) == ("ran", {})


def test_rows_that_are_always_done_end_after_a_step() -> None:
    class Done(Blunder):
        steps: int = 10**6

        def start(self, problem: Problem) -> Rows:
            return Rows(x=problem.project(problem.inputs + 0.01), done=torch.ones(len(problem), dtype=torch.bool))

        def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
            return rows

    row = assert_harmless(Done())
    assert row.forwards == 2 * N
    assert row.rejected == {"not misclassified": N}


class Swallowing(LinearTarget):
    """Takes what is no number for 0, as some runtimes do: such a point then looks like any other."""

    def _run(self, x: np.ndarray) -> np.ndarray:
        return super()._run(np.nan_to_num(x, nan=0.0))

    def twin(self) -> Twin:
        twin = super().twin()

        class Zeroed(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return twin.module(x.nan_to_num(nan=0.0))

        return Twin(module=Zeroed(), preprocess=twin.preprocess, output=twin.output)


def test_what_is_no_number_is_refused_even_where_the_model_takes_it() -> None:
    class Projected(Blunder):
        def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
            return Rows(x=problem.project(rows.x * float("nan")))

    made = bench()
    target = Swallowing(made.target.weight, made.target.bias, made.target.shape)  # type: ignore[attr-defined]
    ledger, (row,) = played(Projected(), on=replace(made, target=target))
    assert not ledger.broken.any()
    assert not ledger.full.any()
    assert row.rejected == {"not finite": N}
    assert np.isfinite(ledger.best).all()


@pytest.mark.parametrize("door", ["rows", "library"])
def test_what_it_does_to_the_process_ends_with_its_stage(door: str) -> None:
    def meddle() -> None:
        torch.manual_seed(99)
        np.random.seed(99)
        random.seed(99)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(torch.get_num_threads() + 1)
        np.seterr(all="ignore")

    class Meddler(Blunder):
        def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
            meddle()
            return rows

    class LibraryMeddler(LibraryLiar):
        def run_on(self, *args: object) -> Tensor:  # type: ignore[override]
            meddle()
            return args[1]  # type: ignore[return-value]

    def state() -> tuple[object, ...]:
        drawn = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
        return *drawn, torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), np.geterr()

    with unmoved():
        before = state()
        assert_harmless(Meddler() if door == "rows" else LibraryMeddler())
        assert state() == before


LIBRARY: dict[str, tuple[Callable[..., object], str | None, dict[str, int]]] = {
    "raises": (failing(RuntimeError("it broke")), "RuntimeError: it broke", {}),
    "exits": (failing(SystemExit(3)), "SystemExit: 3", {}),
    "returns nothing": (lambda *_: None, None, {"wrong shape or dtype": N}),
    "returns text": (lambda *_: "done", None, {"wrong shape or dtype": N}),
    "changes the inputs in place": (
        lambda model, x, *_: x.lerp_(torch.full_like(x, 0.5), 0.9),
        None,
        {"outside the ball": N},
    ),
    "changes the threat": (
        lambda model, x, y, threat, seed: (threat.weights.fill(100.0), 0.1 * x + 0.45)[1],
        None,
        {"outside the ball": N},
    ),
    "in double precision": (lambda model, x, *_: x.double() + 1e300, None, {"not finite": N}),
    "with a graph": (lambda model, x, *_: (x + 0.01).requires_grad_(), None, {"not misclassified": N}),
}


@pytest.mark.parametrize("kind", LIBRARY)
def test_a_library_attack_that_misbehaves(kind: str) -> None:
    class Bad(LibraryLiar):
        def run_on(self, *args: object) -> Tensor:  # type: ignore[override]
            return LIBRARY[kind][0](*(args[:1] if len(LIBRARY[kind][2]) == 0 else args))  # type: ignore[return-value]

    made = bench()
    made = replace(made, threat=replace(made.threat, weights=np.ones(40)))
    kept = made.samples.inputs.copy()
    ledger, (row,) = played(Bad(), on=made)
    assert not ledger.broken.any()
    assert row.status == ("ran" if LIBRARY[kind][1] is None else "error")
    assert (row.reason, row.rejected) == LIBRARY[kind][1:]
    assert np.array_equal(made.samples.inputs, kept)
    assert np.array_equal(made.threat.weights, np.ones(40))


PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar
import torch
from auditor import Access, Attack, Norm, Rows, hookimpl

LIES = {
    "outside_ball": lambda x, e: (x + 3 * e).clamp(0, 1),
    "outside_bounds": lambda x, e: x - 0.001,
    "nan": lambda x, e: x * float("nan"),
    "wrong_shape": lambda x, e: x[..., :-1],
    "unchanged": lambda x, e: x.clone(),
    "claims_success": lambda x, e: (x + 0.01 * e).clamp(0, 1),
    "raises": lambda x, e: 1 / 0,
}

def liar(lie):
    @dataclass(frozen=True, kw_only=True)
    class Liar(Attack):
        """Lies."""
        name: ClassVar[str] = lie
        access: ClassVar[Access] = Access.GRADIENT
        norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})
        def start(self, problem):
            return Rows(x=problem.inputs)
        def step(self, problem, rows, reply):
            done = torch.ones(len(problem), dtype=torch.bool)
            return Rows(x=LIES[lie](problem.inputs, float(problem.epsilon[0])), done=done)
    return Liar

@hookimpl
def register_attacks(register):
    for lie in LIES:
        register(liar(lie))
'''


def test_in_a_scan_each_lie_is_in_the_record_and_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "liars.py").write_text(PLUGIN, encoding="utf-8")
    example = Path(__file__).resolve().parents[1] / "examples" / "mnist"
    attacks = ["outside_ball", "outside_bounds", "nan", "wrong_shape", "unchanged", "claims_success", "raises"]
    command = ["scan", str(example / "natural.onnx"), "--data", str(example / "samples.npz"), "--limit", "6"]
    command += ["--config", str(tmp_path / "audit.toml"), "--norm", "linf", "--epsilon", "0.05", "--seed", "1"]
    command += ["--out", str(tmp_path / "out"), "--plugins-dir", str(tmp_path), "--progress", "none"]
    for name in attacks:
        command += ["--attack", name]
    (tmp_path / "audit.toml").write_text("", encoding="utf-8")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    found = read_record(tmp_path / "out")
    n = sum(outcome.label == outcome.clean_label for outcome in found.outcomes)
    assert n >= 4
    suite = [row for row in found.attacks if row.phase == "suite"]  # experiments of the checks may break some
    assert [(row.name, row.status, row.rejected) for row in suite] == [
        ("outside_ball", "ran", {"outside the ball": n}),
        ("outside_bounds", "ran", {"outside the bounds": n}),
        ("nan", "ran", {"not finite": n}),
        ("wrong_shape", "ran", {"wrong shape or dtype": n}),
        ("unchanged", "ran", {"unchanged input": n}),
        ("claims_success", "ran", {"not misclassified": n}),
        ("raises", "error", {}),
    ]
    assert suite[-1].reason == "ZeroDivisionError: division by zero"
    assert not any(row.broken for row in suite)
    assert found.story[0].robust_accuracy == found.metrics.clean_accuracy
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for row in suite:
        for reason, count in row.rejected.items():
            assert re.search(rf">{row.name}</th><td>{reason}</td><td[^>]*>{count}<", page), (row.name, reason)
    assert "ZeroDivisionError: division by zero" in page
