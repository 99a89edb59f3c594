"""A sequential scan: samples in random order, each with its full budget, until the gate is settled.

What is claimed of the population, or of the whole file from a part of it, holds whenever one stops to look, as long as
the samples come in an order that nobody chose and what is spent on one depends on that one alone. So the suite is
`frozen`: thresholds in place of ranks, and all rounds for who still stands. Rules about exactly these samples need no
chance: breaks are proofs, so cheap stages sweep the whole set first, and it fails as soon as enough of it is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from msgspec import structs

from auditor.allowance import equivalents
from auditor.events import Event, Notice, Progress, StageFinished, StageStarted
from auditor.frozen import frozen
from auditor.judgement import Drawn, Verdict
from auditor.ledger import Ledger
from auditor.rates import percent
from auditor.record import AttackRow
from auditor.search import Search
from auditor.sequential import random_order
from auditor.suite import Stage
from auditor.tally import Tally

FIRST, MOST = 32, 512
"""Samples that are drawn together, at least and at most: half of those drawn so far. A block takes as many steps, one
after the other, however few it holds, so smaller ones save passes and cost time (measured)."""
SWEPT, LOOKS = 64, 50
"""Samples that a sweep plays between two looks, at least, and looks at most in a stage: each goes over all samples."""
CHEAP = 0.15
"""Share of the suite's cost on a sample that withstands it which the stages of a sweep may take together."""
Look = Callable[[Drawn, list[AttackRow]], Verdict | None]
"""Asks the gate, given what has been drawn and the stages so far; None is open."""


