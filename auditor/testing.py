"""For plugin authors: models whose answer is known, and a check that an attack finds it.

    from auditor.testing import check_attack
    check_attack(MyAttack())

A linear model's distance to its nearest adversarial example has a closed form, so an attack that is right breaks
everything a little above that distance and nothing below it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from auditor.access import Access, OutputKind
from auditor.attack import AnyAttack, LibraryAttack
from auditor.events import silent
from auditor.execution import Execution
from auditor.journal import Journal
from auditor.ledger import Ledger
from auditor.preprocess import Preprocess
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
        flat = x.reshape(len(x), -1).astype(np.float64)
        scores = np.einsum("nd,kd->nk", flat, self.weight.astype(np.float64)) + self.bias
        return scores.astype(np.float32)

    def twin(self) -> Twin:
        linear = nn.Linear(self.weight.shape[1], self.classes)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(self.weight))
            linear.bias.copy_(torch.from_numpy(self.bias))
        return Twin(module=nn.Sequential(nn.Flatten(), linear), preprocess=self.preprocess, output=self.output)

    def radii(self, samples: Samples, threat: ThreatModel) -> np.ndarray:
        """Distance of each sample to its nearest adversarial example, `[n]`: in the threat's norm and weights, without
        bounds. 0 where the sample is misclassified already."""
        x = samples.inputs.reshape(len(samples), -1).astype(np.float64)
        scores = x @ self.weight.T.astype(np.float64) + self.bias
        scale = np.ones(x.shape[1]) if threat.weights is None else np.asarray(threat.weights, np.float64).ravel()
        free = np.ones(x.shape[1]) if threat.frozen is None else 1.0 - np.asarray(threat.frozen, bool).ravel()
        radii = np.full((len(x), self.classes), np.inf)
        for k in range(self.classes):
            for i, y in enumerate(samples.labels):
                if k != y:
                    slope = (self.weight[k] - self.weight[y]).astype(np.float64) * scale * free
                    size = np.abs(slope).sum() if threat.norm is Norm.LINF else np.sqrt(np.square(slope).sum())
                    radii[i, k] = max(scores[i, y] - scores[i, k], 0.0) / size
        return radii.min(axis=1)


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
    """Plays attacks on a target the way a scan does, without files: same loop, same verifier, same rules."""

    target: Target
    samples: Samples
    threat: ThreatModel
    seed: int = 0
    execution: Execution = field(default_factory=lambda: Execution(device="cpu", threads=1))
    access: Access = Access.GRADIENT

    def play(self, attack: AnyAttack, *, restarts: int = 1) -> Trial:
        """One attack on every correctly classified sample."""
        ledger, rows = self.play_suite([Stage(attack=attack, restarts=restarts, title=attack.name)])
        return Trial(ledger, rows[0])

    def play_suite(self, suite: list[Stage]) -> tuple[Ledger, list[AttackRow]]:
        """A whole suite."""
        self.target.fit(self.samples.inputs.shape[1:])
        correct = self.target.labels(self.samples.inputs, batch=1) == self.samples.labels
        region = self.threat.region(self.samples)
        ledger = Ledger.of(self.samples, correct)
        twin = self.target.twin() if self.access is Access.GRADIENT else None
        with TemporaryDirectory() as folder:
            search = Search(
                target=self.target,
                twin=twin,
                samples=self.samples,
                threat=self.threat,
                region=region,
                verifier=Verifier(self.target, self.samples, self.threat, region),
                access=self.access,
                execution=self.execution,
                seed=self.seed,
                journal=Journal(Path(folder), {}, resume=False),
                listen=silent,
            )
            rows = search.play(suite, ledger)
        return ledger, rows


def linear_bench(
    *,
    classes: int = 2,
    shape: tuple[int, ...] = (12,),
    n: int = 16,
    seed: int = 0,
    threat: ThreatModel | None = None,
) -> Bench:
    """A seeded random linear model with samples that it classifies correctly, labels by its own answer."""
    rng = np.random.default_rng(seed)
    features = int(np.prod(shape))
    target = LinearTarget(rng.normal(size=(classes, features)), rng.normal(size=classes) / 4, shape)
    inputs = rng.uniform(0.2, 0.8, size=(n, *shape)).astype(np.float32)
    samples = Samples(inputs=inputs, labels=target.labels(inputs, batch=1).astype(np.int64), ids=np.arange(n))
    return Bench(target=target, samples=samples, threat=threat or ThreatModel(), seed=seed)


def single(bench: Bench, index: int, *, epsilon: float) -> Bench:
    """One sample of a bench, at its own epsilon."""
    return replace(bench, samples=bench.samples.take([index]), threat=replace(bench.threat, epsilon=epsilon))


def check_attack(attack: AnyAttack, *, above: float = 1.01, seeds: int = 3, must_break: bool = True) -> None:
    """Raise AssertionError unless the attack is right on linear models with two classes, in all its norms.

    It must break no sample 1 % below the true distance (nothing can), break every one at `above` times it unless
    `must_break` is false (an attack that is random or weak), have no claim rejected as outside the threat model, give
    the same result twice, and leave samples alone at epsilon 0.
    """
    for norm in sorted(set(attack.norms) & {Norm.LINF, Norm.L2}):
        for seed in range(seeds):
            bench = linear_bench(seed=seed, threat=ThreatModel(norm=norm), n=4)
            radii = bench.target.radii(bench.samples, bench.threat)  # type: ignore[attr-defined]
            for index, radius in enumerate(radii):
                _check_one(attack, bench, index, float(radius), above, must_break)
            assert not bench.play(attack).broken.any(), f"{attack.name} ({norm}) breaks samples at epsilon 0"


def _check_one(attack: AnyAttack, bench: Bench, index: int, radius: float, above: float, must_break: bool) -> None:
    where = f"{attack.name} ({bench.threat.norm}, seed {bench.seed}, sample {index})"
    below = single(bench, index, epsilon=0.99 * radius).play(attack)
    assert not below.broken.any(), f"{where} breaks a sample 1 % below its true distance"
    trial = single(bench, index, epsilon=above * radius)
    first, second = trial.play(attack), trial.play(attack)
    assert first.row.status == "ran", f"{where} did not run: {first.row.reason}"
    allowed = {"unchanged input", "not misclassified"} if isinstance(attack, LibraryAttack) else {"unchanged input"}
    outside = {reason: n for reason, n in first.row.rejected.items() if reason not in allowed}
    assert not outside, f"{where} proposes points that break the threat model: {outside}"
    same = np.array_equal(first.ledger.best, second.ledger.best) and np.array_equal(first.broken, second.broken)
    assert same, f"{where} differs between two runs: draw randomness from `problem.draws` or the seed only"
    if must_break:
        assert first.broken.all(), f"{where} does not break the sample at {above:g} times its true distance"
