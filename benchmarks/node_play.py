"""One node test on one backend: what becomes of it and, for our twin, whether its gradient is right."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.node_backends import BACKENDS, build_graph, onnxruntime, to_numpy, to_torch
from benchmarks.node_cases import AS_DEPLOYED, Case, Outcome, Result, difference

FINITE_DIFFERENCE = 1e-6
JITTER = 1e-3
"""How far an input is moved, upwards, to see whether a gradient fails only at a kink or at the end of the domain."""


def play(backend: str, case: Case) -> Result:
    """One case on one backend, and the gradient of our twin."""
    warnings.simplefilter("ignore")
    try:
        run = BACKENDS[backend](case)
    except Exception as error:
        return Result(case.name, Outcome.REFUSED, _words(error))
    try:
        outputs = run(case.inputs)
    except Exception as error:
        return Result(case.name, Outcome.FAILED, _words(error))
    found = [to_numpy(value) for value in outputs]
    wrong = difference(case, found)
    if wrong:
        deployed = backend != "onnxruntime" and _as_deployed(case, found)
        return Result(case.name, Outcome.WRONG, wrong + (AS_DEPLOYED if deployed else ""))
    return Result(case.name, Outcome.PASS, gradient=_gradient(case) if backend == "twin" else "")


def _as_deployed(case: Case, outputs: Sequence[Any]) -> bool:
    """Whether onnxruntime returns these outputs too, where the case states others."""
    try:
        expected = [to_numpy(value) for value in onnxruntime(case)(case.inputs)]
    except Exception:
        return False
    return not difference(replace(case, expected=expected), outputs)


def _gradient(case: Case) -> str:
    try:
        return gradient(case)
    except Exception as error:
        return _words(error)


def gradient(case: Case) -> str:
    """Whether autograd's derivative by the first input of floats is that of finite differences, in float64."""
    inputs = [to_torch(value, torch.float64) for value in case.inputs]
    position = next((i for i, value in enumerate(inputs) if isinstance(value, Tensor) and _moves(value)), None)
    graph = build_graph(case.model).double()
    if position is None:
        return ""
    if graph.surrogates:
        return "surrogate"

    def floats(x: Tensor) -> Tensor:
        outputs = graph(*inputs[:position], x, *inputs[position + 1 :])
        parts = [part for value in outputs for part in (value if isinstance(value, list) else [value])]
        floating = [part.reshape(-1) for part in parts if isinstance(part, Tensor) and part.is_floating_point()]
        return torch.cat(floating) if floating else x.new_empty(0)

    x = inputs[position]
    with torch.no_grad():
        found = floats(x)
    if not found.numel():
        return ""
    if not bool(torch.isfinite(x).all() and torch.isfinite(found).all()):
        return "not finite"
    problem = _mismatch(floats, x)
    if not problem:
        return "correct"
    torch.manual_seed(0)
    return problem if _mismatch(floats, x + JITTER * torch.rand_like(x)) else "correct but for a kink"


def _moves(value: Tensor) -> bool:
    return value.is_floating_point() and value.numel() > 0


def _mismatch(function: Callable[[Tensor], Tensor], x: Tensor) -> str:
    torch.manual_seed(0)
    try:
        torch.autograd.gradcheck(function, (x.clone().requires_grad_(True),), eps=FINITE_DIFFERENCE, fast_mode=True)
    except Exception as error:
        return _words(error)
    return ""


def _words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
