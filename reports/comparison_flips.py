"""Samples that flipped between two records, one by one, and how far their adversarial examples are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.comparison import BEYOND, EITHER, INTO, Distances, Flip
from auditor.rates import MISSING

from .numbers import THIN, amount, count, signed
from .text import shorten

FLIPS = 40
"""Samples of either kind that a table shows."""


@dataclass(frozen=True, kw_only=True)
class FlipLine:
    """A sample that flipped, and how. how: the attack with its distance, or that there was none."""

    id: str
    name: str
    before: str
    after: str
    into: str
    how: str


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Samples that fell, or that were gained, under a title; summary: how many of them are shown, in a few words."""

    title: str
    summary: str
    caption: str
    lines: list[FlipLine]


def distances(found: Distances | None, first: str, second: str) -> str:
    """How the distance of the nearest example changes, in words; empty where neither record looked for distances."""
    if found is None:
        return ""
    if not found.n:
        return (
            f"Distances can't be compared: of {count(found.not_looked)} samples that both models classify correctly "
            "there is none for which both records looked for the nearest adversarial example."
        )
    more = f", not for {count(found.not_looked)} more that they do" if found.not_looked else ""
    return (
        f"For {count(found.n)} samples that both models classify correctly both records looked for the nearest "
        f"adversarial example ({found.norm}){more}. {count(found.both)} have one in both, {count(found.only_baseline)} "
        f"in {first} alone, {count(found.only_other)} in {second} alone, {count(found.neither)} in neither. "
        f"{_moved(found, second)} The medians over all {count(found.n)} are {_far(found, 'baseline')} for {first} and "
        f"{_far(found, 'other')} for {second}."
    )


def _moved(found: Distances, second: str) -> str:
    """The change in pairs, a sentence: a number, or that an example was lost or found."""
    n = found.n - found.neither
    if not n:
        return "So no distance changes."
    how = {
        BEYOND: f"goes {BEYOND}: {second} has none",
        INTO: f"comes {INTO}: {second} alone has one",
        EITHER: f"goes {BEYOND} for one half and comes {INTO} for the other",
    }
    word = found.beyond.get("difference", "")
    told = how.get(word) or f"changes by {_change(found.difference, word)} in the median"
    if word in (BEYOND, INTO):
        told = f"in the median {told}"
    head = f"Sample by sample, over the {count(n)} that have one, the nearest example's distance {told}"
    if found.interval is None:
        return f"{head}."
    low, high = found.interval
    ends = f"{_change(low, found.beyond.get('low', ''))} to {_change(high, found.beyond.get('high', ''))}"
    return f"{head} (95{THIN}% interval {ends})."


def _change(value: float | None, word: str) -> str:
    return word or MISSING if value is None else signed(value)


def _far(found: Distances, name: str) -> str:
    return found.beyond.get(name) or amount(getattr(found, name))


def flips(title: str, caption: str, found: Sequence[Flip]) -> Flips:
    """The first samples that flipped one way, and how many more there are."""
    n, cut = len(found), len(found) > FLIPS
    shown = f"the first {FLIPS} of {count(n)} samples; the format json has them all" if cut else f"{n} samples"
    return Flips(
        title=title,
        summary=f"{title}: {shown}",
        caption=caption,
        lines=[_flip(flip) for flip in found[:FLIPS]],
    )


def _flip(flip: Flip) -> FlipLine:
    if flip.attack is None:
        how = "none: wrong on the clean input"
    else:
        how = f"{shorten(flip.attack)}, distance {amount(flip.distance)}"
    return FlipLine(
        id=str(flip.id),
        name=shorten(flip.name),
        before=str(flip.before),
        after=str(flip.after),
        into=shorten(flip.wrong_name),
        how=how,
    )
