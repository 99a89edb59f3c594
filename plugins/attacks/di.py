"""Input diversity (DI²-FGSM): momentum behind a random resizing. Xie et al., https://arxiv.org/abs/1803.06978"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.views import on_planes, sampled

from .mi import MI, View


@dataclass(frozen=True, kw_only=True)
class DI(MI):
    """`mi` on pictures that are shrunk at random and put anywhere on black: what fools one net only does not last.

    The usual first thing to try where gradients come from another model; `kernel=7,scales=5` make the combination that
    papers compare with. For photographs, where passes are no concern, choose `bsr`. Costs `copies` times `scales` times
    what `mi` does. Inputs that are no pictures have nothing to resize: it is `mi` there. The paper enlarges pictures of
    299 pixels to 330; here they keep their size, since the model's input has one, and shrink by as much, without
    rounding to pixels.

    smallest: least share of each side that is left (299/330 in the paper). chance: of a resizing (0.5 in the paper). A
    view is drawn anew for each gradient and restart. copies: of the views, over whose gradients each step sums.
    """

    name: ClassVar[str] = "di"

    smallest: float = 0.9
    chance: float = 0.5
    copies: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.smallest <= 1:
            raise UsageError(f"{self.name}: smallest is a share of a side above 0, up to 1, got {self.smallest}.")
        if not 0 <= self.chance <= 1:
            raise UsageError(f"{self.name}: chance is a probability, got {self.chance}.")
        if not 1 <= self.copies <= 1000:
            raise UsageError(f"{self.name}: copies is a number from 1 to 1000, got {self.copies}.")

    @property
    def views(self) -> int:
        return self.scales * self.copies

    def view(self, problem: Problem) -> View:
        u = problem.draws.uniform(4)
        share = torch.where(u[:, 3] < self.chance, self.smallest + (1 - self.smallest) * u[:, 0], 1)
        return lambda points: on_planes(points, lambda planes: shrunk(planes, share, u[:, 1], u[:, 2]))


def shrunk(planes: Tensor, share: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Pictures `[m, channels, height, width]` shrunk to a share of their sides, with zeros around them.

    share: `[m]`; 1 leaves a picture as it is, bit by bit. down, right: which share of the room is
    above and to the left of it, `[m]`.
    """
    height, width = planes.shape[2:]
    rows, columns = (
        (torch.arange(side, device=planes.device) + 0.5 - (offset * (1 - share) * side)[:, None]) / share[:, None] - 0.5
        for side, offset in ((height, down), (width, right))
    )
    return sampled(planes, rows[:, :, None], columns[:, None], (0, height, 0, width))


@hookimpl
def register_attacks(register: Register) -> None:
    register(DI)
