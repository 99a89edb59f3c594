"""What was tried, and what did it cost? The stages of the suite, their passes, and the candidates refused."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from auditor.rates import MISSING
from auditor.record import AttackRow, Record, Spent, Status

from . import svg
from .numbers import amount, at_most, count, known, passes, percent, plain, seconds
from .text import shorten

KINDS = ("forwards", "backwards", "queries")
PHASES = {
    "suite": "",
    "hardness": "search for distances",
    "check": "experiment of a check",
    "answer": "answer to a doubt",
    "confirmation": "last try",
}


@dataclass(frozen=True, kw_only=True)
class StageLine:
    """One stage. phase: why it was played, empty for the suite's own. reason: why it did not run to its end, empty
    where it did. whom: which samples met it, and how often. transfer: what became of what a stand-in led to, empty for
    others. budget: what one of them costs that withstands. left: robust accuracy after it."""

    name: str
    access: str
    phase: str
    status: str
    sign: str
    mark: Markup
    reason: str
    entered: str
    broken: str
    left: str
    chart: Markup
    whom: str
    transfer: str
    budget: str
    forwards: str
    backwards: str
    queries: str
    seconds: str
    options: str


@dataclass(frozen=True, kw_only=True)
class RefusedLine:
    """Candidates of one stage that verification refused for one reason."""

    stage: str
    reason: str
    n: str


@dataclass(frozen=True, kw_only=True)
class Effort:
    """lead: the stages in words. total: sums over the stages."""

    lead: str
    stages: list[StageLine]
    total: StageLine
    refused: list[RefusedLine]
    refused_note: str


def effort(record: Record) -> Effort:
    """The suite, stage by stage."""
    rows = record.attacks
    refused = [
        RefusedLine(stage=shorten(row.name), reason=reason, n=count(n))
        for row in rows
        for reason, n in row.rejected.items()
        if n
    ]
    return Effort(
        lead=_lead(rows) + _share(record),
        stages=_stages(record),
        total=_total(rows),
        refused=refused,
        refused_note="The verifier refused these; none of them counts as broken."
        if refused
        else "The verifier refused no candidate.",
    )


def _lead(rows: list[AttackRow]) -> str:
    if not rows:
        return "The suite is empty: nothing was attacked."
    suite = [row for row in rows if row.phase == "suite"]
    hardness = any(row.phase == "hardness" and row.status == "ran" for row in rows)
    more = sum(row.status == "ran" and row.phase not in ("suite", "hardness") for row in rows)
    rows = suite
    ran = sum(row.status == "ran" for row in rows)
    text = f"{ran} of {len(rows)} stages ran." if ran < len(rows) else f"All {len(rows)} stages ran."
    after = " Then distances were looked for." if hardness else ""
    if more:
        after += f" {more} more followed, because of doubts or as experiments of the checks."
    if len(rows) == 1 and ran:
        return f"One stage ran.{after}"
    order = "They run in order, each on the samples that the ones before left standing"
    if any(row.distance for row in rows):
        order += "; those that look for distances meet every correct sample"
    return f"{text} {order}.{_budget(rows)}{after}"


def _share(record: Record) -> str:
    """What it cost to look where the model is weak, against the suite."""
    share = record.hardness.share if record.hardness else None
    if not known(share):
        return ""
    seconds_ = seconds(sum(row.seconds for row in record.attacks if row.phase == "hardness"))
    if share > 1:
        times = f"{amount(share)} times what the suite cost, which was soon over"
        return f" To look where it is weak took {seconds_}: {times}."
    return f" To look where it is weak took {seconds_}, {percent(share, 1)} of what the suite cost in forward passes."


def _budget(rows: list[AttackRow]) -> str:
    """What the suite spends on a sample that nothing breaks: at most, and on average over the survivors."""
    ran = [row for row in rows if row.status == "ran"]
    most = [sum(getattr(row.budget, kind) for row in ran) for kind in KINDS]
    mean = [sum(row.share * row.rounds * getattr(row.budget, kind) / row.most_rounds for row in ran) for kind in KINDS]
    if not any(most):
        return ""
    text = f" A sample that meets all of them and withstands may cost {_passes(most)}"
    if any(row.near < 1 for row in ran):
        text += "; stages for those alone that came near falling make it less on average"
    elif any(row.share < 1 or row.most_rounds > 1 for row in ran):
        text += f"; stages for the weakest survivors and rounds that were not needed make it {_passes(mean)} on average"
    return text + "."


def _passes(amounts: list[float]) -> str:
    forwards, backwards, queries = map(round, amounts)
    return passes(Spent(forwards=forwards, backwards=backwards, queries=queries)) or "nothing"


def _whom(row: AttackRow) -> str:
    if row.distance:
        return "every correct sample, broken or not"
    whom = "all that stand" if row.share >= 1 else f"the weakest {percent(row.share, 100)} of what stands"
    if row.near < 1:
        whom += f" whose margin fell to {percent(row.near, 100)} of the clean one"
    if row.sample:
        whom = f"up to {count(row.sample)} of {whom}, drawn uniformly"
    return whom if row.most_rounds == 1 else f"{whom}, {row.rounds} of {row.most_rounds} rounds"


def _transfer(row: AttackRow) -> str:
    """What became of examples that a stand-in led to: its denominators in words, since they move a rate by much."""
    one = row.transfer
    if one is None:
        return ""
    return (
        f"of {count(one.n)} samples the stand-in has {count(one.both_right)} right and was led to get "
        f"{count(one.fooled_source)} of those wrong; {count(one.fooled_both)} of these fool the model too "
        f"({percent(one.transferred, one.fooled_source)}), {count(one.errors)} in all"
    )


def _stages(record: Record) -> list[StageLine]:
    """The stages, each with what it left standing of all samples."""
    n = record.n
    standing = n - record.metrics.statuses.get(Status.MISCLASSIFIED, 0)
    lines = []
    for row in record.attacks:
        lines.append(_stage(row, standing, standing - row.broken, n))
        standing -= row.broken
    return lines


def _stage(row: AttackRow, before: int, after: int, n: int) -> StageLine:
    left = at_most(after / n, n) if n else MISSING
    title = f"{row.name}: broke {row.broken} of {row.entered} samples, robust accuracy {left} after it"
    idle = row.status == "ran" and not row.entered
    sign = "none" if idle else {"ran": "good", "error": "bad"}.get(row.status, "none")
    options = dict(row.parameters)
    if row.restarts != 1:
        options["restarts"] = row.restarts
    return StageLine(
        name=shorten(row.name),
        access=f"{row.access} of {row.source}" if row.source != "twin" else row.access,
        phase=PHASES.get(row.phase, row.phase),
        status="met nobody" if idle else row.status,
        sign=sign,
        mark=svg.mark(sign),
        reason=row.reason or "",
        entered=count(row.entered),
        broken=count(row.broken),
        left=left if row.status == "ran" or row.broken else "",
        chart=svg.stage_bar(before / n, after / n, title) if n and (row.status == "ran" or row.broken) else Markup(""),
        whom=_whom(row),
        transfer=_transfer(row),
        budget=passes(row.budget) or "nothing",
        forwards=count(row.forwards),
        backwards=count(row.backwards),
        queries=count(row.queries),
        seconds=seconds(row.seconds),
        options=plain(options) if options else "no options",
    )


def _total(rows: list[AttackRow]) -> StageLine:
    return StageLine(
        name="All stages",
        access="",
        phase="",
        status="",
        sign="",
        mark=Markup(""),
        reason="",
        entered="",
        broken=count(sum(row.broken for row in rows)),
        left="",
        chart=Markup(""),
        whom="",
        transfer="",
        budget="",
        forwards=count(sum(row.forwards for row in rows)),
        backwards=count(sum(row.backwards for row in rows)),
        queries=count(sum(row.queries for row in rows)),
        seconds=seconds(sum(row.seconds for row in rows)),
        options="",
    )
