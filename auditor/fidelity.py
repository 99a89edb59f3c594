"""How well the twin agrees with the deployed model: measured, reported, and doubted below a floor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from auditor.execution import Execution
from auditor.oracle import DTYPES
from auditor.record import Fidelity
from auditor.target import Target
from auditor.twin import Twin

FLOOR = 0.95
"""Label agreement under which white-box results are doubtful."""
PROBED = 200


@dataclass(frozen=True)
class Agreement:
    """Twin against target on given inputs: how many, share of equal labels, largest score difference and score."""

    n: int
    labels: float
    difference: float
    scale: float


def agree(target: Target, twin: Twin, inputs: np.ndarray, execution: Execution) -> Agreement:
    """Compare twin and target on inputs `[n, *sample_shape]`; the target is asked at batch 1.

    Scores that are infinite or NaN in either count for the labels alone.
    """
    scores = target.scores(inputs, batch=1)
    dtype = DTYPES[execution.precision]
    twin.module.to(device=execution.device, dtype=dtype)
    with torch.no_grad():
        parts = [
            twin.scores(torch.from_numpy(part).to(execution.device, dtype)).float().cpu().numpy()
            for part in np.array_split(inputs, max(len(inputs) // execution.width, 1))
        ]
    copied = np.concatenate(parts)
    finite = np.isfinite(scores) & np.isfinite(copied)
    apart = np.abs(np.where(finite, scores, 0) - np.where(finite, copied, 0))
    return Agreement(
        n=len(inputs),
        labels=float((scores.argmax(1) == copied.argmax(1)).mean()),
        difference=float(apart.max(initial=0.0)),
        scale=float(np.abs(scores[finite]).max(initial=0.0)),
    )


def doubt(clean: Agreement | None) -> float:
    """The margin by which the twin may be wrong where an attack has led it: a hundred times what clean samples show.

    Infinite, so that the target is asked about everything, where a label differs or nothing was measured. For
    probabilities a difference of scores says little about a difference of logits: infinite too.
    """
    if clean is None or clean.labels < 1 or clean.scale <= 1:
        return float("inf")
    return max(100 * clean.difference, 1e-3 * clean.scale)


def fidelity(clean: Agreement, adversarial: Agreement | None) -> Fidelity:
    """Both comparisons as the record holds them."""
    return Fidelity(
        n=clean.n,
        label_agreement=clean.labels,
        max_difference=clean.difference,
        scale=clean.scale,
        floor=FLOOR,
        adversarial_n=adversarial.n if adversarial else None,
        adversarial_label_agreement=adversarial.labels if adversarial else None,
        adversarial_max_difference=adversarial.difference if adversarial else None,
    )
