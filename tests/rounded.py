"""A linear model that rounds its inputs, so that its gradient is 0 nearly everywhere and its scores are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from auditor.access import Access
from auditor.bench import Bench, LinearTarget, linear_bench

STEP = 0.02
"""Of what the model sees of its inputs."""


class Rounded(LinearTarget):
    """Sees its inputs in whole steps."""

    def _run(self, x: np.ndarray) -> np.ndarray:
        return super()._run((np.round(x / STEP) * STEP).astype(np.float32))


def rounded(seed: int = 5) -> Bench:
    """Six samples 0.1 away from the boundary of the model without the rounding."""
    plain = linear_bench(seed=seed, n=6, distance=0.1)
    assert isinstance(plain.target, LinearTarget)
    return replace(plain, target=Rounded(plain.target.weight, plain.target.bias), access=Access.SCORE)
