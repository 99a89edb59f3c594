"""Pairs of classes: success, distance and Papernot's hardness of each, from runs. Nothing is attacked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from auditor.hardness import Pair, Runs
from auditor.metrics import wilson

MULTIPLES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
"""Budgets over epsilon at which H is evaluated."""
PAPERNOT = (0.0, 0.003, 0.013, 0.026, 0.051, 0.077, 0.102, 0.128, 0.255, 0.383)
"""The same in l0, as shares of all features: Papernot's own, and none."""
ENOUGH = 10
"""Pairs from which a rank correlation is said."""


def hardness(rates: Sequence[float], distortions: Sequence[float]) -> float:
    """Papernot's H = ∫ ε dτ by the trapezoid, of success rates τ and mean distortions ε at several budgets.

    Sorted by rate first, since chance can make a larger budget succeed less often. Low where a pair is easy; c times
    the last rate less the first where the distortion is c throughout. https://arxiv.org/abs/1511.07528
    """
    order = np.argsort(rates, kind="stable")
    tau, epsilon = np.asarray(rates, float)[order], np.asarray(distortions, float)[order]
    return float((np.diff(tau) * (epsilon[1:] + epsilon[:-1]) / 2).sum())


def budgets(norm: str, epsilon: float, features: int) -> list[float]:
    """Where H is evaluated, in units of the norm; 0, where nothing succeeds, is the first."""
    return [share * features for share in PAPERNOT] if norm == "l0" else [share * epsilon for share in MULTIPLES]


def pairs(runs: Runs, labels: dict[int, int], norm: str, epsilon: float, features: int) -> list[Pair]:
    """A cell for every source and target that runs went between, in order. labels: of the samples, by id. features:
    of a sample, which l0 counts in H as shares of all.
    """
    at, unit = budgets(norm, epsilon, features), float(features) if norm == "l0" else 1.0
    sources = np.array([labels[i] for i in runs.ids], np.int64)
    targets = np.array(runs.targets, np.int64)
    distances = np.array([np.inf if d is None else d for d in runs.distances])
    saliency = np.array([np.nan if a is None else a for a in runs.saliency])
    found = []
    for source, target in sorted(set(zip(sources.tolist(), targets.tolist(), strict=True))):
        cell = (sources == source) & (targets == target)
        found.append(_pair(source, target, distances[cell], saliency[cell], epsilon, at, unit))
    return found


def _pair(
    source: int,
    target: int,
    distances: np.ndarray,
    saliency: np.ndarray,
    epsilon: float,
    at: Sequence[float],
    unit: float,
) -> Pair:
    n, reached = len(distances), np.isfinite(distances)
    broken = int((distances <= epsilon).sum())
    rates = [float((distances <= b).mean()) for b in at]
    means = [float(distances[distances <= b].mean()) / unit if rate else 0.0 for b, rate in zip(at, rates, strict=True)]
    return Pair(
        source=source,
        target=target,
        n=n,
        broken=broken,
        interval=wilson(broken, n),
        reached=int(reached.sum()),
        distance=median(distances),
        mean_distance=float(distances[reached].mean()) if reached.any() else None,
        hardness=hardness(rates, means) if rates[-1] else None,
        adversarial_distance=None if np.isnan(saliency).all() else float(np.nanmean(saliency)),
    )


def median(distances: np.ndarray) -> float | None:
    """The median, None where it is beyond everything that was found, or there is nothing."""
    if not len(distances):
        return None
    low, high = (np.partition(distances, k)[k] for k in ((len(distances) - 1) // 2, len(distances) // 2))
    return float((low + high) / 2) if np.isfinite(high) else None


@dataclass(frozen=True)
class Prediction:
    """Spearman's correlation of A with H, and with the median distance, over so many pairs; None under ten of them, or
    where one of the two does not vary."""

    hardness: float | None
    distance: float | None
    over: int


def prediction(cells: Sequence[Pair]) -> Prediction:
    """Does the cheap prediction hold here? Pairs that were not reached are the hardest in distance, and have no H."""
    known = [cell for cell in cells if cell.adversarial_distance is not None]
    with_h = [cell for cell in known if cell.hardness is not None]
    return Prediction(
        hardness=_spearman([c.adversarial_distance or 0.0 for c in with_h], [c.hardness or 0.0 for c in with_h]),
        distance=_spearman(
            [c.adversarial_distance or 0.0 for c in known],
            [np.inf if c.distance is None else c.distance for c in known],
        ),
        over=len(with_h),
    )


def _spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    if len(a) < ENOUGH or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(spearmanr(a, b).statistic)
