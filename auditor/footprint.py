"""How much memory a pass through the twin takes, and how many samples fit side by side."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from auditor.errors import ModelError
from auditor.execution import Execution
from auditor.twin import Twin

BACKWARD = 2
"""What a backward pass takes besides what the forward pass left: about as much again, at its worst."""


def narrowed(execution: Execution, twin: Twin | None, inputs: np.ndarray, memory: int) -> Execution:
    """The execution with no more samples side by side than fit into memory.

    Costs one forward pass of one sample. inputs: samples `[n, *sample_shape]`. memory: bytes for one batch, forward and
    backward. Raises ModelError where a single sample does not fit, or the twin can't run it.
    """
    if twin is None:
        return execution
    sample = BACKWARD * forward_bytes(twin, inputs[:1])
    if sample > memory:
        raise ModelError(
            f"The twin may take {memory >> 20} MiB for one forward and backward pass, a single sample takes "
            f"{sample >> 20} MiB; raise `[run] memory` for white-box attacks."
        )
    # a call of several passes is made with so many fewer points
    width = max(1, min(execution.width, memory * twin.passes // max(sample, 1)))
    return msgspec.structs.replace(execution, width=int(width))


def forward_bytes(twin: Twin, inputs: np.ndarray) -> int:
    """Bytes that a forward pass of these inputs allocates, all of which a backward pass may need."""
    device = next(twin.module.buffers(), torch.zeros(1)).device
    points = torch.from_numpy(inputs).to(device).requires_grad_()
    twin.module.float()
    counted = _Counted()
    with counted:
        twin.logits(points)
    return counted.bytes


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storage of whatever operations return, each once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        there = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for part in tree_leaves(result):
            if isinstance(part, Tensor) and part.untyped_storage().data_ptr() not in there:
                self.bytes += part.untyped_storage().nbytes()
        return result
