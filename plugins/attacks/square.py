"""Square attack. Andriushchenko, Croce, Flammarion, Hein, https://arxiv.org/abs/1912.00049

In l1: Croce and Hein, https://arxiv.org/abs/2103.01208
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import ORDER, Problem
from auditor.spatial import axes
from auditor.threat import Norm

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 steps, those at which the windows' area halves."""
TILES = 5
"""Blobs along each axis of the first point in l2 and l1."""
NARROWEST = {Norm.L2: 3, Norm.L1: 1}
"""Pixels along the side of the smallest window."""
FALL = {Norm.L2: 2, Norm.L1: 4}
"""Power of the distance to its middle by which a blob falls off."""


@dataclass(frozen=True, kw_only=True)
class SquareRows(Rows):
    """best, best_loss: the point kept and its loss; x is the proposal under judgement."""

    best: Tensor
    best_loss: Tensor


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Random search: change a square window, keep the change when the margin shrinks.

    In linf a window goes to a corner of the box. In l2 the change that one window holds moves into another, where it
    takes the shape of two blobs of opposite sign, and what the bounds left unused of epsilon is spent there too. l1 is
    like l2 with lengths in l1 and steeper blobs, and windows narrow down to one pixel (the original's to 3).

    Needs no gradient and asks the deployed model itself, so it sees through masked gradients. Choose it as the second
    opinion on every white-box result, and as the main attack on models without a twin. Costs one query of the target
    per step. Windows and signs are drawn for each sample on its own (the original draws places once per batch). Inputs
    without two spatial axes get windows along their last axis.

    p: area of the first windows as a share of the input; it halves as the search goes on. warm: start from the best
    point that earlier attacks found instead of stripes (linf) or blobs.
    """

    name: ClassVar[str] = "square"
    access: ClassVar[Access] = Access.SCORE
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2, Norm.L1})

    steps: int = 1000
    p: float = 0.8
    warm: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise UsageError(f"square: p is above 0 and at most 1, got {self.p}.")

    def start(self, problem: Problem) -> SquareRows:
        x = problem.best if self.warm else _stripes(problem) if problem.norm is Norm.LINF else _tiles(problem)
        return SquareRows(x=x, best=x, best_loss=torch.full_like(problem.epsilon, float("-inf")))

    def objective(self, scores: Tensor, problem: Problem, rows: SquareRows) -> Tensor:
        return problem.loss("margin", scores)

    def step(self, problem: Problem, rows: SquareRows, reply: Reply) -> SquareRows:
        loss = reply.need_loss()
        better = loss > rows.best_loss
        best = torch.where(problem.wide(better), rows.x, rows.best)
        proposal = self._corner(problem, best) if problem.norm is Norm.LINF else self._moved(problem, best)
        return SquareRows(x=proposal, best=best, best_loss=torch.where(better, loss, rows.best_loss))

    def area(self, ages: Tensor) -> Tensor:
        """Share of the input that a window covers at each age."""
        scaled = ages * 10_000 / max(self.steps, 1)
        halvings = (scaled[:, None] > torch.tensor(HALVINGS, device=ages.device)).sum(dim=1)
        return self.p * 0.5 ** halvings.to(torch.float64)

    def sides(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Height and width of each row's window, int64 `[batch]`; odd where blobs have a middle."""
        _, height, width, _ = axes(problem.inputs.shape[1:])
        area = self.area(problem.ages) * height * width
        side = (area if height == 1 or width == 1 else area.sqrt()).round().long()
        if problem.norm is not Norm.LINF:
            side = side.clamp_min(NARROWEST[problem.norm]) // 2 * 2 + 1
        return side.clamp(1, height), side.clamp(1, width)

    def _corner(self, problem: Problem, best: Tensor) -> Tensor:
        """A window of the best point at a corner of the box, with a random sign for each channel."""
        inside = self._window(problem)[2]
        signs = problem.draws.signs(axes(problem.inputs.shape[1:])[0], dtype=problem.inputs.dtype)
        return problem.project(best + 2 * _shift(inside[:, None] * signs[:, :, None, None], problem))

    def _moved(self, problem: Problem, best: Tensor) -> Tensor:
        """The best point, where one window has taken what the change in another held, in the shape of two blobs."""
        change = best - problem.inputs
        change = _planes(change if problem.weights is None else change / problem.weights)
        high, wide = (side[:, None, None] for side in self.sides(problem))
        row, column, taken = self._window(problem)
        given = self._window(problem)[2]
        across = _across(problem, problem.draws.uniform()[:, None, None] < 0.5)
        signs = problem.draws.signs(change.shape[1], dtype=change.dtype)[:, :, None, None]
        pattern = blobs(row, column, high, wide, across, FALL[problem.norm])[:, None].to(change.dtype)
        pattern, p = pattern * _free(problem), ORDER[problem.norm]
        shape = _unit(_unit(change * taken[:, None], p) + signs * _unit(pattern, p), p)
        held = (change * (taken | given)[:, None]).abs().pow(p).sum(dim=(2, 3), keepdim=True)
        unused = problem.epsilon.pow(p) - change.abs().pow(p).sum(dim=(1, 2, 3))
        mass = held + (unused.clamp_min(0) / change.shape[1])[:, None, None, None]
        moved = torch.where(taken[:, None], shape * mass.pow(1 / p), torch.where(given[:, None], 0, change))
        return _spent(moved, problem)

    def _window(self, problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
        """A window of random place for each row: where the lines and columns of pixels lie relative to it,
        `[batch, height, 1]` and `[batch, 1, width]`, and which pixels are inside, `[batch, height, width]`."""
        _, height, width, _ = axes(problem.inputs.shape[1:])
        high, wide = self.sides(problem)
        top = problem.draws.integers(height - high + 1)
        left = problem.draws.integers(width - wide + 1)
        device = problem.inputs.device
        row = torch.arange(height, device=device)[None, :, None] - top[:, None, None]
        column = torch.arange(width, device=device)[None, None, :] - left[:, None, None]
        high, wide = high[:, None, None], wide[:, None, None]
        return row, column, (row >= 0) & (row < high) & (column >= 0) & (column < wide)


def blobs(row: Tensor, column: Tensor, high: Tensor, wide: Tensor, across: Tensor, fall: int) -> Tensor:
    """Two blobs of opposite sign that fill a window, 0 outside it; float64, not normalised.

    row, column: places relative to the window. high, wide: its sides. across: bool, whether the blobs lie side by side
    (else one above the other). A blob falls off in square rings around its middle, ring k from outside adding its
    distance to the middle to the power -fall.
    """
    row, column = torch.where(across, column, row), torch.where(across, row, column)
    high, wide = torch.where(across, wide, high), torch.where(across, high, wide)
    half = high // 2
    second = row >= half
    local, length = torch.where(second, row - half, row), torch.where(second, high - half, half)
    ring = torch.maximum((local - length // 2).abs(), (column - wide // 2).abs())
    rings = torch.maximum(length // 2, wide // 2) + 1
    inside = (row >= 0) & (row < high) & (column >= 0) & (column < wide)
    numbers = torch.arange(1, sum(ring.shape[-2:]) + 1, device=row.device, dtype=torch.float64)
    sums = torch.cat([numbers.new_zeros(1), numbers.pow(-fall).cumsum(0)])
    height = sums[rings] - sums[torch.where(inside, ring, 0)]
    return torch.where(inside, torch.where(second, -height, height), 0)


def _stripes(problem: Problem) -> Tensor:
    """Vertical stripes at the corners of the box, a random sign for each column and channel."""
    channels, height, width, _ = axes(problem.inputs.shape[1:])
    signs = problem.draws.signs(channels, 1, width, dtype=problem.inputs.dtype)
    return problem.project(problem.inputs + _shift(signs.expand(-1, -1, height, -1), problem))


def _tiles(problem: Problem) -> Tensor:
    """A point at the full distance: tiles of two blobs each, with random signs for each tile and channel."""
    channels, height, width, _ = axes(problem.inputs.shape[1:])
    device = problem.inputs.device
    high, row, tall = _tiling(height, device)
    wide, column, flat = _tiling(width, device)
    upright = problem.draws.uniform(TILES, TILES) < 0.5
    across = _across(problem, upright[:, tall.clamp_min(0)][:, :, flat.clamp_min(0)])
    pattern = blobs(row[None, :, None], column[None, None, :], high, wide, across, FALL[problem.norm])
    signs = problem.draws.signs(channels, TILES, TILES, dtype=problem.inputs.dtype)
    signs = signs[:, :, tall.clamp_min(0)][:, :, :, flat.clamp_min(0)]
    covered = (tall >= 0)[:, None] & (flat >= 0)[None, :]
    return _spent((pattern * covered)[:, None].to(signs.dtype) * signs * _free(problem), problem)


def _tiling(length: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Tiles along an axis: their side, each pixel's place in its tile, and the tile's number, -1 at the rim."""
    side = max(length // TILES, 1)
    tiles = min(length, TILES)
    along = torch.arange(length, device=device) - (length - side * tiles) // 2
    number = torch.where((along >= 0) & (along < side * tiles), along.div(side, rounding_mode="floor"), -1)
    return torch.tensor(side, device=device), along.remainder(side), number


def _across(problem: Problem, drawn: Tensor) -> Tensor:
    """Whether blobs lie side by side: as it was drawn, but along the only axis where there is but one."""
    _, height, width, _ = axes(problem.inputs.shape[1:])
    return torch.full_like(drawn, height == 1) if height == 1 or width == 1 else drawn


def _free(problem: Problem) -> Tensor:
    """1 for features that may change, 0 for frozen ones, `[batch, channels, height, width]`."""
    return _planes((problem.upper > problem.lower).to(problem.inputs.dtype))


def _unit(change: Tensor, p: float) -> Tensor:
    """Each channel's change at length 1 in the p-norm, 0 where there is none."""
    length = change.abs().pow(p).sum(dim=(2, 3), keepdim=True).pow(1 / p)
    return change / length.clamp_min(torch.finfo(change.dtype).tiny)


def _spent(change: Tensor, problem: Problem) -> Tensor:
    """The inputs after a change `[batch, channels, height, width]` that is brought to the length epsilon."""
    p = ORDER[problem.norm]
    length = change.abs().pow(p).sum(dim=(1, 2, 3), keepdim=True).pow(1 / p)
    return problem.project(problem.inputs + _shift(change / length.clamp_min(torch.finfo(change.dtype).tiny), problem))


def _planes(values: Tensor) -> Tensor:
    """Values in the shape of inputs as `[batch, channels, height, width]`."""
    channels, height, width, last = axes(values.shape[1:])
    return values.permute(0, 3, 1, 2) if last else values.reshape(-1, channels, height, width)


def _shift(pattern: Tensor, problem: Problem) -> Tensor:
    """A pattern `[batch, channels, height, width]` in units of epsilon as a change of the inputs, in their shape."""
    last = axes(problem.inputs.shape[1:])[3]
    change = (pattern.permute(0, 2, 3, 1) if last else pattern).reshape(problem.inputs.shape)
    change = problem.wide(problem.epsilon) * change
    return change if problem.weights is None else change * problem.weights


@hookimpl
def register_attacks(register: Register) -> None:
    register(Square)
