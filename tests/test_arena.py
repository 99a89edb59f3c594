"""One chunk of samples as tensors, and the best point of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from auditor.arena import Arena, Place
from auditor.ledger import Ledger
from auditor.samples import Samples
from auditor.threat import Goal, ThreatModel

INPUTS = np.random.default_rng(0).uniform(0.2, 0.8, (6, 3)).astype(np.float32)
INDEX = np.array([1, 3, 4])


def arena(dtype: torch.dtype = torch.float32, **options: Any) -> Arena:
    samples = Samples(
        inputs=INPUTS, labels=np.arange(6), ids=10 * np.arange(6), lower=INPUTS - 0.5, upper=INPUTS + 0.25
    )
    threat = ThreatModel(**({"epsilon": 0.1} | options))
    ledger = Ledger.of(samples, np.ones(6, bool))
    ledger.best = ledger.best + 100
    place = Place(seed=5, stage=2, device="cpu", dtype=dtype, classes=6)
    return Arena(place, samples, threat, threat.region(samples), ledger, INDEX)


def test_rows_are_their_samples() -> None:
    problem = arena().problem(torch.tensor([2, 0, 0]), torch.tensor([0, 0, 7]))
    np.testing.assert_array_equal(problem.inputs, INPUTS[[4, 1, 1]])
    assert problem.labels.tolist() == [4, 1, 1]
    assert problem.ids.tolist() == [40, 10, 10]
    assert problem.restarts.tolist() == [0, 0, 7]
    assert problem.ages.tolist() == [0, 0, 0]
    assert problem.targets.tolist() == [-1, -1, -1]
    np.testing.assert_array_equal(problem.best, INPUTS[[4, 1, 1]] + np.float32(100))
    assert (problem.draws.seed, problem.draws.stage) == (5, 2)


def test_the_goal_and_the_boxes() -> None:
    problem = arena(goal=Goal(2), boxes=True, epsilon=9.0).problem(torch.tensor([0]), torch.tensor([0]))
    assert problem.targets.tolist() == [2]
    assert problem.epsilon.tolist() == [1.0]
    np.testing.assert_array_equal(problem.lower, INPUTS[[1]] - np.float32(0.5))
    np.testing.assert_allclose(problem.weights, [[0.375] * 3], rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_search_s_dtype(dtype: torch.dtype) -> None:
    problem = arena(dtype, weights=np.array([1.0, 2.0, 3.0])).problem(torch.tensor([0]), torch.tensor([0]))
    for name in ("inputs", "lower", "upper", "weights", "epsilon", "best"):
        assert getattr(problem, name).dtype is dtype
    assert float(problem.epsilon[0]) == (np.float32(0.1) if dtype is torch.float32 else 0.1)


def test_the_smallest_margin_wins() -> None:
    made = arena()
    points = torch.arange(12.0).reshape(4, 3)
    made.keep_best(np.array([0, 2, 2, 2]), np.array([0.5, 0.4, 0.2, 0.3]), points)
    assert made.margin.tolist() == [0.5, np.inf, 0.2]
    assert made.best[0].tolist() == points[0].tolist()
    assert made.best[2].tolist() == points[2].tolist()
    np.testing.assert_array_equal(made.best[1], INPUTS[3] + np.float32(100))
    made.keep_best(np.array([0, 2]), np.array([0.5, 0.1]), points[2:])  # equal is not smaller
    assert made.margin.tolist() == [0.5, np.inf, 0.1]
    assert made.best[0].tolist() == points[0].tolist()


def test_of_equal_margins_the_first_wins() -> None:
    made = arena()
    points = torch.arange(9.0).reshape(3, 3)
    made.keep_best(np.array([1, 1, 1]), np.array([0.2, 0.1, 0.1]), points)
    assert made.best[1].tolist() == points[1].tolist()


def test_what_is_no_number_is_no_best() -> None:
    made = arena()
    made.keep_best(np.array([0, 1]), np.array([np.nan, np.inf]), torch.zeros(2, 3))
    assert made.margin.tolist() == [np.inf] * 3
    assert bool((made.best > 90).all())


def test_all_rows_in_any_order() -> None:
    made = arena()
    points = torch.arange(9.0).reshape(3, 3)
    made.keep_best(np.array([2, 0, 1]), np.array([0.3, 0.1, 0.2]), points)
    assert made.best.tolist() == points[[1, 2, 0]].tolist()
    assert made.margin.tolist() == [0.1, 0.2, 0.3]
