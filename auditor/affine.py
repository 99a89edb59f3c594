"""A model that is affine in its input, read off its twin as a weight matrix and a bias, with a check that it is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from auditor.twin import Twin

LARGEST = 1 << 25
"""Entries of the weight matrix, classes times features, beyond which it is not read: 256 MiB in float64."""
SINGLE = 2.0**-22
"""Bound on the relative error of a float32 sum, for each term: four times the unit roundoff."""
COARSE = 2.0**-9
"""The same for products in half precision or TF32, for the sum as a whole."""
KEEPING = frozenset({
    "add", "alias", "avg_pool2d", "cat", "clone", "constant_pad_nd", "detach", "expand", "flip", "mean", "neg",
    "permute", "rsub", "select", "slice", "squeeze", "stack", "sub", "sum", "t", "transpose", "unsqueeze", "view",
    "zeros_like", "_unsafe_view",
})  # fmt: skip
"""ATen operations that are affine in all their tensors together."""
PRODUCTS = {"mul": (0, 1), "mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "addmm": (1, 2), "convolution": (0, 1)}
"""Operations that are affine as long as only one of these arguments depends on the input."""


class NotAffine(Exception):
    """Raised inside a traced forward pass at the first operation that is not affine in the input."""


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows which tensors depend on the input through every operation that torch carries out."""

    def __init__(self, x: Tensor):
        super().__init__()  # type: ignore[no-untyped-call]
        self.dependent = {id(x): x}  # the tensors are kept, so that no id is used twice

    def depends(self, value: Any) -> bool:
        return any(id(leaf) in self.dependent for leaf in tree_leaves(value))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.depends((args, kwargs)):
            name = func.name().removeprefix("aten::").split(".")[0]
            if not self.affine(name, args) or not all(out.is_floating_point() for out in tree_leaves(result)):
                raise NotAffine(name)
            self.dependent |= {id(out): out for out in tree_leaves(result)}
        return result

    def affine(self, name: str, args: Any) -> bool:
        """Whether an operation, some argument of which depends on the input, is affine in it."""
        if name == "div":
            return not self.depends(args[1])
        if name in PRODUCTS:
            return sum(self.depends(args[position]) for position in PRODUCTS[name]) < 2
        return name in KEEPING


@dataclass(frozen=True)
class Affine:
    """The twin as scores `weight @ x + bias`, in float64. error: largest deviation of its float32 from that, seen.
    unit: bound on the relative error of a score as the deployed model computes it, by the size of its terms."""

    weight: np.ndarray
    bias: np.ndarray
    error: float
    unit: float

    @classmethod
    def of(cls, twin: Twin, points: np.ndarray) -> Affine | None:
        """Read off the twin; None unless each operation is affine and these points `[m, *shape]` bear it out."""
        parameter = next(iter(_floats(twin.module)), torch.zeros(1))
        x = torch.from_numpy(points).to(parameter.device, torch.float32)
        twin.module.float()
        with torch.no_grad():
            trace = Trace(x)
            try:
                with trace:
                    single = twin.logits(x)
            except NotAffine:
                return None
            if not trace.depends(single) or single.shape[1] * x[0].numel() > LARGEST:
                return None
        twin.module.double()
        try:
            weight, bias = _read(twin, x[:1].double())
            exact = x.double().flatten(1).cpu().numpy() @ weight.T + bias
            with torch.no_grad():
                double = twin.logits(x.double()).cpu().numpy()
        finally:
            twin.module.to(parameter.dtype)
        scale = max(float(np.abs(exact).max()), 1e-30)
        if float(np.abs(double - exact).max()) > 1e-9 * scale:
            return None
        unit = (weight.shape[1] + 16) * SINGLE + (COARSE if _coarse(twin.module) else 0.0)
        return cls(weight, bias, float(np.abs(single.double().cpu().numpy() - exact).max()), unit)

    def rounding(self, largest: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """What the deployed model's arithmetic may take of each lead of these labels, `[n, classes]`.

        A bound on the error of a sum by the size of its terms, or sixteen times what was seen where that is more.
        largest: magnitudes that the inputs do not exceed, `[n, features]`.
        """
        return np.asarray(np.maximum(self.unit * self.terms(largest, labels), 16 * self.error))

    def terms(self, largest: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The sizes of all terms that make up each lead, added up, `[n, classes]`."""
        size = largest @ np.abs(self.weight).T + np.abs(self.bias)
        return np.asarray(size + np.take_along_axis(size, labels[:, None], axis=1))


def _read(twin: Twin, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Weight `[classes, features]` and bias `[classes]`, by one backward pass a class."""
    x = torch.zeros_like(x).requires_grad_()
    scores = twin.logits(x)[0]
    rows = [
        torch.autograd.grad(score, x, retain_graph=True, allow_unused=True)[0]
        for score in scores
        if score.requires_grad
    ]
    found = [torch.zeros_like(x) if row is None else row for row in rows]
    return torch.cat(found).flatten(1).cpu().numpy(), scores.detach().cpu().numpy()


def _coarse(module: nn.Module) -> bool:
    """Whether the deployed model may compute more coarsely than float32: on a GPU, or as a half-precision file."""
    floats = _floats(module)
    on_gpu = any(value.is_cuda for value in floats)
    return on_gpu or any(all(bool((v == v.to(kind)).all()) for v in floats) for kind in (torch.half, torch.bfloat16))


def _floats(module: nn.Module) -> list[Tensor]:
    return [value for value in module.state_dict().values() if value.is_floating_point()]
