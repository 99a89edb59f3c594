"""How steep the model is at its samples: margin, Jacobian, and how far a linear model's boundary would be.

Of the twin's logits, in float32. Cheap predictions of what attacks find, and no replacement for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from auditor.access import Access
from auditor.hyperplane import DUAL
from auditor.towards import Reached

if TYPE_CHECKING:
    from auditor.search import Search

EXACT = 32
"""Classes up to which the whole Jacobian is computed; where there are more, its norm is estimated from `DRAWS` random
directions (unbiased in its square), and the linear distance is to the `NEAR` best of the other classes."""
DRAWS, NEAR = 16, 5


@dataclass(frozen=True)
class Slopes:
    """index: positions of samples, `[m]`. margin: z_y less the largest other logit. jacobian: Frobenius norm of the
    Jacobian of the logits. radius: the least of (z_y - z_k) over the dual norm of its gradient, infinite where that is
    flat, NaN in norms without a dual. saliency: A(X, t) of each run that was asked about, `[runs]`, NaN for others."""

    index: np.ndarray
    margin: np.ndarray
    jacobian: np.ndarray
    radius: np.ndarray
    saliency: np.ndarray


def slopes(search: Search, index: np.ndarray, reached: Reached) -> Slopes | None:
    """Measure them at these samples, and for these runs from them; None without gradients.

    Costs a backward pass a class and sample up to 32 classes; where there are more, 22 and one for each run.
    """
    twin = search.twin
    if twin is None or not search.access.covers(Access.GRADIENT) or not len(index):
        return None
    twin.module.to(device=search.execution.device, dtype=torch.float32)
    runs: dict[int, list[tuple[int, int]]] = {int(i): [] for i in index}
    for run, (sample, target) in enumerate(zip(reached.index, reached.target, strict=True)):
        if sample in runs:
            runs[sample].append((run, target))
    saliency = np.full(len(reached.index), np.nan)
    width = max(search.width // twin.passes, 1)
    parts = []
    for own in np.split(index, range(width, len(index), width)):
        batch = _Batch(search, own)
        parts.append((batch.margin, batch.jacobian(), batch.radius()))
        for run, value in batch.saliency([runs[int(i)] for i in own]):
            saliency[run] = value
    margin, jacobian, radius = (torch.cat(part).double().cpu().numpy() for part in zip(*parts, strict=True))
    return Slopes(index=index, margin=margin, jacobian=jacobian, radius=radius, saliency=saliency)


class _Batch:
    """Some samples `[rows]`, and the one forward pass that all their gradients go back through."""

    def __init__(self, search: Search, index: np.ndarray):
        if search.twin is None:
            raise ValueError("slopes are those of a twin")
        self.seed, self.norm = search.seed, search.threat.norm
        self.x = torch.from_numpy(search.samples.inputs[index]).to(search.execution.device).requires_grad_()
        self.labels = torch.from_numpy(search.samples.labels[index]).to(self.x.device)
        self.logits = search.twin.logits(self.x)
        weights = search.region.weights
        self.weights = None if weights is None else torch.from_numpy(weights[index]).to(self.x.device).flatten(1)
        self.classes = self.logits.shape[1]
        logits = self.logits.detach()
        lead = logits.gather(1, self.labels[:, None]) - logits
        self.lead = lead.scatter(1, self.labels[:, None], float("inf"))
        self.margin = self.lead.amin(dim=1)
        self.rows: dict[int, Tensor] = {}
        if self.classes <= EXACT:
            self.rows = {
                k: self.back(one_hot(torch.full_like(self.labels, k), self.classes)) for k in range(self.classes)
            }

    def back(self, cotangent: Tensor) -> Tensor:
        """The gradient of a combination of logits, `[classes]` or `[rows, classes]`: `[rows, features]`."""
        slope = None
        if self.logits.requires_grad:
            (slope,) = torch.autograd.grad(
                (self.logits * cotangent).sum(), self.x, retain_graph=True, allow_unused=True
            )
        return (torch.zeros_like(self.x) if slope is None else slope).flatten(1)

    def of(self, classes: Tensor) -> Tensor:
        """The gradient of one logit of each row, `[rows, features]`."""
        if not self.rows:
            return self.back(one_hot(classes, self.classes))
        return torch.stack([self.rows[int(k)][row] for row, k in enumerate(classes)])

    def jacobian(self) -> Tensor:
        """‖J‖, `[rows]`: exactly, or by ‖J‖² = K · E‖∇(vᵀz)‖² over the unit sphere."""
        if self.rows:
            return torch.stack([row.square().sum(dim=1) for row in self.rows.values()]).sum(dim=0).sqrt()
        generator = torch.Generator().manual_seed(self.seed)
        total = torch.zeros_like(self.margin)
        for _ in range(DRAWS):
            v = torch.randn(self.classes, generator=generator).to(self.x.device)
            total += self.back(v / v.norm()).square().sum(dim=1)
        return (total * self.classes / DRAWS).sqrt()

    def radius(self) -> Tensor:
        """The least of (z_y - z_k) over the dual norm of its gradient, `[rows]`."""
        if self.norm not in DUAL:
            return torch.full_like(self.margin, float("nan"))
        own = self.of(self.labels)
        near = self.lead.argsort(dim=1, stable=True)[:, : self.classes - 1 if self.rows else NEAR]
        least = torch.full_like(self.margin, float("inf"))
        for k in near.unbind(1):
            change = own - self.of(k)
            steep = (change if self.weights is None else change * self.weights).norm(p=DUAL[self.norm], dim=1)
            away = self.lead.gather(1, k[:, None])[:, 0] / steep
            least = torch.where(steep > 0, torch.minimum(least, away), least)
        return least

    def saliency(self, runs: list[list[tuple[int, int]]]) -> list[tuple[int, float]]:
        """A(X, t) of each run, given by its number and class for every row: from the gradient of its logit, and of all
        the others together."""
        found = []
        everything = self.back(torch.ones(self.classes, device=self.x.device)) if any(runs) else None
        for turn in range(max(map(len, runs), default=0)):
            targets = torch.tensor([own[turn][1] if turn < len(own) else 0 for own in runs], device=self.x.device)
            towards = self.of(targets)
            for row, own in enumerate(runs):
                if turn < len(own) and everything is not None:
                    found.append((own[turn][0], unsalient(towards[row], everything[row] - towards[row])))
        return found


def unsalient(towards: Tensor, others: Tensor) -> float:
    """A(X, t) = 1 - the share of features of positive saliency S⁺: raising one raises the target's logit and lowers the
    sum of the others'. 1 for a saturated network. towards, others: gradients, `[features]`."""
    salient = (towards > 0) & (others < 0)
    return 1 - float(salient.double().mean())
