"""How the number came about, as the page and the text tell it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from auditor.reports import markdown
from auditor.reports.html import render
from auditor.reports.story import story

from auditor.entry import Entry
from auditor.record import Chapter

Make = Callable[..., Entry]
replace = msgspec.structs.replace

CLAIMED = Chapter(kind="claimed", text="Claimed.", robust_accuracy=0.9, stages=["pgd"])
DOUBTED = Chapter(kind="doubted", text="Zero gradients.", robust_accuracy=0.9, findings=["gradients"])
TRIED = Chapter(kind="tried", text="Labels alone: nothing fell.", robust_accuracy=0.9, findings=["gradients"])
FELL = Chapter(
    kind="fell", text="Scores alone: 80 fell.", robust_accuracy=0.1, findings=["gradients"], stages=["square"]
)


def told(made: Entry, *chapters: Chapter) -> Entry:
    return Entry(replace(made.record, story=list(chapters)), made.folder)


@pytest.mark.parametrize(
    ("chapters", "lead"),
    [
        ((), ""),
        ((CLAIMED,), "It raised no doubt."),
        ((CLAIMED, DOUBTED), "That is in doubt, and nothing was tried to settle it."),
        ((CLAIMED, DOUBTED, TRIED), "Doubts were followed up, which broke nothing more."),
        ((CLAIMED, DOUBTED, FELL), "Doubts were followed up, and"),
        ((CLAIMED, FELL, replace(DOUBTED, robust_accuracy=0.1)), "Experiments of the checks left"),
        ((CLAIMED, FELL), "More was tried, and"),
        ((replace(CLAIMED, robust_accuracy=None),), "No stage of the suite could be played, so it claims nothing."),
    ],
)
def test_the_lead_says_how_it_ended(entry: Make, chapters: tuple[Chapter, ...], lead: str) -> None:
    found = story(told(entry(), *chapters).record)
    assert lead in found.lead
    assert bool(found.lead) == bool(lead)
    assert len(found.chapters) == len(chapters)


def test_the_page_and_the_text_tell_it_in_order(entry: Make, parse: Callable[[str], Any]) -> None:
    made = told(entry(), CLAIMED, DOUBTED, TRIED, FELL)
    page, text = render([made]), markdown.render([made])
    for output in (page, text):
        places = [output.index(chapter.text.rstrip(".")) for chapter in (CLAIMED, DOUBTED, TRIED, FELL)]
        assert places == sorted(places)
    assert "Played: square." in page
    assert "| What fell | Scores alone: 80 fell. |" in text


def test_hostile_words_stay_text(entry: Make) -> None:
    nasty = replace(FELL, text="<script>alert(1)</script>", stages=["<b>x</b>"])
    page = render([told(entry(), CLAIMED, nasty)])
    assert "<script>alert" not in page
    assert "<b>x</b>" not in page
