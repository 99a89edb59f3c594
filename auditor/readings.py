"""How checks read what their experiments say: shares of a change, angles, and why there may be nothing to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from auditor.access import Access
from auditor.limits import limit
from auditor.threat import Norm

if TYPE_CHECKING:
    from auditor.check import Evidence

GUIDED = frozenset({Norm.LINF, Norm.L2, Norm.L1})
"""Norms in which a gradient says where to go."""
TINY = float(np.finfo(np.float64).tiny)
SQUASHED = ("softmax", "log_softmax", "sigmoid")
EMPTY = 87.3
"""Margin in logarithms of probabilities where the second one is 0, which counts as the smallest of float32."""
Array = np.ndarray[Any, Any]


def hindrance(evidence: Evidence, index: Array, *, scores: bool = False) -> str | None:
    """Why nothing can be learnt from the twin's gradients at these samples, in words; None where something can.

    scores: nor from what the deployed model answers beside them.
    """
    threat, search = evidence.threat, evidence.lab.search
    if evidence.twin is None:
        return f"There is no twin to take gradients from: {evidence.why_no_twin}"
    if threat.norm not in GUIDED:
        return f"A gradient does not say how far a loss can rise under the {threat.norm} threat."
    if not threat.boxes and not 0 < threat.epsilon < np.inf:
        return f"With epsilon {threat.epsilon:g} there is no distance to look across."
    if evidence.observation.randomised:
        return "The model answers the same input differently, so two answers can't be held against each other."
    if scores and not (search.access.covers(Access.SCORE) and search.target.access.covers(Access.SCORE)):
        return "The deployed model shows no scores that a gradient could be held against."
    return None if len(index) else "No sample is classified correctly."


def flat(values: Array) -> Array:
    """Each row of `[n, *shape]` flat, `[n, features]`."""
    return values.reshape(len(values), -1)


def along(change: Array, share: Array | float) -> Array:
    """A share `[n]` of each row's change `[n, *shape]`."""
    scaled: Array = change * np.reshape(share, (-1,) + (1,) * (change.ndim - 1))
    return scaled


def cosines(left: Array, right: Array) -> Array:
    """Cosine of the angle between each two rows of `[n, *shape]`, `[n]`; not a number where either is zero or not
    finite."""
    a, b = flat(left), flat(right)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.where(lengths > 0, (a * b).sum(axis=1) / lengths, np.nan)
    return found


def full(evidence: Evidence, margins: Array, loss: Array) -> Array:
    """At which points a softmax or sigmoid has run full, as it does without any rounding: the finding `saturation`.

    margins: of the deployed model. loss: of the twin, whose logits were cut off before the softmax.
    """
    cut = evidence.twin is not None and evidence.twin.peeled in SQUASHED
    found: Array = (margins > EMPTY) & (np.abs(loss) > limit("saturation.rounded")) & cut
    return found
