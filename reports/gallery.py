"""What an attacker would send: verified adversarial examples as pictures, or the features that moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditor.errors import RecordError
from auditor.metrics import class_name
from auditor.rates import MISSING
from auditor.record import Entry, Outcome, Record

from .numbers import amount, count, signed
from .pictures import Picture, as_pictures, show, show_difference
from .text import shorten
from .weakness import order

EXAMPLES, TABLES = 20, 10
"""Examples shown as pictures, or as tables of features."""
BUDGET = 2_300_000
"""Characters that all pictures of one page may take together."""
MOVES = 4
"""Features shown of each example that is no picture."""
NEEDED = ("id", "x", "x_adv", "label", "adversarial_label")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One verified adversarial example. change: its largest change, `±0.3`."""

    id: str
    source: str
    into: str
    attack: str
    distance: str
    change: str


@dataclass(frozen=True, kw_only=True)
class Shown(Example):
    """With its pictures."""

    clean: Picture
    adversarial: Picture
    difference: Picture


@dataclass(frozen=True, kw_only=True)
class Move:
    """One feature: where it is, what it was and became, and by how much."""

    feature: str
    before: str
    after: str
    change: str


@dataclass(frozen=True, kw_only=True)
class Moved(Example):
    """With the features that moved most, of how many."""

    moves: list[Move]
    moved: str


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """note: which examples these are, or why there are none. scale: how the pictures' values are to be read."""

    note: str
    scale: str
    pictures: list[Shown]
    tables: list[Moved]
    pixelated: bool = False


def gallery(entry: Entry, budget: int = BUDGET) -> Gallery:
    """Some of a record's adversarial examples, one of each class in turn, the weakest class first."""
    record = entry.record
    if not any(outcome.adversarial_label is not None for outcome in record.outcomes):
        return _empty("No adversarial example was found, so there is none to show.")
    try:
        evidence = entry.evidence()
    except RecordError as error:
        return _empty(f"The examples can't be shown. {error}")
    if fault := _fault(evidence):
        return _empty(f"The examples can't be shown: {fault}.")
    outcomes = {outcome.id: outcome for outcome in record.outcomes}
    chosen = choose(evidence["label"], order(record))
    total = len(evidence["id"])
    images = as_pictures(
        np.concatenate([evidence["x"][chosen], evidence["x_adv"][chosen]]), pixels=record.samples.pixels
    )
    if images is None:
        tables = [_moved(record, outcomes, evidence, row) for row in chosen[:TABLES]]
        return Gallery(
            note=_which(len(tables), total), scale="Values in the samples' own units.", pictures=[], tables=tables
        )
    clean, adversarial = np.split(images.astype(np.float64), 2)
    low, high = _range(record, images)
    shown: list[Shown] = []
    for place, row in enumerate(chosen):
        change = adversarial[place] - clean[place]
        reach = float(np.abs(change).max(initial=0.0))
        example = Shown(
            **_facts(record, outcomes, evidence, row),
            clean=show(clean[place], low, high),
            adversarial=show(adversarial[place], low, high),
            difference=show_difference(change, reach),
        )
        budget -= sum(len(p.uri) for p in (example.clean, example.adversarial, example.difference))
        if budget < 0 and shown:
            break
        shown.append(example)
    return Gallery(
        note=_which(len(shown), total),
        scale=_scale(images.shape[1:], low, high),
        pictures=shown,
        tables=[],
        pixelated=max(images.shape[1:3]) <= 64,
    )


def choose(labels: np.ndarray, classes: Sequence[int], most: int = EXAMPLES) -> list[int]:
    """Rows of the evidence: the first of each class in the order of `classes`, then the second of each, and so on."""
    rows = {label: list(np.flatnonzero(labels == label)) for label in [*classes, *sorted(set(labels.tolist()))]}
    chosen: list[int] = []
    while any(rows.values()) and len(chosen) < most:
        for own in rows.values():
            if own and len(chosen) < most:
                chosen.append(int(own.pop(0)))
    return chosen


def _empty(note: str) -> Gallery:
    return Gallery(note=note, scale="", pictures=[], tables=[])


def _fault(evidence: dict[str, np.ndarray]) -> str:
    missing = [name for name in NEEDED if name not in evidence]
    if missing:
        return f"the evidence lacks {', '.join(missing)}"
    if len({len(evidence[name]) for name in NEEDED}) != 1 or evidence["x"].shape != evidence["x_adv"].shape:
        return "the evidence's arrays don't fit together"
    return "" if len(evidence["id"]) else "the evidence is empty"


def _which(shown: int, total: int) -> str:
    if shown == total:
        return (
            f"All {count(total)} adversarial examples; the deployed model confirmed each."
            if total > 1
            else "The only one."
        )
    return (
        f"{shown} of {count(total)} adversarial examples, each confirmed by the deployed model: one of every class in "
        "turn, the weakest class first."
    )


def _facts(record: Record, outcomes: dict[int, Outcome], evidence: dict[str, np.ndarray], row: int) -> dict[str, str]:
    names = tuple(record.class_names) if record.class_names else None
    outcome = outcomes.get(int(evidence["id"][row]))
    change = np.abs(evidence["x_adv"][row].astype(np.float64) - evidence["x"][row]).max(initial=0.0)
    return {
        "id": str(int(evidence["id"][row])),
        "source": shorten(class_name(int(evidence["label"][row]), names)),
        "into": shorten(class_name(int(evidence["adversarial_label"][row]), names)),
        "attack": shorten((outcome.attack if outcome else None) or "not recorded"),
        "distance": amount(outcome.distance) if outcome else MISSING,
        "change": amount(float(change)),
    }


def _moved(record: Record, outcomes: dict[int, Outcome], evidence: dict[str, np.ndarray], row: int) -> Moved:
    before, after = (evidence[name][row].astype(np.float64) for name in ("x", "x_adv"))
    change = after - before
    largest = np.argsort(-np.abs(change), axis=None, kind="stable")[:MOVES]
    moves = []
    for flat in largest:
        place = np.unravel_index(int(flat), change.shape)
        if change[place] != 0:
            moves.append(
                Move(
                    feature=", ".join(str(int(axis)) for axis in place),
                    before=amount(float(before[place])),
                    after=amount(float(after[place])),
                    change=signed(float(change[place])),
                )
            )
    moved = f"{count(int(np.count_nonzero(change)))} of {count(change.size)}"
    return Moved(**_facts(record, outcomes, evidence, row), moves=moves, moved=moved)


def _range(record: Record, images: np.ndarray) -> tuple[float, float]:
    """What black and white stand for: 0 and 1 where the values allow it, else the bounds, else the extremes."""
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    bounds = record.threat.bounds
    return (float(bounds[0]), float(bounds[1])) if bounds is not None else (low, high)


def _scale(shape: tuple[int, ...], low: float, high: float) -> str:
    height, width, channels = shape
    text = f"Inputs of {width} × {height}, shown from {amount(low)} (black) to {amount(high)} (white). "
    text += "Each third picture is the difference: "
    if channels == 1:
        return text + "orange is brighter, blue is darker, full colour at the change written below it."
    return text + "mid-grey is no change, each channel is full at the change written below it."
