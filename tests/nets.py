"""Torch modules as something deployed, with the twin that a test gives them: honest nets, and some built to deceive."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from auditor.access import OutputKind
from auditor.bench import Bench
from auditor.preprocess import Preprocess
from auditor.samples import Samples
from auditor.target import Target
from auditor.threat import ThreatModel
from auditor.twin import Twin

BOUNDS = (0.0, 1.0)


class NetTarget(Target):
    """A module that is deployed; its twin computes the same unless another module is given."""

    def __init__(
        self, net: nn.Module, features: int, classes: int, *, twin: nn.Module | None = None, peeled: str | None = None
    ) -> None:
        self.net, self._copy, self._peeled = net.eval(), twin or net, peeled
        self.name, self.sha256, self.classes, self.shape = "net", "0" * 64, classes, (features,)
        self.runtime = {"name": "torch", "version": torch.__version__}
        self.preprocess = Preprocess(sample_shape=self.shape, model_shape=self.shape)
        self.output = OutputKind.LOGITS

    def _run(self, x: np.ndarray) -> np.ndarray:
        kind = next(self.net.parameters()).dtype
        with torch.no_grad():
            scores: np.ndarray = self.net(torch.from_numpy(x).to(kind)).float().numpy()
        return scores

    def twin(self) -> Twin:
        return Twin(module=self._copy, preprocess=self.preprocess, output=self.output, peeled=self._peeled)


def mlp(features: int = 12, classes: int = 3, hidden: int = 32, seed: int = 0) -> nn.Sequential:
    """A net with one hidden layer and random weights."""
    random = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) / parameter.shape[-1] ** 0.5)
    return net


def net_bench(
    net: nn.Module, *, features: int = 12, classes: int = 3, n: int = 40, epsilon: float = 0.1, seed: int = 0,
    twin: nn.Module | None = None, threat: ThreatModel | None = None, peeled: str | None = None,
) -> Bench:  # fmt: skip
    """The module on random samples from [0.2, 0.8] that it labels itself, under linf within [0, 1]."""
    target = NetTarget(net, features, classes, twin=twin, peeled=peeled)
    inputs = np.random.default_rng(seed).uniform(0.2, 0.8, size=(n, features)).astype(np.float32)
    labels = target.labels(inputs, batch=1).astype(np.int64)
    samples = Samples(inputs=inputs, labels=labels, ids=np.arange(n))
    return Bench(
        target=target, samples=samples, threat=threat or ThreatModel(epsilon=epsilon, bounds=BOUNDS), seed=seed
    )


class Front(nn.Module):
    """A net behind a function of its input."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.net(self.front(x))
        return scores

    def front(self, x: Tensor) -> Tensor:
        return x


class Levels(Front):
    """Inputs rounded to fifths, straight through in the backward pass: a twin as operators make one."""

    def front(self, x: Tensor) -> Tensor:
        return x + ((5 * x).round() / 5 - x).detach()


class Backwards(Front):
    """The inputs as they are, and a gradient that points the wrong way."""

    def front(self, x: Tensor) -> Tensor:
        return 2 * x.detach() - x


class Ripples(Front):
    """Inputs with ripples far too fine to matter, whose slopes drown every other."""

    def front(self, x: Tensor) -> Tensor:
        return x + 1e-3 * (3e4 * x).sin()
