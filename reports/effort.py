"""What was tried, and what did it cost? The stages of the suite, their passes, and the candidates refused."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from auditor.record import AttackRow, Record, Spent

from . import svg
from .numbers import count, passes, percent, plain, seconds
from .text import shorten

KINDS = ("forwards", "backwards", "queries")
PHASES = {"suite": "", "check": "experiment of a check", "answer": "answer to a doubt", "confirmation": "last try"}


@dataclass(frozen=True, kw_only=True)
class StageLine:
    """One stage. phase: why it was played, empty for the suite's own. reason: why it did not run to its end, empty
    where it did. whom: which samples met it, and how often. transfer: what became of what a stand-in led to, empty for
    others. budget: what one of them costs that withstands."""

    name: str
    access: str
    phase: str
    status: str
    sign: str
    mark: Markup
    reason: str
    entered: str
    broken: str
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
    suite = [row for row in rows if row.phase == "suite"]
    more = sum(row.status == "ran" for row in rows) - sum(row.status == "ran" for row in suite)
    rows = suite
    ran = sum(row.status == "ran" for row in rows)
    text = f"{ran} of {len(rows)} stages ran." if ran < len(rows) else f"All {len(rows)} stages ran."
    after = f" Then {more} stages followed, because of doubts or as experiments of the checks." if more else ""
    if len(rows) == 1 and ran:
        return f"One stage ran.{after}"
    order = "They run in order, each on the samples that the ones before left standing"
    if any(row.distance for row in rows):
        order += "; those that look for distances meet every correct sample"
    return f"{text} {order}.{_budget(rows)}{after}"


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
    forwards, backwards, queries = map(round, amounts)
    return passes(Spent(forwards=forwards, backwards=backwards, queries=queries)) or "nothing"


def _whom(row: AttackRow) -> str:
    if row.distance:
        return "every correct sample, broken or not"
    whom = "all that stand" if row.share >= 1 else f"the weakest {percent(row.share, 100)} of what stands"
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
        access=f"{row.access} of {row.source}" if row.source != "twin" else row.access,
        phase=PHASES.get(row.phase, row.phase),
        status=row.status,
        sign=sign,
        mark=svg.mark(sign),
        reason=row.reason or "",
        entered=count(row.entered),
        broken=count(row.broken),
        chart=svg.part_bar("broken", row.broken, row.entered, whole, title) if row.entered else Markup(""),
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
