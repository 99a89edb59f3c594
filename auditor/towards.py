"""Towards classes: minimum-norm runs of single samples, each towards one class, which the deployed model confirms.

What turns up within epsilon is an adversarial example like any other. A class at a time, for all samples that are to
get there, so that batches stay full; journalled like every unit of the search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from auditor.events import StageFinished, StageStarted
from auditor.ledger import Ledger, UnitResult
from auditor.record import AttackRow
from auditor.search import Search
from auditor.suite import Stage
from auditor.tally import Tally
from auditor.threat import Goal
from auditor.verify import Verifier


@dataclass
class Reached:
    """Runs that came to their end or got there, each entry `[m]`: the sample's position, the class, and how far away
    its nearest verified example is (infinite where none was found), which is `points[k]` `[*shape]` float32 for run
    k."""

    index: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    distance: list[float] = field(default_factory=list)
    points: dict[int, np.ndarray] = field(default_factory=dict)

    def add(self, sample: int, target: int, distance: float, point: np.ndarray) -> None:
        """Enter a run."""
        if np.isfinite(distance):
            self.points[len(self.index)] = point
        self.index.append(sample)
        self.target.append(target)
        self.distance.append(distance)


@dataclass(frozen=True)
class Towards:
    """A minimum-norm stage that is played towards given classes. number: its row in the record, and its draws."""

    search: Search
    ledger: Ledger
    stage: Stage
    number: int

    def play(self, wanted: dict[int, np.ndarray]) -> tuple[AttackRow, Reached]:
        """Play it. wanted: positions of samples, sorted, by the class that they are to get to; none is of that class.

        Changes the ledger: nearest examples, and what is broken within epsilon.
        """
        search, tally, reached = self.search, Tally(), Reached()
        everybody = np.unique(np.concatenate(list(wanted.values())))
        before = self.ledger.broken.sum()
        search.listen(
            StageStarted(name=self.stage.title, number=self.number, stages=self.number + 1, entrants=len(everybody))
        )
        tally.begin(everybody, int(before))
        for target, index in sorted(wanted.items()):
            for result in self._units(target, index, tally):
                tally.add(result)
                self.ledger.apply(self.number, result)
                for row, sample in enumerate(result.index):
                    there = bool(np.isfinite(result.nearest[row]))
                    if there or (result.error is None and result.full[row] and not result.lost[row]):
                        reached.add(int(sample), target, float(result.nearest[row]), result.nearest_point[row])
        broken = int(self.ledger.broken.sum() - before)
        status = "error" if tally.error else "ran"
        search.listen(
            StageFinished(
                name=self.stage.title,
                status=status,
                reason=tally.error,
                entrants=len(everybody),
                broken=broken,
                robust_accuracy=self.ledger.robust_accuracy,
                seconds=tally.seconds,
                note=f"{len(reached.points)} of {len(reached.index)} runs got to the class that they went for.",
            )
        )
        return tally.row(self.stage, status, None, broken, search.target.classes), reached

    def _units(self, target: int, index: np.ndarray, tally: Tally) -> Iterator[UnitResult]:
        """The units of one class, in the positions of the whole scan."""
        search = self._towards(target, index)
        size = search.execution.chunk(search.samples.inputs[0].size)
        for start in range(0, len(index), size):
            own = index[start : start + size]
            play = partial(self._unit, search, index, np.arange(start, start + len(own)))
            yield search.journalled((self.number, tally.units), play)

    def _unit(self, search: Search, index: np.ndarray, rows: np.ndarray) -> UnitResult:
        """Some of these samples, by their rows among them."""
        ledger = Ledger.of(search.samples, np.ones(len(index), bool))
        ledger.broken |= self.ledger.broken[index]
        return replace(search.unit(self.number, self.stage, rows, ledger), index=index[rows])

    def _towards(self, target: int, index: np.ndarray) -> Search:
        """The search of these samples with that class for its goal."""
        search = self.search
        samples = search.samples.take(index)
        threat = replace(search.threat, goal=Goal(target))
        region = threat.region(samples)
        verifier = Verifier(search.target, samples, threat, region, votes=search.verifier.votes)
        return replace(search, samples=samples, threat=threat, region=region, verifier=verifier)
