"""A first look at the target on the clean samples: labels, accuracy, and whether it answers the same twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auditor.samples import Samples
from auditor.target import Target

REPEATS = 5
PROBED = 32
SAME = 1e-4
"""Largest difference, as a share of the largest score, that counts as the same answer (AutoAttack's figure)."""
VOTES = 25
"""How often a randomised target is asked about one input."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the clean samples say. clean_labels: `[n]`, asked one at a time (a majority for a randomised target).

    repeat_difference: largest change of a score between identical queries. companion_difference: largest change of a
    score between a sample alone and among others; companion_flips: labels that changed. All over `probed` samples and
    as a share of `scale`, the largest absolute score.
    """

    clean_labels: np.ndarray
    probed: int
    repeat_difference: float
    repeat_flips: int
    companion_difference: float
    companion_flips: int
    scale: float

    @property
    def randomised(self) -> bool:
        """Whether the same input gets different answers."""
        return self.repeat_difference > SAME or self.repeat_flips > 0

    @property
    def batch_dependent(self) -> bool:
        """Whether an answer depends on who shares the batch (which a randomised target hides)."""
        return not self.randomised and (self.companion_difference > SAME or self.companion_flips > 0)

    @property
    def votes(self) -> int:
        """How often the verifier has to ask."""
        return VOTES if self.randomised else 1


def observe(target: Target, samples: Samples) -> Observation:
    """Ask the target about every clean sample at batch 1, and about some of them again and in company.

    Costs n + 160 queries, for a randomised target 25 n. Raises ModelError where it can't be run.
    """
    x = samples.inputs
    alone = target.scores(x, batch=1)
    probed = min(PROBED, len(x))
    scale = max(float(np.abs(alone[np.isfinite(alone)]).max(initial=0.0)), 1e-12)
    repeats = [target.scores(x[:probed], batch=1) for _ in range(REPEATS - 1)]
    together = target.scores(x[:probed], batch=probed)
    repeat = _difference(alone[:probed], repeats, scale)
    flips = sum(int((r.argmax(1) != alone[:probed].argmax(1)).sum()) for r in repeats)
    labels = alone.argmax(axis=1)
    if repeat > SAME or flips:
        votes = np.stack([labels, *(target.labels(x, batch=1) for _ in range(VOTES - 1))])
        labels = np.array([np.bincount(column).argmax() for column in votes.T])
    return Observation(
        clean_labels=labels.astype(np.int64),
        probed=probed,
        repeat_difference=repeat,
        repeat_flips=flips,
        companion_difference=_difference(alone[:probed], [together], scale),
        companion_flips=int((together.argmax(1) != alone[:probed].argmax(1)).sum()),
        scale=scale,
    )


def _difference(reference: np.ndarray, others: list[np.ndarray], scale: float) -> float:
    """Largest difference of scores as a share of scale; a score that is finite in one alone differs by 1."""
    worst = 0.0
    for other in others:
        both = np.isfinite(other) & np.isfinite(reference)
        worst = max(
            worst, float(np.abs(np.where(both, other, 0) - np.where(both, reference, 0)).max(initial=0.0)) / scale
        )
        odd = ~both & ~((other == reference) | (np.isnan(other) & np.isnan(reference)))
        worst = max(worst, float(odd.any()))
    return worst


def near_chance(accuracy: float, classes: int, n: int) -> bool:
    """Whether an accuracy could be guessing: within 5 % of the way up from chance, or two standard errors."""
    chance = 1 / classes
    error = float(np.sqrt(chance * (1 - chance) / max(n, 1)))
    return accuracy <= chance + max(0.05 * (1 - chance), 2 * error)
