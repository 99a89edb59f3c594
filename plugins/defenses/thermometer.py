"""Thermometer encoding of inputs. Buckman, Roy, Raffel, Goodfellow, https://openreview.net/forum?id=S18Su--CW"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from auditor.defense import Defense
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.operators import straight_through
from auditor.preprocess import channels_at
from auditor.surrogates import above


@dataclass(frozen=True, kw_only=True)
class Thermometer(Defense):
    """Replace each value in [0, 1] by `levels` zeros and ones, all ones from its own level on.

    Add it where the model behind was trained on such codes, so takes `levels` times the channels: those of one channel
    stand side by side, 0.13 at 10 levels is 0111111111. As a protection it hides gradients: trained adversarially it
    claimed 79 % on CIFAR-10 at 8/255, and kept 30 % (Athalye et al. 2018). The twin's backward pass (BPDA) replaces
    each step by a fast sigmoid as wide as a level, so that the thresholds nearest to a value count most.

    levels: steps that [0, 1] is cut into.
    """

    name: ClassVar[str] = "thermometer"
    gradient: ClassVar[str] = "bpda"

    levels: int = 16

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 256:
            raise UsageError(f"thermometer takes levels from 2 to 256, got {self.levels}.")

    def shaped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        axis = _axis(shape)
        return (*shape[:axis], shape[axis] * self.levels, *shape[axis + 1 :])

    def transform(self, x: np.ndarray) -> np.ndarray:
        return self._encoded(torch.from_numpy(x)).numpy()

    def relaxed(self, x: Tensor) -> Tensor:
        return self._encoded(x)

    def _encoded(self, x: Tensor) -> Tensor:
        axis = 1 + _axis(tuple(x.shape[1:]))
        ends = torch.arange(1, self.levels, device=x.device, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - axis - 1))
        gap = ends - (x * self.levels).unsqueeze(axis + 1)
        code = straight_through(above(gap), (gap > 0).to(x.dtype))
        last = torch.ones_like(x).unsqueeze(axis + 1)  # whatever the value is
        return torch.cat([code, last], dim=axis + 1).flatten(axis, axis + 1)


def _axis(shape: tuple[int, ...]) -> int:
    """Where the channels stand in a sample's shape; the first axis of what is no picture."""
    return channels_at(shape) or 0


@hookimpl
def register_defenses(register: Register) -> None:
    register(Thermometer)
