"""The chart of a comparison: one row's change on a scale from 0 to 100 %, beside its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from .svg import CELL, FILLS, across, frame, rect, tick, titled, whisker

MIDDLE, BAND, RADIUS = 9, 4, 4.5
"""Of the row, from its top; height of the band between the rates; of the dot."""


def dumbbell(before: float | None, after: float | None, span: Sequence[float] | None, title: str) -> Markup:
    """A tick for the baseline's rate, a dot for the other's, a band between them: orange for a loss, blue for a gain.

    span: the interval of the difference, laid off from the baseline's rate as a whisker, inside 0 and 1.
    """
    marks = [rect("track", 0.0, 1.0, MIDDLE - 1, 2, title)]
    if before is not None and after is not None:
        kind = "broken" if after < before else "withstood"
        marks.append(rect(kind, min(before, after), abs(after - before), MIDDLE - BAND / 2, BAND, title))
        if span is not None:
            low, high = (min(max(before + end, 0.0), 1.0) for end in span)
            marks.append(whisker((low, high), MIDDLE, 3, title))
        marks += [tick(before, 1, 17, title), _dot(kind, after, title)]
    return frame("cell", 18, title, marks, width=CELL)


def _dot(kind: str, at: float, title: str) -> Markup:
    return Markup('<circle class="{}" cx="{}" cy="{}" r="{}" fill="{}">{}</circle>').format(
        kind, across(at), MIDDLE, RADIUS, FILLS[kind], titled(title)
    )
