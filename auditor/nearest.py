"""Claims of a distance stage: every sample keeps the nearest adversarial point that any of its rows came by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from auditor.arena import Arena, enter
from auditor.attack import Reply
from auditor.claims import HARMLESS, Claims, margins_of
from auditor.ledger import Ledger, UnitResult
from auditor.problem import Problem
from auditor.threat import Norm
from auditor.verify import Reason, Ruling, Verifier

FURTHER = (1.0, 1.0005, 1.002, 1.008, 1.03, 1.1, 1.3, 2.0, 4.0, 16.0, 64.0, 256.0, 1024.0)
"""How far along the way to a point, and beyond, the target is asked until it is wrong: twin and target may differ."""
BRACKET, HALVINGS = 0.9, 8
"""Share of the way at which a point that holds is looked for as well, and how often the rest is halved."""


@dataclass(frozen=True)
class Found:
    """An adversarial example as verified: its point and what the verifier says of it."""

    point: np.ndarray
    ruling: Ruling


class Nearest(Claims):
    """Nobody is solved and everybody gets the same budget. At the end the target is asked about each nearest point.

    verifier: of the threat without an epsilon. strict: of the threat as it is, for what turns out to lie within it.
    Points move along the line to the clean input, a little outwards where the target is not yet wrong, and then back
    to where it just is: some ten to twenty queries a sample. In l0 they only move outwards; inputs on a grid stay as
    they were found.
    """

    at_the_end: ClassVar[bool] = True

    def __init__(self, arena: Arena, verifier: Verifier, strict: Verifier, ledger: Ledger):
        super().__init__(arena, verifier)
        k = len(arena.index)
        self.strict = strict
        self.open = ~ledger.broken[arena.index]
        self.size = np.full(k, np.inf)
        self.points = arena.inputs.clone()
        self.nearest: dict[int, Found] = {}
        self.straight = arena.threat.grid is None and arena.threat.norm is not Norm.L0

    @property
    def settled(self) -> np.ndarray:
        """Samples that need no more rows: only those that can't be judged."""
        return self.lost

    def examine(self, reply: Reply, slots: np.ndarray, active: np.ndarray, problem: Problem) -> np.ndarray:
        """Keep the nearest adversarial point of each sample; none breaks a rule, since only the bounds limit it."""
        margins = margins_of(problem, reply)
        reached = np.isnan(margins) if reply.scores is None else margins < 0
        inside = problem.contains(reply.points).cpu().numpy()
        sizes = problem.size(reply.points).double().cpu().numpy()
        sizes = np.where(active & reached & inside & (sizes > 0), sizes, np.inf)
        enter(slots, sizes, reply.points, self.size, self.points)
        return np.zeros(len(slots), bool)

    def judge_last(self, reply: Reply, slots: np.ndarray, asserted: np.ndarray, problem: Problem) -> None:
        """The points that rows end on are points like any other; a row that ends beyond the bounds has done nothing."""
        self.examine(reply, slots, np.ones(len(slots), bool), problem)
        finite = reply.points.flatten(1).isfinite().all(dim=1).cpu().numpy()
        inside = problem.contains(reply.points).cpu().numpy()
        self.rejected.update({Reason.NOT_FINITE: n} if (n := int((~finite).sum())) else {})
        self.rejected.update({Reason.BOUNDS: n} if (n := int((finite & ~inside).sum())) else {})
        self.full[slots[finite & inside]] = True

    def hand_in_best(self, doubt: float) -> None:
        """Have the target judge the nearest point of each sample, and the way to it."""
        for slot in np.flatnonzero(np.isfinite(self.size) & ~self.lost):
            self._confirm(int(slot))

    def result(self, seconds: float, error: str | None, width: int) -> UnitResult:
        """What this unit did, as data; within the threat itself, what turned out to lie there."""
        for slot in sorted(self.nearest):
            self._within(slot)
        made = super().result(seconds, error, width)
        k = len(self.size)
        made.margin = np.full(k, np.inf)
        made.nearest, made.nearest_label = np.full(k, np.inf), np.full(k, -1, np.int64)
        made.nearest_point = self.arena.inputs.to("cpu", torch.float32).numpy().copy()
        for slot, found in self.nearest.items():
            made.nearest[slot] = found.ruling.distance
            made.nearest_label[slot] = found.ruling.label
            made.nearest_point[slot] = found.point
        return made

    def _confirm(self, slot: int) -> None:
        low = 0.0
        for share, point in self._along(slot, FURTHER):
            ruling = self._judged(self.verifier, slot, point)
            if ruling is None:
                return
            if ruling.broken:
                self.nearest[slot] = Found(point, ruling)
                if self.straight and self.verifier.votes == 1:  # of many votes the luckiest would win
                    self._tighten(slot, max(low, BRACKET * share), share)
                return
            if ruling.reason not in HARMLESS:
                self.rejected[str(ruling.reason)] += 1
                return
            low = share
        self.rejected[Reason.NOT_MISCLASSIFIED] += 1

    def _tighten(self, slot: int, tried: float, high: float) -> None:
        """Go back along the line to where the target is just wrong: first to a share of the way, then by halving."""
        low = 0.0
        for _ in range(HALVINGS):
            point = next(self._along(slot, (tried,)))[1]
            ruling = self._judged(self.verifier, slot, point)
            if ruling is None:
                return
            if ruling.broken and ruling.distance is not None:
                self.nearest[slot], high = Found(point, ruling), tried
            else:
                low = tried
            tried = (low + high) / 2

    def _along(self, slot: int, shares: tuple[float, ...]) -> Iterator[tuple[float, np.ndarray]]:
        """Points on the line from the clean input through the nearest one, inside the bounds."""
        clean, near, low, high = (
            tensor[slot].double().cpu().numpy()
            for tensor in (self.arena.inputs, self.points, self.arena.lower, self.arena.upper)
        )
        for share in shares if self.arena.threat.grid is None else (1.0,):
            point = near if share == 1 else np.clip(clean + share * (near - clean), low, high)
            yield share, point.astype(np.float32)

    def _within(self, slot: int) -> None:
        """Enter a break where the nearest point lies in the threat as it is."""
        found = self.nearest[slot]
        if not self.open[slot] or (found.ruling.distance or 0.0) > (1 + 1e-9) * self.strict.threat.epsilon:
            return
        ruling = self._judged(self.strict, slot, found.point)
        if ruling is not None and ruling.broken:
            self.solved[slot] = True
            self.found[slot] = (found.point, ruling)
        else:  # asked again, a random target has changed its mind: then nothing was found here
            del self.nearest[slot]
