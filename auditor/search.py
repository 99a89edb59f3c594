"""The search: plays a suite stage by stage, in units that the journal keeps."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from auditor.access import Access
from auditor.arena import Arena, Place
from auditor.attack import Attack
from auditor.errors import ModelError
from auditor.events import Listener, Progress, StageFinished, StageStarted
from auditor.execution import Execution
from auditor.guard import unmoved
from auditor.journal import Journal
from auditor.ledger import Ledger, UnitResult
from auditor.library import play_library
from auditor.oracle import DTYPES, Oracle, TargetOracle, TwinOracle
from auditor.pool import Pool
from auditor.record import AttackRow
from auditor.samples import Samples
from auditor.suite import Stage
from auditor.target import Target
from auditor.threat import Region, ThreatModel
from auditor.twin import Twin
from auditor.verify import Verifier

TICK = 0.25
"""Seconds between two progress events."""


def unranked(stage: Stage) -> Stage:
    """The stage on everybody: a share of the survivors means nothing where no attack has measured a margin."""
    return replace(stage, share=1.0)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Everything a suite is played against. `access` is what the audit grants, which may be less than there is.

    doubt: margin in scores that the twin may be wrong by; closer best points are handed to the target at a stage's end.
    """

    target: Target
    twin: Twin | None
    samples: Samples
    threat: ThreatModel
    region: Region
    verifier: Verifier
    access: Access
    execution: Execution
    seed: int
    journal: Journal
    listen: Listener
    doubt: float = float("inf")

    def play(self, suite: list[Stage], ledger: Ledger) -> list[AttackRow]:
        """Run the stages in order, each on what still stands; the ledger holds the result.

        An attack that raises ends its stage, is named with its error, and the next stage begins.
        """
        rows: list[AttackRow] = []
        for number, stage in enumerate(suite):
            ranked = any(row.status == "ran" and row.access != Access.DECISION for row in rows)
            rows.append(self._stage(number, stage if ranked else unranked(stage), len(suite), ledger))
        return rows

    def _stage(self, number: int, stage: Stage, stages: int, ledger: Ledger) -> AttackRow:
        entrants = ledger.entrants(stage.share)
        self.listen(StageStarted(name=stage.title, number=number, stages=stages, entrants=len(entrants)))
        reason = self._unfit(stage)
        before = ledger.broken.sum()
        rejected: Counter[str] = Counter()
        spent = np.zeros(3, np.int64)
        seconds, error = 0.0, None
        if reason is None:
            size = self.execution.chunk(self.samples.inputs[0].size)
            for chunk, start in enumerate(range(0, len(entrants), size)):
                result = self.journal.done.get((number, chunk))
                if result is None:
                    index = entrants[start : start + size]
                    with unmoved():
                        result = self._unit(number, stage, index, ledger, start, len(entrants))
                    self.journal.write((number, chunk), result)
                ledger.apply(number, result)
                rejected.update(result.rejected)
                spent += result.spent.sum(axis=0)
                seconds += result.seconds
                error = error or result.error
        broken = int(ledger.broken.sum() - before)
        status = "skipped" if reason else "error" if error else "ran"
        self.listen(
            StageFinished(
                name=stage.title,
                status=status,
                reason=reason or error,
                entrants=len(entrants),
                broken=broken,
                robust_accuracy=ledger.robust_accuracy,
                seconds=seconds,
            )
        )
        return AttackRow(
            name=stage.title,
            attack=stage.attack.name,
            status=status,
            reason=reason or error,
            entered=0 if reason else len(entrants),
            broken=broken,
            forwards=int(spent[0]),
            backwards=int(spent[1]),
            queries=int(spent[2]),
            seconds=round(seconds, 3),
            rejected=dict(sorted(rejected.items())),
            access=str(stage.attack.access),
            restarts=stage.restarts,
            parameters=stage.attack.parameters(),
        )

    def _unfit(self, stage: Stage) -> str | None:
        """Why a stage can't run here, in words; None where it can."""
        attack = stage.attack
        if self.threat.norm not in attack.norms:
            return f"{attack.name} knows {', '.join(sorted(attack.norms))}, the threat is {self.threat.norm}"
        if not self.access.covers(attack.access):
            return f"{attack.name} needs {attack.access} access, the audit grants {self.access}"
        if attack.access is Access.GRADIENT and self.twin is None:
            return f"{attack.name} needs gradients, and the model has no twin"
        if attack.access is not Access.DECISION and not self.target.access.covers(Access.SCORE):
            return f"{attack.name} needs scores, and the model returns labels only"
        return None

    def _unit(
        self, number: int, stage: Stage, index: np.ndarray, ledger: Ledger, offset: int, total: int
    ) -> UnitResult:
        dtype = DTYPES[self.execution.precision]
        place = Place(
            seed=self.seed,
            stage=number,
            device=self.execution.device,
            dtype=dtype,
            classes=self.target.classes,
        )
        arena = Arena(place, self.samples, self.threat, self.region, ledger, index)
        oracle = self._oracle(stage.attack.access)
        if not isinstance(stage.attack, Attack):
            return play_library(stage.attack, arena, oracle, self.verifier, self.seed)
        pool = Pool(stage.attack, stage.restarts, self.execution.width, arena, oracle, self.verifier, self.doubt)
        began = last = time.monotonic()

        def tick(done: float, broken: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < TICK:
                return
            last = now
            self.listen(
                Progress(
                    name=stage.title,
                    done=offset + round(done),
                    entrants=total,
                    broken=broken,
                    robust_accuracy=ledger.robust_accuracy - broken / max(len(ledger.correct), 1),
                    rate=done / max(now - began, 1e-9),
                )
            )

        return pool.run(tick)

    @cached_property
    def _twin_oracle(self) -> TwinOracle:
        """Made once: rounding weights and compiling take a while."""
        if self.twin is None:
            raise ModelError("Gradients were asked for of a model that has no twin.")
        return TwinOracle(self.twin, self.execution)

    def _oracle(self, access: Access) -> Oracle:
        if access is Access.GRADIENT and self.twin is not None:
            return self._twin_oracle
        return TargetOracle(self.target, self.execution, access)