@dataclass
class Drawing:
    """One sequential scan. plain: the suite before it is frozen. drawn: positions of the samples that had their full
    budget, in order. swept: titles of the stages that were played on everybody first."""

    search: Search
    ledger: Ledger
    plain: list[Stage]
    look: Look
    drawn: list[int] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.suite = [frozen(stage) for stage in self.plain]
        self.tallies = [Tally() for _ in self.suite]
        self.reasons = [self.search.unfit(stage) for stage in self.suite]
        self.order = random_order(len(self.search.samples), self.search.seed)
        self.verdict: Verdict | None = None
        self.quiet = replace(self.search, listen=self._hear)

    def play(self, *, sweep: bool) -> tuple[list[AttackRow], Drawn]:
        """Draw until the gate is settled, or nothing is left to draw; the stages, and what was drawn.

        sweep: play the cheap stages on everybody first. Costs what the suite costs on those that were drawn.
        """
        cheap = self._cheap() if sweep else 0
        n = len(self.order)
        self.search.listen(StageStarted(name="drawing samples", number=0, stages=1, entrants=n))
        self._sweep(cheap)
        for block in self._blocks():
            if self.verdict is not None:
                break
            for number in range(cheap, len(self.suite)):
                self._stage(number, block)
            self.drawn += block.tolist()
            self._tell()
            self._ask()
        rows = self._rows()
        self._tell_stages(rows)
        cost = self._cost(rows)
        saved = "" if cost is None or cost >= 1 else f", at about {percent(cost, 100)} of the cost of attacking all"
        what = (
            f"{len(self.drawn)} of {n} samples were drawn" if self.drawn else "What the cheap attacks broke settled it"
        )
        self.search.listen(Notice(text=f"{what}{saved}."))
        return rows, structs.replace(self._so_far(), cost=cost, settled=self.verdict)

    def _cheap(self) -> int:
        """How many of the first stages are cheap together."""
        budgets = self._budgets()
        return int((np.cumsum(budgets) <= CHEAP * sum(budgets)).sum())

    def _budgets(self) -> list[float]:
        """What each stage costs on a sample that withstands everything, in forward equivalents."""
        classes = self.search.target.classes
        return [
            0.0 if reason else stage.share * equivalents(*stage.budget(classes))
            for stage, reason in zip(self.plain, self.reasons, strict=True)
        ]

    def _sweep(self, cheap: int) -> None:
        for number in range(cheap):
            if self.reasons[number] is None:
                self.swept.append(self.suite[number].title)
            size = max(SWEPT, -(-len(self.order) // LOOKS))
            for start in range(0, len(self.order), size):
                if self.verdict is not None:
                    return
                self._stage(number, self.order[start : start + size])
                self._ask()

    def _blocks(self) -> Iterator[np.ndarray]:
        while (done := len(self.drawn)) < len(self.order):
            size = min(max(FIRST, done // 2), MOST)
            yield self.order[done : done + size]

    def _stage(self, number: int, block: np.ndarray) -> None:
        """All rounds of a stage on those of a block that still stand."""
        stage, tally, ledger = self.suite[number], self.tallies[number], self.ledger
        if self.reasons[number] is not None:
            return
        tally.spent[2] += self.search.sources.book()
        for round in range(1, stage.rounds + 1):
            if tally.error is not None:
                return  # what an attack can't do on one block it can't on the next
            entrants = self.search.entrants(stage, ledger, block)
            if round == 1:
                tally.entered += len(entrants)
            if len(entrants):
                tally.rounds = max(tally.rounds, round)
                self.quiet.units(number, stage, entrants, ledger, tally, round)

    def _so_far(self) -> Drawn:
        ids = [int(self.search.samples.ids[i]) for i in self.drawn]
        return Drawn(ids=ids, size=len(self.order), swept=list(self.swept), cost=None, settled=None)

    def _ask(self) -> None:
        self.verdict = self.look(self._so_far(), self._rows())

    def _tell_stages(self, rows: list[AttackRow]) -> None:
        """What each stage did, told at the end, since they take turns; what stood after it, of those that count."""
        whose = np.arange(len(self.order)) if self.swept else np.array(self.drawn, int)
        standing = int(self.ledger.correct[whose].sum())
        for row in rows:
            standing -= row.broken
            self.search.listen(
                StageFinished(
                    name=row.name,
                    status=row.status,
                    reason=row.reason,
                    entrants=row.entered,
                    broken=row.broken,
                    robust_accuracy=standing / max(len(whose), 1),
                    seconds=row.seconds,
                )
            )

    def _hear(self, event: Event) -> None:
        """Of what happens inside a block, how far a stage is says nothing of how far the scan is."""
        if not isinstance(event, Progress):
            self.search.listen(event)

    def _tell(self) -> None:
        seconds = sum(tally.seconds for tally in self.tallies)
        good = int((self.ledger.correct & ~self.ledger.broken)[self.drawn].sum())
        self.search.listen(
            Progress(
                name="drawing samples",
                done=len(self.drawn),
                entrants=len(self.order),
                broken=int(self.ledger.broken.sum()),
                robust_accuracy=good / len(self.drawn),
                rate=len(self.drawn) / max(seconds, 1e-9),
            )
        )

    def _rows(self) -> list[AttackRow]:
        rows = []
        for number, (stage, tally, reason) in enumerate(zip(self.suite, self.tallies, self.reasons, strict=True)):
            broken = int((self.ledger.stage == number).sum())
            idle = reason or ("the gate was settled before" if not tally.units and self.verdict is not None else None)
            status = "skipped" if idle else "error" if tally.error else "ran"
            rows.append(tally.row(stage, status, idle, broken, self.search.target.classes))
        return rows

    def _cost(self, rows: list[AttackRow]) -> float | None:
        """The share of what attacking all would have cost, in forward equivalents: those that were not drawn as those
        that were; where none was, each that still stands with the budget of a survivor."""
        spent = sum(equivalents(row.forwards, row.backwards, row.queries) for row in rows)
        left = np.setdiff1d(np.arange(len(self.order)), self.drawn)
        if self.drawn:
            each = np.array([equivalents(*spend) for spend in self.ledger.spent[self.drawn].tolist()])
            rest = float(each.mean()) * len(left) - sum(equivalents(*s) for s in self.ledger.spent[left].tolist())
        else:
            rest = sum(self._budgets()[len(self.swept) :]) * len(self.ledger.standing)
        whole = spent + max(rest, 0.0)
        return spent / whole if whole > 0 else None
