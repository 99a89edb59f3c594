"""Settings of the whole process stay as they were, whatever a plugin does to them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_rng_state, torch.set_rng_state),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (np.random.get_state, np.random.set_state),
    (np.geterr, lambda handling: np.seterr(**handling)),
    (random.getstate, random.setstate),
    (os.getcwd, os.chdir),
)


@contextmanager
def unmoved() -> Iterator[None]:
    """Run plugin code; afterwards generators, precision, threads, gradient mode and directory are as they were."""
    before = [read() for read, _ in SETTINGS]
    try:
        yield
    finally:
        for (read, write), value in zip(SETTINGS, before, strict=True):
            if not _same(read(), value):
                write(value)


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(np.array_equal(left, right)) if isinstance(left, np.ndarray) else bool(left == right)
