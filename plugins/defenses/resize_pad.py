"""Random resizing and padding in front of a model. Xie, Wang, Zhang, Ren, Yuille, https://arxiv.org/abs/1711.01991"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from auditor.chance import CHANCE
from auditor.defense import Defense
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.preprocess import channels_at


@dataclass(frozen=True, kw_only=True)
class ResizePad(Defense):
    """Resize each picture to a random size and place it at random on a black one, anew at every call.

    Add it where the deployment does so; as a protection it stops attacks that see one draw, and little else (ImageNet
    at 10/255: claimed 86 %, 0 % of those under an expectation, Athalye et al. 2018). Pixels are repeated or dropped as
    the nearest neighbour says, so the gradient is exact given the draw. Square and other pictures, channels first or
    last, keep their proportions.

    shrink, grow: shares of the sides; a picture is resized to between `shrink` and `grow` of its size and padded to
    `grow` of it, which is what the model behind takes. The paper's 299 to 331 is shrink 1 and grow 1.107.
    """

    name: ClassVar[str] = "resize_pad"
    gradient: ClassVar[str] = "random"

    shrink: float = 0.9
    grow: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.shrink <= self.grow <= 4:
            raise UsageError(f"resize_pad takes 0 < shrink <= grow <= 4, got {self.shrink:g} and {self.grow:g}.")

    def shaped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        channels = _channels(shape)
        return tuple(side if axis == channels else round(side * self.grow) for axis, side in enumerate(shape))

    def transform(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.relaxed(torch.from_numpy(x)).numpy())

    def relaxed(self, x: Tensor) -> Tensor:
        last = _channels(tuple(x.shape[1:])) == 2
        pictures = x.movedim(3, 1) if last else x
        n, _, *sides = pictures.shape
        (top, height), (left, width) = self._places(n, sides)
        rows, above_ground = _sources(top, height, sides[0], round(sides[0] * self.grow))
        columns, beside = _sources(left, width, sides[1], round(sides[1] * self.grow))
        batch = torch.arange(n)[:, None, None]
        there = (above_ground[:, :, None] & beside[:, None, :]).to(x.device, x.dtype)
        # indexed by three tensors around a slice, the channels come last
        drawn = pictures[batch.to(x.device), :, rows[:, :, None].to(x.device), columns[:, None, :].to(x.device)]
        padded = drawn * there[..., None]
        return padded if last else padded.movedim(3, 1)

    def _places(self, n: int, sides: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Where each picture begins and how long it is, `[n]` each, for both axes; one share of size for the two."""
        longest = max(sides)
        least, most = max(round(longest * self.shrink), 1), round(longest * self.grow)
        long = CHANCE.integers(least, most, (n,))
        found = []
        for side in sides:
            length = np.clip(np.rint(long * (side / longest)).astype(np.int64), 1, round(side * self.grow))
            room = round(side * self.grow) - length
            begin = np.floor(CHANCE.uniform((n,)).astype(np.float64) * (room + 1)).astype(np.int64)
            found.append((begin, length))
        return found


def _sources(begin: np.ndarray, length: np.ndarray, side: int, final: int) -> tuple[Tensor, Tensor]:
    """Which of `side` entries stands at each of `final` places, `[n, final]`, and whether any does."""
    place = np.arange(final)[None] - begin[:, None]
    inside = (place >= 0) & (place < length[:, None])
    source = np.where(inside, place, 0) * side // length[:, None]
    return torch.from_numpy(source), torch.from_numpy(inside)


def _channels(shape: tuple[int, ...]) -> int:
    """Where the channels stand. Raises UsageError for what is no picture."""
    channels = channels_at(shape)
    if channels is None:
        raise UsageError(
            f"resize_pad takes pictures, with 1, 3 or 4 channels first or last; the samples are {list(shape)}."
        )
    return channels


@hookimpl
def register_defenses(register: Register) -> None:
    register(ResizePad)
