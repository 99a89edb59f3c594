"""What an attacker would send: verified adversarial examples as pictures, or the features that moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auditor.entry import Entry
from auditor.errors import RecordError
from auditor.record import Record

from .examples import Example, choose, fault
from .moves import Feature, Moved, features, moved
from .numbers import amount
from .pictures import Picture, as_pictures, show, show_difference

EXAMPLES, TABLES = 20, 10
"""Examples shown as pictures, or as rows of a table."""
BUDGET = 2_300_000
"""Characters that all pictures of one page may take together."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An example with its pictures."""

    example: Example
    clean: Picture
    adversarial: Picture
    difference: Picture


@dataclass(frozen=True, kw_only=True)
class Group:
    """Some examples under one heading, as pictures or as features that moved."""

    title: str
    note: str
    pictures: list[Shown]
    tables: list[Moved]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """note: why there are none, empty where there are. scale: how values are to be read. features: what moved most, of
    inputs that are no pictures."""

    note: str
    scale: str
    groups: list[Group]
    features: list[Feature]
    pixelated: bool = False


def gallery(entry: Entry, budget: int = BUDGET) -> Gallery:
    """Some of a record's adversarial examples. budget: characters that their pictures may take."""
    record = entry.record
    if not any(o.adversarial_label is not None or o.nearest is not None for o in record.outcomes):
        return _empty("No adversarial example was found, so there is none to show.")
    try:
        evidence = entry.evidence()
    except RecordError as error:
        return _empty(f"The examples can't be shown. {error}")
    if problem := fault(evidence):
        return _empty(f"The examples can't be shown: {problem}.")
    groups = choose(entry, evidence, EXAMPLES)
    examples = [example for group in groups for example in group.examples]
    images = as_pictures(
        np.stack([part for example in examples for part in (example.x, example.x_adv)]), pixels=record.samples.pixels
    )
    if images is None:
        return Gallery(
            note="",
            scale="Values in the samples' own units.",
            groups=[
                Group(title=g.title, note=g.note, pictures=[], tables=[moved(example) for example in g.examples])
                for g in choose(entry, evidence, TABLES)
            ],
            features=features(evidence["x"], evidence["x_adv"]),
        )
    low, high = _range(record, images)
    shown = _drawn(examples, images.astype(np.float64), low, high, budget)
    made = []
    for group in groups:
        own, shown = shown[: len(group.examples)], shown[len(group.examples) :]
        if own:
            made.append(Group(title=group.title, note=group.note, pictures=own, tables=[]))
    return Gallery(
        note="",
        scale=_scale(images.shape[1:], low, high),
        groups=made,
        features=[],
        pixelated=max(images.shape[1:3]) <= 64,
    )


def _empty(note: str) -> Gallery:
    return Gallery(note=note, scale="", groups=[], features=[])


def _drawn(examples: list[Example], images: np.ndarray, low: float, high: float, budget: int) -> list[Shown]:
    """The first example, and as many more as the budget allows. images: clean and adversarial by turns."""
    shown: list[Shown] = []
    for example, clean, adversarial in zip(examples, images[::2], images[1::2], strict=True):
        change = adversarial - clean
        drawn = Shown(
            example=example,
            clean=show(clean, low, high),
            adversarial=show(adversarial, low, high),
            difference=show_difference(change, float(np.abs(change).max(initial=0.0))),
        )
        budget -= sum(len(picture.uri) for picture in (drawn.clean, drawn.adversarial, drawn.difference))
        if budget < 0 and shown:
            break
        shown.append(drawn)
    return shown


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
