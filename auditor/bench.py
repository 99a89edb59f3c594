"""A bench for attacks: models whose answer is known, and a way to play attacks on them as a scan does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from auditor.access import Access, OutputKind
from auditor.arena import Arena, Place
from auditor.attack import AnyAttack
from auditor.events import silent
from auditor.execution import Execution
from auditor.journal import Journal
from auditor.ledger import Ledger
from auditor.preprocess import Preprocess
from auditor.problem import Problem
from auditor.record import AttackRow
from auditor.samples import Samples
from auditor.search import Search
from auditor.suite import Stage
from auditor.target import Target
from auditor.threat import Norm, ThreatModel
from auditor.twin import Twin
from auditor.verify import Verifier


class LinearTarget(Target):
    """Scores Wx + b. weight: `[classes, features]`. bias: `[classes]`. shape: of one sample, flat by default."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, shape: tuple[int, ...] | None = None):
        self.weight = np.asarray(weight, np.float32)
        self.bias = np.asarray(bias, np.float32)
        self.name, self.sha256 = "linear", "0" * 64
        self.classes = len(self.bias)
        self.shape = shape or (self.weight.shape[1],)
        self.runtime = {"name": "numpy", "version": np.__version__}
        self.preprocess = Preprocess(sample_shape=self.shape, model_shape=self.shape)
        self.output = OutputKind.LOGITS

    def _run(self, x: np.ndarray) -> np.ndarray:
        # summed feature by feature in float64, so that a sample's scores do not depend on its companions
        with np.errstate(over="ignore", invalid="ignore"):  # an attack may ask about anything
            return self._exact(x).astype(np.float32)

    def _exact(self, x: np.ndarray) -> np.ndarray:
        flat = x.reshape(len(x), -1).astype(np.float64)
        scores: np.ndarray = np.einsum("nd,kd->nk", flat, self.weight.astype(np.float64)) + self.bias
        return scores

    def twin(self) -> Twin:
        # empty, since drawing initial weights would move torch's generator
        linear = nn.Linear(self.weight.shape[1], self.classes, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(self.weight))
            linear.bias.copy_(torch.from_numpy(self.bias))
        return Twin(module=nn.Sequential(nn.Flatten(), linear), preprocess=self.preprocess, output=self.output)

    def radii(self, samples: Samples, threat: ThreatModel) -> np.ndarray:
        """Distance of each sample to its nearest adversarial example, `[n]`: in the threat's norm, with its weights
        and frozen features, without bounds (l0: the number of features, within bounds). 0 where the sample is
        misclassified already."""
        features = self.weight.shape[1]
        scores = self._exact(samples.inputs)
        scale = _flat(threat.weights, 1.0, features) * (1.0 - _flat(threat.frozen, 0.0, features))
        radii = np.full((len(samples), self.classes), np.inf)
        for i, y in enumerate(samples.labels):
            for k in set(range(self.classes)) - {int(y)}:
                slope = self.weight[k].astype(np.float64) - self.weight[y]
                gap = max(scores[i, y] - scores[i, k], 0.0)
                if threat.norm is Norm.L0:
                    radii[i, k] = _features(samples.inputs[i].ravel(), slope * (scale > 0), gap, threat)
                else:
                    radii[i, k] = gap / np.linalg.norm(slope * scale, ord=DUAL[threat.norm])
        distances: np.ndarray = radii.min(axis=1)
        return distances


DUAL = {Norm.LINF: 1, Norm.L2: 2, Norm.L1: np.inf}
"""Order of the norm that says how far a linear score moves per unit of epsilon."""


def _flat(values: np.ndarray | None, default: float, features: int) -> np.ndarray:
    return np.full(features, default) if values is None else np.broadcast_to(np.ravel(values), features).astype(float)


def _features(x: np.ndarray, slope: np.ndarray, gap: float, threat: ThreatModel) -> float:
    """How many features have to change, each as far as the bounds let it, until the gap is closed."""
    low, high = threat.bounds or (-np.inf, np.inf)
    gains = np.sort(np.maximum(slope * (high - x), slope * (low - x)))[::-1]
    reached = np.flatnonzero(np.cumsum(gains) > gap)
    return float(reached[0] + 1) if len(reached) else np.inf


