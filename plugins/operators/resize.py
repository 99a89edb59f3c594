"""Changing the size of images: each axis by picking entries, or by a constant matrix of interpolation weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor

import numpy as np
import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size, integers

COORDINATES: dict[str, Callable[[np.ndarray, np.float32, np.float32, np.float32], np.ndarray]] = {
    "half_pixel": lambda i, scale, old, new: (i + 0.5) / scale - 0.5,
    "half_pixel_symmetric": lambda i, scale, old, new: (
        np.float64(old / 2 * (1 - new / (scale * old))) + (i + np.float64(0.5)) / scale - 0.5
    ),
    "pytorch_half_pixel": lambda i, scale, old, new: (i + 0.5) / scale - 0.5 if new > 1 else 0 * i,
    "align_corners": lambda i, scale, old, new: i * (old - 1) / (new - 1) if new > 1 else 0 * i,
    "asymmetric": lambda i, scale, old, new: i / scale,
    "tf_half_pixel_for_nn": lambda i, scale, old, new: (i + 0.5) / scale,
}
HALF = 0.5 + 1e-6
"""Halfway between two entries, up to the rounding that onnxruntime forgives."""
ROUNDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - HALF),
    "round_prefer_ceil": lambda x: np.floor(x + HALF),
    "floor": np.floor,
    "ceil": np.ceil,
}
REACH = {"nearest": 0, "linear": 1, "cubic": 2}
"""How many entries of the old axis on either side make one of the new."""
CROP = "tf_crop_and_resize"


@dataclass(frozen=True, kw_only=True)
class Method:
    """How new entries are made of old ones: the attributes of the node; without a rounding, that of opset 10."""

    mode: str
    coordinates: str
    rounding: str
    cubic: float = -0.75
    exclude: bool = False
    antialias: bool = False
    outside: float = 0.0

    @classmethod
    def of(cls, node: Node) -> Method:
        """That of a Resize. Raises UnsupportedOperator for a combination that is not covered."""
        get = node.attributes.get
        method = cls(
            mode=get("mode", "nearest"),
            coordinates=get("coordinate_transformation_mode", "half_pixel"),
            rounding=get("nearest_mode", "round_prefer_floor"),
            cubic=get("cubic_coeff_a", -0.75),
            exclude=bool(get("exclude_outside", 0)),
            antialias=bool(get("antialias", 0)),
            outside=get("extrapolation_value", 0.0),
        )
        known = method.coordinates in COORDINATES or method.coordinates == CROP
        if method.mode not in REACH or not known or method.rounding not in ROUNDING:
            raise node.unsupported(f"mode {method.mode!r} with {method.coordinates!r} and {method.rounding!r}")
        if method.antialias and (method.mode == "nearest" or method.coordinates == CROP):
            raise node.unsupported(f"antialias with mode {method.mode!r} and {method.coordinates!r}")
        method.check_type(node)
        return method

    def check_type(self, node: Node) -> None:
        """Raise UnsupportedOperator where integers would have to be interpolated."""
        if self.mode != "nearest" and node.types and node.types[0].startswith(("int", "uint")):
            raise node.unsupported("integers between integers")


@dataclass(frozen=True)
class Axis:
    """One axis to resize: its number, lengths before and after, their stated ratio, and the part of it that is read."""

    number: int
    old: int
    new: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)


@lru_cache(maxsize=64)
def places(method: Method, axis: Axis) -> np.ndarray:
    """Where on the old axis each new entry lies, rounded to float32 where onnxruntime does so: it decides ties."""
    i, old, new = np.arange(axis.new, dtype=np.float32), np.float32(axis.old), np.float32(axis.new)
    if method.coordinates != CROP:
        at = COORDINATES[method.coordinates](i, np.float32(axis.scale), old, new)
    else:
        start, end = (np.float32(end) for end in axis.region)
        middle = (start + end) * (old - 1) / 2
        at = start * (old - 1) + i * (end - start) * (old - 1) / (new - 1) if new > 1 else middle + 0 * i
    return at.astype(np.float32).astype(np.float64)


@lru_cache(maxsize=64)
def weights(method: Method, axis: Axis) -> np.ndarray:
    """The matrix `[new, old]` that interpolates one axis, in float64."""
    at, old = places(method, axis), axis.old
    narrowed = min(axis.scale, 1.0) if method.antialias else 1.0
    reach = ceil(REACH[method.mode] / narrowed)
    matrix = np.zeros((axis.new, old))
    first = np.floor(at)
    for offset in range(1 - reach, 1 + reach):
        index = first + offset
        distance = np.abs(at - index) * narrowed
        share = np.maximum(1 - distance, 0) if method.mode == "linear" else _cubic(distance, method.cubic)
        if method.exclude:
            share = np.where((index < 0) | (index > old - 1), 0, share)
        np.add.at(matrix, (np.arange(axis.new), index.clip(0, old - 1).astype(int)), share)
    return matrix / matrix.sum(axis=1, keepdims=True) if method.exclude or method.antialias else matrix


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def _resized(x: Tensor, method: Method, axes: Sequence[Axis]) -> Tensor:
    """Like the runtime, an axis of scale 1 is left alone, and so is a tensor that keeps its shape."""
    lengths = list(x.shape)
    for axis in axes:
        check_size((axis.new, axis.old), 8)
        lengths[axis.number] = axis.new
    check_size(lengths, x.element_size())
    if lengths == list(x.shape):
        return x
    axes = [axis for axis in axes if axis.scale != 1 and not (method.antialias and axis.new == axis.old)]
    for axis in axes:
        if method.mode == "nearest":
            rounding = method.rounding or ("floor" if axis.scale >= 1 else "ceil")
            picked = ROUNDING[rounding](places(method, axis)).clip(0, axis.old - 1).astype(int)
            x = x.index_select(axis.number, torch.from_numpy(picked).to(x.device))
        else:
            by = torch.from_numpy(weights(method, axis)).to(x.device, x.dtype)
            x = (x.movedim(axis.number, -1) @ by.t()).movedim(-1, axis.number)
    return _extrapolated(x, method, axes) if method.coordinates == CROP else x


def _extrapolated(x: Tensor, method: Method, axes: Sequence[Axis]) -> Tensor:
    """What lies outside the image gets a value of the file's choice."""
    for axis in axes:
        at = places(method, axis)
        shape = [1] * x.ndim
        shape[axis.number] = -1
        beyond = torch.from_numpy((at < 0) | (at > axis.old - 1)).to(x.device).reshape(shape)
        x = torch.where(beyond, torch.full_like(x, method.outside), x)
    return x


