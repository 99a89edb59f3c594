"""Samples that flipped between two records, one by one, and how far their adversarial examples are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.comparison import Distances, Flip

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
    """How the distance of the nearest example changes, in words; empty where there is none in both."""
    if found is None:
        return ""
    within = (
        f" (95{THIN}% interval {signed(found.interval[0])} to {signed(found.interval[1])})" if found.interval else ""
    )
    return (
        f"Of {count(found.n)} samples both records have the nearest adversarial example that a distance stage found "
        f"({found.norm}). Sample by sample its distance changes by {signed(found.difference)} in the median{within}; "
        f"the medians are {amount(found.baseline)} for {first} and {amount(found.other)} for {second}. "
        f"{count(found.only_baseline)} samples have one in {first} alone, {count(found.only_other)} in {second} alone."
    )


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
