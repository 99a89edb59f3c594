"""Momentum iterative method (MI-FGSM). Dong et al., https://arxiv.org/abs/1710.06081

With options for scaled copies (SI, Lin et al., https://arxiv.org/abs/1908.06281) and smoothed gradients (TI, Dong et
al., https://arxiv.org/abs/1904.02884), which go with every random view of its siblings `di` and `bsr`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows, choose
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm
from auditor.views import on_planes

View = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class MIRows(Rows):
    """velocity: the decaying sum of the steps' gradients, each of l1 size 1. gradient: the sum over the views of the
    step under way, so far."""

    velocity: Tensor
    gradient: Tensor


@dataclass(frozen=True, kw_only=True)
class MI(Attack):
    """BIM along a decaying sum of gradients: the way they agree on, not the last one's.

    What it ends on fools other models more often than what `bim` or `pgd` end on: choose it, or a sibling that looks
    through views (`di`, `ti`, `si`, `bsr`), for stages whose gradients come from another source than the model. On the
    model itself `apgd` is stronger. Deterministic from the clean input, so restarts add nothing without random views.
    Costs `steps` gradients for each view of a step, and one forward. Points that are seen through views are not judged,
    the one that a row ends on is.

    decay: of the sum, a step; 1 in the paper, 0 is BIM. reach: the way of all steps together, as a share of epsilon; 1
    in the paper, so that every feature's steps in one direction end at the edge. loss: what is climbed: ce, margin or
    dlr. scales: copies of the input divided by 1, 2, 4, …, over whose gradients each step sums (SI; 5 in the paper),
    one reply each; they shrink towards 0 in the samples' units. kernel: side in pixels of the Gaussian, of standard
    deviation (kernel - 1) / 2√3, that gradients are smoothed with (TI; 15 in the paper on pictures of 299 pixels); an
    odd number, 1 for none. Inputs that are no pictures are not smoothed.
    """

    name: ClassVar[str] = "mi"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})
    losses: ClassVar[tuple[str, ...]] = ("ce", "margin", "dlr")

    steps: int = 10
    decay: float = 1.0
    reach: float = 1.0
    loss: str = "ce"
    scales: int = 1
    kernel: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.decay <= 10:
            raise UsageError(f"{self.name}: decay is a factor of at least 0 and at most 10, got {self.decay}.")
        if not 0 < self.reach <= 1000:
            raise UsageError(f"{self.name}: reach is a share of epsilon above 0, up to 1000, got {self.reach}.")
        if not 1 <= self.scales <= 16:
            raise UsageError(f"{self.name}: scales is a number of copies from 1 to 16, got {self.scales}.")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise UsageError(f"{self.name}: kernel is an odd number of pixels, 1 for none, got {self.kernel}.")

    @property
    def views(self) -> int:
        """How many gradients a step sums up, one a reply."""
        return self.scales

    @property
    def replies(self) -> int:
        return self.steps * self.views

    def start(self, problem: Problem) -> MIRows:
        nothing = torch.zeros_like(problem.inputs)
        return MIRows(x=problem.project(problem.inputs), velocity=nothing, gradient=nothing)

    def query(self, problem: Problem, rows: MIRows) -> Query:
        return Query(points=rows.x, view=self._view(problem))

    def view(self, problem: Problem) -> View | None:
        """What the model is to see of each row's point, before any scaling; None for the point itself."""
        return None

    def objective(self, scores: Tensor, problem: Problem, rows: MIRows) -> Tensor:
        return problem.loss(self.loss, scores)

    def step(self, problem: Problem, rows: MIRows, reply: Reply) -> MIRows:
        gradient = rows.gradient + reply.need_gradient()
        smooth = smoothed(gradient, self.kernel)
        size = smooth.flatten(1).abs().sum(dim=1).clamp_min(torch.finfo(smooth.dtype).tiny)
        velocity = self.decay * rows.velocity + smooth / problem.wide(size)
        length = problem.wide(problem.epsilon) * (self.reach / self.steps)
        x = problem.project(rows.x + length * problem.steepest(velocity))
        moved = MIRows(x=x, velocity=velocity, gradient=torch.zeros_like(gradient))
        if self.views == 1:
            return moved
        last = (problem.ages + 1) % self.views == 0
        return choose(last, moved, MIRows(x=rows.x, velocity=rows.velocity, gradient=gradient))

    def _view(self, problem: Problem) -> View | None:
        inner = self.view(problem)
        if self.scales == 1:
            return inner
        share = problem.wide(0.5 ** (problem.ages % self.scales).to(problem.inputs.dtype))
        return lambda points: (points if inner is None else inner(points)) * share


@dataclass(frozen=True, kw_only=True)
class TI(MI):
    """`mi` with smoothed gradients: what fools a model at this place fools it a few pixels further on too.

    Choose it for pictures and sources that look at other places than the model does; its perturbations are coarse, so
    they fool adversarially trained models more often and the source less. Costs what `mi` does. Other inputs are not
    smoothed: it is `mi` there. The options are those of `mi`, with a kernel for pictures of some 30 pixels.
    """

    name: ClassVar[str] = "ti"

    kernel: int = 7


@dataclass(frozen=True, kw_only=True)
class SI(MI):
    """`mi` on the sum of gradients at the input, its half, its quarter, …: models agree more on what all of them share.

    Choose it where a single source overfits, on inputs of any kind whose 0 means nothing (black, or grey). Costs
    `scales` times what `mi` does. The options are those of `mi`, with five scales.
    """

    name: ClassVar[str] = "si"

    scales: int = 5


def gaussian(side: int, *, like: Tensor) -> Tensor:
    """A Gaussian of so many pixels across that sums to 1, `[side, side]`; see `MI` for its width."""
    half = (side - 1) / 2
    place = torch.arange(side, device=like.device, dtype=torch.float64) - half
    line = (-1.5 * (place / max(half, 1)).square()).exp()
    line = line / line.sum()
    return (line[:, None] * line).to(like.dtype)


def smoothed(gradient: Tensor, side: int) -> Tensor:
    """Gradients `[m, *shape]` convolved with a Gaussian of so many pixels across, each channel by itself."""
    if side == 1:
        return gradient

    def change(planes: Tensor) -> Tensor:
        m, channels, height, width = planes.shape
        weight = gaussian(side, like=planes)[None, None]
        made: Tensor = conv2d(planes.reshape(m * channels, 1, height, width), weight, padding=side // 2)
        return made.reshape(planes.shape)

    return on_planes(gradient, change)


@hookimpl
def register_attacks(register: Register) -> None:
    for kind in (MI, TI, SI):
        register(kind)
