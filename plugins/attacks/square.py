"""Square attack. Andriushchenko et al., https://arxiv.org/abs/1912.00049"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 steps, those at which the windows' area halves."""


@dataclass(frozen=True, kw_only=True)
class SquareRows(Rows):
    """best, best_loss: the point kept and its loss; x is the proposal under judgement."""

    best: Tensor
    best_loss: Tensor


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Random search: change one square window to a corner of the box, keep the change when the margin shrinks.

    Needs no gradient and asks the deployed model itself, so it sees through masked gradients. Choose it as the second
    opinion on every white-box result, and as the main attack on models without a twin. Costs one query of the target
    per step. Windows and signs are drawn for each sample on its own (the original draws them once per batch). Inputs
    without two spatial axes get windows along their last axis.

    share: area of the first windows as a share of the input; it halves as the search goes on. warm: start from the
    best point that earlier attacks found instead of stripes.
    """

    name: ClassVar[str] = "square"
    access: ClassVar[Access] = Access.SCORE
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    steps: int = 1000
    share: float = 0.8
    warm: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"square: share is above 0 and at most 1, got {self.share}.")

    def start(self, problem: Problem) -> SquareRows:
        channels, _, width, last = _axes(problem.inputs.shape[1:])
        shape = (1, width, channels) if last else (channels, 1, width)
        stripes = _back(problem.draws.signs(*shape, dtype=problem.inputs.dtype), problem, last)
        x = problem.best if self.warm else problem.project(problem.inputs + self._reach(problem) * stripes)
        return SquareRows(x=x, best=x, best_loss=torch.full_like(problem.epsilon, float("-inf")))

    def objective(self, scores: Tensor, problem: Problem, rows: SquareRows) -> Tensor:
        return problem.loss("margin", scores)

    def step(self, problem: Problem, rows: SquareRows, reply: Reply) -> SquareRows:
        loss = reply.need_loss()
        better = loss > rows.best_loss
        best = torch.where(problem.wide(better), rows.x, rows.best)
        proposal = problem.project(best + 2 * self._reach(problem) * self._window(problem))
        return SquareRows(x=proposal, best=best, best_loss=torch.where(better, loss, rows.best_loss))

    def _reach(self, problem: Problem) -> Tensor:
        reach = problem.wide(problem.epsilon)
        return reach if problem.weights is None else reach * problem.weights

    def _window(self, problem: Problem) -> Tensor:
        """A window of random place for each row, with a random sign for each channel; 0 elsewhere."""
        channels, height, width, last = _axes(problem.inputs.shape[1:])
        area = self.area(problem.ages)
        flat = height == 1 or width == 1
        side = (area * height * width) if flat else (area * height * width).sqrt()
        high, wide = (side.round().long().clamp(1, limit) for limit in (height, width))
        top = problem.draws.integers(height - high + 1)
        left = problem.draws.integers(width - wide + 1)
        device = problem.inputs.device
        row = torch.arange(height, device=device)[None, :] - top[:, None]
        column = torch.arange(width, device=device)[None, :] - left[:, None]
        inside = ((row >= 0) & (row < high[:, None]))[:, :, None] & ((column >= 0) & (column < wide[:, None]))[:, None]
        signs = problem.draws.signs(channels, dtype=problem.inputs.dtype)
        if last:
            pattern = inside[..., None] * signs[:, None, None, :]
        else:
            pattern = inside[:, None] * signs[:, :, None, None]
        return pattern.reshape(problem.inputs.shape)

    def area(self, ages: Tensor) -> Tensor:
        """Share of the input that a window covers at each age."""
        scaled = ages * 10_000 / max(self.steps, 1)
        halvings = (scaled[:, None] > torch.tensor(HALVINGS, device=ages.device)).sum(dim=1)
        return self.share * 0.5 ** halvings.to(torch.float64)


def _axes(shape: torch.Size) -> tuple[int, int, int, bool]:
    """(channels, height, width, whether the channels come last) of a sample's shape."""
    if len(shape) == 3:
        last = shape[2] in (1, 3, 4) and shape[0] not in (1, 3, 4)
        return (shape[2], shape[0], shape[1], True) if last else (shape[0], shape[1], shape[2], False)
    if len(shape) == 2:
        return 1, shape[0], shape[1], False
    return 1, 1, shape.numel(), False


def _back(pattern: Tensor, problem: Problem, last: bool) -> Tensor:
    """A pattern over (channels, height, width) in the shape of the inputs."""
    channels, height, width, _ = _axes(problem.inputs.shape[1:])
    shape = (height, width, channels) if last else (channels, height, width)
    return pattern.expand(-1, *shape).reshape(problem.inputs.shape)


@hookimpl
def register_attacks(register: Register) -> None:
    register(Square)
