"""From samples in their own units to what the file expects: scale, mean/std, layout, channel order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from auditor.errors import SamplesError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    Array = TypeVar("Array", np.ndarray, Tensor)

Shape = tuple[int, ...]
PRESETS: dict[str, dict[str, object]] = {
    "none": {},
    "imagenet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "imagenet-caffe": {"scale": 255.0, "mean": (103.939, 116.779, 123.68), "channels": "bgr"},
    "cifar10": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2471, 0.2435, 0.2616)},
    "cifar10-resnet": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)},
    "mnist": {"mean": (0.1307,), "std": (0.3081,)},
    "centred": {"mean": (0.5,)},
    "symmetric": {"mean": (0.5,), "std": (0.5,)},
    "0-255": {"scale": 255.0},
}
"""Conventions that files in the wild expect, by the name that `--preprocess` takes."""


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """`(x * scale - mean) / std`, after the axes and channels have been put in the file's order.

    It belongs to the model, not to the data: epsilon is measured before it. The same object serves numpy arrays
    (the target) and torch tensors (the twin), with the same float32 arithmetic in both.

    scale: factor on the samples' values. mean, std: one value, or one per channel (per feature for flat inputs).
    layout: `nchw` or `nhwc`, the file's order of axes; None keeps the samples' own. channels: `rgb` or `bgr`.
    sample_shape, model_shape: shapes without the batch axis, set by `fit`.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str | None = None
    channels: str = "rgb"
    sample_shape: Shape = ()
    model_shape: Shape = ()

    def __post_init__(self) -> None:
        if self.layout not in (None, "nchw", "nhwc"):
            raise UsageError(f"layout is `nchw` or `nhwc`, got {self.layout!r}")
        if self.channels not in ("rgb", "bgr"):
            raise UsageError(f"channels is `rgb` or `bgr`, got {self.channels!r}")
        if any(s == 0 for s in self.std):
            raise UsageError("std has a zero; each value divides a channel and must not be 0")

    @classmethod
    def preset(cls, name: str) -> Preprocess:
        """The named convention of `PRESETS`. Raises UsageError for another name."""
        if name not in PRESETS:
            raise UsageError(f"--preprocess knows {', '.join(PRESETS)} or a TOML file, got {name!r}")
        return replace(cls(), **PRESETS[name])  # type: ignore[arg-type]

    def fit(self, sample_shape: Shape, model_shape: Shape) -> Preprocess:
        """Settle the axes for these two shapes (no batch axis). Raises SamplesError where they can't match."""
        fitted = replace(self, sample_shape=tuple(sample_shape), model_shape=tuple(model_shape))
        if prod(sample_shape) != prod(model_shape):
            raise SamplesError(
                f"The model takes inputs of shape {tuple(model_shape)}, the samples have shape {tuple(sample_shape)}; "
                "resize them (`[samples] size`) or give the right file."
            )
        return fitted

    @property
    def transposition(self) -> Shape | None:
        """Order of the sample's axes (without batch) in the file, None where they stay as they are."""
        sample, model = self.sample_shape, self.model_shape
        if len(sample) != 3:
            return None
        last, first = sample[2] in (1, 3, 4), sample[0] in (1, 3, 4)
        wants = self.layout
        if wants is None and len(model) == 3 and sample != model:
            wants = "nchw" if model[0] in (1, 3, 4) else "nhwc" if model[2] in (1, 3, 4) else None
        if wants == "nhwc" and first and not last:
            return (1, 2, 0)
        if wants == "nchw" and last and not first:
            return (2, 0, 1)
        return None

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in the file's order, counted with the batch axis."""
        if len(self.model_shape) == 3 and self.model_shape[2] in (1, 3, 4) and self.model_shape[0] not in (1, 3, 4):
            return 3
        return 1

    def __call__(self, x: Array) -> Array:
        """Inputs `[batch, *sample_shape]` in sample units to `[batch, *model_shape]` in the file's units."""
        order = self.transposition
        if order is not None:
            axes = (0, *(axis + 1 for axis in order))
            x = x.transpose(axes) if isinstance(x, np.ndarray) else x.permute(axes)
        if tuple(x.shape[1:]) != self.model_shape and self.model_shape:
            x = x.reshape((len(x), *self.model_shape))
        axis = self.channel_axis
        if self.channels == "bgr" and x.ndim > axis and x.shape[axis] == 3:
            x = np.flip(x, axis) if isinstance(x, np.ndarray) else x.flip(axis)
        if self.scale != 1.0:
            x = x * self._like(x, (self.scale,))
        if self.mean:
            x = x - self._like(x, self.mean)
        if self.std:
            x = x / self._like(x, self.std)
        return x

    def _like(self, x: Array, values: tuple[float, ...]) -> Array:
        """The values as an array of x's kind and dtype that broadcasts over its channels."""
        axis = self.channel_axis if x.ndim > 2 else x.ndim - 1
        if len(values) not in (1, x.shape[axis]):
            raise UsageError(
                f"scale, mean and std take one value or one per channel ({x.shape[axis]}), got {len(values)} values"
            )
        shape = [1] * x.ndim
        shape[axis] = len(values)
        if isinstance(x, np.ndarray):
            return np.asarray(values, dtype=x.dtype).reshape(shape)
        return x.new_tensor(values).reshape(shape)
