"""The larger charts: the result between its bounds, and robust accuracy over epsilon. Marks are those of `svg.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from .numbers import amount, at_least, at_most, interval, percent
from .svg import STROKES, dot, frame, label, line, rect, tick, titled, whisker
from .text import clean

APART = 0.4
"""Share of the width under which two labels on one line could meet on a phone."""
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
WIDTH, HEIGHT = 240, 120
"""Of a small curve, in its own units; it is scaled as a whole."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A length of a bar: its kind (which gives the colour), its share of the whole in [0, 1], and its title."""

    kind: str
    share: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where a curve goes down to: epsilon, the share for which nothing was found up to there, and the share proved."""

    epsilon: float
    found: float
    proved: float = 0.0


def bracket(
    parts: Iterable[Part],
    robust: float | None,
    span: Sequence[float] | None,
    certified: float | None,
    clean_: float | None,
    n: int,
    text: str,
) -> Markup:
    """The whole result on one scale from 0 to 100 %: statuses as a bar, the upper bound with its interval above it,
    certified and clean accuracy below."""
    marks, at = [], 0.0
    for part in parts:
        if part.share > 0:
            marks.append(rect(part.kind, at, part.share, 38, 28, part.title))
        at += part.share
    if span is not None:
        marks.append(whisker(span, 27, 5, f"95 % interval {interval(span)}"))
    if robust is not None:
        words = f"robust {at_most(robust, n)}"
        marks += [tick(robust, 20, 70, words), label(robust, 13, words, ink="strong")]
    if certified is not None:
        words = f"certified {at_least(certified, n)}"
        marks.append(tick(certified, 34, 76, words))
        if clean_ is None or clean_ - certified > APART:
            marks.append(label(certified, 90, words))
    if clean_ is not None:
        words = f"clean {percent(clean_, n)}"
        marks += [tick(clean_, 34, 76, words), label(clean_, 90, words)]
    for level in LEVELS:
        marks.append(label(level, 112, f"{level:.0%}" if level == 1 else f"{level * 100:.0f}"))
    return frame("chart", 118, text, marks)


def curve(steps: Sequence[Step], n: int, text: str, epsilon: float | None = None) -> Markup:
    """Robust accuracy in percent over epsilon, in steps: between two points nothing is known but the bound before.

    Where anything is proved, the band between the two ends holds the truth. epsilon: of the audit, marked where it
    lies among them.
    """
    right = max((step.epsilon for step in steps), default=0.0) or 1.0
    left, width, top, height = 0.08, 0.9, 24, 190

    def x(value: float) -> float:
        return left + width * value / right

    def y(share: float) -> float:
        return top + (1 - share) * height

    proved = says_something(steps)
    marks = []
    if proved:
        for a, b in pairwise(steps):
            title = f"epsilon {amount(a.epsilon)} to {amount(b.epsilon)}: between {_both(a, n)}"
            wide, tall = x(b.epsilon) - x(a.epsilon), y(a.proved) - y(a.found)
            marks.append(rect("band", x(a.epsilon), wide, y(a.found), tall, title))
    for level in LEVELS:
        marks.append(line("grid", left, y(level), left + width, y(level)))
        marks.append(label(left - 0.01, y(level) + 4, f"{level * 100:.0f}", anchor="end"))
    for a, b in pairwise(steps):
        for kind, before, after in (("curve", a.found, b.found), ("proved", a.proved, b.proved)):
            if kind == "curve" or (proved and before > 0):
                title = f"epsilon {amount(a.epsilon)} to {amount(b.epsilon)}: {_end(kind, before, n)}"
                marks.append(line(kind, x(a.epsilon), y(before), x(b.epsilon), y(before), title))
                marks.append(line(kind, x(b.epsilon), y(before), x(b.epsilon), y(after), title))
    for step in steps:
        title = f"epsilon {amount(step.epsilon)}: robust accuracy {at_most(step.found, n)}"
        marks.append(dot(x(step.epsilon), y(step.found), title))
    if epsilon is not None and 0 < epsilon <= right:
        words = f"epsilon {amount(epsilon)}"
        marks.append(line("tick", x(epsilon), top, x(epsilon), top + height, words))
        marks.append(label(x(epsilon), top - 9, words, anchor="end" if epsilon > right / 2 else "start"))
    for value in (0.0, right / 2, right):
        marks.append(label(x(value), top + height + 20, amount(value), anchor="end" if value == right else "middle"))
    return frame("chart", top + height + 26, text, marks)


def small_curve(steps: Sequence[Step], right: float, epsilon: float | None, text: str) -> Markup:
    """One of many curves beside each other, on a common scale from 0 to `right`: no numbers but its ends."""
    left, top, width, height = 4.0, 6.0, WIDTH - 8.0, HEIGHT - 24.0

    def x(value: float) -> float:
        return left + width * min(value / right, 1.0)

    def y(share: float) -> float:
        return top + (1 - share) * height

    marks = [_stroke("grid", f"M{left:g} {y(0):g}H{left + width:g}M{left:g} {y(1):g}H{left + width:g}", "")]
    if epsilon is not None and 0 < epsilon <= right:
        marks.append(_stroke("tick", f"M{x(epsilon):.1f} {top:g}V{top + height:g}", f"epsilon {amount(epsilon)}"))
    for kind, ends in (("proved", [s.proved for s in steps]), ("curve", [s.found for s in steps])):
        if steps and (kind == "curve" or says_something(steps)):
            path = [f"M{x(steps[0].epsilon):.1f} {y(ends[0]):.1f}"]
            path += [f"H{x(step.epsilon):.1f}V{y(end):.1f}" for step, end in zip(steps[1:], ends[1:], strict=True)]
            marks.append(_stroke(kind, "".join(path), text))
    words = Markup('<text class="quiet" x="{:g}" y="{}" text-anchor="{}" fill="#57606a" font-size="12">{}</text>')
    marks += [
        words.format(left, HEIGHT - 4, "start", "0"),
        words.format(left + width, HEIGHT - 4, "end", amount(right)),
    ]
    return Markup(
        '<svg class="small" width="{}" height="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, WIDTH, HEIGHT, clean(text), Markup("").join(marks))


def says_something(steps: Iterable[Step]) -> bool:
    """Whether anything is proved beyond distance 0, where a correct sample is robust by itself."""
    return any(step.proved > 0 for step in steps if step.epsilon > 0)


def _both(step: Step, n: int) -> str:
    return f"{percent(step.proved, n)} (proved) and {percent(step.found, n)} (nothing found)"


def _end(kind: str, share: float, n: int) -> str:
    return f"certified {at_least(share, n)}" if kind == "proved" else f"robust accuracy {at_most(share, n)}"


def _stroke(kind: str, path: str, title: str) -> Markup:
    return Markup('<path class="{}" d="{}" fill="none" stroke="{}" stroke-width="{}">{}</path>').format(
        kind, path, STROKES[kind], 1 if kind in ("grid", "tick") else 2, titled(title)
    )
