"""A comparison as it is shown: words and numbers ready to print, for the terminal, a pull request and the page alike.

Nothing is computed here; `auditor.compare` has, and what is left out of a table is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from auditor.comparison import ClassChange, Comparison, Contrast, Side
from auditor.paired import Change
from auditor.points import ends, p_value, points

from . import words
from .comparison_flips import Flips, distances, flips
from .comparison_svg import dumbbell
from .numbers import THIN, at_least, at_most, count, percent
from .text import shorten

CLASSES = 30
"""Classes that a table shows; of more those that changed most."""
RATES = {"Robust accuracy": at_most, "Clean accuracy": percent, "Certified accuracy": at_least}
"""How each is written: robust accuracy is an upper bound, certified accuracy a lower one."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A rate with both models: of all samples, or of one class. full: the whole name where it had to be cut."""

    name: str
    full: str
    n: str
    baseline: str
    other: str
    difference: str
    interval: str
    p: str
    holm: str
    fell: str
    gained: str
    chart: Markup


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One of the large numbers, with what it is called and how to read it."""

    name: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Versus:
    """One record against the baseline. key: prefix of its anchors. counts: of the pairs, by who has them robust."""

    key: str
    title: str
    baseline: str
    other: str
    sentence: str
    warnings: list[str]
    figures: list[Figure]
    rates: list[Line]
    counts: list[tuple[str, str]]
    left_out: str
    by_class: str
    classes: list[Line]
    classes_note: str
    distances: str
    flips: list[Flips]


@dataclass(frozen=True, kw_only=True)
class SideLine:
    """One record as it stands alone."""

    name: str
    role: str
    n: str
    robust: str
    clean: str
    trust: str
    threat: str
    model: str
    sha256: str
    folder: str
    version: str


@dataclass(frozen=True, kw_only=True)
class View:
    """title: what the browser's tab says. threat: of all records, or of the baseline with a warning."""

    title: str
    threat: str
    warning: str
    sides: list[SideLine]
    contrasts: list[Versus]
    version: str


def view(comparison: Comparison) -> View:
    """The comparison in words."""
    shown = [_versus(found, f"c{number}") for number, found in enumerate(comparison.contrasts, 1)]
    warning = "The records are of different threats, so a difference is the models' and the threats' together."
    return View(
        title=shown[0].title if len(shown) == 1 else f"{len(shown)} records against {shown[0].baseline}",
        threat=words.describe(comparison.threat, blind=comparison.blind),
        warning=warning if comparison.across_threats else "",
        sides=[_side(side, number) for number, side in enumerate(comparison.sides)],
        contrasts=shown,
        version=comparison.version,
    )


def _versus(found: Contrast, key: str) -> Versus:
    first, second = found.baseline, found.other
    rates = zip(RATES, (found.robust, found.clean, found.certified), strict=True)
    known = [(name, one) for name, one in rates if one is not None]
    return Versus(
        key=key,
        title=f"{second} against {first}",
        baseline=first,
        other=second,
        sentence=_joined(found.sentence),
        warnings=[*(f"Another threat: {threat}." for threat in found.threats), *found.notes],
        figures=[*(_figure(name, one) for name, one in known), _flipped(found)],
        rates=[_line(name, one, name) for name, one in known],
        counts=[
            ("Robust in both", count(found.robust.both)),
            (f"Fell: robust in {first} alone", count(found.robust.only_baseline)),
            (f"Gained: robust in {second} alone", count(found.robust.only_other)),
            ("Robust in neither", count(found.robust.neither)),
        ],
        left_out=_left_out(found.left_out),
        by_class=found.by_class,
        classes=[_class(row) for row in _most_changed(found.classes)],
        classes_note=_classes_note(len(found.classes)),
        distances=distances(found.distances, first, second),
        flips=[
            flips("Fell", f"robust in {first}, not in {second}; the attack is the one that {second} fell to",
                   found.lost),
            flips("Gained", f"robust in {second}, not in {first}; the attack is the one that {first} fell to",
                   found.gained),
        ],
    )  # fmt: skip


def _joined(sentence: str) -> str:
    """The sentence with its numbers kept together with their signs and units."""
    for loose in (" %", "≤ "):
        sentence = sentence.replace(loose, loose.replace(" ", THIN))
    for loose in (" → ", "n = ", "p = ", "p < "):
        sentence = sentence.replace(loose, loose.replace(" ", "\xa0"))
    return sentence


def _flipped(found: Contrast) -> Figure:
    robust = found.robust
    return Figure(
        name="Samples that flipped",
        value=f"{count(robust.only_baseline)} fell, {count(robust.only_other)} gained",
        note=f"Of {count(found.n)} that are in both records; {count(robust.both)} are robust in both, "
        f"{count(robust.neither)} in neither.",
    )


def _figure(name: str, one: Change) -> Figure:
    rate = RATES[name]
    return Figure(
        name=f"{name}, change in points",
        value=points(one.difference, one.n),
        note=f"{rate(one.baseline, one.n)} → {rate(one.other, one.n)}, 95{THIN}% interval {ends(one.interval, one.n)}, "
        f"McNemar p\xa0=\xa0{p_value(one.p)}, n\xa0=\xa0{count(one.n)}.".replace("=\xa0<", "<\xa0"),
    )


def _line(name: str, one: Change, kind: str) -> Line:
    rate = RATES[kind]
    before, after = rate(one.baseline, one.n), rate(one.other, one.n)
    short = shorten(name)
    moved = f"{points(one.difference, one.n)} points ({ends(one.interval, one.n)})"
    title = f"{f'{short}: ' if name != kind else ''}{kind} {before} → {after}, {moved}, n = {one.n}"
    return Line(
        name=short,
        full=name if name != short else "",
        n=count(one.n),
        baseline=before,
        other=after,
        difference=points(one.difference, one.n),
        interval=ends(one.interval, one.n),
        p=p_value(one.p),
        holm=p_value(one.p_holm),
        fell=count(one.only_baseline),
        gained=count(one.only_other),
        chart=dumbbell(one.baseline, one.other, one.interval, title),
    )


def _class(row: ClassChange) -> Line:
    return _line(row.name, row.robust, "Robust accuracy")


def _most_changed(rows: Sequence[ClassChange]) -> list[ClassChange]:
    """In their order, those that changed most where there are too many."""
    ranked = sorted(rows, key=lambda row: -abs(row.robust.difference or 0.0))[:CLASSES]
    labels = {row.label for row in ranked}
    return [row for row in rows if row.label in labels]


def _classes_note(number: int) -> str:
    hidden = number - CLASSES
    if hidden <= 0:
        return ""
    return (
        f"Shown are the {CLASSES} of {count(number)} classes that changed most; {count(hidden)} are not shown. "
        "The formats json and csv have them all."
    )


def _left_out(left: dict[str, int]) -> str:
    told = [
        f"{count(n)} {'not attacked' if why == 'unattacked' else 'ended in an error'}" for why, n in left.items() if n
    ]
    if not told:
        return "No sample is left out: both records know something of each."
    n = sum(left.values())
    which = "sample is" if n == 1 else "samples are"
    return f"{count(n)} {which} left out ({', '.join(told)}, in either record): nothing is known of a model there."


def _side(side: Side, number: int) -> SideLine:
    return SideLine(
        name=side.name,
        role="other" if number else "baseline",
        n=count(side.n),
        robust=at_most(side.robust_accuracy, side.n),
        clean=percent(side.clean_accuracy, side.n),
        trust=side.trust,
        threat=side.threat,
        model=side.model,
        sha256=side.sha256,
        folder=side.folder,
        version=side.version,
    )
