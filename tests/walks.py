"""Attacks played without the host, who drops what is solved; and every kind of threat that they have to keep to."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows, take
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.execution import Execution
from auditor.oracle import TwinOracle
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.threat import Goal, Norm, ThreatModel

WEIGHT = np.array([[1, -2, 0, 1], [0, 1, 1, -1], [-1, 0, 2, 0]], float)
BIAS = np.array([0.1, 0, -0.2])
SMALL = 1e-3
"""An epsilon at which no sample falls."""
X = np.array([[0.9, 0.2, 0.4, 0.8]], np.float32)


def fixture(epsilon: float = 0.1, norm: Norm = Norm.LINF, goal: Goal | None = None) -> Bench:
    """One sample of a linear model with three classes, worked out by hand: label 0, scores (1.4, -.2, -.3)."""
    threat = ThreatModel(norm=norm, epsilon=epsilon, goal=goal or Goal())
    samples = Samples(inputs=X, labels=np.zeros(1, np.int64), ids=np.arange(1))
    exact = Execution(device="cpu", threads=1, precision="float64")
    return Bench(target=LinearTarget(WEIGHT, BIAS), samples=samples, threat=threat, execution=exact)


def ask(bench: Bench, attack: Attack, query: Query, problem: Problem, rows: Rows) -> Reply:
    """What the host would answer."""
    twin = bench.target.twin()
    assert twin is not None

    def objective(scores: Tensor, index: Tensor) -> Tensor:
        return attack.objective(scores, problem.take(index), take(rows, index))

    return TwinOracle(twin, Execution(device="cpu", threads=1)).ask(query, objective)


def surveyed(bench: Bench, attack: Attack) -> Problem:
    """The bench's problem, with the notes of the attack's survey."""
    problem = bench.problem()
    query = attack.survey(problem)
    if query is None:
        return problem
    assert query.gradient is False
    reply = ask(bench, attack, query, problem, Rows(x=problem.inputs))
    return replace(problem, notes=attack.learn(problem, reply))


def walk(bench: Bench, attack: Attack, problem: Problem | None = None) -> tuple[list[Rows], list[Reply]]:
    """The rows at each age, and the replies between them: nobody is dropped, but who is done is left as it is."""
    problem = problem or surveyed(bench, attack)
    fresh = replace(problem.draws, _calls=count())  # the host makes new ones too
    rows = [attack.start(replace(problem, draws=fresh))]
    replies = []
    for age in range(attack.steps):
        ages = torch.full_like(problem.ages, age)
        replies.append(ask(bench, attack, attack.query(problem.at(ages, 1), rows[-1]), problem, rows[-1]))
        rows.append(attack.step(problem.at(ages, 2), rows[-1], replies[-1]))
    return rows, replies


def check_threats(attack: Attack) -> None:
    """The attack keeps to threats of every kind, in its norms, and costs what it says where nothing falls."""
    weights = np.linspace(0.5, 2, 12).astype(np.float32)
    frozen = np.arange(12) % 3 == 0
    flat, picture = ((12,), 3), ((3, 2, 2), 2)
    kinds: list[tuple[float, tuple[tuple[int, ...], int], dict[str, Any]]] = [
        (SMALL, flat, {}),
        (0.5, picture, {}),
        (0.5, flat, {"bounds": (0.0, 1.0)}),
        (0.5, picture, {"bounds": (-1.0, 0.8), "weights": weights, "frozen": frozen}),
        (0.5, flat, {"bounds": (0.0, 1.0), "grid": 1 / 64}),
        (0.5, flat, {"goal": Goal(1), "frozen": frozen}),
    ]
    for norm, (epsilon, (shape, classes), options) in product(sorted(attack.norms), kinds):
        if norm is Norm.L0:
            options = {"bounds": (0.0, 1.0)} | options
            epsilon = round(4 * epsilon)
        threat = ThreatModel(**({"norm": norm, "epsilon": epsilon} | options))
        bench = linear_bench(classes=classes, shape=shape, n=4, seed=4, threat=threat)
        inputs = np.round(bench.samples.inputs * 64) / np.float32(64)
        labels = bench.target.labels(inputs, batch=1).astype(np.int64)
        bench = replace(bench, samples=replace(bench.samples, inputs=inputs, labels=labels))
        trial = bench.play(attack)
        where = f"{attack.name} {norm} {options} {shape} {epsilon}"
        assert trial.row.status == "ran", f"{where}: {trial.row.reason}"
        assert not set(trial.row.rejected) - {"unchanged input", "not misclassified"}, f"{where}: {trial.row.rejected}"
        best, region = trial.ledger.best, bench.threat.region(bench.samples)
        assert ((best >= region.lower) & (best <= region.upper)).all(), where
        if epsilon in (0, SMALL):
            assert not trial.broken.any(), where
            forwards, backwards = np.add(attack.cost(classes), attack.survey_cost(classes)).tolist()
            by_gradient = attack.access is Access.GRADIENT
            spent = trial.ledger.spent[:, :2] if by_gradient else trial.ledger.spent[:, 2:]
            assert (spent == ([forwards, backwards] if by_gradient else [forwards])).all(), f"{where}: {spent[0]}"
