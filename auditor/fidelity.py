"""How well the twin agrees with the deployed model: measured, reported, and doubted below a floor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from auditor.access import OutputKind
from auditor.execution import Execution
from auditor.expectation import expected
from auditor.oracle import DTYPES
from auditor.record import Fidelity
from auditor.target import Target
from auditor.twin import Twin

FLOOR = 0.95
"""Label agreement under which white-box results are doubtful."""
PROBED = 200
DRAWS = 16
"""Answers of a randomised model that are averaged."""
TINY = 0.1
"""Share of the median class's largest score under which a class has no scale of its own."""


@dataclass(frozen=True)
class Agreement:
    """Twin against target on given inputs.

    n: how many. labels: share of equal ones. difference, scale: largest score difference and score. relative: the
    largest difference of one class's scores as a share of that class's largest, so that no masked class hides it.
    """

    n: int
    labels: float
    difference: float
    scale: float
    relative: float = 0.0


def agree(target: Target, twin: Twin, inputs: np.ndarray, execution: Execution) -> Agreement:
    """Compare twin and target on inputs `[n, *sample_shape]`; the target is asked at batch 1.

    Scores that are infinite or NaN in either count for the labels alone. Where the twin draws random numbers, means
    over DRAWS answers of both are compared.
    """
    draws = DRAWS if twin.random else 1
    twin = expected(twin, draws)
    scores = np.stack([target.scores(inputs, batch=1) for _ in range(draws)]).mean(axis=0)
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
    columns = np.abs(np.where(finite, scores, 0)).max(axis=0, initial=0.0)
    if target.output is OutputKind.PROBABILITIES:
        columns = np.full_like(columns, columns.max())  # one scale for all, that of certainty
    least = max(TINY * float(np.quantile(columns, 0.5, method="lower")), float(np.finfo(np.float32).tiny))
    return Agreement(
        n=len(inputs),
        labels=float((scores.argmax(1) == copied.argmax(1)).mean()),
        difference=float(apart.max(initial=0.0)),
        scale=float(np.abs(scores[finite]).max(initial=0.0)),
        relative=float((apart.max(axis=0, initial=0.0) / np.maximum(columns, least)).max(initial=0.0)),
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
        relative_difference=clean.relative,
        scale=clean.scale,
        floor=FLOOR,
        adversarial_n=adversarial.n if adversarial else None,
        adversarial_label_agreement=adversarial.labels if adversarial else None,
        adversarial_max_difference=adversarial.difference if adversarial else None,
    )
