"""The search: plays a suite stage by stage, in units that the journal keeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import msgspec
import numpy as np

from auditor.access import Access
from auditor.arena import Arena, Place
from auditor.attack import Attack
from auditor.chance import CHANCE
from auditor.claims import Claims
from auditor.clean import learn_clean
from auditor.errors import ModelError, OutOfMemory, first_line, out_of_memory
from auditor.events import Listener, Notice, Progress, StageFinished, StageStarted
from auditor.execution import Execution
from auditor.guard import unmoved
from auditor.journal import Journal
from auditor.lab import seeded
from auditor.ledger import Ledger, UnitResult
from auditor.library import play_library
from auditor.nearest import Nearest
from auditor.oracle import DTYPES, Oracle, TargetOracle, TwinOracle
from auditor.pool import Pool, Tick
from auditor.record import AttackRow
from auditor.samples import Samples
from auditor.sources import FAITHFUL, INSIDE, Sources
from auditor.suite import TWIN, Stage
from auditor.tally import Tally
from auditor.target import Target
from auditor.threat import Norm, Region, ThreatModel
from auditor.thresholds import Trees
from auditor.transfer import Transferred
from auditor.twin import Twin
from auditor.verify import Verifier

TICK = 0.25
"""Seconds between two progress events."""


def unranked(stage: Stage) -> Stage:
    """The stage on everybody: a share of the survivors means nothing where no attack has measured a margin."""
    return replace(stage, share=1.0)


def unheard(done: float, broken: int) -> None:
    """A tick that nobody listens to."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Everything a suite is played against. `access` is what the audit grants, which may be less than there is.

    doubt: margin in scores that the twin may be wrong by; closer best points are handed to the target at a stage's end.
    narrowings: widths for which memory ran out, in order. oracles: twins as they are searched, by source and execution.
    sources: whose gradients a stage may follow besides the twin's.
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
    narrowings: list[int] = field(default_factory=list)
    oracles: dict[tuple[str, Execution], TwinOracle] = field(default_factory=dict)
    sources: Sources = field(default_factory=Sources)

    def play(self, suite: list[Stage], ledger: Ledger, first: int = 0) -> list[AttackRow]:
        """Run the stages in order, each on what still stands; the ledger holds the result.

        An attack that raises ends its stage, is named with its error, and the next stage begins. first: number of the
        first stage, which others may have been played before.
        """
        rows: list[AttackRow] = []
        for number, stage in enumerate(suite, first):
            ranked = bool(np.isfinite(ledger.margin[ledger.standing]).any())
            rows.append(self._stage(number, stage if ranked else unranked(stage), first + len(suite), ledger))
        return rows

    def _stage(self, number: int, stage: Stage, stages: int, ledger: Ledger) -> AttackRow:
        tally = Tally()
        before = ledger.broken.sum()
        reason = self.unfit(stage)
        entrants = self.entrants(stage, ledger)
        self.listen(StageStarted(name=stage.title, number=number, stages=stages, entrants=len(entrants)))
        tally.spent[2] += self.sources.book()
        while reason is None and tally.goes_on(stage, int(ledger.broken.sum()), len(entrants)):
            tally.begin(entrants, int(ledger.broken.sum()))
            self.units(number, stage, entrants, ledger, tally, tally.rounds)
            entrants = entrants if stage.distance else self.entrants(stage, ledger)
        broken = int(ledger.broken.sum() - before)
        status = "skipped" if reason else "error" if tally.error else "ran"
        self.listen(
            StageFinished(
                name=stage.title,
                status=status,
                reason=reason or tally.error,
                entrants=tally.entered,
                broken=broken,
                robust_accuracy=ledger.robust_accuracy,
                seconds=tally.seconds,
                note=ledger.reach(entrants) if stage.distance and reason is None else "",
            )
        )
        return tally.row(stage, status, reason, broken, self.target.classes)

    def entrants(self, stage: Stage, ledger: Ledger, among: np.ndarray | None = None) -> np.ndarray:
        """Positions of the samples that a stage meets, in order. among: of these alone."""
        entrants = ledger.correct.nonzero()[0] if stage.distance else ledger.entrants(stage.share)
        entrants = entrants if among is None else np.intersect1d(entrants, among)
        if stage.near < 1:
            learn_clean(self, ledger, entrants)
            entrants = entrants[ledger.fallen(entrants, stage.near)]
        return seeded(entrants, stage.sample, self.seed) if stage.sample else entrants

    def units(self, number: int, stage: Stage, entrants: np.ndarray, ledger: Ledger, tally: Tally, round: int) -> None:
        """One round of a stage, in units that are journalled; what a resumed journal holds is not played again."""
        size = self.execution.chunk(self.samples.inputs[0].size)
        for start in range(0, len(entrants), size):
            tick = self._ticker(stage, tally, ledger, start)
            own = entrants[start : start + size]
            play = partial(self.unit, number, stage, own, ledger, round, tick)
            result = self.journalled((number, tally.units), play)
            ledger.apply(number, result)
            tally.add(result)

    def journalled(self, key: tuple[int, int], play: Callable[[], UnitResult]) -> UnitResult:
        """The unit of this key: as the journal has it, else played and written there."""
        result = self.journal.done.get(key)
        if result is None:
            result = play()
            self.journal.write(key, result)
        while result.width and result.width < self.width:
            self.narrowings.append(self.width)  # what a stopped scan had found out
        return result

    def _ticker(self, stage: Stage, tally: Tally, ledger: Ledger, offset: int) -> Tick:
        """What tells listeners how far a unit is that begins with this sample of the round."""
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
                    entrants=tally.entrants,
                    broken=broken,
                    robust_accuracy=ledger.robust_accuracy - broken / max(len(ledger.correct), 1),
                    rate=done / max(now - began, 1e-9),
                )
            )

        return tick

    def unfit(self, stage: Stage) -> str | None:
        """Why a stage can't run here, in words; None where it can."""
        attack = stage.attack
        if self.threat.norm not in attack.norms:
            return f"{attack.name} knows {', '.join(sorted(attack.norms))}, the threat is {self.threat.norm}"
        needed = Access.DECISION if stage.source != TWIN and stage.source not in INSIDE else attack.access
        if not self.access.covers(needed):
            return f"{attack.name} needs {needed} access, the audit grants {self.access}"
        if attack.access is Access.GRADIENT and (why := self._no_source(stage.source)):
            return why if stage.source != TWIN else f"{attack.name} needs gradients, and the model has no twin"
        if attack.access is Access.SCORE and not self.target.access.covers(Access.SCORE):
            return f"{attack.name} needs scores, and the model returns labels only"
        if getattr(attack, "needs_trees", False):
            if not self.access.covers(Access.GRADIENT):
                return f"{attack.name} reads trees, as gradient access allows; the audit grants {self.access}"
            if self.trees is None:
                return f"{attack.name} needs a tree ensemble whose branches can be read; the model is none"
        if stage.distance and self.threat.boxes:
            return "boxes of the samples' own say how far inputs may change, so there is no distance to look for"
        if stage.distance and self.threat.norm is Norm.SPATIAL:
            return "the spatial threat is a set of transforms, so there is no distance to look for"
        return None

    def _no_source(self, name: str) -> str | None:
        """Why there is no twin of this name, in words."""
        if name == TWIN:
            return None if self.twin is not None else "the model has no twin"
        try:
            self.sources.find(name)
        except ModelError as error:
            return str(error)
        return None

    def unit(
        self, number: int, stage: Stage, index: np.ndarray, ledger: Ledger, round: int = 1, tick: Tick = unheard
    ) -> UnitResult:
        """One unit of work: a stage, whose number its draws have, on a chunk of samples. Changes nothing but counters.

        Where memory runs out it is begun anew, with half as many rows side by side.
        """
        while True:
            try:
                CHANCE.begin(self.seed, "unit", number, round, *index[:1].tolist())
                with unmoved():
                    return self._play(number, stage, index, ledger, round, tick)
            except Exception as failure:
                if not isinstance(failure, OutOfMemory) and not (out_of_memory(failure) and self.width > 1):
                    raise
                self.narrowings.append(self.width)
                self.listen(Notice(text=f"{first_line(failure)} The search goes on with {self.width}."))

    def _play(self, number: int, stage: Stage, index: np.ndarray, ledger: Ledger, round: int, tick: Tick) -> UnitResult:
        place = Place(
            seed=self.seed,
            stage=number,
            device=self.execution.device,
            dtype=DTYPES[self.execution.precision],
            classes=self.target.classes,
        )
        judge = self._unlimited if stage.distance else self.verifier
        trees = self.trees if getattr(stage.attack, "needs_trees", False) else None
        arena = Arena(place, self.samples, judge.threat, judge.region, ledger, index, trees)
        oracle = self._oracle(stage)
        if not isinstance(stage.attack, Attack):
            return play_library(stage.attack, arena, oracle, self.verifier, self.seed)
        claims, doubt = Claims(arena, judge), self.doubt
        if stage.distance:
            claims = Nearest(arena, judge, self.verifier, ledger)
        elif stage.source not in FAITHFUL and isinstance(oracle, TwinOracle):
            claims, doubt = Transferred(arena, judge, oracle.right(arena.inputs, arena.labels)), float("inf")
        restarts = range((round - 1) * stage.restarts, round * stage.restarts)
        return Pool(stage.attack, restarts, self.width, arena, oracle, claims, doubt).run(tick)

    @cached_property
    def trees(self) -> Trees | None:
        """The branches of a tree ensemble, None for any other model."""
        return self.target.trees()

    @cached_property
    def _unlimited(self) -> Verifier:
        """The verifier of the same threat without an epsilon."""
        threat = replace(self.threat, epsilon=float("inf"))
        return Verifier(self.target, self.samples, threat, threat.region(self.samples), votes=self.verifier.votes)

    @property
    def width(self) -> int:
        """Rows that are computed side by side: half as many each time that memory has run out."""
        return max(self.execution.width >> len(self.narrowings), 1)

    def _oracle(self, stage: Stage) -> Oracle:
        """Who answers a stage's attack. Twins made for the search are kept: rounding weights and compiling take a
        while."""
        attack = stage.attack
        execution = msgspec.structs.replace(self.execution, width=self.width)
        twin = self.twin if stage.source == TWIN else self.sources.find(stage.source)
        if attack.access is not Access.GRADIENT or twin is None:
            return TargetOracle(self.target, execution, attack.access)
        plain = stage.source != TWIN or getattr(attack, "minimum_norm", False)  # where it ends, rounding decides
        if plain and execution.precision == "bfloat16":
            execution = msgspec.structs.replace(execution, precision="float32")
        key = (stage.source, execution)
        if key not in self.oracles:
            self.oracles[key] = TwinOracle(twin, execution)
        return self.oracles[key]
