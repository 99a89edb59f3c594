"""The ensemble: several stand-ins as one, for points that fool all of them and so more likely the model too.

Liu, Chen, Liu, Song, "Delving into transferable adversarial examples", https://arxiv.org/abs/1611.02770
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from auditor.access import OutputKind
from auditor.errors import UsageError
from auditor.preprocess import Preprocess, Shape
from auditor.spread import SPREAD, beside, spread
from auditor.twin import Twin

STUDIED = 16
"""Samples on which the members' spreads are measured."""


def ensemble(twins: Sequence[Twin], inputs: np.ndarray | None = None) -> Twin:
    """The mean of the twins' logits, each divided by its own spread, as one twin.

    Choose it where several stand-ins are at hand and none is the model: what fools all transfers better than what
    fools one. Without the division the member with the loudest logits would decide alone, since the mean's gradient is
    the sum of theirs. A spread is a number, measured once, so samples do not depend on each other and the gradient is
    the mean's own. The ensemble takes samples in their own units: each member brings its preprocessing and its
    defences. Costs a pass through every member. Members' modules are shared, not copied: they move to where the
    ensemble goes.

    inputs: samples `[n, *sample_shape]`, of which a few are looked at; None for random ones in [0, 1].
    Raises UsageError without members, where none of them says what samples look like, and where they score other
    numbers of classes.
    """
    if not twins:
        raise UsageError("An ensemble takes at least one twin, got none.")
    points = torch.from_numpy(np.ascontiguousarray(_random(twins) if inputs is None else inputs[:STUDIED], np.float32))
    with torch.no_grad():
        counts = {twin.logits(beside(twin, points)).shape[1] for twin in twins}
    if len(counts) > 1:
        raise UsageError(
            f"The members of an ensemble score the same classes; these have {', '.join(map(str, sorted(counts)))}."
        )
    weights = [SPREAD / len(twins) / (spread(twin, points) or SPREAD) for twin in twins]
    return Twin(
        module=_Mean(twins, weights),
        preprocess=Preprocess(),
        output=OutputKind.LOGITS,
        surrogates=tuple(dict.fromkeys(name for twin in twins for name in twin.surrogates)),
        random=any(twin.random for twin in twins),
        passes=sum(twin.passes for twin in twins),
    )


class _Mean(nn.Module):
    """The weighted sum of twins' logits, from samples in their own units."""

    def __init__(self, twins: Sequence[Twin], weights: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(twin.module for twin in twins)  # so that they move along
        self._twins, self._weights = tuple(twins), tuple(weights)

    def forward(self, x: Tensor) -> Tensor:
        parts = [weight * twin.logits(x) for twin, weight in zip(self._twins, self._weights, strict=True)]
        return torch.stack(parts).sum(dim=0)


def _random(twins: Sequence[Twin]) -> np.ndarray:
    shape: Shape = next((twin.preprocess.sample_shape for twin in twins if twin.preprocess.sample_shape), ())
    if not shape:
        raise UsageError("No member of the ensemble says what samples look like; give some (`inputs`).")
    return np.random.default_rng(0).random((STUDIED, *shape), np.float32)
