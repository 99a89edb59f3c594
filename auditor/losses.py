"""What attacks climb: one number per row, larger is worse for the model. All take logits (or log-probabilities)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from auditor.errors import UsageError

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
UNDERFLOW = 30.0
"""Nats from which the cross-entropy is continued in a straight line; float32 gives up between 16 and 88."""


def others(scores: Tensor, labels: Tensor) -> Tensor:
    """The largest score of any class but `labels`, `[batch]`."""
    return scores.scatter(1, labels[:, None], float("-inf")).amax(dim=1)


def chosen(scores: Tensor, labels: Tensor) -> Tensor:
    """The score of each row's own class, `[batch]`."""
    return scores.gather(1, labels[:, None]).squeeze(1)


def margin(scores: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """How far the adversary is from the goal, `[batch]`; negative once it is reached.

    Untargeted (target -1): z_y - max of the others. Targeted: max of the others - z_t.
    """
    untargeted = chosen(scores, labels) - others(scores, labels)
    if not bool((targets >= 0).any()):
        return untargeted
    aim = targets.clamp_min(0)
    return torch.where(targets >= 0, others(scores, aim) - chosen(scores, aim), untargeted)


def ce(scores: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the true label, or minus that of the target.

    Written as softplus(b) with b = logsumexp of the others - z_y, which keeps its digits where 1 - p_y has lost them.
    Below e^-UNDERFLOW it goes on as its own tangent over b: a tiny loss whose gradient is that of a margin, not 0.
    """
    aim = torch.where(targets >= 0, targets, labels)
    behind = scores.scatter(1, aim[:, None], float("-inf")).logsumexp(dim=1) - chosen(scores, aim)
    value = softplus(behind.clamp_min(-UNDERFLOW)) + math.exp(-UNDERFLOW) * (behind + UNDERFLOW).clamp_max(0)
    return torch.where(targets >= 0, -value, value)


def negative_margin(scores: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The margin turned round (Carlini and Wagner's loss): its gradient does not vanish with confidence."""
    return -margin(scores, labels, targets)


def dlr(scores: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Difference of logits ratio (Croce and Hein 2020): the margin over z(1) - z(3), so that scaling cancels.

    Targeted: over z(1) - (z(3) + z(4)) / 2. With 2 classes (3 for targets) there is nothing to divide by and it is
    the margin alone.
    """
    top = scores.topk(min(4, scores.shape[1]), dim=1).values
    value = negative_margin(scores, labels, targets)
    if top.shape[1] < 3:
        return value
    spread = top[:, 0] - top[:, 2] + 1e-12
    aimed = top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12 if top.shape[1] >= 4 else torch.ones_like(spread)
    return value / torch.where(targets >= 0, aimed, spread)


LOSSES: dict[str, Loss] = {"ce": ce, "margin": negative_margin, "dlr": dlr}


def find_loss(name: str) -> Loss:
    """The loss of this name. Raises UsageError for another."""
    if name not in LOSSES:
        raise UsageError(f"A loss is one of {', '.join(LOSSES)}, got {name!r}.")
    return LOSSES[name]
