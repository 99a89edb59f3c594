"""How the number came about: what the suite claimed, what raised doubt, what was tried because of it, and what fell."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from auditor.record import Chapter, Record

from . import svg
from .numbers import at_most
from .text import shorten

HEADS = {
    "claimed": "What was claimed",
    "doubted": "What raised doubt",
    "tried": "What was tried",
    "fell": "What fell",
}
SIGNS = {"claimed": "none", "doubted": "open", "tried": "good", "fell": "bad"}


@dataclass(frozen=True, kw_only=True)
class ChapterLine:
    """One step. because: the doubts that it answers, stages: the attacks that were played, both in words. robust: as it
    stood afterwards, empty where that is what it was."""

    head: str
    sign: str
    mark: Markup
    text: str
    because: str
    stages: str
    robust: str


@dataclass(frozen=True, kw_only=True)
class Story:
    """lead: the whole in a sentence. Empty chapters where the record has none."""

    lead: str
    chapters: list[ChapterLine]


def story(record: Record) -> Story:
    """The story of a record's number."""
    n = record.n
    titles = {finding.id: finding.title for finding in record.findings}
    return Story(
        lead=_lead(record),
        chapters=[
            _line(chapter, before, titles, n)
            for before, chapter in zip([None, *record.story], record.story, strict=False)
        ],
    )


def _line(chapter: Chapter, before: Chapter | None, titles: dict[str, str], n: int) -> ChapterLine:
    sign = SIGNS.get(chapter.kind, "none")
    because = [titles.get(name, name) for name in chapter.findings] if chapter.kind in ("tried", "fell") else []
    same = before is not None and before.robust_accuracy == chapter.robust_accuracy
    return ChapterLine(
        head=HEADS.get(chapter.kind, chapter.kind),
        sign=sign,
        mark=svg.mark(sign),
        text=chapter.text,
        because="; ".join(because),
        stages=", ".join(shorten(name) for name in chapter.stages),
        robust="" if same or chapter.robust_accuracy is None else at_most(chapter.robust_accuracy, n),
    )


def _lead(record: Record) -> str:
    chapters, n = record.story, record.n
    if not chapters:
        return ""
    first, last = chapters[0].robust_accuracy, chapters[-1].robust_accuracy
    if first is None or last is None:
        return "No stage of the suite could be played, so it claims nothing."
    claimed = f"The suite claimed {at_most(first, n)}."
    doubts = [place for place, chapter in enumerate(chapters) if chapter.kind == "doubted"]
    rest = chapters[doubts[0] :] if doubts else chapters
    followed = any(chapter.kind in ("tried", "fell") for chapter in rest)
    if not followed:
        fell = f" Experiments of the checks left {at_most(last, n)}." if last < first else ""
        what = "That is in doubt, and nothing was tried to settle it" if doubts else "It raised no doubt"
        return f"{claimed}{fell} {what}."
    what = "Doubts were followed up" if doubts else "More was tried"
    return f"{claimed} {what}, " + (
        f"and {at_most(last, n)} was left." if last < first else "which broke nothing more."
    )
