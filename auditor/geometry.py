"""The four norms' geometry, on tensors with the batch first: sizes, steepest changes, and exact projections.

Every projection is onto ball and box at once, in the weighted coordinates change / weights: first to the ball and then
to the box would end further from the point than it has to. Rounding is always inward, since the verifier, in float64
and without tolerance, refuses what is a rounding outside.

l1: the problem is that of Croce and Hein, "Mind the box", https://arxiv.org/abs/2103.01208, who solve it by sorting.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.threat import Norm

ROUNDING = 2.0**-24
"""Relative error of one float32 rounding."""
SLACK = 2e-7
"""Share of epsilon that float32 may have added to it and to a weight."""
SHRINKINGS = 4
"""Rounds in which a point's way to the l2 ball is lengthened by what the box cuts off; each stays inside."""
ROUNDS, PRECISE = 160, 1e-12
"""How long, and to which relative precision, the number is looked for that projects a point to the l1 ball."""

ORDER = {Norm.LINF: float("inf"), Norm.L2: 2.0, Norm.L1: 1.0, Norm.L0: 0.0}
"""Each norm's p."""


def wide(values: Tensor, like: Tensor) -> Tensor:
    """`[batch]` as `[batch, 1, …, 1]`, so that it broadcasts over `[batch, *shape]`."""
    return values.reshape(-1, *([1] * (like.ndim - 1)))


def length(change: Tensor) -> Tensor:
    """Euclidean length of each row, `[batch]`."""
    size: Tensor = change.flatten(1).norm(dim=1)
    return size


def size(norm: Norm, change: Tensor, weights: Tensor | None) -> Tensor:
    """Size of each row in a norm, `[batch]`; l0 counts features, each value of the array."""
    change = (change if weights is None else change / weights).flatten(1)
    if norm is Norm.L0:
        return (change != 0).sum(dim=1).to(change.dtype)
    if norm is Norm.L1:
        return change.abs().sum(dim=1)  # adds in pairs, as `norm` does not
    order: Tensor = change.norm(p=ORDER[norm], dim=1)
    return order


def largest(values: Tensor, count: Tensor) -> Tensor:
    """Which features are among the `count` `[batch]` largest of their row, bool; of equal ones the first."""
    flat = values.flatten(1)
    count = count.clamp_max(flat.shape[1]).long()[:, None]
    top = flat.topk(max(int(count.max()), 1), dim=1).values if len(flat) else flat
    least = top.gather(1, (count - 1).clamp_min(0))
    above, tied = flat > least, flat == least
    return (above | (tied & (tied.cumsum(dim=1) <= count - above.sum(dim=1, keepdim=True)))).reshape(values.shape)


def steepest(norm: Norm, gradient: Tensor, free: Tensor | None, weights: Tensor | None) -> Tensor:
    """The change of size 1 that climbs a linear function fastest; 0 where gradient is 0. Not for l0.

    free: which features can move: others take no share of the step. Not needed for linf.
    """
    weighted = gradient if weights is None else gradient * weights
    if norm is Norm.LINF:
        direction = weighted.sign()
    elif norm is Norm.L2:
        weighted = weighted if free is None else torch.where(free, weighted, 0)
        direction = weighted / wide(length(weighted).clamp_min(torch.finfo(gradient.dtype).tiny), gradient)
    else:
        weighted = weighted if free is None else torch.where(free, weighted, 0)
        direction = _alone(weighted.sign(), weighted.abs())
    return direction if weights is None else direction * weights


