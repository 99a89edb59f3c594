"""Whether an attack reaches the closed-form radius of linear models, in linf, l2 and l1, with limits of every kind."""

from __future__ import annotations

import numpy as np
from linear import radius

from auditor.attack import Attack
from auditor.bench import Bench, LinearTarget, single
from auditor.threat import Norm


def check_reaches(bench: Bench, attack: Attack, *, restarts: int = 1, within: float = 0.01) -> None:
    """The attack breaks each sample a little above its distance to the goal, and not below it."""
    reached = 0
    for index, distance in enumerate(distances(bench)):
        if not 0 < distance < np.inf:
            continue
        reached += 1
        above = single(bench, index, epsilon=(1 + within) * distance).play(attack, restarts=restarts)
        assert above.broken.all(), f"{attack.name}: sample {index} stands {within:.0%} above its distance {distance}"
        if reached > 1:
            continue
        below = single(bench, index, epsilon=(1 - within) * distance).play(attack, restarts=restarts)
        assert not below.broken.any(), f"{attack.name}: sample {index} falls below its distance {distance}"
        assert not set(above.row.rejected) - {"unchanged input", "not misclassified"}, above.row.rejected
    assert reached > 1


def distances(bench: Bench) -> np.ndarray:
    """How far each sample is from its nearest adversarial example, `[n]`; a label as the goal is for two classes."""
    target, threat, samples = bench.target, bench.threat, bench.samples
    assert isinstance(target, LinearTarget)
    found = []
    for x, label in zip(samples.inputs.reshape(len(samples), -1).astype(float), samples.labels, strict=True):
        weights = np.ones_like(x) if threat.weights is None else np.ravel(threat.weights).astype(float)
        low, high = (np.full_like(x, bound) for bound in threat.bounds or (-np.inf, np.inf))
        if threat.frozen is not None:
            low, high = (np.where(np.ravel(threat.frozen), x, bound) for bound in (low, high))
        scores = target.weight.astype(float) @ x + target.bias
        goal = threat.goal.target
        assert goal is None or target.classes == 2
        ways = []
        for k in set(range(target.classes)) - {int(label)}:
            slope = target.weight[label].astype(float) - target.weight[k]
            lead = scores[label] - scores[k]
            limits = {"weights": weights, "low": low, "high": high}
            ways.append(
                _l1(slope, lead, x, **limits)
                if threat.norm is Norm.L1
                else radius(slope, lead, x, threat.norm, **limits)
            )
        found.append(min(ways))
    return np.array(found)


def _l1(slope: np.ndarray, lead: float, x: np.ndarray, weights: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """In l1 features go to their bounds one after another, the steepest first."""
    fall, size = np.abs(slope * weights), 0.0
    room = np.where(slope < 0, high - x, x - low) / weights
    for i in np.argsort(-fall):
        if fall[i] * room[i] >= lead:
            return float(size + lead / fall[i])
        lead, size = lead - fall[i] * room[i], size + room[i]
    return float("inf")
