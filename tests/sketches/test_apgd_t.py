"""APGD-T (Croce and Hein 2020): one row for each target, targets ranked by the scores of the first reply.

The restart is the rank. A row's first reply is spent on the clean input, the others on the climb, so rows of one batch
are in different phases, and each is a step behind its age.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor.attack import Reply, choose
from auditor.host import Host
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.testing import Bench, LinearTarget, linear_bench
from auditor.threat import Norm, ThreatModel

BASE = Host.load(bundled=["auditor.plugins.attacks.apgd"], installed=False).attacks["apgd"]
BaseRows = BASE.start.__globals__["APGDRows"]


@dataclass(frozen=True, kw_only=True)
class TargetedRows(BaseRows):
    """aim: the class that each row heads for, -1 until the first reply has ranked them."""

    aim: Tensor


@dataclass(frozen=True, kw_only=True)
class TargetedAPGD(BASE):
    name: ClassVar[str] = "apgd-t"

    steps: int = 31

    def start(self, problem: Problem) -> TargetedRows:
        begun = vars(super().start(problem)) | {"x": problem.project(problem.inputs)}
        return TargetedRows(**begun, aim=torch.full_like(problem.labels, -1))

    def objective(self, scores: Tensor, problem: Problem, rows: TargetedRows) -> Tensor:
        top = scores.topk(4, dim=1).values
        reach = scores.gather(1, rows.aim.clamp_min(0)[:, None])[:, 0]
        own = scores.gather(1, problem.labels[:, None])[:, 0]
        return (reach - own) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)

    def step(self, problem: Problem, rows: TargetedRows, reply: Reply) -> TargetedRows:
        ranked = reply.need_scores().scatter(1, problem.labels[:, None], float("-inf")).argsort(dim=1, descending=True)
        rank = problem.restarts % (problem.classes - 1)
        begun = vars(super().start(problem)) | {"aim": ranked.gather(1, rank[:, None])[:, 0]}
        climbed = vars(super().step(problem.at(problem.ages - 1, 2), rows, reply)) | {"aim": rows.aim}
        return choose(problem.ages == 0, TargetedRows(**begun), TargetedRows(**climbed))


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_breaks_just_above_the_distance_to_the_nearest_class(norm: Norm) -> None:
    bench = linear_bench(classes=6, seed=2, threat=ThreatModel(norm=norm), n=12)
    for index, radius in enumerate(bench.target.radii(bench.samples, bench.threat)):
        one = Bench(target=bench.target, samples=bench.samples.take([index]), threat=bench.threat)
        assert one.at(1.01 * radius).play(TargetedAPGD(), restarts=5).broken.all()
        assert not one.at(0.99 * radius).play(TargetedAPGD(), restarts=5).broken.any()


def test_the_restart_is_the_rank_of_the_target() -> None:
    """Class 1 has the second score but is far away in input space; class 2 has the third score and is near."""
    weight = np.array([[0.0, 0.0], [0.0, 0.1], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    target = LinearTarget(weight, np.array([1.0, 0.9, 0.5, -9.0, -9.0]))
    samples = Samples(inputs=np.zeros((1, 2), np.float32), labels=np.zeros(1, np.int64), ids=np.arange(1))
    bench = Bench(target=target, samples=samples, threat=ThreatModel(epsilon=0.55))
    first, second = (bench.play(TargetedAPGD(), restarts=restarts) for restarts in (1, 2))
    assert not first.broken.any()
    assert second.broken.all()
    assert second.ledger.label.tolist() == [2]


def test_a_row_spends_one_pass_more_than_its_climb() -> None:
    bench = linear_bench(classes=6, seed=2, n=3).at(1e-4)
    trial = bench.play(TargetedAPGD(steps=11), restarts=5)
    assert trial.row.forwards == 3 * 5 * 12
    assert trial.row.backwards == 3 * 5 * 11
