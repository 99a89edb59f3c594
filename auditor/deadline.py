"""A time limit on a twin: looked at between operators, since nothing can end a native one from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from auditor.errors import ModelError

_ends = float("inf")
_seconds = 0.0


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Within, graphs raise ModelError once so many seconds have passed; a limit inside another may not be longer."""
    global _ends, _seconds
    before = _ends, _seconds
    if time.monotonic() + seconds < _ends:
        _ends, _seconds = time.monotonic() + seconds, seconds
    try:
        yield
    finally:
        _ends, _seconds = before


def check() -> None:
    """Raise ModelError where the time is up."""
    if not torch.compiler.is_compiling() and time.monotonic() > _ends:
        raise ModelError(
            f"The twin should be built and tried within {_seconds:g} s, it takes longer; raise `[run] timeout` if the "
            "file is that large."
        )
