"""How much the search for distances may cost, and whom that lets it look at.

It costs at most half of what the suite has spent on the same samples, in forward equivalents. Where that is next to
nothing, because everything fell at once or the suite is short, as much as a modest number of floating-point operations
buys is allowed all the same, but never more than half of what `standard` costs on samples that withstand it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from auditor.ledger import Ledger
from auditor.record import AttackRow
from auditor.search import Search

SHARE = 0.5
"""Of the suite's cost."""
STANDARD = 1370
"""Forward equivalents that a sample costs which withstands the suite `standard` under linf, see
`benchmarks/RESULTS.md`."""
MODEST = 2e11
"""Floating-point operations that it may cost in any case: some seconds of a processor. Ten times as many where the user
asked for it."""


@dataclass(frozen=True)
class Allowance:
    """In forward equivalents: `most`, and what the suite has spent, which `share` is of."""

    most: float
    spent: float

    def samples(self, each: float) -> int:
        """How many samples it is enough for, at so much each."""
        return int(self.most // each) if each > 0 else 0

    def less(self, spent: float) -> Allowance:
        """What is left of it."""
        return Allowance(self.most - spent, self.spent)

    @classmethod
    def of(cls, search: Search, ledger: Ledger, rows: Sequence[AttackRow], *, asked: bool = False) -> Allowance:
        """After these stages have been played. asked: the user wants it, whatever else is played."""
        spent = sum(equivalents(row.forwards, row.backwards, row.queries) for row in rows)
        modest = min((10 if asked else 1) * MODEST / operations(search), SHARE * STANDARD * int(ledger.correct.sum()))
        return cls(max(SHARE * spent, modest), spent)


def equivalents(forwards: float, backwards: float, queries: float) -> float:
    """Forward equivalents: a backward pass counts as two forward ones, a query of the deployed model as one."""
    return forwards + 2 * backwards + queries


def operations(search: Search) -> float:
    """Floating-point operations of one forward pass of the twin; of a network of modest size where there is none."""
    if search.twin is None:
        return 1e6
    x = torch.from_numpy(search.samples.inputs[:1]).to(search.execution.device)
    search.twin.module.float()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        search.twin.logits(x)
    return float(max(counter.get_total_flops(), x.numel() * search.target.classes))