def resize(node: Node) -> Function:
    """Since opset 11, with a region of interest that only `tf_crop_and_resize` reads."""
    method, chosen = Method.of(node), node.attributes.get("axes")
    policy = node.attributes.get("keep_aspect_ratio_policy", "stretch")
    if policy not in ("stretch", "not_larger", "not_smaller"):
        raise node.unsupported(f"keep_aspect_ratio_policy {policy!r}")

    def run(x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None) -> Tensor:
        numbers = [axis % x.ndim for axis in chosen] if chosen is not None else list(range(x.ndim))
        old = [x.shape[number] for number in numbers]
        if sizes is not None and sizes.numel():
            new = integers(sizes)
            factors = [length / before for before, length in zip(old, new, strict=True)]
            if policy != "stretch":
                factors = [(min if policy == "not_larger" else max)(factors)] * len(old)
                new = [floor(np.float32(length) * np.float32(factors[0]) + 0.5) for length in old]
        elif scales is not None and scales.numel():
            if method.coordinates == CROP:
                raise node.unsupported(f"{CROP} by scales")
            factors = [float(scale) for scale in scales.reshape(-1).tolist()]
            new = _scaled(old, factors)
        else:
            raise ValueError("neither scales nor sizes are given")
        ends = [0.0] * len(old) + [1.0] * len(old) if method.coordinates != CROP else _region(roi, len(old))
        regions = zip(ends[: len(old)], ends[len(old) :], strict=True)
        return _resized(x, method, [Axis(*axis) for axis in zip(numbers, old, new, factors, regions, strict=True)])

    return run


def _region(roi: Tensor | None, rank: int) -> list[float]:
    if roi is None or roi.numel() != 2 * rank:
        raise ValueError("the region of interest is lacking or of another rank")
    return [float(end) for end in roi.reshape(-1).tolist()]


def _scaled(lengths: Sequence[int], factors: Sequence[float]) -> list[int]:
    """New lengths, rounded down in float32 as runtimes do: 5 times 2.6 is 13 there."""
    return [int(np.float32(length) * np.float32(scale)) for length, scale in zip(lengths, factors, strict=True)]


def upsample(node: Node) -> Function:
    """The ancestors of Resize: Upsample, whose scales are an input since opset 9, and Resize of opset 10."""
    mode, fixed = node.attributes.get("mode", "nearest"), node.attributes.get("scales")
    if mode not in ("nearest", "linear"):
        raise node.unsupported(f"mode {mode!r}")
    method = Method(mode=mode, coordinates="asymmetric", rounding="")
    method.check_type(node)

    def run(x: Tensor, scales: Tensor | None = None) -> Tensor:
        factors = [float(scale) for scale in (fixed or () if scales is None else scales.reshape(-1).tolist())]
        lengths = zip(range(x.ndim), x.shape, _scaled(x.shape, factors), factors, strict=True)
        return _resized(x, method, [Axis(*axis) for axis in lengths])

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Resize", upsample, since=10, host=[1])
    operators.register("Resize", resize, since=11, host=[1, 2, 3])
    operators.register("Upsample", upsample, since=7, host=[1])
