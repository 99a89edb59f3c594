"""What was tried, and what did it cost? The stages of the suite, their passes, and the candidates refused."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from auditor.record import AttackRow, Record

from . import svg
from .numbers import count, percent, plain, seconds
from .text import shorten

KINDS = ("forwards", "backwards", "queries")


@dataclass(frozen=True, kw_only=True)
class StageLine:
    """One stage. reason: why it did not run to its end, empty where it did. whom: which samples met it, and how often.
    budget: what one of them costs that withstands."""

    name: str
    access: str
    status: str
    sign: str
    mark: Markup
    reason: str
    entered: str
    broken: str
    chart: Markup
    whom: str
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
    whole = max([row.entered for row in rows], default=0)
    refused = [
        RefusedLine(stage=shorten(row.name), reason=reason, n=count(n))
        for row in rows
        for reason, n in row.rejected.items()
        if n
    ]
    return Effort(
        lead=_lead(rows),
        stages=[_stage(row, whole) for row in rows],
        total=_total(rows),
        refused=refused,
        refused_note="The verifier refused these; none of them counts as broken."
        if refused
        else "The verifier refused no candidate.",
    )


def _lead(rows: list[AttackRow]) -> str:
    if not rows:
        return "The suite is empty: nothing was attacked."
    ran = sum(row.status == "ran" for row in rows)
    text = f"{ran} of {len(rows)} stages ran." if ran < len(rows) else f"All {len(rows)} stages ran."
    if len(rows) == 1 and ran:
        return "One stage ran."
    order = "They run in order, each on the samples that the ones before left standing"
    if any(row.distance for row in rows):
        order += "; those that look for distances meet every correct sample"
    return f"{text} {order}.{_budget(rows)}"


def _budget(rows: list[AttackRow]) -> str:
    """What the suite spends on a sample that nothing breaks: at most, and on average over the survivors."""
    ran = [row for row in rows if row.status == "ran"]
    most = [sum(getattr(row.budget, kind) for row in ran) for kind in KINDS]
    mean = [sum(row.share * row.rounds * getattr(row.budget, kind) / row.most_rounds for row in ran) for kind in KINDS]
    if not any(most):
        return ""
    text = f" A sample that meets all of them and withstands may cost {_passes(most)}"
    if any(row.share < 1 or row.most_rounds > 1 for row in ran):
        text += f"; stages for the weakest survivors and rounds that were not needed make it {_passes(mean)} on average"
    return text + "."


def _passes(amounts: list[float]) -> str:
    told = [f"{count(round(n))} {kind}" for n, kind in zip(amounts, KINDS, strict=True) if round(n)]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told) or "nothing"


def _whom(row: AttackRow) -> str:
    if row.distance:
        return "every correct sample, broken or not"
    whom = "all that stand" if row.share >= 1 else f"the weakest {percent(row.share, 100)} of what stands"
    return whom if row.most_rounds == 1 else f"{whom}, {row.rounds} of {row.most_rounds} rounds"


def _stage(row: AttackRow, whole: int) -> StageLine:
    title = f"{row.name}: broke {row.broken} of {row.entered} samples"
    if row.entered:
        title += f" ({percent(row.broken / row.entered, row.entered)})"
    sign = {"ran": "good", "error": "bad"}.get(row.status, "none")
    options = dict(row.parameters)
    if row.restarts != 1:
        options["restarts"] = row.restarts
    return StageLine(
        name=shorten(row.name),
        access=row.access,
        status=row.status,
        sign=sign,
        mark=svg.mark(sign),
        reason=row.reason or "",
        entered=count(row.entered),
        broken=count(row.broken),
        chart=svg.part_bar("broken", row.broken, row.entered, whole, title) if row.entered else Markup(""),
        whom=_whom(row),
        budget=_passes([getattr(row.budget, kind) for kind in KINDS]),
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
        status="",
        sign="",
        mark=Markup(""),
        reason="",
        entered="",
        broken=count(sum(row.broken for row in rows)),
        chart=Markup(""),
        whom="",
        budget="",
        forwards=count(sum(row.forwards for row in rows)),
        backwards=count(sum(row.backwards for row in rows)),
        queries=count(sum(row.queries for row in rows)),
        seconds=seconds(sum(row.seconds for row in rows)),
        options="",
    )
