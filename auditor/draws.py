"""Random numbers that depend on nothing but their key: Philox4x32-10, a counter-based generator, on torch tensors.

A draw is a function of (seed, stage, sample id, restart, age, draw within the step). So a sample's randomness is the
same whatever batch it sits in, in whatever order the samples come, and after a resume. Source: Salmon, Moraes, Dror,
Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from math import pi, prod
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from auditor.errors import PluginError

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
DRAWS = 64
"""Distinct draws that a row can make in one phase of one age; the counter has room for 2^24 ages."""
PHASES = 4

Array = TypeVar("Array", Tensor, "np.ndarray")


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """Four random 32-bit words per counter, in int64 tensors (or numpy arrays) of the counters' broadcast shape."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        product0, product1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # int64 wraps, the 64 bits are right
        high0, high1 = (product0 >> 32) & MASK, (product1 >> 32) & MASK
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, product1 & MASK, high0 ^ c3 ^ k1, product0 & MASK
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


@dataclass(frozen=True)
class Draws:
    """The random numbers of a batch of rows. Each call is a new draw; the key is the row's, not the batch's.

    A longer draw begins with the shorter one, so where rows need different numbers of values, draw for the neediest.
    seed: of the audit. stage: number of the stage in the suite. ids, restarts, ages: int64 `[batch]` on one device.
    phase: separates the draws of start, query and step at the same age.
    """

    seed: int
    stage: int
    ids: Tensor
    restarts: Tensor
    ages: Tensor
    phase: int = 0
    _calls: count[int] = field(default_factory=count, repr=False, compare=False)

    def words(self, per_row: int) -> Tensor:
        """int64 `[batch, per_row]` of uniform 32-bit words."""
        call = next(self._calls)
        if call >= DRAWS:
            raise PluginError(f"An attack may make {DRAWS} draws a step; ask for one larger shape instead.")
        rows, blocks, device = len(self.ids), (per_row + 3) // 4, self.ids.device
        age = ((self.ages * PHASES + self.phase) * DRAWS + call) & MASK
        stage = (self.restarts + (self.stage << 20)) & MASK
        columns = (torch.arange(blocks, device=device)[None], age[:, None], stage[:, None], (self.ids & MASK)[:, None])
        block, age, stage, ids = (column.expand(rows, blocks) for column in columns)
        key = self.seed & MASK, (self.seed >> 32) & MASK
        if device.type == "cpu":  # numpy's calls are lighter: 3 times as fast for few words, twice for many
            few = philox((block.numpy(), age.numpy(), stage.numpy(), ids.numpy()), key)
            words = torch.from_numpy(np.stack(few, axis=-1))
        else:
            words = torch.stack(philox((block, age, stage, ids), key), dim=-1)
        return words.reshape(rows, -1)[:, :per_row]

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """`[batch, *shape]`, uniform on [0, 1) in steps of 2^-24: the same values in every float dtype."""
        words = self.words(max(prod(shape), 1))
        return ((words >> 8).to(dtype) * 2.0**-24).reshape(len(self.ids), *shape)

    def signs(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """`[batch, *shape]` of -1 and 1 with equal probability."""
        bits = (self.words(max(prod(shape), 1)) >> 31).to(dtype)
        return (2 * bits - 1).reshape(len(self.ids), *shape)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """`[batch, *shape]`, standard normal by Box and Muller."""
        size = max(prod(shape), 1)
        half = (size + 1) // 2
        u = self.uniform(half, 2, dtype=torch.float64)
        radius = (-2 * (1 - u[..., 0]).log()).sqrt()
        angle = 2 * pi * u[..., 1]
        # neighbours make a pair, so that a longer draw begins with the shorter one: rows may need different lengths
        both = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten(1)
        return both[:, :size].to(dtype).reshape(len(self.ids), *shape)

    def integers(self, high: Tensor | int, *shape: int) -> Tensor:
        """int64 `[batch, *shape]`, uniform on 0 … high-1; `high` is a number or one per row (`[batch]`)."""
        words = self.words(max(prod(shape), 1)).reshape(len(self.ids), *shape)
        if isinstance(high, Tensor):
            high = high.reshape(-1, *([1] * len(shape)))
        return (words * high) >> 32
