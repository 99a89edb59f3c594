"""Block shuffle and rotation. Wang, He, Wang and Wang, https://arxiv.org/abs/2308.10299"""

from __future__ import annotations

from dataclasses import dataclass
from math import radians
from typing import ClassVar

import torch
from torch import Tensor

from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.views import on_planes, sampled

from .mi import MI, View


@dataclass(frozen=True, kw_only=True)
class BSR(MI):
    """`mi` on pictures cut into blocks that are shuffled and turned: nets look at different places, this at all.

    Published as one of the strongest that transfer from a single source between ImageNet nets: choose it for
    photographs, where passes are no concern. Not for digits or letters, which are none once they are shuffled: there
    `blocks=1`, which only turns them, or `di` is far stronger. Costs `copies` times `scales` times what `mi` does, 200
    gradients by default. Inputs that are no pictures have nothing to shuffle: choose `mi` there, which it is at many
    times the cost.

    blocks: along each side, cut anew at random places for each view (2 in the paper); 1 leaves the picture whole.
    angle: degrees up to which each block is turned around its middle, to either side (24 in the paper); what turns out
    of its block is lost, what lies beyond it is 0. copies: of the views, over whose gradients each step sums (20 in the
    paper), one reply each.
    """

    name: ClassVar[str] = "bsr"

    blocks: int = 2
    angle: float = 24.0
    copies: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.blocks <= 64:
            raise UsageError(f"{self.name}: blocks is a number along each side from 1 to 64, got {self.blocks}.")
        if not 0 <= self.angle <= 180:
            raise UsageError(f"{self.name}: angle is in degrees from 0 to 180, got {self.angle}.")
        if not 1 <= self.copies <= 1000:
            raise UsageError(f"{self.name}: copies is a number from 1 to 1000, got {self.copies}.")

    @property
    def views(self) -> int:
        return self.scales * self.copies

    def view(self, problem: Problem) -> View:
        n, m = self.blocks, len(problem)
        u = problem.draws.uniform(2 * n + 3 * n * n + 1)  # at once, since a draw takes a while
        first, second = u[:, : 2 * n].reshape(m, 2, n), u[:, 2 * n : 2 * n + 2 * n * n].reshape(m, 2, n, n)
        turns = radians(self.angle) * (2 * u[:, -n * n - 1 : -1].reshape(m, n, n) - 1)
        by_rows = u[:, -1] < 0.5
        return lambda points: on_planes(points, lambda planes: shuffled(planes, first, second, turns, by_rows))


def shuffled(planes: Tensor, first: Tensor, second: Tensor, turns: Tensor, by_rows: Tensor) -> Tensor:
    """Pictures `[m, channels, height, width]`, cut into strips, each strip into blocks, all shuffled and turned.

    first: uniform numbers that say where strips are cut, and in which order they come, `[m, 2, n]`; second: the
    same for the blocks of each strip, `[m, 2, n, n]`. turns: the blocks' angles in radians, `[m, n, n]`. by_rows: bool
    `[m]`, whether strips lie across the picture or stand upright.
    """
    height, width = planes.shape[2:]
    some, rest = by_rows.nonzero()[:, 0], (~by_rows).nonzero()[:, 0]
    across = blocks(first[some], second[some], turns[some], height, width)
    upright = [one.transpose(1, 2) for one in blocks(first[rest], second[rest], turns[rest], width, height)]
    upright = [upright[place] for place in (1, 0, 4, 5, 2, 3)]  # what was along the strips is down the picture
    back = torch.cat([some, rest]).argsort()
    rows, columns, *box = (torch.cat(both)[back] for both in zip(across, upright, strict=True))
    return sampled(planes, rows, columns, (box[0], box[1], box[2], box[3]))


def blocks(first: Tensor, second: Tensor, turns: Tensor, height: int, width: int) -> list[Tensor]:
    """Where each pixel comes from, with strips across the picture: row, column and its block's top, bottom, left and
    right, `[m, height, width]`. The rest is as in `shuffled`."""
    m, n = len(first), first.shape[2]
    strip, row, top, tall = (
        one[:, :, None].expand(m, height, width) for one in dealt(first[:, 0], first[:, 1], height)
    )
    of_strip = strip[:, :, :1]
    block, column, left, wide = (
        one.gather(1, of_strip.expand(m, height, width)) for one in dealt(second[:, 0], second[:, 1], width)
    )
    which = (strip * n + block).reshape(m, height * width)
    cosine, sine = (
        one.reshape(m, n * n).gather(1, which).reshape(m, height, width) for one in (turns.cos(), turns.sin())
    )
    middle, centre = top + (tall - 1) / 2, left + (wide - 1) / 2
    down, right = row - middle, column - centre
    rows = middle + cosine * down + sine * right
    columns = centre + cosine * right - sine * down
    return [rows, columns, top, top + tall, left, left + wide]


def dealt(lengths: Tensor, order: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A side of so many pixels cut into pieces that are put in another order: for each place on it the piece's number
    (int64), where on the side it comes from, and the first place and the length of its piece, `[…, side]`.

    lengths: the pieces' shares of the side are in proportion to 1 less these, `[…, n]`. order: the pieces come in the
    order of these.
    """
    share = (1 - lengths).cumsum(dim=-1)
    ends = (side * share / share[..., -1:]).round()
    starts = torch.cat([torch.zeros_like(ends[..., :1]), ends[..., :-1]], dim=-1)
    order = order.argsort(dim=-1, stable=True)
    dealt_ends = (ends - starts).gather(-1, order).cumsum(dim=-1)
    place = torch.arange(side, device=lengths.device).to(lengths)
    turn = (place[:, None] >= dealt_ends[..., None, :]).sum(dim=-1)  # which piece lies there, empty ones left out
    piece = order.gather(-1, turn)
    start, size = starts.gather(-1, piece), (ends - starts).gather(-1, piece)
    return piece, start + place - (dealt_ends.gather(-1, turn) - size), start, size


@hookimpl
def register_attacks(register: Register) -> None:
    register(BSR)
