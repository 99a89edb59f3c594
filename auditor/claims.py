"""Claims of one unit of work: what an attack proposes, what the verifier rules, and what it all cost."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from auditor.arena import Arena
from auditor.attack import Reply
from auditor.errors import TargetUnavailable
from auditor.ledger import UnitResult
from auditor.problem import Problem
from auditor.verify import Reason, Ruling, Verifier

HARMLESS = (Reason.NOT_MISCLASSIFIED, Reason.TIE, Reason.NO_ANSWER, Reason.UNCHANGED)
"""Refusals that break no rule of the threat model: the row may go on."""


class Claims:
    """Per sample of the chunk (`slot`), `[k]`: what has been claimed, ruled and spent.

    solved: a break was verified. lost: the target was lost while it was judged. full: a row got to its end within the
    rules. demand: how far below 0 a margin has to be for the next claim, since twin and target disagreed here. spent:
    forwards, backwards, queries, `[k, 3]`. rejected: claims refused, by reason. found: verified points and rulings.
    at_the_end: whether points are judged when all rows are done, not as they come.
    """

    at_the_end: ClassVar[bool] = False

    def __init__(self, arena: Arena, verifier: Verifier):
        k = len(arena.index)
        self.arena = arena
        self.verifier = verifier
        self.solved = np.zeros(k, bool)
        self.lost = np.zeros(k, bool)
        self.full = np.zeros(k, bool)
        self.demand = np.zeros(k)
        self.spent = np.zeros((k, 3), np.int64)
        self.rejected: Counter[str] = Counter()
        self.found: dict[int, tuple[np.ndarray, Ruling]] = {}

    @property
    def settled(self) -> np.ndarray:
        """Samples that need no more rows, bool `[k]`."""
        return self.solved | self.lost

    def charge(self, slots: np.ndarray, spend: np.ndarray) -> None:
        """Enter what a point of each of these slots has cost, `[m, 3]`; slots may repeat."""
        np.add.at(self.spent, slots, spend)

    def clear(self, margins: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Which margins are no claim, bool: at or above what their sample demands. No number is a claim."""
        enough: np.ndarray = margins >= -self.demand[slots]
        return enough

    def examine(self, reply: Reply, slots: np.ndarray, active: np.ndarray, problem: Problem) -> np.ndarray:
        """Keep best points and send claims to the verifier; bool per point, True where its claim broke the rules.

        reply, slots and problem are those of the points that are proposed; what is not active is passed over.
        """
        margins = margins_of(problem, reply)
        inside = problem.contains(reply.points).cpu().numpy()
        self.arena.keep_best(slots, np.where(inside & active, margins, np.inf), reply.points)
        claims = np.flatnonzero(active & ~self.clear(margins, slots))
        broke = np.zeros(len(slots), bool)
        for claim in claims[np.argsort(margins[claims], kind="stable")]:
            broke[claim] = self.claim(int(slots[claim]), reply.points[claim], float(margins[claim]))
        return broke

    def judge_last(self, reply: Reply, slots: np.ndarray, asserted: np.ndarray, problem: Problem) -> None:
        """Judge the points that rows end on: whatever breaks the rules, or is asserted to be a break, is counted."""
        margins = margins_of(problem, reply)
        judged = ~self.clear(margins, slots)
        dead = self.examine(reply, slots, np.ones(len(slots), bool), problem)
        inside = problem.contains(reply.points).cpu().numpy()
        still = (reply.points == problem.inputs).flatten(1).all(dim=1).cpu().numpy()
        for row in np.flatnonzero(~judged & (asserted | still | ~inside)):
            dead[row] |= self.claim(int(slots[row]), reply.points[row], float(margins[row]))
        self.full[slots[~dead | still]] = True

    def claim(self, slot: int, point: Tensor, margin: float) -> bool:
        """Have the verifier judge a point; True where it breaks the threat model, so that its row has to leave."""
        if self.solved[slot] or self.lost[slot]:
            return False
        ruling = self.judge(slot, point)
        if ruling is None or ruling.broken:
            return False
        self.rejected[str(ruling.reason)] += 1
        if ruling.reason not in HARMLESS:
            return True
        if np.isfinite(margin):  # twin and target disagree here: the next claim has to be clearer
            self.demand[slot] = max(-2 * margin, self.demand[slot])
        return False

    def judge(self, slot: int, point: Tensor) -> Ruling | None:
        """The verifier's ruling on a point, entered if it is a break; None where the target was lost."""
        candidate = point.detach().to("cpu", torch.float32).numpy()
        ruling = self._judged(self.verifier, slot, candidate)
        if ruling is not None and ruling.broken:
            self.solved[slot] = True
            self.found[slot] = (candidate, ruling)
        return ruling

    def _judged(self, verifier: Verifier, slot: int, candidate: np.ndarray) -> Ruling | None:
        """A ruling, its queries booked; None where the target was lost, and with it the sample."""
        try:
            ruling = verifier.judge(int(self.arena.index[slot]), candidate)
        except TargetUnavailable:
            self.lost[slot] = True
            return None
        if ruling.label is not None:
            self.spent[slot, 2] += verifier.votes
        return ruling

    def hand_in_best(self, doubt: float) -> None:
        """The target has the last word on best points that the twin, wrong by `doubt`, could take for none."""
        margin = self.arena.margin
        for slot in np.flatnonzero(~self.settled & np.isfinite(margin) & (margin <= doubt)):
            if margin[slot] >= -self.demand[slot]:
                self.judge(int(slot), self.arena.best[slot])

    def result(self, seconds: float, error: str | None, width: int) -> UnitResult:
        """What this unit did, as data."""
        order = sorted(self.found)
        shape = self.arena.inputs.shape[1:]
        rulings = [self.found[slot][1] for slot in order]
        adversarial = [self.found[slot][0] for slot in order]
        return UnitResult(
            index=self.arena.index,
            broken=self.solved,
            lost=self.lost,
            full=self.full,
            margin=self.arena.margin,
            best=self.arena.best.to("cpu", torch.float32).numpy(),
            spent=self.spent,
            adversarial=np.stack(adversarial) if order else np.zeros((0, *shape), np.float32),
            label=np.array([ruling.label for ruling in rulings], np.int64),
            distance=np.array([ruling.distance for ruling in rulings], np.float64),
            rejected=dict(sorted(self.rejected.items())),
            error=error,
            seconds=seconds,
            width=width,
        )


def margins_of(problem: Problem, reply: Reply) -> np.ndarray:
    """Distance to the goal of each point in scores.

    Labels alone have none: NaN where the goal is reached, which is a claim but no best point, infinite where not.
    """
    if reply.scores is not None:
        values: np.ndarray = problem.margin(reply.scores).double().cpu().numpy()
        return values
    goal = problem.targets
    reached = torch.where(goal >= 0, reply.labels == goal, reply.labels != problem.labels)
    return np.where(reached.cpu().numpy(), np.nan, np.inf)
