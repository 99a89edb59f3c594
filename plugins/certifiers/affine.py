"""Exact certificates for models that are affine in their input. Nothing to search: the worst case has a closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from auditor.batching import Batched
from auditor.certify import Certificates, Certifier
from auditor.graph import Graph
from auditor.hookspecs import Register, hookimpl
from auditor.samples import Samples
from auditor.threat import Norm, Region, ThreatModel
from auditor.twin import Twin

LARGEST = 1 << 25
"""Entries of the weight matrix, classes times features, beyond which nothing is certified: 256 MiB in float64."""
SINGLE = 2.0**-22
"""Bound on the relative error of a float32 sum, for each term: four times the unit roundoff."""
COARSE = 2.0**-9
"""The same for products in half precision or TF32, for the sum as a whole."""
PROBED = 64
KNOWN = (nn.Sequential, nn.Linear, nn.Flatten, nn.Identity, Batched, Graph)
"""Modules whose every step goes through torch, where the trace sees it; others could compute behind its back."""
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
    """The twin as scores `weight @ x + bias`, in float64. error: largest deviation of its float32 from that, seen."""

    weight: np.ndarray
    bias: np.ndarray
    error: float

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
        return cls(weight, bias, float(np.abs(single.double().cpu().numpy() - exact).max()))


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


@dataclass(frozen=True, kw_only=True)
class AffineCertifier(Certifier):
    """Certifies linear and logistic regression, and any network without a non-linear layer, under linf and l2.

    Applies by itself wherever it can and costs one backward pass a class: every sample then is either broken or proven
    safe, up to a sliver for the rounding of the deployed model. Bounds, boxes, weights and frozen features are part of
    the proof. Refuses (None) where any operation on the way is not affine or random, where a defence stands before the
    model, torch modules other than Linear, Flatten, Identity and Sequential, and weight matrices beyond 2^25 entries.

    Witness: weight, bias (the scores); bounds `[n, classes]`, the least that the label's score can lead each class by;
    slack, what rounding may take of it; multiplier, of the ball's constraint, for which any value of at least 0 proves
    its bound. A sample is certified where bounds exceed slack for every class that the goal allows.
    """

    name: ClassVar[str] = "affine"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    def certify(self, twin: Twin, samples: Samples, threat: ThreatModel, region: Region) -> Certificates | None:
        known = all(type(module) in KNOWN for module in twin.module.modules())
        if not known or twin.surrogates or twin.before or twin.random:
            return None
        if not np.isfinite([region.lower, region.upper]).all():
            return None
        affine = Affine.of(twin, _probes(samples, region))
        if affine is None:
            return None
        bounds, multiplier = worst_leads(affine, samples, threat, region)
        slack = rounding(affine, samples, region, coarse=_coarse(twin.module))
        safe: np.ndarray = bounds > slack
        goal = threat.goal.target
        certified = np.all(safe, axis=1) if goal is None else safe[:, goal] & (samples.labels != goal)
        witness = {"weight": affine.weight, "bias": affine.bias, "bounds": bounds, "slack": slack}
        return Certificates(certified, witness | ({} if multiplier is None else {"multiplier": multiplier}))


def worst_leads(
    affine: Affine, samples: Samples, threat: ThreatModel, region: Region
) -> tuple[np.ndarray, np.ndarray | None]:
    """The least lead of the label's score over each class inside the threat model, `[n, classes]`, infinite for the
    label itself; and the multipliers that prove it where the ball is round."""
    n, classes = len(samples), len(affine.bias)
    x, lower, upper = (a.reshape(n, -1).astype(np.float64) for a in (samples.inputs, region.lower, region.upper))
    round_ball = threat.norm is Norm.L2 and not threat.boxes
    weights = np.ones_like(x) if region.weights is None else region.weights.reshape(n, -1).astype(np.float64)
    bounds, multiplier = np.full((n, classes), np.inf), np.zeros((n, classes))
    for k in range(classes):
        rows = np.flatnonzero(samples.labels != k)
        own = samples.labels[rows]
        lead = affine.weight[own] - affine.weight[k]
        offset = affine.bias[own] - affine.bias[k]
        if round_ball:
            at = (lead * x[rows]).sum(axis=1) + offset
            low, high = ((edge[rows] - x[rows]) / weights[rows] for edge in (lower, upper))
            # the region's weights are float32: the ball is widened by more than their rounding
            most, multiplier[rows, k] = climb(-lead * weights[rows], low, high, threat.epsilon * (1 + 1e-6))
            bounds[rows, k] = at - most
        else:
            bounds[rows, k] = np.where(lead > 0, lead * lower[rows], lead * upper[rows]).sum(axis=1) + offset
    return bounds, multiplier if round_ball else None


def climb(slope: np.ndarray, low: np.ndarray, high: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The most of slope @ z over low <= z <= high with ‖z‖₂ <= radius, for each row, and the multiplier that proves it.

    By Lagrange duality: the multiplier is found by bisection, and whatever it is, its value is an upper bound.
    """
    corner = np.where(slope > 0, high, low) * (slope != 0)
    free = np.linalg.norm(corner, axis=1) <= radius
    size = np.maximum(np.linalg.norm(slope, axis=1), 1e-300)
    least, most = np.zeros(len(slope)), size / max(2 * radius, 1e-300)
    for _ in range(100):
        middle = (least + most) / 2
        z = np.clip(slope / np.maximum(2 * middle, 1e-300)[:, None], low, high)
        beyond = np.linalg.norm(z, axis=1) > radius
        least, most = np.where(beyond, middle, least), np.where(beyond, most, middle)
    multiplier = np.where(free, 0.0, most)
    z = np.clip(slope / np.maximum(2 * most, 1e-300)[:, None], low, high)
    dual = (slope * z - multiplier[:, None] * z**2).sum(axis=1) + multiplier * radius**2
    return np.where(free, (slope * corner).sum(axis=1), dual), multiplier


