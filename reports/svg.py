"""Charts as static SVG: geometry in percent of the width, so that nothing scales but lengths.

Colours are presentation attributes, readable without any style sheet; the page's style sheet overrides them by class
for dark screens. Every mark has a title, every chart a label with its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from .numbers import amount, at_most, interval, percent
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
}
STROKES = {"grid": "#e1e4e8", "curve": "#4a8fd0", "tick": "#1c2024", "whisker": "#1c2024"}
INKS = {"strong": "#1c2024", "quiet": "#57606a"}
SIGNS = {
    "good": "M3.5 8.5l3 3 6-7",
    "bad": "M4 4l8 8M12 4l-8 8",
    "open": "M5.5 6a2.5 2.5 0 1 1 3.6 2.2c-.7.4-1.1.8-1.1 1.6M8 12.3v.2",
    "none": "M4 8h8",
}
APART = 0.4
"""Share of the width under which two labels on one line could meet on a phone."""
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A length of a bar: its kind (which gives the colour), its share of the whole in [0, 1], and its title."""

    kind: str
    share: float
    title: str


def swatch(kind: str) -> Markup:
    """The small square that stands for a status beside its name."""
    return Markup('<svg class="swatch" width="12" height="12" aria-hidden="true">{}</svg>').format(
        _rect(kind, 0.0, 1.0, 0, 12)
    )


def mark(sign: str) -> Markup:
    """The sign before a verdict or a finding: `good` a tick, `bad` a cross, `open` a question mark, `none` a dash."""
    return Markup(
        '<svg class="mark" width="16" height="16" viewBox="0 0 16 16" aria-hidden="true"><path d="{}" fill="none" '
        'stroke="{}" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg>'
    ).format(SIGNS[sign], INKS["strong"])


def bracket(
    parts: Iterable[Part],
    robust: float | None,
    span: Sequence[float] | None,
    certified: float | None,
    clean_: float | None,
    n: int,
    label: str,
) -> Markup:
    """The whole result on one scale from 0 to 100 %: statuses as a bar, the upper bound with its interval above it,
    certified and clean accuracy below."""
    marks, at = [], 0.0
    for part in parts:
        if part.share > 0:
            marks.append(_rect(part.kind, at, part.share, 38, 28, part.title))
        at += part.share
    if span is not None:
        marks.append(_whisker(span, 27, 5, f"95 % interval {interval(span)}"))
    if robust is not None:
        text = f"robust {at_most(robust, n)}"
        marks += [_tick(robust, 20, 70, text), _text(robust, 13, text, ink="strong")]
    if certified is not None:
        text = f"certified ≥ {percent(certified, n)}"
        marks.append(_tick(certified, 34, 76, text))
        if clean_ is None or clean_ - certified > APART:
            marks.append(_text(certified, 90, text))
    if clean_ is not None:
        text = f"clean {percent(clean_, n)}"
        marks += [_tick(clean_, 34, 76, text), _text(clean_, 90, text)]
    for level in LEVELS:
        marks.append(_text(level, 112, f"{level:.0%}" if level == 1 else f"{level * 100:.0f}"))
    return _svg("chart", 118, label, marks)


def share_bar(value: float | None, span: Sequence[float] | None, clean_: float | None, title: str) -> Markup:
    """One row's robust accuracy as a bar, its interval as a whisker, its clean accuracy as a tick."""
    marks = [_rect("track", 0.0, 1.0, 4, 10, title)]
    if value is not None:
        marks.append(_rect("withstood", 0.0, value, 4, 10, title))
    if clean_ is not None:
        marks.append(_tick(clean_, 2, 16, title))
    if span is not None:
        marks.append(_whisker(span, 9, 3, title))
    return _svg("cell", 18, title, marks, width=180)


def part_bar(kind: str, part: int, entered: int, whole: int, title: str) -> Markup:
    """How many entered, of the whole, and how many of those are the part."""
    most = max(whole, 1)
    marks = [_rect("track", 0.0, entered / most, 4, 10, title), _rect(kind, 0.0, part / most, 4, 10, title)]
    return _svg("cell", 18, title, marks, width=180)


