"""Changing the size of images: each axis by a constant matrix of interpolation weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size, integers

COORDINATES: dict[str, Callable[[np.ndarray, float, int, int], np.ndarray]] = {
    "half_pixel": lambda i, scale, old, new: (i + 0.5) / scale - 0.5,
    "half_pixel_symmetric": lambda i, scale, old, new: old / 2 * (1 - new / (scale * old)) + (i + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda i, scale, old, new: (i + 0.5) / scale - 0.5 if new > 1 else 0 * i,
    "align_corners": lambda i, scale, old, new: i * (old - 1) / (new - 1) if new > 1 else 0 * i,
    "asymmetric": lambda i, scale, old, new: i / scale,
    "tf_half_pixel_for_nn": lambda i, scale, old, new: (i + 0.5) / scale,
}
ROUNDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
REACH = {"nearest": 1, "linear": 2, "cubic": 4}
"""How many entries of the old axis make one of the new."""


@lru_cache(maxsize=64)
def weights(
    mode: str, coordinates: str, rounding: str, cubic: float, exclude: bool, scale: float, old: int, new: int
) -> np.ndarray:
    """The matrix `[new, old]` that interpolates one axis, in float64."""
    at = COORDINATES[coordinates](np.arange(new, dtype=np.float64), scale, old, new)
    matrix = np.zeros((new, old))
    rows = np.arange(new)
    if mode == "nearest":
        matrix[rows, ROUNDING[rounding](at).clip(0, old - 1).astype(int)] = 1
        return matrix
    if mode == "linear":
        at = at.clip(0, old - 1)
    floor = np.floor(at)
    for offset in range(1 - REACH[mode] // 2, 1 + REACH[mode] // 2):
        index = floor + offset
        distance = np.abs(at - index)
        share = np.maximum(1 - distance, 0) if mode == "linear" else _cubic(distance, cubic)
        if exclude:
            share = np.where((index < 0) | (index > old - 1), 0, share)
        np.add.at(matrix, (rows, index.clip(0, old - 1).astype(int)), share)
    return matrix / matrix.sum(axis=1, keepdims=True) if exclude else matrix


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def _resized(x: Tensor, matrices: dict[int, np.ndarray]) -> Tensor:
    for axis, matrix in matrices.items():
        by = torch.from_numpy(matrix).to(x.device, x.dtype)
        x = (x.movedim(axis, -1) @ by.t()).movedim(-1, axis)
    return x


def _check(node: Node) -> tuple[str, str, str, float, bool]:
    get = node.attributes.get
    mode = get("mode", "nearest")
    coordinates = get("coordinate_transformation_mode", "half_pixel")
    rounding = get("nearest_mode", "round_prefer_floor")
    if mode not in REACH or coordinates not in COORDINATES or rounding not in ROUNDING:
        raise node.unsupported(f"mode {mode!r} with {coordinates!r} and {rounding!r}")
    if get("antialias", 0):
        raise node.unsupported("antialias")
    if get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.unsupported(f"keep_aspect_ratio_policy {get('keep_aspect_ratio_policy')!r}")
    return mode, coordinates, rounding, get("cubic_coeff_a", -0.75), bool(get("exclude_outside", 0))


def resize(node: Node) -> Function:
    """Since opset 11, with a region of interest that only `tf_crop_and_resize` reads."""
    method, chosen = _check(node), node.attributes.get("axes")

    def run(x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None) -> Tensor:
        axes = [axis % x.ndim for axis in chosen] if chosen is not None else list(range(x.ndim))
        if sizes is not None and sizes.numel():
            new = integers(sizes)
            factors = [length / x.shape[axis] for axis, length in zip(axes, new, strict=True)]
        elif scales is not None and scales.numel():
            factors = [float(scale) for scale in scales.reshape(-1).tolist()]
            new = _scaled([x.shape[axis] for axis in axes], factors)
        else:
            raise ValueError("neither scales nor sizes are given")
        return _along(x, method, axes, factors, new)

    return run


def _scaled(lengths: Sequence[int], factors: Sequence[float]) -> list[int]:
    """New lengths, rounded down in float32 as runtimes do: 5 times 2.6 is 13 there."""
    return [int(np.float32(length) * np.float32(scale)) for length, scale in zip(lengths, factors, strict=True)]


def _along(
    x: Tensor, method: tuple[str, str, str, float, bool], axes: list[int], factors: list[float], new: list[int]
) -> Tensor:
    lengths = list(x.shape)
    matrices = {}
    for axis, factor, length in zip(axes, factors, new, strict=True):
        check_size((length, lengths[axis]), 8)
        if length != lengths[axis] or factor != 1:
            matrices[axis] = weights(*method, factor, lengths[axis], length)
        lengths[axis] = length
    check_size(lengths, x.element_size())
    return _resized(x, matrices)


def upsample(node: Node) -> Function:
    """The ancestor of Resize: since opset 9 the scales are an input."""
    mode = node.attributes.get("mode", "nearest")
    fixed = node.attributes.get("scales")
    if mode not in ("nearest", "linear"):
        raise node.unsupported(f"mode {mode!r}")

    def run(x: Tensor, scales: Tensor | None = None) -> Tensor:
        factors = [float(scale) for scale in (fixed or () if scales is None else scales.reshape(-1).tolist())]
        new = _scaled(x.shape, factors)
        return _along(x, (mode, "asymmetric", "floor", -0.75, False), list(range(x.ndim)), factors, new)

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Resize", resize, since=11, host=[1, 2, 3])
    operators.register("Upsample", upsample, since=7, host=[1])
