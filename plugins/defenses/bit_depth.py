"""Bit-depth reduction in front of a model. Xu, Evans, Qi, https://arxiv.org/abs/1704.01155"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from auditor.defense import Defense
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl


@dataclass(frozen=True, kw_only=True)
class BitDepth(Defense):
    """Round inputs in [0, 1] to 2^bits levels before the model sees them.

    Add it where the deployment does so; as a protection it hides gradients and stops little. The twin's backward pass
    treats the rounding as the identity (BPDA).
    """

    name: ClassVar[str] = "bit_depth"
    gradient: ClassVar[str] = "bpda"

    bits: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise UsageError(f"bit_depth takes bits from 1 to 16, got {self.bits}.")

    @property
    def levels(self) -> int:
        return int(2**self.bits - 1)

    def transform(self, x: np.ndarray) -> np.ndarray:
        rounded: np.ndarray = (np.rint(x * np.float32(self.levels)) / np.float32(self.levels)).astype(np.float32)
        return rounded

    def relaxed(self, x: Tensor) -> Tensor:
        rounded = (x * self.levels).round() / self.levels
        return x + (rounded - x).detach()


@hookimpl
def register_defenses(register: Register) -> None:
    register(BitDepth)
