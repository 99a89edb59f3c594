"""Rotations and shifts of pictures: the finite set of transforms that the spatial threat consists of, and the
verifier's own way to compute them (numpy and scipy in float64; the attack has another).

A transform is an angle θ in degrees, counter-clockwise as one looks at the picture, and a shift in pixels, u to the
right and v down. It turns the picture around its middle, (height-1)/2 and (width-1)/2, and shifts the result; what was
between pixels is interpolated bilinearly, and beyond the picture lies the fill. Engstrom et al.,
https://arxiv.org/abs/1712.02779
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.ndimage import map_coordinates

ROTATION = 30.0
"""Degrees to either side at epsilon 1."""
TRANSLATION = 3 / 28
"""Of the shorter side, rounded to pixels: how far a picture is shifted at epsilon 1. The paper's 3 pixels of MNIST and
CIFAR-10 and 24 of ImageNet."""
ANGLES, SHIFTS = 31, 5
"""Values of the angle, and of the shift along each axis."""
TOLERANCE = 1e-5
"""Of the range of values: how far a candidate may be from a transformed picture, which is computed in float32."""
LOOKS = 16
"""Pixels at which all transforms are compared with a candidate first."""


def axes(shape: Sequence[int]) -> tuple[int, int, int, bool]:
    """(channels, height, width, whether the channels come last) of a sample's shape; a vector is one line."""
    if len(shape) == 3:
        last = shape[2] in (1, 3, 4) and shape[0] not in (1, 3, 4)
        return (shape[2], shape[0], shape[1], True) if last else (shape[0], shape[1], shape[2], False)
    if len(shape) == 2:
        return 1, shape[0], shape[1], False
    return 1, 1, int(np.prod(shape)), False


def is_picture(shape: Sequence[int]) -> bool:
    """Whether samples of this shape can be rotated: [height, width], with or without channels before or behind."""
    return len(shape) in (2, 3) and min(axes(shape)[1:3]) > 1


def reach(shape: Sequence[int]) -> float:
    """Pixels that a picture of this shape is shifted by at epsilon 1, where nothing else is said."""
    return float(max(round(TRANSLATION * min(axes(shape)[1:3])), 1))


@lru_cache(maxsize=16)
def transforms(rotation: float, translation: float) -> np.ndarray:
    """The set up to an angle and a shift: rows of θ, u, v, float64 `[m, 3]`, the identity first, the largest last."""
    angle = rotation * np.arange(1 - ANGLES, ANGLES, 2) / (ANGLES - 1)
    shift = translation * np.arange(1 - SHIFTS, SHIFTS, 2) / (SHIFTS - 1)
    every = np.stack(np.meshgrid(angle, shift, shift, indexing="ij"), axis=-1).reshape(-1, 3)
    every = np.unique(every, axis=0) + 0.0  # one for all where rotation or translation is 0; no -0
    every = every[np.argsort(shares(every, rotation, translation), kind="stable")]
    every.flags.writeable = False  # all who ask get the same
    return every


def shares(moves: np.ndarray, rotation: float, translation: float) -> np.ndarray:
    """How much of an angle and a shift transforms `[m, 3]` need, `[m]`: the largest share of the three."""
    limits = np.array([rotation, translation, translation])
    needed: np.ndarray = (np.abs(moves) / np.where(limits > 0, limits, np.inf)).max(axis=1)
    return needed


def transformed(picture: np.ndarray, moves: np.ndarray, fill: float, pixels: np.ndarray | None = None) -> np.ndarray:
    """A picture `[channels, height, width]` after each transform `[m, 3]`, float64 `[m, channels, height · width]`.

    pixels: flat numbers of those that are wanted, all if None.
    """
    height, width = picture.shape[1:]
    wanted = np.arange(height * width) if pixels is None else pixels
    angle = np.deg2rad(moves[:, :1])
    down = wanted // width - (height - 1) / 2 - moves[:, 2:]
    right = wanted % width - (width - 1) / 2 - moves[:, 1:2]
    rows = np.cos(angle) * down + np.sin(angle) * right + (height - 1) / 2
    columns = np.cos(angle) * right - np.sin(angle) * down + (width - 1) / 2
    moved = [
        map_coordinates(plane, [rows, columns], np.float64, order=1, mode="grid-constant", cval=fill)
        for plane in picture.astype(np.float64)
    ]
    return np.stack(moved, axis=1)


def matching(clean: np.ndarray, candidate: np.ndarray, moves: np.ndarray, fill: float, tolerance: float) -> np.ndarray:
    """Which of the transforms `[m, 3]` make the candidate of the clean picture, up to a tolerance: their numbers.

    The identity is bit-exact, so it makes nothing but the clean picture itself.
    """
    channels, height, width, last = axes(clean.shape)
    before, after = (
        np.moveaxis(one, 2, 0) if last else one.reshape(channels, height, width) for one in (clean, candidate)
    )
    after = after.reshape(channels, -1)
    changes = np.abs(after - before.reshape(channels, -1)).max(axis=0)
    telling = np.argsort(-changes, kind="stable")[:LOOKS]
    if not changes.any():
        return np.flatnonzero((moves == 0).all(axis=1))

    def fits(which: np.ndarray, pixels: np.ndarray | None) -> np.ndarray:
        made = transformed(before, moves[which], fill, pixels)
        wanted = after if pixels is None else after[:, pixels]
        fitting: np.ndarray = which[(np.abs(made - wanted) <= tolerance).all(axis=(1, 2))]
        return fitting

    left = fits(np.flatnonzero((moves != 0).any(axis=1)), telling)
    return np.concatenate([left[:0], *(fits(left[i : i + 1], None) for i in range(len(left)))])
