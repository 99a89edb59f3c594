"""Hyperplanes in a threat's norm: how far away one is, and the smallest change that reaches it within a box.

For attacks that look for the nearest boundary. The box is what inputs may be at all, whatever epsilon is: such attacks
leave the ball and come back to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.problem import ORDER, Problem
from auditor.threat import Norm

DUAL = {Norm.LINF: 1.0, Norm.L2: 2.0, Norm.L1: float("inf")}
"""Order of the norm that says how far a linear score moves per unit of change."""

Box = tuple[Tensor, Tensor]
"""Lowest and highest values, `[batch, *shape]` each."""


def outer_box(problem: Problem) -> Box:
    """The limits of inputs without the ball: infinite where there are none, the clean value where it is frozen."""
    if problem.limits is None:  # the samples' own boxes are all there is
        return problem.lower, problem.upper
    frozen, (low, high) = problem.lower == problem.upper, problem.limits
    return torch.where(frozen, problem.inputs, low), torch.where(frozen, problem.inputs, high)


def scale_of(problem: Problem) -> Tensor:
    """What a unit of size means per feature, `[batch, *shape]`: its weight, 0 where it is frozen."""
    weights = torch.ones_like(problem.inputs) if problem.weights is None else problem.weights
    return torch.where(problem.upper > problem.lower, weights, 0)


def length(problem: Problem, change: Tensor) -> Tensor:
    """Size of a change in the threat's norm, `[batch]`; frozen features count as unchanged."""
    scale = scale_of(problem)
    sizes: Tensor = torch.where(scale > 0, change / scale, 0).flatten(1).norm(p=ORDER[problem.norm], dim=1)
    return sizes


def away(problem: Problem, gaps: Tensor, slopes: Tensor) -> Tensor:
    """How far linear functions are from 0 in the threat's norm, without limits: `[batch, c]`, infinite for slope 0.

    gaps: their values `[batch, c]`. slopes: their gradients `[batch, c, *shape]`.
    """
    scaled = slopes * scale_of(problem)[:, None]
    steepness = scaled.flatten(2).norm(p=DUAL[problem.norm], dim=2)
    return torch.where(steepness > 0, gaps.abs() / steepness, float("inf"))


def to_plane(problem: Problem, points: Tensor, slope: Tensor, rise: Tensor, box: Box) -> Tensor:
    """The smallest change in the threat's norm after which slope · change = rise, within a box.

    Where the box does not let it reach the plane, it goes as far as it lets it. points, slope: `[batch, *shape]`.
    rise: `[batch]`. box: lowest and highest values of points, may be infinite.
    """
    low, high = box
    scale = scale_of(problem)
    towards = slope * scale * problem.wide(rise.sign())
    size = towards.flatten(1).abs()
    room = (torch.where(towards > 0, high - points, points - low) / scale).flatten(1).clamp_min(0)
    room = torch.where(size > 0, room, 0)
    peak = size.amax(dim=1, keepdim=True)  # small slopes would underflow when they are squared
    size = torch.where(peak > 0, size / peak, 0)
    need = torch.where(peak > 0, rise.abs()[:, None] / peak, 0)
    moves = _greedily(size, room, need) if problem.norm is Norm.L1 else _together(size, room, need, problem.norm)
    return towards.sign() * torch.where(size > 0, moves, 0).reshape(points.shape) * scale


def _together(size: Tensor, room: Tensor, need: Tensor, norm: Norm) -> Tensor:
    """linf and l2: along t, each feature moves t (times its slope in l2) until its room ends.

    Sorted by where they stop, what has been reached is piecewise linear in t.
    """
    largest = torch.finfo(size.dtype).max / 4  # for infinite room: differences of stops stay numbers
    rate, stop = (size, room) if norm is Norm.LINF else (size.square(), room / size)
    stop, order = torch.where(size > 0, stop, 0).clamp_max(largest).sort(dim=1)
    rate = rate.gather(1, order)
    zero = torch.zeros_like(need)
    left = torch.cat([rate.flip(1).cumsum(dim=1).flip(1), zero], dim=1)  # how fast it rises after so many have stopped
    stop = torch.cat([zero, stop], dim=1)
    reached = torch.cat([zero, (left[:, :-1] * stop.diff(dim=1)).cumsum(dim=1)], dim=1)
    segment = ((reached < need).sum(dim=1, keepdim=True) - 1).clamp_min(0)
    missing = need - reached.gather(1, segment)
    t = stop.gather(1, segment) + missing / left.gather(1, segment).clamp_min(torch.finfo(size.dtype).tiny)
    return torch.minimum(t if norm is Norm.LINF else t * size, room)


def _greedily(size: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """l1: the steepest feature moves as far as its room lets it, then the next."""
    steepest, order = size.sort(dim=1, descending=True, stable=True)
    space = room.gather(1, order)
    gain = (steepest * space).clamp_max(torch.finfo(size.dtype).max / 4)
    before = torch.cat([torch.zeros_like(need), gain.cumsum(dim=1)[:, :-1]], dim=1)
    moves = torch.minimum((need - before).clamp_min(0) / steepest, space)
    return torch.zeros_like(room).scatter(1, order, torch.where(steepest > 0, moves, 0))
