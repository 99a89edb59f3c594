"""Searches that see labels alone: where to begin, where to ask next on the way in, and what a bracket shrinks to.

HopSkipJump and the walk keep an adversarial point (`edge`) and go from it towards the clean input; RayS has a sign for
each feature and looks for the radius. All three halve a bracket of sizes between one that is not adversarial and one
that is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auditor.attack import Reply, Rows
from auditor.hyperplane import length, outer_box, scale_of
from auditor.problem import Problem
from auditor.threat import Norm

OUTWARDS = (1.0, 1.02, 1.05, 1.1, 1.2, 1.4, 2.0, 4.0, 16.0)
"""Shares of the way to a warm start, and beyond it, at which it is asked for until it is adversarial."""
KINDS = 3
"""Starts that take turns: a random value for each feature, a random bound for each, random values for runs of them."""
SLACK = 1e-6
"""Share of epsilon by which rounding may put a point outside that is meant to be within."""
LEVELS = torch.special.ndtri((torch.arange(256, dtype=torch.float64) + 0.5) / 256).float().numpy()
"""The normal distribution's quantiles in the middle of 256 equal shares."""


Columns = dict[str, Tensor]
"""New values of some columns of rows, by name."""


@dataclass(frozen=True, kw_only=True)
class EdgeRows(Rows):
    """edge: the adversarial point that the row goes on from, the clean input while there is none. low, high: sizes
    between which the way to it crosses the boundary. towards: where a warm start looks first, the clean input for
    nowhere. tries: how often a start was looked for. phase: what the row does."""

    edge: Tensor
    low: Tensor
    high: Tensor
    towards: Tensor
    tries: Tensor
    phase: Tensor


def reached(problem: Problem, reply: Reply) -> Tensor:
    """Which points of a reply have the label that the goal asks for, bool `[m]`."""
    labels, targets = problem.labels[reply.owner], problem.targets[reply.owner]
    return torch.where(targets >= 0, reply.labels == targets, reply.labels != labels)


def middle(problem: Problem, low: Tensor, high: Tensor) -> Tensor:
    """The size to ask about next, `[batch]`: epsilon where that lies within the bracket, its middle elsewhere.

    Whether a point within epsilon is adversarial is what is to be found out, so it is asked first.
    """
    edge = allowed(problem)
    return torch.where((low < edge) & (edge < high), edge, (low + high) / 2)


def allowed(problem: Problem) -> Tensor:
    """The largest size that is to be asked about within the ball, `[batch]`; infinite without an epsilon."""
    edge = problem.epsilon if problem.norm is Norm.LINF else problem.radius()
    return torch.where(problem.epsilon.isinf(), problem.epsilon, edge)


def between(problem: Problem, far: Tensor, size: Tensor) -> Tensor:
    """The points of these sizes `[batch]` on the way from the inputs to far ones `[batch, *shape]`.

    The way is a line; in linf features go together, each until it has its change, so that the largest shrink first.
    """
    change = far - problem.inputs
    if problem.norm is Norm.LINF:
        reach = problem.wide(size) * scale_of(problem)
        return problem.inputs + change.clamp(-reach, reach)
    share = size / length(problem, change).clamp_min(torch.finfo(size.dtype).tiny)
    return problem.inputs + problem.wide(share.clamp_max(1)) * change


def proposed(problem: Problem, points: Tensor) -> tuple[Tensor, Tensor]:
    """Points `[batch, *shape]` as they are to be asked about: within the limits, those of the ball by rounding too.

    With them which are only probes, bool `[batch]`: those that lie outside the threat model.
    """
    points = limited(problem, points)
    if bool(problem.epsilon.isfinite().any()):
        inside = problem.size(points) <= problem.epsilon * (1 + SLACK)
        if bool(inside.any()):
            points = torch.where(problem.wide(inside), problem.project(points), points)
    return points, ~problem.contains(points)


def limited(problem: Problem, points: Tensor) -> Tensor:
    """Points `[batch, *shape]` as near as inputs may come to them, whatever epsilon; frozen features are theirs."""
    low, high = (problem.lower, problem.upper) if problem.limits is None else problem.limits
    return points.clamp(low, high)  # type: ignore[arg-type]


def begun(problem: Problem, *, warm: bool) -> Columns:
    """The columns of `EdgeRows` at the start; phase 0 is looking for an adversarial point."""
    zero, none = torch.zeros_like(problem.epsilon), torch.zeros_like(problem.ages)
    towards = problem.best if warm else problem.inputs
    still = (towards == problem.inputs).flatten(1).all(dim=1)
    return {
        "x": problem.project(problem.inputs),
        "edge": problem.inputs.clone(),
        "low": zero,
        "high": zero,
        "towards": towards,
        "tries": torch.where(still, len(OUTWARDS), none),
        "phase": none,
    }


