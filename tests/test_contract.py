"""What comes back from an attack's three calls is checked, and a breach told in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from auditor import contract
from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.errors import PluginError
from auditor.oracle import TwinOracle
from auditor.problem import Problem
from auditor.testing import linear_bench
from auditor.threat import Norm

N = 6


@pytest.fixture
def problem() -> Problem:
    return linear_bench(shape=(40,), n=N).at(0.1).problem()


@dataclass(frozen=True, kw_only=True)
class Stateful(Rows):
    state: Tensor


def attack(**methods: Callable[..., Any]) -> Attack:
    """An attack that stays where it is, but for these methods."""
    own: dict[str, Any] = {
        "name": "blunder",
        "access": Access.GRADIENT,
        "norms": frozenset({Norm.LINF}),
        "start": lambda self, problem: Rows(x=problem.inputs),
        "step": lambda self, problem, rows, reply: rows,
    }
    made: Attack = type("Blunder", (Attack,), own | methods)()
    return made


def reply(problem: Problem) -> Reply:
    every = torch.arange(len(problem))
    return Reply(points=problem.inputs, owner=every, labels=problem.labels)


def test_what_keeps_the_contract_passes_as_it_is(problem: Problem) -> None:
    rows = contract.start(attack(), problem)
    asked, owners = contract.query(attack(), problem, rows)
    assert asked.points is rows.x
    assert owners.tolist() == list(range(N))
    assert contract.step(attack(), problem, rows, reply(problem)) is rows
    assert contract.fits(rows, problem)


def test_ragged_queries_pass_with_their_owners(problem: Problem) -> None:
    owner = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 5])
    ragged = attack(query=lambda self, p, rows: Query(points=rows.x[owner], owner=owner, probes=owner > 2))
    _, owners = contract.query(ragged, problem, contract.start(ragged, problem))
    assert owners.tolist() == owner.tolist()


@pytest.mark.parametrize(
    ("x", "fits"),
    [
        (lambda x: x + 1, True),
        (lambda x: x[:-1], False),
        (lambda x: x[:, :-1], False),
        (lambda x: x[:, None], False),
        (lambda x: x.double(), False),
    ],
)
def test_points_of_another_shape_or_type_are_for_the_caller_to_count(
    x: Callable[[Tensor], Tensor], fits: bool, problem: Problem
) -> None:
    rows = contract.start(attack(start=lambda self, p: Rows(x=x(p.inputs))), problem)
    assert contract.fits(rows, problem) is fits


def test_graphs_are_cut_off(problem: Problem) -> None:
    grown = attack(
        start=lambda self, p: Stateful(x=p.inputs.clone().requires_grad_(), state=p.epsilon.clone().requires_grad_())
    )
    rows = contract.start(grown, problem)
    assert isinstance(rows, Stateful)
    assert not rows.x.requires_grad
    assert not rows.state.requires_grad


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (lambda p: None, "blunder.start should return Rows, it returned NoneType."),
        (lambda p: Rows(x=[1.0]), "should return tensors with the batch of 6 first, x is of type list."),
        (lambda p: Stateful(x=p.inputs, state=torch.zeros(5)), "state is float32 [5]."),
        (lambda p: Stateful(x=p.inputs, state=torch.tensor(1.0)), "state is float32 []."),
        (lambda p: Stateful(x=p.inputs, state=0.5), "state is of type float."),
        (lambda p: Rows(x=p.inputs, done=torch.zeros(6)), "should return done as bool [6], it is float32 [6]."),
        (lambda p: Rows(x=p.inputs, done=torch.zeros(6, 1, dtype=torch.bool)), "it is bool [6, 1]."),
    ],
)
def test_rows_that_do_not_fit(rows: Callable[[Problem], Any], says: str, problem: Problem) -> None:
    with pytest.raises(PluginError) as caught:
        contract.start(attack(start=lambda self, p: rows(p)), problem)
    assert str(caught.value).endswith(says)


def test_rows_stay_of_one_type(problem: Problem) -> None:
    forgetful = attack(
        start=lambda self, p: Stateful(x=p.inputs, state=p.epsilon), step=lambda self, p, rows, _: Rows(x=rows.x)
    )
    rows = contract.start(forgetful, problem)
    with pytest.raises(PluginError, match="should return Stateful as before, it returned Rows"):
        contract.step(forgetful, problem, rows, reply(problem))


QUERIES: dict[str, tuple[Callable[[Problem, Rows], object], str]] = {
    "none": (lambda p, r: None, "blunder.query should return a Query, it returned NoneType."),
    "points of another shape": (
        lambda p, r: Query(points=r.x[:, :-1]),
        "blunder.query should ask about points [m, 40], points is float32 [6, 39].",
    ),
    "points of another type": (
        lambda p, r: Query(points=r.x.double()),
        "blunder.query should ask about points [m, 40], points is float64 [6, 40].",
    ),
    "fewer points": (
        lambda p, r: Query(points=r.x[:-1]),
        "blunder.query should ask about at least one point for each of 6 rows; give `owner`.",
    ),
    "rows without a point": (
        lambda p, r: Query(points=r.x, owner=torch.zeros(N, dtype=torch.int64)),
        "blunder.query should ask about at least one point for each of 6 rows; give `owner`.",
    ),
    "owners that are not there": (
        lambda p, r: Query(points=r.x, owner=torch.arange(N) + 1),
        "blunder.query should name owners from 0 to 5, it names others.",
    ),
    "owners as numbers": (
        lambda p, r: Query(points=r.x, owner=torch.arange(N).float()),
        "blunder.query should give owner as int64 [6], it is float32 [6].",
    ),
    "probes as numbers": (
        lambda p, r: Query(points=r.x, probes=torch.ones(N)),
        "blunder.query should give probes as bool [6], it is float32 [6].",
    ),
    "cotangents of other classes": (
        lambda p, r: Query(points=r.x, cotangents=torch.ones(N, 1, 5)),
        "blunder.query should give cotangents as [6, c, 2], it is float32 [6, 1, 5].",
    ),
}


@pytest.mark.parametrize("kind", QUERIES)
def test_queries_that_do_not_fit(kind: str, problem: Problem) -> None:
    asking = attack(query=lambda self, p, rows: QUERIES[kind][0](p, rows))
    with pytest.raises(PluginError) as caught:
        contract.query(asking, problem, contract.start(asking, problem))
    assert str(caught.value) == QUERIES[kind][1]


def test_a_view_keeps_the_number_of_points(problem: Problem) -> None:
    bench = linear_bench(shape=(40,), n=N)
    oracle = TwinOracle(bench.target.twin(), bench.execution)
    with pytest.raises(PluginError, match="A view should map 6 points to as many, it returned 5"):
        oracle.ask(Query(points=problem.inputs, view=lambda points: points[:-1]), lambda scores, _: scores[:, 0])


@pytest.mark.parametrize("method", ["start", "query", "step"])
@pytest.mark.parametrize("name", [name for name in contract.WATCHED if name != "weights"])
def test_a_problem_that_is_changed_is_noticed(method: str, name: str, problem: Problem) -> None:
    def meddle(self: Attack, given: Problem, *rest: Any) -> Any:
        getattr(given, name).add_(0)
        return {"start": Rows(x=given.inputs), "query": Query(points=given.inputs), "step": rest[:1] and rest[0]}[
            method
        ]

    rows = contract.start(attack(), problem)
    calls = {
        "start": lambda: contract.start(attack(start=meddle), problem),
        "query": lambda: contract.query(attack(query=meddle), problem, rows),
        "step": lambda: contract.step(attack(step=meddle), problem, rows, reply(problem)),
    }
    with pytest.raises(PluginError, match=f"blunder.{method} changes problem.{name} in place; clone it first"):
        calls[method]()


def test_a_survey_that_asks_nothing_is_none(problem: Problem) -> None:
    asked, owners = contract.survey(attack(), problem)
    assert asked is None
    assert len(owners) == 0


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        (lambda n: torch.zeros(n - 1), "batch of 6 first"),
        (lambda n: torch.tensor(1.0), "batch of 6 first"),
        (lambda n: [0] * n, "of type list"),
    ],
)
def test_what_a_survey_leaves_has_a_row_a_sample(problem: Problem, notes: Callable[[int], Any], words: str) -> None:
    blunder = attack(learn=lambda self, problem, reply: notes(len(problem)))
    with pytest.raises(PluginError, match=f"blunder.learn .*{words}"):
        contract.learn(blunder, problem, reply(problem))


def test_a_survey_needs_somebody_who_learns(problem: Problem) -> None:
    with pytest.raises(PluginError, match="does not define `learn`"):
        contract.learn(attack(), problem, reply(problem))


def test_a_mask_of_gradients_is_a_bool_a_point(problem: Problem) -> None:
    for mask in (torch.ones(N), torch.ones(N - 1, dtype=torch.bool)):
        blunder = attack(query=lambda self, problem, rows, mask=mask: Query(points=rows.x, gradient=mask))
        with pytest.raises(PluginError, match="gradient as a bool or as bool"):
            contract.query(blunder, problem, Rows(x=problem.inputs))
