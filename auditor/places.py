"""The two places of a value: the host, for what steers shapes, and where the input is, in its precision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor


def to_host(value: Any, _: Any) -> Any:
    """A value, or those of a sequence, as CPU tensors; text and what is absent stay."""
    if isinstance(value, list):
        return [to_host(part, _) for part in value]
    return value.cpu() if isinstance(value, Tensor) else value


def like_input(value: Any, x: Any) -> Any:
    """A value, or those of a sequence, on the device of x, and floats in its precision."""
    if isinstance(value, list):
        return [like_input(part, x) for part in value]
    if not isinstance(value, Tensor) or not isinstance(x, Tensor):
        return value
    floats = value.is_floating_point() and x.is_floating_point()
    return value.to(x.device, x.dtype if floats else value.dtype)


def tensors(value: Any) -> Iterable[Tensor]:
    """The tensors that a value, or a sequence, consists of."""
    parts = value if isinstance(value, list) else [value]
    return (part for part in parts if isinstance(part, Tensor))


def is_float(kind: str) -> bool:
    """Whether an element type, by numpy's name, is one of floats."""
    return kind.startswith(("float", "bfloat"))
