"""The watch of a sequential scan: asks the gate itself, on a record of what is known so far, whether it is settled.

So a scan stops by the very rules that its record is judged by afterwards. The twin's fidelity is known before; trust
and masking are taken for good while samples are drawn, since checks come at the end and can only take a pass away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import structs

from auditor.drawing import Drawing
from auditor.errors import UsageError
from auditor.frozen import frozen
from auditor.gate import judge
from auditor.job import Job
from auditor.judgement import Drawn, Verdict
from auditor.ledger import Ledger
from auditor.metrics import measure
from auditor.record import AttackRow, Outcome, Record
from auditor.rule import STREAMED, Policy, Rule
from auditor.search import Search
from auditor.suite import Stage

Settle = Callable[[Ledger, list[AttackRow]], list[Outcome]]
"""Makes outcomes of what is known."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """blank: a record of the job without outcomes."""

    policy: Policy
    blank: Record
    ledger: Ledger
    settle: Settle

    def look(self, drawn: Drawn, rows: list[AttackRow]) -> Verdict | None:
        """The verdict, once nothing that is still to come can change it; None before."""
        outcomes = self.settle(seen(self.ledger, drawn), rows)
        certified = self.blank.metrics.certified_accuracy is not None
        record = structs.replace(
            self.blank,
            outcomes=outcomes,
            attacks=rows,
            drawn=drawn,
            metrics=measure(outcomes, certified=certified, drawn=drawn),
        )
        found, verdict = judge(self.policy, record)
        if verdict is Verdict.FAILED:
            return verdict
        return None if any(row.status is Verdict.INCONCLUSIVE for row in found) else verdict

    @property
    def sweeps(self) -> bool:
        """Whether a rule is about exactly these samples, so that every break counts, whoever is drawn when."""
        rules = self.policy.for_threat(self.blank.threat.name, self.blank.threat.norm)
        return any(attacked(rule) and rule.over == "samples" and rule.bound != "drawn" for rule, _ in rules)


def draw(
    job: Job, search: Search, ledger: Ledger, blank: Record, settle: Settle
) -> tuple[list[AttackRow], Drawn, Ledger]:
    """Attack samples in random order until the job's policy is settled: the stages, what was drawn, and the ledger as
    it counts."""
    watch = Watch(policy=job.policy, blank=blank, ledger=ledger, settle=settle)
    rows, drawn = Drawing(search, ledger, job.suite, watch.look).play(sweep=watch.sweeps)
    return rows, drawn, seen(ledger, drawn)


def seen(ledger: Ledger, drawn: Drawn) -> Ledger:
    """The ledger of a sequential scan: who was not drawn had no full budget, whatever swept over it."""
    return ledger.only(np.isin(ledger.ids, drawn.ids), counts=not drawn.swept)


def attacked(rule: Rule) -> bool:
    """Whether a rule is about what attacks bring about."""
    return rule.metric == "robust_accuracy"


def check_sequential(policy: Policy, suite: Sequence[Stage]) -> None:
    """Raise UsageError where a scan can't stop once this policy is settled, or a stage can't be told for one sample
    alone."""
    rules = policy.every
    if not any(attacked(rule) and rule.at_least is not None for rule in rules):
        raise UsageError(
            "A sequential scan stops once its gate on robust_accuracy is settled, and there is none with at_least: "
            "give --fail-under or a [[gate]] table, or leave --sequential out."
        )
    for rule in rules:
        if rule.metric == "distance" or (attacked(rule) and rule.baseline is not None):
            raise UsageError(f"A sequential scan can't settle {rule.text!r}: scan without --sequential.")
        if attacked(rule) and rule.over == "population" and rule.bound not in ("", *STREAMED):
            raise UsageError(
                f"The bound {rule.bound!r} takes a number of samples fixed beforehand; a sequential scan takes mixture "
                "(the default) or sprt."
            )
    for stage in suite:
        frozen(stage)
