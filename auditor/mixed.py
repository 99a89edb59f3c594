"""bfloat16 for the search: where it pays, and a twin that computes in it.

Attacks need the sign of a gradient more often than its digits, and on processors with bfloat16 units a convolution
costs a fraction. What must not be rounded is not: points, state and loss stay in float32, and so do the first and the
last product of the twin, since the step from 0.50 to 0.51 would vanish in the one and a margin near 0 in the other. The
deployed model decides in any case.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from auditor.environment import cpu_flags
from auditor.execution import Execution
from auditor.graph import Graph
from auditor.operators import Function
from auditor.twin import Twin

AUTO = "auto"
"""Left open until the twin has been measured."""
WORTH = 20e6
"""Multiplications and additions of one forward pass of one sample from which the products outweigh everything else."""
ERROR, SAME_WAY = 0.02, 0.97
"""Error of bfloat16's logits as a share of their spread, and median cosine of its gradients.

Eight robust and natural nets showed at most 0.008 and at least 0.99; nets built to cancel, 0.04 and more.
"""
PAYS = 1.3
"""Speed-up from which bfloat16 is worth its rounding."""
ROUNDS = 5
UNITS = {"avx512_bf16", "amx_bf16"}
"""Processor flags of bfloat16 in hardware; without one it is emulated, at a tenth of the speed."""


def settled(execution: Execution, twin: Twin | None, inputs: np.ndarray) -> Execution:
    """The execution with `auto` made bfloat16 or float32, by what one batch of the twin costs in each.

    float32 without further ado where the device only emulates bfloat16, where the twin's gradients are stand-ins
    (rounding would move what they round), where it is random (two calls differ by more than rounding), where rounding
    moves its logits or turns its gradients, and for small nets, which gain nothing. Costs up to 14 forwards and
    backwards of one batch. inputs: samples `[n, *sample_shape]`.
    """
    if execution.precision != AUTO:
        return execution
    plain = msgspec.structs.replace(execution, precision="float32")
    if twin is None or twin.surrogates or twin.random or not in_hardware(execution.device):
        return plain
    if flops(twin, inputs[:1]) < WORTH:
        return plain
    batch = torch.from_numpy(np.resize(inputs, (execution.width, *inputs.shape[1:]))).to(execution.device)
    if not faithful(twin, batch) or speed_up(twin, batch) < PAYS:
        return plain
    return msgspec.structs.replace(execution, precision="bfloat16")


def faithful(twin: Twin, batch: Tensor) -> bool:
    """Whether bfloat16 leaves this twin's logits and the direction of its gradients as they are.

    A net whose large inner values cancel loses in rounding what attacks need, and may look robust for it.
    """
    twin.module.float()
    slopes, scores = [], []
    for candidate in (twin, mixed(twin)):
        points = batch.detach().clone().requires_grad_()
        logits = candidate.logits(points)
        best = logits.topk(2, dim=1).values
        (slope,) = torch.autograd.grad((best[:, 1] - best[:, 0]).sum(), points)
        slopes.append(slope.flatten(1))
        scores.append(logits.detach())
    error = (scores[0] - scores[1]).norm() / (scores[0] - scores[0].mean(dim=1, keepdim=True)).norm()
    alike = torch.nn.functional.cosine_similarity(slopes[0], slopes[1], dim=1)
    return bool(error <= ERROR and alike.median() >= SAME_WAY)


def in_hardware(device: str) -> bool:
    """Whether a device computes in bfloat16 rather than emulating it."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(UNITS.intersection(cpu_flags()))


def flops(twin: Twin, inputs: np.ndarray) -> int:
    """Multiplications and additions of one forward pass of these inputs."""
    device = next(twin.module.buffers(), torch.zeros(1)).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        twin.logits(torch.from_numpy(inputs).to(device))
    return int(counter.get_total_flops())


def speed_up(twin: Twin, batch: Tensor) -> float:
    """How many times faster a forward and backward pass is in bfloat16 than in float32."""
    twin.module.float()
    plain, fast = seconds_each([twin.logits, mixed(twin).logits], batch)
    return plain / fast


def seconds_each(functions: Sequence[Callable[[Tensor], Tensor]], batch: Tensor) -> list[float]:
    """Seconds of a forward and backward pass through each function: medians, the functions taking turns."""
    taken: list[list[float]] = [[] for _ in functions]
    for number in range(ROUNDS + 1):
        for function, seconds in zip(functions, taken, strict=True):
            points = batch.detach().clone().requires_grad_()
            began = time.perf_counter()
            torch.autograd.grad(function(points).sum(), points)
            if batch.is_cuda:
                torch.cuda.synchronize()
            if number:  # the first pass warms up
                seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in taken]


def searched(twin: Twin, execution: Execution) -> Twin:
    """The twin as attacks see it, whose fidelity is what counts."""
    return mixed(twin) if execution.precision == "bfloat16" else twin


def mixed(twin: Twin) -> Twin:
    """A copy of a float32 twin that computes in bfloat16 but for its first and last product, channels last.

    Its points, logits and gradients are float32.
    """
    module = copy.deepcopy(twin.module)
    for graph in module.modules():
        if isinstance(graph, Graph):
            halve(graph)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return replace(twin, module=_Autocast(module))


class _Autocast(torch.nn.Module):
    """A module under autocast to bfloat16, from float32 to float32."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            scores: Tensor = self.module(x)
        return scores.to(x.dtype)


def halve(graph: Graph) -> None:
    """Round the weights of all products but the first and the last, which are made to stay in float32."""
    products = graph.products()
    if not products:
        return
    ends = {products[0], products[-1]}
    for number in products[1:-1]:
        for name in graph.weights_of(number):
            if graph.readers(name) <= set(products) - ends:
                graph._buffers[name] = graph.get_buffer(name).to(torch.bfloat16)
    for number in ends:
        graph.wrap(number, _in_full)


def _in_full(function: Function) -> Function:
    """The function outside of autocast, on float32 values."""

    def run(*values: Tensor) -> Tensor:
        device = next(value.device.type for value in values if isinstance(value, Tensor))
        with torch.autocast(device, enabled=False):
            wide = (v.float() if isinstance(v, Tensor) and v.dtype is torch.bfloat16 else v for v in values)
            result: Tensor = function(*wide)
            return result

    return run
