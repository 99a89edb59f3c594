"""Gaussian noise in front of a model, and a mean or a vote over draws. Cohen, Rosenfeld, Kolter,
https://arxiv.org/abs/1902.02918"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from auditor.access import OutputKind
from auditor.chance import normal_like
from auditor.defense import DefendedTarget, Defense
from auditor.errors import UsageError
from auditor.expectation import expected
from auditor.hookspecs import Register, hookimpl
from auditor.target import Target
from auditor.twin import Twin

DRAWS = 10_000


@dataclass(frozen=True, kw_only=True)
class Smoothing(Defense):
    """Add Gaussian noise to inputs, ask the model `draws` times, and answer with the mean of its scores or a vote.

    Add it where the deployment does so. With one draw it is the plain noise that many papers defend with; with many,
    and a model trained on noise, it withstands changes of a size that sigma sets. Noise is drawn anew at every call and
    not clipped; the gradient is exact given the draws. A query costs `draws` of the model, and so does each pass of
    the twin, which averages logits.

    sigma: standard deviation of the noise, in the samples' units. draws: noisy copies that one answer is made of. vote:
    `mean` of the scores, or `majority`, the share of the copies that each label got.
    """

    name: ClassVar[str] = "smoothing"
    gradient: ClassVar[str] = "random"

    sigma: float = 0.1
    draws: int = 1
    vote: str = "mean"

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise UsageError(f"smoothing takes a sigma above 0, got {self.sigma:g}.")
        if not 1 <= self.draws <= DRAWS:
            raise UsageError(f"smoothing takes from 1 to {DRAWS} draws, got {self.draws}.")
        if self.vote not in ("mean", "majority"):
            raise UsageError(f"smoothing takes the vote `mean` or `majority`, got {self.vote!r}.")

    def transform(self, x: np.ndarray) -> np.ndarray:
        return self.relaxed(torch.from_numpy(x)).numpy()

    def relaxed(self, x: Tensor) -> Tensor:
        return x + self.sigma * normal_like(x)

    def wrap_target(self, target: Target) -> Target:
        """The target behind the noise, its answers averaged."""
        return SmoothedTarget(self, target)

    def wrap_twin(self, twin: Twin) -> Twin:
        """The twin behind the noise; what it returns is a mean over as many draws."""
        return expected(super().wrap_twin(twin), self.draws)


class SmoothedTarget(DefendedTarget):
    """A target whose answers are a mean, or a vote, over noisy copies of the input."""

    defense: Smoothing

    def _adopt(self) -> None:
        super()._adopt()
        if self.defense.vote == "majority":
            self.output = OutputKind.PROBABILITIES

    def scores(self, x: np.ndarray, *, batch: int | None = None) -> np.ndarray:
        self.queries += len(x)
        x = x.astype(np.float32, copy=False)
        total = np.zeros((len(x), self.classes))
        for _ in range(self.defense.draws):
            scores = self.inner.scores(self.defense.transform(x), batch=batch)
            if self.defense.vote == "majority":
                scores = np.eye(self.classes)[scores.argmax(axis=1)]
            total += scores
        return (total / self.defense.draws).astype(np.float32)


@hookimpl
def register_defenses(register: Register) -> None:
    register(Smoothing)
