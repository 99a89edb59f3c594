"""Planted adversarial examples: a model's own features under a readout that is known to be broken at one point.

Zimmermann et al. 2022, https://arxiv.org/abs/2206.13991
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from auditor.access import Access, OutputKind
from auditor.batching import Batched, Batching
from auditor.errors import ModelError
from auditor.graph import Graph
from auditor.ledger import Ledger, UnitResult
from auditor.preprocess import Preprocess
from auditor.samples import Samples
from auditor.search import Search
from auditor.sources import Sources
from auditor.suite import Stage
from auditor.target import Target
from auditor.threat import Goal
from auditor.twin import Twin
from auditor.verify import Verifier

CLOSE = 0.999
"""How far from the inner points to the boundary one the readout changes its answer."""
MOST = 8192
"""Features beyond which a last product is no readout."""
QUIET = 1e-3
"""Spread of a feature, as a share of the largest, up to which it is silent."""
STEPS, DECAY = 300, 1e-6
WIDTH = 8


class Cut(nn.Module):
    """A module's features: what its last linear layer takes, flat, `[batch, features]`."""

    def __init__(self, module: nn.Module, seen: list[Tensor]) -> None:
        super().__init__()
        self.module, self._seen = module, seen

    def forward(self, x: Tensor) -> Tensor:
        self._seen.clear()
        self.module(x)
        features = self._seen.pop()
        if features.shape[0] != len(x) or features[0].numel() > MOST:
            raise ModelError("What the last linear layer takes is not one row of features a sample.")
        return features.flatten(1)


def cut(twin: Twin) -> Twin:
    """The twin of the features. Raises ModelError where no last linear layer is found."""
    module, seen = copy.deepcopy(twin.module), []  # type: ignore[var-annotated]
    graphs = [part for part in module.modules() if isinstance(part, Graph)]
    layers = [part for part in module.modules() if isinstance(part, nn.Linear)]
    if graphs:
        if isinstance(module, Batched) and module.batching not in (Batching.PLAIN, Batching.FREED):
            raise ModelError("The twin runs samples one at a time, so that it can't be cut.")
        if not graphs[0].products():
            raise ModelError("No step of the twin is a product with weights, so that there is no last linear layer.")
        _observe(graphs[0], seen)
    elif layers:
        layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    else:
        raise ModelError("The twin has no linear layer that it could be cut at.")
    return replace(twin, module=Cut(module, seen), output=OutputKind.LOGITS, peeled=None, whole=None)


def _observe(graph: Graph, seen: list[Tensor]) -> None:
    """Let the last product of a graph leave what it takes besides its weights."""
    step = graph.products()[-1]
    weights = graph.weights_of(step)

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*values: Any) -> Any:
            fixed = {id(graph.get_buffer(name)) for name in weights}
            seen.append(next(value for value in values if isinstance(value, Tensor) and id(value) not in fixed))
            return function(*values)

        return run

    graph.wrap(step, watched)


def separated(features: Tensor) -> nn.Linear | None:
    """A layer from features `[n, d]` to two scores, the second larger for the last row alone; None where no linear
    layer tells that one from the others.

    Logistic regression, hardly regularised; then its threshold is moved close to the last row, and the scores are
    scaled so that they reach over a unit. What is silent on all of the others is left out: an attack that begins there
    has no gradient of it, in the most honest net.
    """
    rows = features.double()
    middle, spread = rows[:-1].mean(dim=0), rows[:-1].std(dim=0)
    used = spread > QUIET * spread.max()
    if not bool(used.any()):
        return None
    scaled = torch.where(used, (rows - middle) / spread.max(), 0)
    side = torch.full((len(rows),), -1.0, dtype=torch.float64, device=rows.device)
    side[-1] = 1
    share = torch.where(side > 0, 0.5, 0.5 / (len(rows) - 1))
    weight = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, device=rows.device, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def loss() -> Tensor:
        solver.zero_grad()
        wrong = nn.functional.softplus(-side * (scaled @ weight + bias))
        value = (share * wrong).sum() + DECAY * weight.square().sum()
        weight.grad, bias.grad = torch.autograd.grad(value, [weight, bias])
        return value.detach()

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]
    height = (scaled @ weight).detach()
    inner, planted = height[:-1].max(), height[-1]
    if not bool(planted > inner):
        return None
    slope = weight.detach() * used / spread.max()
    unit = (planted - height.min()).clamp_min(1e-12)
    threshold = inner + CLOSE * (planted - inner) + (slope * middle).sum()
    layer = nn.Linear(rows.shape[1], 2, device="meta").to_empty(device=rows.device).to(rows.dtype).requires_grad_(False)
    layer.weight[0], layer.weight[1] = -slope / unit / 2, slope / unit / 2
    layer.bias[0], layer.bias[1] = threshold / unit / 2, -threshold / unit / 2
    return layer


class TwoClass(Target):
    """A twin as something deployed. twin: from samples of this shape to two scores."""

    def __init__(self, twin: Twin, shape: tuple[int, ...]) -> None:
        self.name, self.sha256, self.classes, self.shape = "planted", "0" * 64, 2, shape
        self.runtime = {"name": "torch", "version": torch.__version__}
        self.preprocess = Preprocess(sample_shape=shape, model_shape=shape)
        self.output = OutputKind.LOGITS
        self._twin = twin

    def _run(self, x: np.ndarray) -> np.ndarray:
        like = next(self._twin.module.parameters())
        with torch.no_grad():
            scores: np.ndarray = self._twin.logits(torch.from_numpy(x).to(like)).float().cpu().numpy()
        return scores


@dataclass(frozen=True)
class Planted:
    """A sample `[1, *shape]` with label 0 whose adversarial example is known to exist within the audit's threat.

    twin: from the sample to two scores, the second of them the planted class's.
    """

    search: Search
    twin: Twin
    samples: Samples

    @classmethod
    def under(cls, search: Search, body: Twin, head: nn.Linear, sample: int) -> Planted:
        """The sample at this position under the features of a body and a head of its own."""
        samples = replace(search.samples.take([sample]), labels=np.zeros(1, np.int64), class_names=None)
        return cls(search, replace(body, module=nn.Sequential(body.module, head.float())), samples)

    def fooled(self, points: Tensor) -> bool:
        """Whether any of these points `[n, *shape]` is an adversarial example."""
        self.twin.module.to(points)
        with torch.no_grad():
            scores = torch.cat([self.twin.logits(part) for part in torch.split(points, self.search.execution.width)])
        return bool((scores[:, 1] > scores[:, 0]).any())

    def play(self, stage: Stage) -> UnitResult:
        """What an attack does to it."""
        search = self.search
        threat = replace(search.threat, goal=Goal())
        region, target = threat.region(self.samples), TwoClass(self.twin, self.samples.shape)
        precision = "float64" if search.execution.precision == "float64" else "float32"
        alone = replace(
            search,
            target=target,
            twin=self.twin,
            samples=self.samples,
            threat=threat,
            region=region,
            verifier=Verifier(target, self.samples, threat, region),
            execution=msgspec.structs.replace(search.execution, precision=precision, compile=False, width=WIDTH),
            access=Access.GRADIENT,
            narrowings=[],
            oracles={},
            sources=Sources(),
            doubt=float("inf"),
        )
        return alone.unit(0, stage, np.arange(1), Ledger.of(self.samples, np.ones(1, bool)))
