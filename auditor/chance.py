"""Chance: the random numbers of models and defences that draw some at every call, so that an audit of them repeats.

An attack's randomness is its own affair (`auditor.draws`): it depends on the sample and the step alone. What a
randomised model draws depends on how often it has been asked before, so its generator is begun anew at every unit of
work, with a key that names the unit: within, the calls come in the same order however often the audit was stopped and
resumed. Numbers are drawn on the CPU in float32, by numpy, and are the same on every device and in every precision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

GOLDEN = 0.6180339887498949
"""Multiples of it, modulo 1, fill the unit interval evenly."""


class Chance:
    """A stream of random numbers that is a function of the last `begin`, and of the calls since.

    A random defence or operator draws from `CHANCE`, the one of this process, and from nothing else. Every method
    returns float32 (integers: int64) arrays of the shape that is asked for.
    """

    def __init__(self) -> None:
        self._still = False
        self.begin(0)

    def begin(self, seed: int, *key: int | str) -> None:
        """Start the stream of this seed and key from its beginning: `begin(seed, "unit", stage, unit)`."""
        named = hashlib.blake2b(repr((int(seed), *key)).encode(), digest_size=16).digest()
        self._generator = np.random.Generator(np.random.Philox(key=int.from_bytes(named, "little")))

    def uniform(self, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform on [0, 1)."""
        if self._still:
            return _even(shape).astype(np.float32)
        return np.asarray(self._generator.random(shape, dtype=np.float32))

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """Standard normal."""
        if self._still:
            return np.asarray(ndtri(_even(shape)), np.float32)
        return np.asarray(self._generator.standard_normal(shape, dtype=np.float32))

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform on low … high, both included."""
        drawn: np.ndarray = low + np.floor(self.uniform(shape).astype(np.float64) * (high - low + 1)).astype(np.int64)
        return drawn

    @contextmanager
    def still(self) -> Iterator[None]:
        """Within, nothing is random: what is drawn depends on its place along the last axis alone.

        So two ways of computing one thing can be compared, whatever the batch; the stream does not move.
        """
        before, self._still = self._still, True
        try:
            yield
        finally:
            self._still = before


CHANCE = Chance()
"""The one of this process."""


def uniform_like(x: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """Uniform on [0, 1) from `CHANCE`, with x's shape (or another), device and precision."""
    return _beside(x, CHANCE.uniform(tuple(x.shape) if shape is None else shape))


def normal_like(x: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """Standard normal from `CHANCE`, with x's shape (or another), device and precision."""
    return _beside(x, CHANCE.normal(tuple(x.shape) if shape is None else shape))


def _beside(x: Tensor, drawn: np.ndarray) -> Tensor:
    return torch.from_numpy(drawn).to(x.device, x.dtype if x.is_floating_point() else torch.float32)


def _even(shape: tuple[int, ...]) -> np.ndarray:
    """Numbers inside (0, 1), spread evenly along the last axis and the same along all others."""
    row = (0.5 + GOLDEN * np.arange(shape[-1] if shape else 1)) % 1.0
    inside = np.clip(row, 1e-6, 1 - 1e-6)
    return np.broadcast_to(inside, shape) if shape else inside.reshape(())