@dataclass(frozen=True)
class Trial:
    """What an attack did to a target: the ledger of each sample, and the row that the report would show."""

    ledger: Ledger
    row: AttackRow

    @property
    def broken(self) -> np.ndarray:
        """Which samples were broken, bool `[n]`."""
        return self.ledger.broken


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Plays attacks on a target the way a scan does, without files: same loop, same verifier, same rules.

    access: what the attacker is granted. execution: width, precision and threads; results may move by rounding only.
    """

    target: Target
    samples: Samples
    threat: ThreatModel
    seed: int = 0
    execution: Execution = field(default_factory=lambda: Execution(device="cpu", threads=1))
    access: Access = Access.GRADIENT

    def at(self, epsilon: float) -> Bench:
        """The same bench at another epsilon."""
        return replace(self, threat=replace(self.threat, epsilon=epsilon))

    def play(self, attack: AnyAttack, *, restarts: int = 1, distance: bool = False) -> Trial:
        """One attack on every correctly classified sample; with `distance` on its own, for `ledger.nearest`."""
        stage = Stage(attack=attack, restarts=restarts, distance=distance, title=attack.name)
        ledger, rows = self.play_suite([stage])
        return Trial(ledger, rows[0])

    def play_suite(self, suite: list[Stage]) -> tuple[Ledger, list[AttackRow]]:
        """A whole suite."""
        with TemporaryDirectory() as folder:
            search = self.search(Path(folder))
            correct = self.target.labels(self.samples.inputs, batch=1) == self.samples.labels
            ledger = Ledger.of(self.samples, correct)
            rows = search.play(suite, ledger)
        return ledger, rows

    def problem(self) -> Problem:
        """The problem of all samples, one row each at age 0, for feeding an attack replies by hand."""
        place = Place(seed=self.seed, stage=0, device="cpu", dtype=torch.float32, classes=self.target.classes)
        ledger = Ledger.of(self.samples, np.ones(len(self.samples), bool))
        index = np.arange(len(self.samples))
        arena = Arena(place, self.samples, self.threat, self.threat.region(self.samples), ledger, index)
        return arena.problem(torch.from_numpy(index), torch.zeros(len(index), dtype=torch.int64))

    def search(self, folder: Path) -> Search:
        """The search that a scan would make of this bench, with its journal in a folder."""
        self.target.fit(self.samples.inputs.shape[1:])
        region = self.threat.region(self.samples)
        return Search(
            target=self.target,
            twin=self.target.twin() if self.access is Access.GRADIENT else None,
            samples=self.samples,
            threat=self.threat,
            region=region,
            verifier=Verifier(self.target, self.samples, self.threat, region),
            access=self.access,
            execution=self.execution,
            seed=self.seed,
            journal=Journal(folder, {}, resume=False),
            listen=silent,
        )


def linear_bench(
    *,
    classes: int = 2,
    shape: tuple[int, ...] = (12,),
    n: int = 16,
    seed: int = 0,
    threat: ThreatModel | None = None,
    distance: float | None = None,
) -> Bench:
    """A seeded random linear model with samples that it classifies correctly, labels by its own answer.

    Inputs are drawn from [0.2, 0.8]. distance: where given (two classes, any norm but l0), samples are shifted across
    the boundary's normal until each is this far from its nearest adversarial example in the threat's norm.
    """
    rng = np.random.default_rng(seed)
    features = int(np.prod(shape))
    target = LinearTarget(rng.normal(size=(classes, features)), rng.normal(size=classes) / 4, shape)
    inputs = rng.uniform(0.2, 0.8, size=(n, *shape)).astype(np.float32)
    labels = target.labels(inputs, batch=1).astype(np.int64)
    samples = Samples(inputs=inputs, labels=labels, ids=np.arange(n))
    threat = threat or ThreatModel()
    if distance is not None:
        samples = replace(samples, inputs=_shifted(target, samples, threat, distance))
    return Bench(target=target, samples=samples, threat=threat, seed=seed)


def _shifted(target: LinearTarget, samples: Samples, threat: ThreatModel, distance: float) -> np.ndarray:
    normal = (target.weight[1] - target.weight[0]).astype(np.float64)
    steps = (target.radii(samples, threat) - distance) * np.linalg.norm(normal, ord=DUAL[threat.norm])
    steps *= np.where(samples.labels == 0, 1, -1) / np.square(normal).sum()
    moved: np.ndarray = samples.inputs + (steps[:, None] * normal).reshape(samples.inputs.shape)
    return moved.astype(np.float32)


def single(bench: Bench, index: int, *, epsilon: float) -> Bench:
    """One sample of a bench, at its own epsilon."""
    return replace(bench.at(epsilon), samples=bench.samples.take([index]))
