"""Targeted Auto-PGD. Croce and Hein, https://arxiv.org/abs/2003.01690

The ranking of targets by distance is MALT. Melamed, Yehudai, Shamir, https://arxiv.org/abs/2407.02240
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from auditor.attack import Query, Reply
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.losses import chosen, others
from auditor.problem import Problem

from .apgd import APGD

RANKS = ("scores", "malt")


@dataclass(frozen=True, kw_only=True)
class APGDT(APGD):
    """APGD towards one class after another: each restart heads for the next in a ranking of the wrong classes.

    Finds what the untargeted attack misses where several classes are about as near; give it as many restarts as classes
    to try (AutoAttack: 9). Costs what apgd does, and once a sample one forward for the ranking. Restarts beyond the
    last class begin again with the first, from other points. Where the goal is a label, every restart heads for that.

    loss: dlr, the lead of the target over the label in units of the scores' spread (with up to 3 classes the lead
    alone), or margin, the lead alone. rank: scores, the highest clean score first, or malt, the class first that is
    nearest to first order, which costs a gradient a sample for each wrong class. candidates: how many classes of
    highest score malt ranks.
    """

    name: ClassVar[str] = "apgd-t"
    losses: ClassVar[tuple[str, ...]] = ("dlr", "margin")

    loss: str = "dlr"
    rank: str = "scores"
    candidates: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank not in RANKS:
            raise UsageError(f"apgd-t: rank is one of {', '.join(RANKS)}, got {self.rank!r}.")
        if self.candidates < 1:
            raise UsageError(f"apgd-t: candidates is at least 1, got {self.candidates}.")

    def survey(self, problem: Problem) -> Query | None:
        if bool((problem.targets >= 0).all()):
            return None
        if self.rank == "scores":
            return Query(points=problem.inputs, gradient=False)
        leads = one_hot(_wrong(problem), problem.classes) - one_hot(problem.labels, problem.classes)[:, None]
        return Query(points=problem.inputs, cotangents=leads.to(problem.inputs.dtype))

    def learn(self, problem: Problem, reply: Reply) -> Tensor:
        scores, wrong = reply.need_scores(), _wrong(problem)
        lead = scores.gather(1, wrong) - chosen(scores, problem.labels)[:, None]
        order = lead.argsort(dim=1, descending=True, stable=True)
        lead = lead.gather(1, order)
        reachable = lead > float("-inf")  # a class that the model rules out is no target
        if self.rank == "malt":
            slope = torch.stack([problem.dual(gradient) for gradient in reply.need_gradients().unbind(1)], dim=1)
            finite = torch.finfo(lead.dtype)
            nearness = (lead / slope.gather(1, order).clamp_min(finite.tiny)).clamp_min(finite.min)
            reachable[:, self.candidates :] = False
            nearness = torch.where(reachable, nearness, float("-inf"))
            order = order.gather(1, nearness.argsort(dim=1, descending=True, stable=True))
        turn = torch.arange(order.shape[1], device=order.device) % reachable.sum(dim=1, keepdim=True).clamp_min(1)
        return wrong.gather(1, order.gather(1, turn))

    def survey_cost(self, classes: int) -> tuple[int, int]:
        return 1, classes - 1 if self.rank == "malt" else 0

    def objective(self, scores: Tensor, problem: Problem, rows: Any) -> Tensor:
        aim = aims(problem)
        rival = torch.where(problem.targets >= 0, others(scores, aim), chosen(scores, problem.labels))
        lead = chosen(scores, aim) - rival
        if self.loss == "margin" or problem.classes < 4:
            return lead
        top = scores.topk(4, dim=1).values
        spread = top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12
        return lead / torch.where(spread.isfinite(), spread, 1)


def aims(problem: Problem) -> Tensor:
    """The class that each row heads for, `[batch]`: the goal's, or the restart's turn in the ranking."""
    if problem.notes is None:
        return problem.targets.clamp_min(0)  # -1 while the survey is asked, which nobody climbs
    turn = problem.restarts % problem.notes.shape[1]
    return torch.where(problem.targets >= 0, problem.targets, problem.notes.gather(1, turn[:, None])[:, 0])


def _wrong(problem: Problem) -> Tensor:
    """All classes but the label, `[batch, classes - 1]`."""
    every = torch.arange(problem.classes - 1, device=problem.labels.device)
    return every + (every >= problem.labels[:, None])


@hookimpl
def register_attacks(register: Register) -> None:
    register(APGDT)
