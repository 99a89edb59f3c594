"""The verifier: decides, on the deployed model alone, whether a candidate is an adversarial example.

It shares no code with the attacks: numpy in float64, strict comparisons, no tolerance. A candidate that passes is
evidence that anyone can replay; one that fails is counted under its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import beta

from auditor.samples import Samples
from auditor.spatial import TOLERANCE, matching
from auditor.target import Target
from auditor.threat import Norm, Region, ThreatModel

CONFIDENCE = 0.95


class Reason(StrEnum):
    """Why a candidate is no adversarial example."""

    SHAPE = "wrong shape or dtype"
    NOT_FINITE = "not finite"
    BOUNDS = "outside the bounds"
    BALL = "outside the ball"
    TRANSFORM = "none of the transforms"
    FROZEN = "changes a frozen feature"
    GRID = "off the grid"
    UNCHANGED = "unchanged input"
    NOT_MISCLASSIFIED = "not misclassified"
    TIE = "tie at the top"
    NO_ANSWER = "no answer but NaN"


@dataclass(frozen=True)
class Ruling:
    """What the verifier says of one candidate: `reason` is None exactly when it is an adversarial example.

    label: what the deployed model answers. distance: of the change in the threat's norm (share of the box for boxes).
    """

    reason: Reason | None
    label: int | None = None
    distance: float | None = None

    @property
    def broken(self) -> bool:
        return self.reason is None


class Verifier:
    """Judges candidates for given samples and threat, one at a time, at batch 1, in the deployed precision.

    votes: how often a randomised target is asked; 1 for a deterministic one. A sample of a randomised target is broken
    when the Clopper-Pearson bound on its error, at 95 %, exceeds one half.
    """

    def __init__(self, target: Target, samples: Samples, threat: ThreatModel, region: Region, *, votes: int = 1):
        self.target = target
        self.samples = samples
        self.threat = threat
        self.region = region
        self.votes = votes
        self.frozen: np.ndarray | None = None
        if threat.frozen is not None:
            self.frozen = np.asarray(threat.frozen, bool).reshape(samples.inputs.shape[1:])
        self.weights: np.ndarray | None = None
        if threat.weights is not None:
            given = np.asarray(threat.weights, np.float64)
            shape = samples.inputs.shape[1:]
            self.weights = given.reshape(shape) if given.size == np.prod(shape) else np.broadcast_to(given, shape)

    def judge(self, index: int, candidate: np.ndarray) -> Ruling:
        """Rule on a candidate `[*shape]` float32 for the sample at this index. Raises TargetUnavailable."""
        clean = self.samples.inputs[index]
        if not isinstance(candidate, np.ndarray) or candidate.shape != clean.shape or candidate.dtype != clean.dtype:
            return Ruling(Reason.SHAPE)
        if not np.isfinite(candidate).all():
            return Ruling(Reason.NOT_FINITE)
        if np.array_equal(candidate, clean):
            return Ruling(Reason.UNCHANGED)
        reason, distance = self._inside(index, candidate.astype(np.float64), clean.astype(np.float64))
        if reason is not None:
            return Ruling(reason, distance=distance)
        reason, label = self._misclassified(index, candidate)
        return Ruling(reason, label, distance)

    def _inside(self, index: int, candidate: np.ndarray, clean: np.ndarray) -> tuple[Reason | None, float | None]:
        if self.threat.boxes:
            return self._inside_box(index, candidate, clean)
        if self.threat.bounds is not None:
            low, high = self.threat.bounds
            if (candidate < low).any() or (candidate > high).any():
                return Reason.BOUNDS, None
        if self.threat.norm is Norm.SPATIAL:
            share = moved_by(self.threat, clean, candidate)
            return (Reason.TRANSFORM if share is None else None), share
        if self.frozen is not None and (candidate != clean)[self.frozen].any():
            return Reason.FROZEN, None
        epsilon = self.threat.epsilon
        if self.threat.grid is not None:
            # on a grid the change is a whole number of steps, and float32 noise of the representation is taken off
            steps = np.rint(candidate / self.threat.grid)
            if not np.array_equal((steps * self.threat.grid).astype(np.float32), candidate.astype(np.float32)):
                return Reason.GRID, None
            change = (steps - np.rint(clean / self.threat.grid)) * self.threat.grid
            epsilon = epsilon * (1 + 1e-12)
        else:
            change = candidate - clean
        # the ball is tested as |δ| <= ε·w, so that the test does not divide
        if self.threat.norm is Norm.LINF:
            reach = np.abs(change)
            allowed = epsilon if self.weights is None else epsilon * self.weights
            distance = float((reach / (1.0 if self.weights is None else self.weights)).max(initial=0.0))
            return (Reason.BALL if (reach > allowed).any() else None), distance
        distance = size(self.threat.norm, change if self.weights is None else change / self.weights)
        return (Reason.BALL if distance > epsilon else None), distance

    def _inside_box(self, index: int, candidate: np.ndarray, clean: np.ndarray) -> tuple[Reason | None, float]:
        lower = self.region.lower[index].astype(np.float64)
        upper = self.region.upper[index].astype(np.float64)
        half = np.maximum((upper - lower) / 2, np.finfo(np.float32).tiny)
        distance = float((np.abs(candidate - clean) / half).max(initial=0.0))
        outside = (candidate < lower).any() or (candidate > upper).any()
        return (Reason.BALL if outside else None), distance

    def _misclassified(self, index: int, candidate: np.ndarray) -> tuple[Reason | None, int]:
        """None and the label where the target is wrong, else why it is not said to be: ties and NaN count apart."""
        goal = self.threat.goal.target
        own = int(self.samples.labels[index])
        wrong = 0
        labels: list[int] = []
        tied = unanswered = False
        for _ in range(self.votes):
            scores = self.target.scores(candidate[None], batch=1)[0].astype(np.float64)
            labels.append(int(scores.argmax()))
            wrong += reached(scores, own, goal)
            unanswered |= bool(np.isnan(scores).any())
            tied |= bool((scores == scores.max()).sum() > 1)
        other = [label for label in labels if label == goal or (goal is None and label != own)]
        common = max(sorted(set(other or labels)), key=(other or labels).count)
        if error_bound(wrong, self.votes) > 0.5:
            return None, common
        return Reason.NO_ANSWER if unanswered else Reason.TIE if tied else Reason.NOT_MISCLASSIFIED, common


def reached(scores: np.ndarray, label: int, goal: int | None) -> bool:
    """Whether scores `[classes]` fulfil the goal. A tie at the top is no break, nor is a NaN anywhere; an infinity is
    a score like any other (the log-probability of an impossible class)."""
    if np.isnan(scores).any():
        return False
    wanted = scores[goal] if goal is not None else np.delete(scores, label).max()
    rest = np.delete(scores, goal).max() if goal is not None else scores[label]
    return bool(wanted > rest)


def moved_by(threat: ThreatModel, clean: np.ndarray, candidate: np.ndarray) -> float | None:
    """The share of the spatial threat's transforms that make the candidate of the clean picture, the smallest of those
    that do; None where none does."""
    low, high = threat.bounds or (0.0, 1.0)
    moves = threat.transforms(clean.shape)
    made_by = matching(clean, candidate, moves, threat.fill, TOLERANCE * (high - low))
    share = threat.share(moves[made_by], clean.shape).min(initial=np.inf)
    return min(float(share), threat.epsilon) if len(made_by) else None


def error_bound(wrong: int, votes: int) -> float:
    """Lower Clopper-Pearson bound at 95 % on the error rate; the plain answer for a single vote."""
    if votes == 1:
        return float(wrong)
    return float(beta.ppf(1 - CONFIDENCE, wrong, votes - wrong + 1)) if wrong else 0.0


def size(norm: Norm, change: np.ndarray) -> float:
    """Size of a change in a norm, in float64; l0 counts features."""
    flat = change.astype(np.float64).ravel()
    if norm is Norm.LINF:
        return float(np.abs(flat).max(initial=0.0))
    if norm is Norm.L2:
        return float(np.sqrt(np.square(flat).sum()))
    if norm is Norm.L1:
        return float(np.abs(flat).sum())
    return float(np.count_nonzero(flat))