def curve(points: Sequence[tuple[float, float]], n: int, label: str, epsilon: float | None = None) -> Markup:
    """Robust accuracy in percent over epsilon, in steps: between two points nothing is known but the bound before.

    epsilon: of the audit, marked where it lies among them.
    """
    right = max((x for x, _ in points), default=0.0) or 1.0
    left, width, top, height = 0.08, 0.9, 10, 180

    def across(x: float) -> float:
        return left + width * x / right

    def down(y: float) -> float:
        return top + (1 - y) * height

    marks = []
    for level in LEVELS:
        marks.append(_line("grid", left, down(level), left + width, down(level)))
        marks.append(_text(left - 0.01, down(level) + 4, f"{level * 100:.0f}", anchor="end"))
    for (x0, y0), (x1, y1) in pairwise(points):
        marks.append(_line("curve", across(x0), down(y0), across(x1), down(y0)))
        marks.append(_line("curve", across(x1), down(y0), across(x1), down(y1)))
    for x, y in points:
        title = f"epsilon {amount(x)}: robust accuracy {at_most(y, n)}"
        marks.append(
            Markup('<circle class="dot" cx="{}" cy="{:.1f}" r="4" fill="{}">{}</circle>').format(
                _at(across(x)), down(y), FILLS["dot"], _title(title)
            )
        )
    if epsilon is not None and 0 < epsilon <= right:
        marks.append(_line("tick", across(epsilon), top, across(epsilon), top + height))
        marks.append(_text(across(epsilon) + 0.008, top + 12, f"epsilon {amount(epsilon)}", anchor="start"))
    for x in (0.0, right / 2, right):
        marks.append(_text(across(x), top + height + 20, amount(x), anchor="end" if x == right else "middle"))
    return _svg("chart", top + height + 26, label, marks)


def _svg(kind: str, height: int, label: str, marks: Iterable[Markup], width: int | str = "100%") -> Markup:
    return Markup(
        '<svg class="{}" width="{}" height="{}" role="img" aria-label="{}" overflow="visible">{}</svg>'
    ).format(kind, width, height, clean(label), Markup("").join(marks))


def _at(share: float) -> str:
    return f"{share * 100:.3f}%"


def _title(text: str) -> Markup:
    return Markup("<title>{}</title>").format(clean(text)) if text else Markup("")


def _rect(kind: str, at: float, share: float, y: int, height: int, title: str = "") -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" fill="{}">{}</rect>').format(
        kind, _at(at), y, _at(share), height, FILLS[kind], _title(title)
    )


def _line(kind: str, x1: float, y1: float, x2: float, y2: float, title: str = "") -> Markup:
    thickness = 2 if kind in ("curve", "tick") else 1.5 if kind == "whisker" else 1
    return Markup(
        '<line class="{}" x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}" stroke="{}" stroke-width="{}">{}</line>'
    ).format(kind, _at(x1), y1, _at(x2), y2, STROKES[kind], thickness, _title(title))


def _tick(at: float, y1: int, y2: int, title: str) -> Markup:
    return _line("tick", at, y1, at, y2, title)


def _whisker(span: Sequence[float], y: int, cap: int, title: str) -> Markup:
    low, high = span
    ends = [_line("whisker", x, y - cap, x, y + cap, title) for x in (low, high)]
    return Markup("").join([_line("whisker", low, y, high, y, title), *ends])


def _text(at: float, y: float, text: str, *, ink: str = "quiet", anchor: str = "") -> Markup:
    anchor = anchor or ("start" if at < 0.25 else "end" if at > 0.75 else "middle")
    return Markup(
        '<text class="{}" x="{}" y="{:.0f}" text-anchor="{}" fill="{}" font-family="system-ui, sans-serif" '
        'font-size="12" font-weight="{}">{}</text>'
    ).format(ink, _at(at), y, anchor, INKS[ink], 600 if ink == "strong" else 400, clean(text))
