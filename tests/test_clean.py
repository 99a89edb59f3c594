"""Clean margins: what the scores say in closed form, in the unit of the search, whoever a sample is asked with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor import Defense
from auditor.access import Access, OutputKind
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.chance import CHANCE, normal_like
from auditor.clean import clean_margins, learn_clean
from auditor.errors import TargetUnavailable
from auditor.execution import Execution
from auditor.ledger import Ledger
from auditor.search import Search
from auditor.threat import Goal, ThreatModel

N = 30
EXACT = Execution(device="cpu", threads=1, width=7, precision="float64")


class Softmax(LinearTarget):
    """The linear model with probabilities at its end."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray):
        super().__init__(weight, bias)
        self.output = OutputKind.PROBABILITIES

    def _run(self, x: np.ndarray) -> np.ndarray:
        return torch.from_numpy(self._exact(x)).softmax(dim=1).float().numpy()


def bench(**options: object) -> Bench:
    return replace(linear_bench(n=N, classes=4, seed=3, threat=ThreatModel(epsilon=0.1)), execution=EXACT, **options)  # type: ignore[arg-type]


def scores(made: Bench) -> np.ndarray:
    assert isinstance(made.target, LinearTarget)
    return made.target._exact(made.samples.inputs)


def runner_up(made: Bench, goal: int | None = None) -> np.ndarray:
    """The distance to the goal from the scores, by hand."""
    margins = []
    for row, label in zip(scores(made), made.samples.labels, strict=True):
        own = int(label) if goal is None else goal
        gap = row[own] - max(score for k, score in enumerate(row) if k != own)
        margins.append(gap if goal is None else -gap)
    return np.array(margins)


EVERYBODY = np.arange(N)


def test_the_twin_says_how_far_the_runner_up_is(tmp_path: Path) -> None:
    made = bench()
    found = clean_margins(made.search(tmp_path), EVERYBODY)
    np.testing.assert_allclose(found, runner_up(made), atol=1e-6)
    assert (found > 0).all()


def test_a_goal_has_a_margin_of_its_own(tmp_path: Path) -> None:
    made = bench(threat=ThreatModel(epsilon=0.1, goal=Goal(2)))
    found = clean_margins(made.search(tmp_path), EVERYBODY)
    np.testing.assert_allclose(found, runner_up(made, goal=2), atol=1e-6)


@pytest.mark.parametrize("kind", [LinearTarget, Softmax])
def test_without_gradients_the_deployed_model_is_asked_once_each(tmp_path: Path, kind: type[LinearTarget]) -> None:
    """The differences of log-probabilities are those of logits."""
    made = bench(access=Access.SCORE)
    assert isinstance(made.target, LinearTarget)
    made = replace(made, target=kind(made.target.weight, made.target.bias))
    search = made.search(tmp_path)
    before = made.target.queries
    np.testing.assert_allclose(clean_margins(search, EVERYBODY), runner_up(made), atol=1e-4)
    assert made.target.queries == before + N


def test_with_gradients_it_is_not_asked(tmp_path: Path) -> None:
    made = bench()
    search = made.search(tmp_path)
    before = made.target.queries
    clean_margins(search, EVERYBODY)
    assert made.target.queries == before


@pytest.mark.parametrize("granted", [True, False])
def test_labels_alone_have_no_margin(tmp_path: Path, granted: bool) -> None:
    made = bench(access=Access.DECISION if granted else Access.SCORE)
    if not granted:
        made.target.access = Access.DECISION
    assert np.isposinf(clean_margins(made.search(tmp_path), EVERYBODY)).all()


def test_a_sample_has_the_same_margin_whoever_is_asked_with_it(tmp_path: Path) -> None:
    search = bench().search(tmp_path)
    whole = clean_margins(search, EVERYBODY)
    for index in ([4], [29, 4, 11], list(range(3, 20))):
        assert clean_margins(search, np.array(index)).tolist() == whole[index].tolist()


class Flicker(Defense):
    """Adds normal noise."""

    name: ClassVar[str] = "flicker"
    gradient: ClassVar[str] = "random"

    def transform(self, x: np.ndarray) -> np.ndarray:
        return self.relaxed(torch.from_numpy(x)).numpy()

    def relaxed(self, x: Tensor) -> Tensor:
        return x + normal_like(x)


def test_a_random_model_holds_still(tmp_path: Path) -> None:
    """So the margin of one depends neither on who else is asked nor on what was asked before, and moves no draw."""
    made = bench()
    made = replace(made, target=Flicker().wrap_target(made.target))
    search = made.search(tmp_path)
    assert search.twin is not None
    assert search.twin.random
    CHANCE.begin(1)
    unmoved = CHANCE.normal((3,)).tolist()
    CHANCE.begin(1)
    whole = clean_margins(search, EVERYBODY)
    assert CHANCE.normal((3,)).tolist() == unmoved
    np.testing.assert_allclose(clean_margins(search, np.array([7])), whole[[7]], atol=1e-9)
    np.testing.assert_allclose(clean_margins(search, EVERYBODY), whole, atol=0)


# what a ledger learns


def learnt(search: Search, margins: dict[int, float]) -> Ledger:
    ledger = Ledger.of(search.samples, np.ones(N, bool))
    for i, value in margins.items():
        ledger.margin[i] = value
    learn_clean(search, ledger, EVERYBODY)
    return ledger


def test_only_who_has_a_margin_is_asked_and_only_once(tmp_path: Path) -> None:
    made = bench(access=Access.SCORE)
    search = made.search(tmp_path)
    before = made.target.queries
    ledger = learnt(search, {3: 0.5, 8: 0.1})
    assert np.flatnonzero(~np.isnan(ledger.clean)).tolist() == [3, 8]
    np.testing.assert_allclose(ledger.clean[[3, 8]], runner_up(made)[[3, 8]], atol=1e-4)
    learn_clean(search, ledger, EVERYBODY)
    assert made.target.queries == before + 2
    ledger.margin[[9, 10]] = 0.4
    learn_clean(search, ledger, np.array([3, 9]))
    assert made.target.queries == before + 3
    assert not ledger.spent.any()


def test_a_target_that_is_lost_leaves_it_open(tmp_path: Path) -> None:
    made = bench(access=Access.SCORE)
    search = made.search(tmp_path)

    def gone(*_: object) -> np.ndarray:
        raise TargetUnavailable("gone")

    made.target._run = gone  # type: ignore[method-assign]
    ledger = learnt(search, {3: 0.5})
    assert np.isnan(ledger.clean).all()
    assert ledger.fallen(EVERYBODY, 0.1).all()