def start_points(problem: Problem, towards: Tensor, tries: Tensor) -> Tensor:
    """Where to look for a first adversarial point, `[batch, *shape]`: along the way to a warm start, then at random.

    Where inputs have no bounds, random points are one weight away at most, and twice as far each time all kinds have
    had their turn.
    """
    shape, dtype = problem.inputs.shape[1:], problem.inputs.dtype
    low, high = outer_box(problem)
    share = torch.tensor(OUTWARDS, device=tries.device, dtype=dtype)[tries.clamp_max(len(OUTWARDS) - 1)]
    turn = (tries - len(OUTWARDS)).clamp_min(0)
    drawn = problem.draws.uniform(*shape, dtype=dtype)
    kind = turn % KINDS
    corner = (drawn * 2).floor()
    runs = drawn.flatten(1).gather(1, _runs(problem, drawn[0].numel())).reshape(drawn.shape)
    drawn = torch.where(problem.wide(kind == 0), drawn, torch.where(problem.wide(kind == 1), corner, runs))
    reach = problem.wide(2.0 ** (turn // KINDS).clamp_max(60).to(dtype)) * scale_of(problem)
    low = torch.where(low.isinf(), problem.inputs - reach, low)
    high = torch.where(high.isinf(), problem.inputs + reach, high)
    warm = problem.inputs + problem.wide(share) * (towards - problem.inputs)
    return torch.where(problem.wide(tries < len(OUTWARDS)), warm, low + drawn * (high - low))


def _runs(problem: Problem, features: int) -> Tensor:
    """For each feature the first of its run, int64 `[batch, features]`; a run is a power of two long."""
    most = max(features.bit_length() - 1, 1)
    side = 2 ** (1 + problem.draws.integers(most))
    place = torch.arange(features, device=side.device)
    return place - place % side[:, None]


def sought(rows: EdgeRows, size: Tensor, hit: Tensor, then: int) -> Columns:
    """What the search for a start makes of an answer at points of these sizes; who has found one goes on to `then`."""
    further = torch.where(rows.tries < len(OUTWARDS) - 1, size, 0)
    return {
        "low": torch.where(hit, rows.low, further),
        "high": torch.where(hit, size, rows.high),
        "tries": rows.tries + (~hit).long(),
        "phase": torch.where(hit, then, rows.phase),
    }


def halved(problem: Problem, rows: EdgeRows, hit: Tensor, precise: float, then: int) -> Columns:
    """What a bracket makes of an answer at its `middle`; once it is narrower than a share of it, on to phase `then`."""
    asked = middle(problem, rows.low, rows.high)
    low, high = torch.where(hit, rows.low, asked), torch.where(hit, asked, rows.high)
    narrow = high - low <= precise * high
    return {
        "low": torch.where(narrow, 0, low),
        "high": high,
        "phase": torch.where(narrow, then, rows.phase),
    }


def merged(rows: EdgeRows, mask: Tensor, columns: Columns) -> Columns:
    """Columns `[batch]` of the rows where the mask holds, what the rows have elsewhere."""
    return {name: torch.where(mask, column, getattr(rows, name)) for name, column in columns.items()}


def directions(problem: Problem, count: int) -> Tensor:
    """Random directions of euclidean length 1 in units of the weights, `[batch, count, *shape]`; frozen features stay.

    Close to uniform on the sphere: normal numbers of 256 values, of one random byte each. A draw says where a generator
    of numpy begins, whose bytes come twenty times as fast: such searches need a number for each feature of each query.
    A longer draw begins with the shorter one.
    """
    features, device, dtype = problem.inputs[0].numel(), problem.inputs.device, problem.inputs.dtype
    words = -(-count * features // 8)
    octets = np.empty((len(problem), words), np.uint64)
    for row, (low, high) in enumerate(problem.draws.words(2).tolist()):
        octets[row] = np.random.Philox(key=low | high << 32).random_raw(words)
    values = LEVELS.take(octets.view(np.uint8)[:, : count * features])
    drawn = torch.from_numpy(values).to(device, dtype).reshape(len(problem), count, *problem.inputs.shape[1:])
    moves = scale_of(problem) > 0
    if not bool(moves.all()):
        drawn = drawn * moves[:, None]
    size = drawn.flatten(2).norm(dim=2).clamp_min(torch.finfo(dtype).tiny)
    return drawn.div_(size.reshape(*size.shape, *([1] * (drawn.ndim - 2))))
