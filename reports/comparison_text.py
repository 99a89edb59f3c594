"""A comparison for the terminal: the sentence, the rates, the classes that changed most, the samples that flipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .comparison_flips import Flips
from .comparison_view import Line, Versus, View
from .numbers import JOINER, THIN
from .text import clean, shorten

CLASSES, IDS = 10, 20
"""Classes and ids of flipped samples that fit a terminal."""
NAME = 24
PLAIN = {ord(THIN): " ", 0xA0: " ", ord(JOINER): None}
"""Typographic spaces, which a terminal may not have."""


def text(view: View) -> str:
    """Lines for a terminal, nothing in them that it obeys."""
    lines = [line for versus in view.contrasts for line in _versus(versus)]
    head = [f"{view.threat}."] + ([view.warning] if view.warning else [])
    return "\n".join(clean(line.translate(PLAIN)).rstrip() for line in [*head, *lines]) + "\n"


def _versus(versus: Versus) -> Iterator[str]:
    yield ""
    yield versus.sentence
    for warning in versus.warnings:
        yield f"! {' '.join(warning.split())}"
    yield ""
    heads = ("", versus.baseline, versus.other, "change", "95 % interval", "McNemar p")
    yield from _table(heads, [_cells(line, line.p) for line in versus.rates])
    yield ""
    for name, n in versus.counts:
        yield f"{n:>7}  {name}"
    yield versus.left_out
    if versus.distances:
        yield versus.distances
    if versus.classes:
        shown = _ends(versus.classes)
        yield ""
        yield from _table(("class", *heads[1:5], "p (Holm)", "n"), [(*_cells(c, c.holm), c.n) for c in shown])
        if len(shown) < len(versus.classes):
            yield f"Shown are the {CLASSES} classes at both ends; the formats html, json and csv have more."
        yield versus.by_class
    for flips in versus.flips:
        yield _ids(flips)


def _cells(line: Line, p: str) -> tuple[str, ...]:
    return (line.name, line.baseline, line.other, line.difference, line.interval, p)


def _ends(lines: Sequence[Line]) -> list[Line]:
    """The largest losses and the largest gains."""
    return list(lines) if len(lines) <= CLASSES else [*lines[: CLASSES // 2], *lines[-CLASSES // 2 :]]


def _ids(flips: Flips) -> str:
    if not flips.lines:
        return f"{flips.title}: none."
    ids = ", ".join(line.id for line in flips.lines[:IDS])
    return f"{flips.title}: samples {ids}{', …' if len(flips.lines) > IDS else ''}."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns side by side, all but the first set to the right."""
    cells = [[shorten(clean(cell.translate(PLAIN)), NAME) for cell in row] for row in [heads, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join([first.strip().ljust(widths[0]), *rest])