def rounding(affine: Affine, samples: Samples, region: Region, *, coarse: bool) -> np.ndarray:
    """What the deployed model's arithmetic may take of each lead, `[n, classes]`: a bound on the error of a sum by the
    size of its terms, or sixteen times what was seen where that is more."""
    n = len(samples)
    largest = np.maximum(np.abs(region.lower), np.abs(region.upper)).reshape(n, -1).astype(np.float64)
    size = largest @ np.abs(affine.weight).T + np.abs(affine.bias)
    both = size + np.take_along_axis(size, samples.labels[:, None], axis=1)
    unit = (affine.weight.shape[1] + 16) * SINGLE + (COARSE if coarse else 0.0)
    slack: np.ndarray = np.maximum(unit * both, 16 * affine.error)
    return slack


def _coarse(module: nn.Module) -> bool:
    """Whether the deployed model may compute more coarsely than float32: on a GPU, or as a half-precision file."""
    floats = _floats(module)
    on_gpu = any(value.is_cuda for value in floats)
    return on_gpu or any(all(bool((v == v.to(kind)).all()) for v in floats) for kind in (torch.half, torch.bfloat16))


def _floats(module: nn.Module) -> list[Tensor]:
    return [value for value in module.state_dict().values() if value.is_floating_point()]


def _probes(samples: Samples, region: Region) -> np.ndarray:
    """Some samples and some points between the far corners of their regions, where an affine model must be affine."""
    picked = np.linspace(0, len(samples) - 1, min(PROBED, len(samples))).astype(int)
    share = np.random.default_rng(0).random((len(picked), *samples.inputs.shape[1:]))
    between = region.lower[picked] + share * (region.upper[picked].astype(np.float64) - region.lower[picked])
    return np.concatenate([samples.inputs[picked], between.astype(np.float32)])


@hookimpl
def register_certifiers(register: Register) -> None:
    register(AffineCertifier)
