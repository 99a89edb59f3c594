"""What attacks show the model through their views, and a linear model that hardly minds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from auditor.attack import Attack
from auditor.bench import Bench, LinearTarget
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.threat import ThreatModel

SHAPE = (1, 8, 8)


def smooth_bench(epsilon: float = 0.0, width: int = 64) -> Bench:
    """A linear model whose weights are one low wave, which shrinking and shifting change little."""
    rows = np.cos(np.linspace(0, np.pi / 2, 8))
    weight = np.stack([np.outer(rows, rows).ravel(), -np.outer(rows, rows).ravel()])
    target = LinearTarget(weight, np.array([-8.0, 8.0]), SHAPE)
    inputs = np.random.default_rng(0).uniform(0.2, 0.8, size=(9, *SHAPE)).astype(np.float32)
    samples = Samples(inputs=inputs, labels=target.labels(inputs, batch=1), ids=np.arange(9))
    execution = Execution(device="cpu", threads=1, width=width)
    return Bench(target=target, samples=samples, threat=ThreatModel(epsilon=epsilon), execution=execution)


def seen(attack: Attack, problem: Problem, points: Tensor) -> Tensor:
    """The points through the view of the attack's next query."""
    view: Callable[[Tensor], Tensor] | None = attack.query(problem, attack.start(problem)).view
    assert view is not None
    return view(points)