def farthest(gradient: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """The change of one feature, by its whole room down (< 0) or up, that raises a linear function most."""
    room = torch.where(gradient > 0, up, down)
    gain = gradient * room
    return _alone(torch.where(gain > 0, room, 0), gain)


def _alone(change: Tensor, gain: Tensor) -> Tensor:
    """The change of each row's feature of largest gain, the first of them; no other feature changes."""
    first = gain.flatten(1).argmax(dim=1, keepdim=True)
    flat = change.flatten(1)
    return torch.zeros_like(flat).scatter(1, first, flat.gather(1, first)).reshape(change.shape)


def dual(norm: Norm, gradient: Tensor, free: Tensor, weights: Tensor | None) -> Tensor:
    """Size of a gradient in the dual norm, `[batch]`: how fast a linear function can rise per unit of distance."""
    weighted = torch.where(free, gradient if weights is None else gradient * weights, 0).flatten(1)
    if norm is Norm.LINF:
        return weighted.abs().sum(dim=1)
    return weighted.abs().amax(dim=1) if norm is Norm.L1 else length(weighted)


def l2_radius(epsilon: Tensor, lower: Tensor, upper: Tensor, weights: Tensor | None) -> Tensor:
    """epsilon less what rounding a point to float32 can add to an l2 distance, `[batch]`."""
    reach = torch.maximum(lower.abs(), upper.abs()).nan_to_num(posinf=0.0)
    reach = reach if weights is None else reach / weights
    return (epsilon * (1 - 2e-6) - ROUNDING * length(reach)).clamp_min(0)


def to_l2(
    points: Tensor, inputs: Tensor, lower: Tensor, upper: Tensor, radius: Tensor, weights: Tensor | None
) -> Tensor:
    """The points, drawn towards the inputs until what the box leaves of them is in the l2 ball.

    With the clamp that follows, that is the nearest point of ball and box in the weighted norm. Shrinking to the
    ball first and clamping then ends well inside it wherever the box cuts something off, and attacks with it.
    """
    tiny = torch.finfo(points.dtype).tiny
    change = points - inputs
    low, high = lower - inputs, upper - inputs
    scaled = change if weights is None else change / weights
    factor = (radius / length(scaled).clamp_min(tiny)).clamp_max(1)
    for _ in range(SHRINKINGS):
        moved = change * wide(factor, points)
        kept = moved.clamp(low, high)
        free = kept == moved
        if bool(free.all()):
            break
        cut = torch.where(free, 0, kept if weights is None else kept / weights)
        room = (radius.square() - length(cut).square()).clamp_min(0).sqrt()
        longest = room / length(torch.where(free, scaled, 0)).clamp_min(tiny)
        factor = torch.maximum(factor, longest.clamp_max(1))
    return torch.where(wide(factor, points) < 1, inputs + change * wide(factor, points), points)


def to_l1(
    points: Tensor, inputs: Tensor, lower: Tensor, upper: Tensor, epsilon: Tensor, weights: Tensor | None
) -> Tensor:
    """The points, moved so that with the clamp that follows each is the nearest of l1 ball and box.

    The nearest point takes one number off every |change / weights|, down to 0, and keeps no more than the box has room
    for. Computed in float64, since the sum over many features would round.
    """
    start, held = inputs.double(), points.clamp(lower, upper)
    scale = 1 if weights is None else weights.double()
    room = ((held.double() - start) / scale).flatten(1).abs()
    total = room.sum(dim=1, keepdim=True)
    if points.dtype is torch.float64:  # what the target will see is float32
        rounded = ((held.float().double() - start) / scale).flatten(1).abs()
        total = torch.maximum(total, rounded.sum(dim=1, keepdim=True))
    limit = epsilon.double()[:, None] * (1 - SLACK)
    inside = total <= limit
    if bool(inside.all()):
        return points
    limit = limit * (1 - SLACK)  # so that what has been projected is inside, and stays as it is
    change = ((points.double() - start) / scale).flatten(1)
    kept = _lowered(change.abs(), room, limit, inside)
    step = (kept * change.sign()).reshape(points.shape) * scale
    near = (start + step).float()
    beyond = (near.double() - start).abs() > step.abs() * (1 + 1e-9)
    near = torch.where(beyond, torch.nextafter(near, inputs.float()), near).to(points.dtype)
    return torch.where(wide(inside, points), points, torch.where(wide(limit > 0, points), near, inputs))


def _lowered(reach: Tensor, room: Tensor, limit: Tensor, solved: Tensor) -> Tensor:
    """min(max(reach - λ, 0), room) `[batch, d]` with the λ >= 0 for which a row sums to its limit `[batch, 1]`.

    The sum is piecewise linear in λ: Newton steps end on the right piece, and a bisection in between each two keeps
    them from running in circles. Much faster than sorting the places where it bends.
    """
    low, high = torch.zeros_like(limit), reach.amax(dim=1, keepdim=True)
    level = low
    for round in range(ROUNDS):
        left = reach - level
        surplus = torch.minimum(left.clamp_min(0), room).sum(dim=1, keepdim=True) - limit
        low, high = torch.where(surplus > 0, level, low), torch.where(surplus > 0, high, level)
        solved = solved | (surplus.abs() <= PRECISE * limit) | (high - low <= PRECISE * high)
        if bool(solved.all()):
            break
        slope = ((left > 0) & (left <= room)).sum(dim=1, keepdim=True)
        newton, middle = level + surplus / slope, (low + high) / 2
        newton = newton if round % 3 < 2 else middle
        level = torch.where(solved, level, torch.where((newton > low) & (newton < high), newton, middle))
    kept = torch.minimum((reach - level).clamp_min(0), room)
    return kept * (limit / kept.sum(dim=1, keepdim=True).clamp_min(1e-300)).clamp_max(1)


def to_l0(
    points: Tensor, inputs: Tensor, lower: Tensor, upper: Tensor, epsilon: Tensor, weights: Tensor | None
) -> Tensor:
    """The points with the input's values in all but epsilon features; with the clamp that follows the nearest such.

    Keeping a feature at its clamped value saves δ² - (δ - kept)² of the squared distance: those that save most stay.
    """
    change, kept = points - inputs, points.clamp(lower, upper) - inputs
    inside = (kept != 0).flatten(1).sum(dim=1) <= epsilon
    if bool(inside.all()):
        return points
    saved = kept.abs().sqrt() * (2 * change - kept).abs().sqrt()  # the root of it, which does not overflow
    saved = saved if weights is None else saved / weights
    keep = largest(saved, torch.where(inside, points[0].numel(), epsilon.floor()))
    return torch.where(keep | saved.isnan(), points, inputs)
