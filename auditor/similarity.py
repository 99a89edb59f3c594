"""Why examples go over from one model to another: how alike their gradients are, and how fast these turn.

Diagnostics of two twins, after the theory of TRS (Yang et al., https://arxiv.org/abs/2104.00671): examples transfer
where gradients point the same way, or where losses are so rough that gradients say little. They are measured on the
samples at hand, with an estimate of smoothness that may be too low: no number here is ever a guarantee.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import msgspec
import numpy as np
import torch
from torch import Tensor

from auditor.losses import ce
from auditor.twin import Twin

NOTE = "a diagnostic, never a guarantee: a mean over these samples, with an estimate of smoothness that may be too low"
"""Goes wherever a `Bound` is shown."""
BATCH = 64


@dataclass(frozen=True)
class Slopes:
    """The cross-entropy of the labels and its gradient at n points, float64 `[n]` and `[n, features]`."""

    losses: np.ndarray
    gradients: np.ndarray


class Alignment(msgspec.Struct, frozen=True, kw_only=True):
    """Cosines S(x) between two models' gradients over n samples; None where none has both. flat: samples at which one
    of the gradients is zero, which are left out."""

    n: int
    flat: int
    mean: float | None
    least: float | None
    most: float | None


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """How often one change of euclidean length epsilon at most can fool two models at once: a diagnostic, see `NOTE`.

    Where it does, each model's loss there is ln 2 at least, since another class is as likely as the label, and a
    β-smooth loss rises by no more than ∇ℓ·δ + β|δ|²/2. So ℓ_F + ℓ_G + ε|∇ℓ_F + ∇ℓ_G| >= 2 ln 2 - (β_F + β_G) ε²/2.

    threshold: the right side. mean: of the left side, which is never negative. probability: the mean over the
    threshold, by Markov's inequality, 1 (vacuous) where that is more or the threshold is not positive. share: of the
    samples at which the inequality holds, so that such a change is not ruled out.
    """

    n: int
    epsilon: float
    threshold: float
    mean: float
    probability: float
    share: float
    note: str = NOTE


def slopes(twin: Twin, points: Tensor, labels: Tensor) -> Slopes:
    """Losses and gradients of a twin at points `[n, *shape]`, in the dtype and on the device of its module."""
    losses, gradients = [], []
    for start in range(0, len(points), BATCH):
        x, y = points[start : start + BATCH].detach().clone().requires_grad_(), labels[start : start + BATCH]
        loss = ce(twin.logits(x), y, torch.full_like(y, -1))
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        losses.append(loss.detach().double().cpu().numpy())
        gradients.append(gradient.flatten(1).double().cpu().numpy())
    return Slopes(np.concatenate(losses), np.concatenate(gradients))


def alignment(one: Slopes, other: Slopes) -> Alignment:
    """The cosines of two models' gradients at the same points: 1 with itself."""
    lengths = np.linalg.norm(one.gradients, axis=1) * np.linalg.norm(other.gradients, axis=1)
    sloping = lengths > 0
    cosines = (one.gradients * other.gradients).sum(axis=1)[sloping] / lengths[sloping]
    known = len(cosines) > 0
    return Alignment(
        n=len(lengths),
        flat=int((~sloping).sum()),
        mean=float(cosines.mean()) if known else None,
        least=float(cosines.min()) if known else None,
        most=float(cosines.max()) if known else None,
    )


def smoothness(
    twin: Twin, points: Tensor, labels: Tensor, *, radius: float, seed: int = 0, rounds: int = 3
) -> np.ndarray:
    """The largest |∇ℓ(x) - ∇ℓ(x')| / |x - x'| found at each point, `[n]`: no more than the true β, often less.

    x' is `radius` away, at first anywhere, then where the last pair's gradients changed, so that the way of strongest
    curvature is found as power iteration finds it. Costs rounds + 1 gradients a point. The β of a logistic model is
    |w|²/4, with w the difference of the classes' weights, at points on the boundary.
    """
    at = slopes(twin, points, labels).gradients
    direction = np.random.default_rng(seed).normal(size=at.shape)
    found = np.zeros(len(at))
    for _ in range(rounds):
        direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), np.finfo(float).tiny)
        step = torch.from_numpy(radius * direction).to(points).reshape(points.shape)
        change = slopes(twin, points + step, labels).gradients - at
        length = np.linalg.norm(change, axis=1)
        found = np.maximum(found, length / radius)
        direction = np.where(length[:, None] > 0, change, direction)
    return found


def left_side(one: Slopes, other: Slopes, epsilon: float) -> np.ndarray:
    """ℓ_F + ℓ_G + ε|∇ℓ_F + ∇ℓ_G| at each point, `[n]`; see `Bound`."""
    rise: np.ndarray = np.linalg.norm(one.gradients + other.gradients, axis=1)
    left: np.ndarray = one.losses + other.losses + epsilon * rise
    return left


def bound(one: Slopes, other: Slopes, *, epsilon: float, betas: tuple[float, float]) -> Bound:
    """The bound on how often one change fools both. epsilon: euclidean. betas: each model's smoothness."""
    left = left_side(one, other, epsilon)
    threshold = 2 * log(2) - sum(betas) * epsilon**2 / 2
    vacuous = threshold <= 0 or len(left) == 0
    mean = float(left.mean()) if len(left) else 0.0
    return Bound(
        n=len(left),
        epsilon=epsilon,
        threshold=threshold,
        mean=mean,
        probability=1.0 if vacuous else min(mean / threshold, 1.0),
        share=float((left >= threshold).mean()) if len(left) else 1.0,
    )
