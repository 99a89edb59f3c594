"""From samples in their own units to what the file expects: scale, mean/std, layout, channel order."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from auditor.errors import SamplesError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    Array = TypeVar("Array", np.ndarray, Tensor)

Shape = tuple[int, ...]
Numbers = tuple[float, ...]
PRESETS: dict[str, dict[str, Any]] = {
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
CHANNELS = (1, 3, 4)
"""Lengths by which an axis of a picture is known for its channels."""
ORDERS = {"nchw": (2, 0, 1), "nhwc": (1, 2, 0)}
"""From the other layout to this one."""


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `--preprocess` file. preset: where to start; the other keys replace its own."""

    preset: str = "none"
    scale: float | None = None
    mean: list[float] | float | None = None
    std: list[float] | float | None = None
    layout: str | None = None
    channels: str | None = None


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """`(x * scale - mean) / std`, after the axes and channels have been put in the file's order.

    It belongs to the model, not to the data: epsilon is measured before it. The same object serves numpy arrays
    (the target) and torch tensors (the twin), with the same float32 arithmetic in both.

    scale: factor on the samples' values. mean, std: one value, or one per channel (per feature for flat inputs), in
    the file's units and its order of channels. layout: `nchw` or `nhwc`, the file's order of axes; None settles it by
    the two shapes. channels: `rgb` or `bgr`. sample_shape, model_shape: shapes without the batch axis, set by `fit`.
    Raises UsageError for values that can't be meant.
    """

    scale: float = 1.0
    mean: Numbers = ()
    std: Numbers = ()
    layout: str | None = None
    channels: str = "rgb"
    sample_shape: Shape = ()
    model_shape: Shape = ()

    def __post_init__(self) -> None:
        if self.layout not in (None, "nchw", "nhwc"):
            raise UsageError(f"layout is `nchw` or `nhwc`, got {self.layout!r}.")
        if self.channels not in ("rgb", "bgr"):
            raise UsageError(f"channels is `rgb` or `bgr`, got {self.channels!r}.")
        if not all(map(isfinite, (self.scale, *self.mean, *self.std))):
            raise UsageError("scale, mean and std are finite numbers; one of them is not.")
        if self.scale == 0 or any(s == 0 for s in self.std):
            raise UsageError("scale or std is 0, which would leave nothing of the input; give the model's own.")

    @classmethod
    def preset(cls, name: str) -> Preprocess:
        """The named convention of `PRESETS`. Raises UsageError for another name."""
        if name not in PRESETS:
            raise UsageError(f"--preprocess knows {', '.join(PRESETS)} or a TOML file, got {name!r}.")
        return cls(**PRESETS[name])

    @classmethod
    def from_file(cls, path: Path) -> Preprocess:
        """The convention in a TOML file with the keys preset, scale, mean, std, layout, channels. Raises UsageError."""
        try:
            table = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Table)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"The file {path} can't be read ({type(error).__name__}); --preprocess takes one."
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{path} is not TOML: {error}.") from error
        except msgspec.ValidationError as error:
            raise UsageError(f"{path}: {error}; the keys are {', '.join(Table.__struct_fields__)}.") from error
        given = {key: getattr(table, key) for key in ("scale", "layout", "channels") if getattr(table, key) is not None}
        for key in ("mean", "std"):
            value = getattr(table, key)
            if value is not None:
                given[key] = tuple(value) if isinstance(value, list) else (value,)
        return replace(cls.preset(table.preset), **given)

    def table(self) -> dict[str, Any]:
        """The keys of `[model]` that say this convention, those at their defaults left out."""
        plain = Preprocess()
        values = {key: getattr(self, key) for key in ("scale", "mean", "std", "layout", "channels")}
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in values.items()
            if value != getattr(plain, key)
        }

    def fit(self, sample_shape: Shape, model_shape: Shape) -> Preprocess:
        """Settle the axes for these two shapes (no batch axis).

        Raises SamplesError where samples can't become inputs by reordering or flattening alone, UsageError where mean
        or std have another length than the channels.
        """
        fitted = replace(self, sample_shape=tuple(sample_shape), model_shape=tuple(model_shape))
        stands = channels_at(fitted.model_shape)
        if self.layout is not None and stands is not None and stands != {"nchw": 0, "nhwc": 2}[self.layout]:
            raise UsageError(
                f"layout is {self.layout}, but the model takes inputs of shape {list(model_shape)}; drop it."
            )
        order = fitted.transposition
        arranged = fitted.sample_shape if order is None else tuple(sample_shape[axis] for axis in order)
        ours, theirs = _long(arranged), _long(model_shape)
        if prod(sample_shape) != prod(model_shape) or (ours != theirs and min(len(ours), len(theirs)) > 1):
            raise SamplesError(
                f"The model takes inputs of shape {list(model_shape)}, the samples have shape {list(sample_shape)}; "
                "resize them (`[samples] size`) or give the right file."
            )
        count = model_shape[fitted.channel_axis - 1]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, 1, count):
                raise UsageError(
                    f"{name} takes one value or one per channel, which are {count} here; it has {len(values)}."
                )
        return fitted

    @cached_property
    def transposition(self) -> Shape | None:
        """Order of the sample's axes (without batch) in the file, None where they stay as they are."""
        sample, model = self.sample_shape, self.model_shape
        if len(sample) != 3:
            return None
        if len(model) == 3:
            fitting = (order for order in ORDERS.values() if tuple(sample[axis] for axis in order) == model)
            return None if sample == model else next(fitting, None)
        stands = channels_at(sample)
        wants = {"nchw": 0, "nhwc": 2}.get(self.layout or "", stands)
        return None if stands is None or wants == stands else ORDERS[str(self.layout)]

    @cached_property
    def channel_axis(self) -> int:
        """Axis of the channels in the file's order, counted with the batch axis."""
        return 1 + (channels_at(self.model_shape) or 0)

    def __call__(self, x: Array) -> Array:
        """Inputs `[batch, *sample_shape]` in sample units to `[batch, *model_shape]` in the file's units."""
        if self.transposition:
            x = _permuted(x, self.transposition)
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

    def _like(self, x: Array, values: Numbers) -> Array:
        """The values as an array of x's kind and dtype that broadcasts over its channels."""
        shape = [1] * x.ndim
        shape[self.channel_axis] = len(values)
        if isinstance(x, np.ndarray):
            return np.asarray(values, dtype=x.dtype).reshape(shape)
        return x.new_tensor(values).reshape(shape)


def channels_at(shape: Shape) -> int | None:
    """Where the channels of a picture stand in its shape, 0 or 2; None where that can't be seen."""
    if len(shape) != 3:
        return None
    first, last = shape[0] in CHANNELS, shape[2] in CHANNELS
    if first and last:
        return 0 if shape[0] <= shape[2] else 2
    return 0 if first else 2 if last else None


def _permuted(x: Array, order: Shape) -> Array:
    """The axes behind the batch in this order."""
    axes = [0, *(axis + 1 for axis in order)]
    return x.transpose(axes) if isinstance(x, np.ndarray) else x.permute(axes)


def _long(shape: Shape) -> Shape:
    """The axes that are longer than 1: what reshaping must not mix up."""
    return tuple(length for length in shape if length != 1)
