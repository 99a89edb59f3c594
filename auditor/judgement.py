"""How a record was judged: the rules, the verdict, and what a scan looked at that stopped once it knew. Data only."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class RuleRow(Struct, frozen=True, kw_only=True):
    """One rule of the gate as it was judged, in words and numbers; a rule on classes leaves a row for each.

    n: samples that it was judged on. interval: within which the rate lies, by `bound` (see `auditor.bounds`). needed:
    of an undecided rule, the samples that would decide it, were they as good as those so far; None where no number
    would, or samples are not what is missing. table: number of its `[[gate]]` table, None for a rule from elsewhere.
    """

    rule: str
    value: float | None
    threshold: float | None
    status: Verdict
    reason: str
    metric: str = ""
    n: int | None = None
    bound: str = ""
    interval: tuple[float, float] | None = None
    needed: int | None = None
    table: int | None = None


class Gate(Struct, frozen=True, kw_only=True):
    """policy: the file that the rules are from, empty for none. alpha: that they share, see `auditor.rule.Policy`.
    elsewhere: rules of the policy that are for other threats."""

    rules: list[RuleRow]
    policy: str = ""
    alpha: float | None = None
    elsewhere: int = 0


class Drawn(Struct, frozen=True, kw_only=True):
    """What a sequential scan looked at before its gate was settled.

    ids: the samples that got their full budget, in the random order in which they were drawn. size: of the given set.
    swept: stages that swept over all of it beforehand; the last one may have been stopped on the way. cost: the share
    of what attacking all would have cost, estimated from those that were drawn (the sweep included). settled: what the
    gate said when the drawing ended; None where it never did, and all were drawn.
    """

    ids: list[int]
    size: int
    swept: list[str]
    cost: float | None
    settled: Verdict | None

    @property
    def partial(self) -> bool:
        """Whether some of the set did not get their full budget."""
        return len(self.ids) < self.size
