"""Rules against a baseline: no worse than another record of the same samples, by more than a margin. Loads no torch.

A difference that is not significant proves nothing, least of all on few samples; so what is tested is that the metric
fell by more than the margin, and passing takes evidence against it (non-inferiority).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from auditor.bounds import Evidence, smallest
from auditor.entry import check_whole, folder_of, read_record
from auditor.errors import RecordError, UsageError
from auditor.metrics import OPEN
from auditor.paired import tango
from auditor.pairing import check_comparable, threat_differences
from auditor.record import Outcome, Record
from auditor.rule import Policy, Rule
from auditor.scope import good

PLANNED = ("suite", "access", "leak", "surrogates", "hardness", "escalate", "deep")
"""What of a plan decides which attacks are played."""
NORMAL = 20_000
"""Pairs from which the normal approximation is near enough to say how many more it would take."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Samples side by side. gained, lost: good with the other alone, with the baseline alone; the first of each pair
    as what is not known would be worst, the second as it would be best for the model. unknown: samples of which
    either record knows nothing."""

    gained: tuple[int, int]
    lost: tuple[int, int]
    n: int
    unknown: int

    @property
    def difference(self) -> tuple[float, float]:
        """The metric of the record minus the baseline's: at least, and at most."""
        worst, best = ((gained - lost) / max(self.n, 1) for gained, lost in zip(self.gained, self.lost, strict=True))
        return worst, best


def baseline(rule: Rule, policy: Policy, record: Record) -> Record:
    """The record that a rule names. Raises RecordError where it can't be read, was changed, or is of other samples or
    another threat: nothing could be learnt from it."""
    path = policy.folder / (rule.baseline or "")
    found = _read(rule, policy)
    check_whole(found, folder_of(path))
    called = "the baseline", "this record"
    check_comparable(found, structs.replace(record, complete=True), called)  # it is judged before it is finished
    if differences := threat_differences(found, record, called):
        raise RecordError(
            f"A baseline is a record under the same threat; they differ in {differences[0]}: name another baseline, or "
            "say with `threat` which threat the rule is for."
        )
    return found


def _read(rule: Rule, policy: Policy) -> Record:
    try:
        return read_record(policy.folder / (rule.baseline or ""))
    except RecordError as error:
        raise RecordError(
            f"The baseline {rule.baseline!r}, from {policy.folder.resolve()}, can't be read: {error}"
        ) from error


def check_other(policy: Policy, folder: Path) -> None:
    """Raise UsageError where a rule names the very record that it is to judge, which lies in this folder: it would
    pass, or be overwritten first. Raise RecordError where there is none of the name."""
    for rule in policy.every:
        if rule.baseline is None:
            continue
        _read(rule, policy)
        if folder_of(policy.folder / rule.baseline).resolve() == folder.resolve():
            raise UsageError(
                f"A baseline is another record, {rule.baseline} is the very one that is judged: name another."
            )


def pair(rule: Rule, outcomes: Sequence[Outcome], record: Record, before: Record) -> Pairs:
    """These samples, each beside itself in the baseline."""
    theirs = {outcome.id: outcome for outcome in before.outcomes}
    gained, lost, unknown = [0, 0], [0, 0], 0
    for mine in outcomes:
        own, other = good(rule, mine, record), good(rule, theirs[mine.id], before)
        for scenario, (after, once) in enumerate(((own[0], other[1]), (own[1], other[0]))):
            gained[scenario] += after and not once
            lost[scenario] += once and not after
        unknown += mine.status in OPEN or theirs[mine.id].status in OPEN
    return Pairs(gained=(gained[0], gained[1]), lost=(lost[0], lost[1]), n=len(outcomes), unknown=unknown)


def weigh_pairs(rule: Rule, pairs: Pairs) -> Evidence:
    """Of these samples: whether the metric fell by more than the margin. Of the population: the exact test of that,
    with Tango's interval for the difference at 95 %, which is approximate and decides nothing."""
    worst, best = pairs.difference
    if rule.over == "samples":
        passing, failing = float(worst < -rule.margin), float(best >= -rule.margin)
        return Evidence(passing=passing, failing=failing, low=worst, high=best)
    if not pairs.n:
        return Evidence(passing=1.0, failing=1.0, low=-1.0, high=1.0)
    from auditor.noninferiority import exact  # scipy takes long to load

    passing, _ = exact(pairs.gained[0], pairs.lost[0], pairs.n, rule.margin)
    _, failing = exact(pairs.gained[1], pairs.lost[1], pairs.n, rule.margin)
    low, high = tango(pairs.gained[0], pairs.lost[0], pairs.n)[0], tango(pairs.gained[1], pairs.lost[1], pairs.n)[1]
    return Evidence(passing=passing, failing=failing, low=low, high=high)


def pairs_needed(rule: Rule, pairs: Pairs, alpha: float) -> int | None:
    """Pairs that would decide it, if they changed as often as those so far, to 5 %; None where no number would. Of
    these samples: all of them."""
    from auditor.noninferiority import exact, normal

    gained, lost = sum(pairs.gained) / 2, sum(pairs.lost) / 2
    if rule.over == "samples" or not pairs.n:
        return pairs.n

    def nearly(n: int) -> bool:
        p = normal(round(gained * n / pairs.n), round(lost * n / pairs.n), n, rule.margin)
        return min(p, 1 - p) <= alpha

    more = smallest(nearly, pairs.n)
    while more is not None and more < NORMAL:
        if min(exact(round(gained * more / pairs.n), round(lost * more / pairs.n), more, rule.margin)) <= alpha:
            return more
        more += more // 20 + 1
    return more


def unequal(record: Record, before: Record) -> str:
    """Why a record that lost nothing does not pass: it met other attacks than the baseline; empty where it did not."""
    for name in PLANNED:
        if record.plan.get(name) != before.plan.get(name):
            return f"the plan of its baseline has another {name}, so what looks the same may be the attacks'"
    return ""
