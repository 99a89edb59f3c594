"""Marks and bars as static SVG: geometry in percent of the width, so that nothing scales but lengths.

Colours are presentation attributes, readable without any style sheet; the page's style sheet overrides them by class
for dark screens. Every mark has a title, every chart a label with its numbers. `charts.py` makes larger ones of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from .text import clean

FILLS = {
    "certified": "#14457f",
    "withstood": "#4a8fd0",
    "unattacked": "#c9ced6",
    "error": "#7b828c",
    "broken": "#d9591c",
    "misclassified": "#7a2f14",
    "track": "#e1e4e8",
    "dot": "#4a8fd0",
    "band": "#dfe9f5",
}
STROKES = {"grid": "#e1e4e8", "curve": "#4a8fd0", "proved": "#14457f", "tick": "#1c2024", "whisker": "#1c2024"}
INKS = {"strong": "#1c2024", "quiet": "#57606a"}
THICK = {"curve": 2.0, "proved": 2.0, "tick": 2.0, "whisker": 1.5}
SIGNS = {
    "good": "M3.5 8.5l3 3 6-7",
    "bad": "M4 4l8 8M12 4l-8 8",
    "open": "M5.5 6a2.5 2.5 0 1 1 3.6 2.2c-.7.4-1.1.8-1.1 1.6M8 12.3v.2",
    "none": "M4 8h8",
}
CELL = 180
"""Pixels that a bar in a table takes without style sheet."""


def swatch(kind: str) -> Markup:
    """The small square that stands for a status beside its name."""
    return Markup('<svg class="swatch" width="12" height="12" aria-hidden="true">{}</svg>').format(
        rect(kind, 0.0, 1.0, 0, 12)
    )


def mark(sign: str) -> Markup:
    """The sign before a verdict or a finding: `good` a tick, `bad` a cross, `open` a question mark, `none` a dash."""
    return Markup(
        '<svg class="mark" width="16" height="16" viewBox="0 0 16 16" aria-hidden="true"><path d="{}" fill="none" '
        'stroke="{}" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg>'
    ).format(SIGNS[sign], INKS["strong"])


def share_bar(value: float | None, span: Sequence[float] | None, clean_: float | None, title: str) -> Markup:
    """One row's robust accuracy as a bar, its interval as a whisker, its clean accuracy as a tick."""
    marks = [rect("track", 0.0, 1.0, 4, 10, title)]
    if value is not None:
        marks.append(rect("withstood", 0.0, value, 4, 10, title))
    if clean_ is not None:
        marks.append(tick(clean_, 2, 16, title))
    if span is not None:
        marks.append(whisker(span, 9, 3, title))
    return frame("cell", 18, title, marks, width=CELL)


def part_bar(kind: str, part: float, entered: float, whole: float, title: str) -> Markup:
    """How many entered, of the whole, and how many of those are the part."""
    most = whole if whole > 0 else 1
    marks = [rect("track", 0.0, entered / most, 4, 10, title), rect(kind, 0.0, part / most, 4, 10, title)]
    return frame("cell", 18, title, marks, width=CELL)


def stage_bar(before: float, after: float, title: str) -> Markup:
    """What stood before a stage, of all samples, and the part of it that fell."""
    marks = [rect("track", 0.0, 1.0, 4, 10, title), rect("withstood", 0.0, after, 4, 10, title)]
    if before > after:
        marks.append(rect("broken", after, before - after, 4, 10, title))
    return frame("cell", 18, title, marks, width=CELL)


def frame(kind: str, height: int, label: str, marks: Iterable[Markup], width: int | str = "100%") -> Markup:
    """A chart of these marks, with its numbers as alternative text."""
    return Markup(
        '<svg class="{}" width="{}" height="{}" role="img" aria-label="{}" overflow="visible">{}</svg>'
    ).format(kind, width, height, clean(label), Markup("").join(marks))


def rect(kind: str, at: float, share: float, y: float, height: float, title: str = "") -> Markup:
    """A bar from `at` over `share` of the width; its kind gives the colour."""
    return Markup('<rect class="{}" x="{}" y="{:g}" width="{}" height="{:g}" fill="{}">{}</rect>').format(
        kind, across(at), round(y, 1), across(share), round(height, 1), FILLS[kind], titled(title)
    )


def line(kind: str, x1: float, y1: float, x2: float, y2: float, title: str = "") -> Markup:
    """A straight line between two points, x as shares of the width."""
    return Markup(
        '<line class="{}" x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}" stroke="{}" stroke-width="{:g}">{}</line>'
    ).format(kind, across(x1), y1, across(x2), y2, STROKES[kind], THICK.get(kind, 1), titled(title))


def tick(at: float, y1: float, y2: float, title: str) -> Markup:
    """An upright line that marks a value."""
    return line("tick", at, y1, at, y2, title)


def whisker(span: Sequence[float], y: float, cap: float, title: str) -> Markup:
    """An interval: a line with a cap at each end."""
    low, high = span
    ends = [line("whisker", x, y - cap, x, y + cap, title) for x in (low, high)]
    return Markup("").join([line("whisker", low, y, high, y, title), *ends])


def dot(at: float, y: float, title: str) -> Markup:
    """A point of a curve."""
    return Markup('<circle class="dot" cx="{}" cy="{:.1f}" r="3.5" fill="{}">{}</circle>').format(
        across(at), y, FILLS["dot"], titled(title)
    )


def label(at: float, y: float, text: str, *, ink: str = "quiet", anchor: str = "") -> Markup:
    """Words in a chart, turned away from the nearer edge unless told otherwise."""
    anchor = anchor or ("start" if at < 0.25 else "end" if at > 0.75 else "middle")
    return Markup(
        '<text class="{}" x="{}" y="{:.0f}" text-anchor="{}" fill="{}" font-family="system-ui, sans-serif" '
        'font-size="12" font-weight="{}">{}</text>'
    ).format(ink, across(at), y, anchor, INKS[ink], 600 if ink == "strong" else 400, clean(text))


def across(share: float) -> str:
    """A share of the width, as SVG has it."""
    return f"{share * 100:.3f}%"


def titled(text: str) -> Markup:
    """What a mark says when it is pointed at, and to a screen reader."""
    return Markup("<title>{}</title>").format(clean(text)) if text else Markup("")
