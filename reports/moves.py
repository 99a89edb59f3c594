"""Features that moved, of inputs that are no pictures: in each example, and over all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from . import svg
from .examples import Example
from .numbers import amount, count, signed

MOVES, FEATURES = 4, 10
"""Features shown of each example, and over all."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """One feature: where it is, what it was and became, and by how much."""

    feature: str
    before: str
    after: str
    change: str


@dataclass(frozen=True, kw_only=True)
class Moved:
    """An example with the features that moved most, of how many."""

    example: Example
    moves: list[Move]
    moved: str


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One feature over all examples: in how many it moved, by how much on average and at most."""

    feature: str
    moved: str
    mean: str
    most: str
    chart: Markup


def moved(example: Example) -> Moved:
    """The features of an example that moved most."""
    before, after = example.x.astype(np.float64), example.x_adv.astype(np.float64)
    change = after - before
    places = [np.unravel_index(int(flat), change.shape) for flat in _largest(np.abs(change), MOVES)]
    moves = [
        Move(
            feature=_name(place),
            before=amount(float(before[place])),
            after=amount(float(after[place])),
            change=signed(float(change[place])),
        )
        for place in places
        if change[place] != 0
    ]
    return Moved(example=example, moves=moves, moved=f"{count(int(np.count_nonzero(change)))} of {count(change.size)}")


def features(x: np.ndarray, x_adv: np.ndarray) -> list[Feature]:
    """The features that moved most over all examples `[n, *shape]`, by their mean change."""
    if not len(x):
        return []
    change = np.abs(x_adv.astype(np.float64) - x)
    often, mean, most = np.count_nonzero(change, axis=0), change.mean(axis=0), change.max(axis=0)
    top = float(mean.max(initial=0.0))
    shown = []
    for flat in _largest(mean, FEATURES):
        place = np.unravel_index(int(flat), mean.shape)
        if not often[place]:
            break
        told = f"{count(int(often[place]))} of {count(len(x))}"
        title = f"feature {_name(place)}: mean change {amount(float(mean[place]))}, moved in {told} examples"
        shown.append(
            Feature(
                feature=_name(place),
                moved=told,
                mean=amount(float(mean[place])),
                most=amount(float(most[place])),
                chart=svg.part_bar("broken", float(mean[place]), top, top, title),
            )
        )
    return shown


def _largest(values: np.ndarray, most: int) -> np.ndarray:
    order: np.ndarray = np.argsort(-values, axis=None, kind="stable")
    return order[:most]


def _name(place: tuple[np.intp, ...]) -> str:
    return ", ".join(str(int(axis)) for axis in place)
