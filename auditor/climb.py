"""What a row that climbs a loss remembers: its best point so far, with the loss and the gradient there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.attack import Reply, Rows


@dataclass(frozen=True, kw_only=True)
class ClimbRows(Rows):
    """best, best_loss, best_gradient: of the largest loss so far."""

    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor


def best_of(rows: ClimbRows, reply: Reply, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best point of each row, its loss and its gradient, with a reply counted in. first: bool `[batch]`, rows that
    remember nothing yet."""
    loss = reply.need_loss()
    better = first | (loss > rows.best_loss)
    best, gradient = either(better, rows.x, rows.best), either(better, reply.need_gradient(), rows.best_gradient)
    return best, torch.where(better, loss, rows.best_loss), gradient


def either(mask: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Rows of `left` where the mask (bool `[batch]`) holds, of `right` elsewhere.

    torch.where would do, but on a CPU it takes four times as long as copying whole rows.
    """
    n = len(mask)
    row = torch.arange(n, device=mask.device)
    return torch.cat([left, right]).index_select(0, torch.where(mask, row, row + n))
