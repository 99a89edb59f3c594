"""Matrices of source and target classes: a number in each cell, and a shade that says the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from auditor.hardness import Pair
from auditor.record import Record

from .names import naming
from .numbers import THIN, amount, count, interval, known, percent, times
from .text import shorten

LEAST, MOST = 4, 12
"""Classes from which and up to which a matrix says more than a list."""
FEW = 10
"""Runs under which a cell says that they are few."""
SHADES = 5
"""Steps of colour, from nothing to full."""
ROW, COLUMN = 16, 10
"""Characters of a class's name at the side and at the top."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """text: the number. title: what it says in full. shade: `s0` to `s5`, empty where there is nothing to shade."""

    text: str
    title: str
    shade: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """A source class with its cells, in the order of the heads."""

    name: str
    full: str
    cells: list[Cell]


@dataclass(frozen=True, kw_only=True)
class Head:
    """A target class at the top."""

    name: str
    full: str


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """title: what it shows. caption: how to read it."""

    title: str
    caption: str
    heads: list[Head]
    rows: list[Row]


def success(record: Record, pairs: Iterable[Pair], labels: list[int]) -> Matrix:
    """How often runs get from the class at the side to the class at the top, within epsilon."""
    pairs = list(pairs)
    few = any(pair.n >= FEW for pair in pairs)

    def cell(pair: Pair) -> Cell:
        rate = pair.broken / pair.n
        text = percent(rate, min(pair.n, 99)).replace(THIN, "").removesuffix("%")
        return Cell(
            text=text + ("*" if few and pair.n < FEW else ""),
            title=f"{_names(record, pair)}: {count(pair.broken)} of {count(pair.n)} within epsilon"
            + (f", interval {interval(pair.interval)}{THIN}%" if pair.interval else ""),
            shade=f"s{-int(-rate * SHADES // 1)}",
        )

    attack = f" of {shorten(record.hardness.attack)}" if record.hardness else ""
    caption = f"How many in 100 runs{attack} get there within epsilon; from the class at the side to the one at the top"
    if few and any(pair.n < FEW for pair in pairs):
        caption += f"; * fewer than {FEW} runs"
    return _matrix(record, "Success rate", f"{caption}.", pairs, labels, cell)


def distances(record: Record, pairs: Iterable[Pair], labels: list[int]) -> Matrix:
    """How far it is from the class at the side to the class at the top."""
    pairs = list(pairs)
    found = [pair.distance for pair in pairs if known(pair.distance)]
    near, far = min(found, default=0.0), max(found, default=0.0)

    def cell(pair: Pair) -> Cell:
        told = f"{_names(record, pair)}: "
        if not known(pair.distance):
            return Cell(
                text="–", title=f"{told}{count(pair.reached)} of {count(pair.n)} got there at any distance", shade="s0"
            )
        multiple = times(pair.distance, record.threat.epsilon)
        return Cell(
            text=short(pair.distance),
            title=f"{told}median distance {amount(pair.distance)}{f' = {multiple}' if multiple else ''}, n = {pair.n}",
            shade=f"s{round(SHADES * (far - pair.distance) / (far - near)) if far > near else SHADES}",
        )

    caption = (
        f"Median distance ({record.threat.norm}) of the nearest example of the class at the top, the stronger the "
        "colour the nearer; – where fewer than half of the runs got there."
    )
    return _matrix(record, "Median distance", caption, pairs, labels, cell)


def _matrix(
    record: Record,
    title: str,
    caption: str,
    pairs: Iterable[Pair],
    labels: list[int],
    cell: Callable[[Pair], Cell],
) -> Matrix:
    full, side, top = naming(record), naming(record, ROW), naming(record, COLUMN)
    table = {(pair.source, pair.target): pair for pair in pairs}
    own, none = Cell(text="", title="", shade=""), Cell(text="·", title="no sample was attacked towards it", shade="")
    return Matrix(
        title=title,
        caption=caption,
        heads=[Head(name=top(label), full=full(label)) for label in labels],
        rows=[
            Row(
                name=side(source),
                full=full(source),
                cells=[
                    own if source == target else cell(table[source, target]) if (source, target) in table else none
                    for target in labels
                ],
            )
            for source in labels
        ],
    )


def short(distance: float) -> str:
    """Two digits, and no zero before the point: cells are narrow."""
    if not 0.001 <= distance < 100:
        return amount(distance)
    return f"{distance:.2g}".removeprefix("0")


def _names(record: Record, pair: Pair) -> str:
    name = naming(record)
    return f"{name(pair.source)} to {name(pair.target)}"
