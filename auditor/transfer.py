"""Transfer: an attack follows a stand-in's gradients, and the deployed model judges where they led."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from auditor.arena import Arena
from auditor.claims import Claims
from auditor.errors import TargetUnavailable
from auditor.ledger import UnitResult
from auditor.losses import margin
from auditor.oracle import attacked
from auditor.verify import Verifier


class Transferred(Claims):
    """Claims of an attack on a stand-in. Margins are the stand-in's, so what it calls solved is a candidate only, and
    each sample's best point is judged by the deployed model, and measured there, when its rows are done.

    right: samples that the stand-in has right on the clean input, which the protocols for transfer count
    (`auditor.protocols`) beside those that it got wrong at a point inside the threat model.
    """

    def __init__(self, arena: Arena, verifier: Verifier, right: np.ndarray):
        super().__init__(arena, verifier)
        self.right = right

    def result(self, seconds: float, error: str | None, width: int) -> UnitResult:
        """What this unit did; margins are those that the deployed model has at the points that the stand-in led to."""
        fooled = self.arena.margin < 0
        self._measure()
        found = super().result(seconds, error, width)
        return replace(found, right=self.right, fooled=fooled)

    def _measure(self) -> None:
        """Put the deployed model's margins in place of the stand-in's, where it gives scores: a query a sample."""
        verifier, index = self.verifier, self.arena.index
        led = np.flatnonzero(np.isfinite(self.arena.margin) & ~self.settled)
        self.arena.margin[:] = np.inf
        if not len(led):
            return
        points = self.arena.best[torch.from_numpy(led).to(self.arena.best.device)].to("cpu", torch.float32).numpy()
        try:
            scores = verifier.target.scores(points, batch=1)
        except TargetUnavailable:
            self.lost[led] = True
            return
        self.spent[led, 2] += 1
        labels = torch.from_numpy(verifier.samples.labels[index[led]])
        targets = self.arena.targets.cpu()[torch.from_numpy(led)]
        seen = attacked(torch.from_numpy(scores).double(), verifier.target.output)
        self.arena.margin[led] = margin(seen, labels, targets).numpy()
