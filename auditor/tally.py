"""What one stage has done so far, over its rounds and units, and the row of the record that it becomes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from auditor.ledger import UnitResult
from auditor.protocols import TransferCounts, count
from auditor.record import AttackRow, Spent
from auditor.suite import Stage


@dataclass
class Tally:
    """rounds: begun so far. entered: samples that the first one met, entrants: those of the last. started: how many
    were broken when it began. units: finished over all rounds. spent: forwards, backwards, queries. led: of each unit
    that followed a stand-in, which samples that has right, got wrong, and what of it the model confirmed."""

    rounds: int = 0
    entered: int = 0
    entrants: int = 0
    started: int = -1
    units: int = 0
    spent: np.ndarray = field(default_factory=lambda: np.zeros(3, np.int64))
    seconds: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)
    error: str | None = None
    led: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    def goes_on(self, stage: Stage, broken: int, left: int) -> bool:
        """Whether there is another round: the first one, and others while the last one has broken somebody and some
        are left. broken: samples so far."""
        if self.rounds == 0:
            return True
        return self.rounds < stage.rounds and broken > self.started and left > 0 and self.error is None

    def begin(self, entrants: np.ndarray, broken: int) -> None:
        """A round begins on these samples, with so many broken before it."""
        self.entered = len(entrants) if self.rounds == 0 else self.entered
        self.rounds += 1
        self.entrants, self.started = len(entrants), broken

    def add(self, result: UnitResult) -> None:
        """A unit is finished."""
        self.units += 1
        self.rejected.update(result.rejected)
        self.spent += result.spent.sum(axis=0)
        self.seconds += result.seconds
        self.error = self.error or result.error
        if len(result.right):
            self.led.append((result.right, result.fooled, result.broken))

    def row(self, stage: Stage, status: str, reason: str | None, broken: int, classes: int) -> AttackRow:
        """The stage as the record shows it."""
        forwards, backwards, queries = (int(v) for v in self.spent)
        most = stage.budget(classes)
        return AttackRow(
            name=stage.title,
            attack=stage.attack.name,
            status=status,
            reason=reason or self.error,
            entered=self.entered,
            broken=broken,
            forwards=forwards,
            backwards=backwards,
            queries=queries,
            seconds=round(self.seconds, 3),
            rejected=dict(sorted(self.rejected.items())),
            access=str(stage.attack.access),
            restarts=stage.restarts,
            parameters=stage.attack.parameters(),
            share=stage.share,
            near=stage.near,
            rounds=self.rounds,
            most_rounds=stage.rounds,
            distance=stage.distance,
            budget=Spent(forwards=most[0], backwards=most[1], queries=most[2]),
            source=stage.source,
            transfer=self._transfer(),
            sample=stage.sample,
        )

    def _transfer(self) -> TransferCounts | None:
        """What became of examples that were found on a stand-in; all that enter a stage the model itself has right."""
        if not self.led:
            return None
        right, fooled, broken = (np.concatenate(masks) for masks in zip(*self.led, strict=True))
        return count(right, np.ones(len(right), bool), fooled, broken)
