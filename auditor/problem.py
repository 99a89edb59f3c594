"""What one batch of rows has to solve: inputs, limits and goal, the norm's geometry, and the rows' own randomness."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from itertools import count

import torch
from torch import Tensor

from auditor.draws import Draws
from auditor.losses import find_loss, margin
from auditor.threat import Norm

ROUNDING = 2.0**-24
"""Relative error of one float32 rounding."""
SHRINKINGS = 4
"""Rounds in which a point's way to the l2 ball is lengthened by what the box cuts off; each stays inside."""
SHORTENED = tuple(1 - step / 64 for step in range(16, -1, -1))
"""Shares of the way to a point, at which it is tried whether the nearest step of the grid lies in the ball."""

ORDER = {Norm.LINF: float("inf"), Norm.L2: 2.0, Norm.L1: 1.0, Norm.L0: 0.0}
"""Each norm's p."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A batch of rows as an attack sees it. Every tensor has the batch first; rows differ in everything, age too.

    norm, grid: of the threat. classes: of the model. inputs: clean samples `[batch, *shape]`. labels: int64
    `[batch]`. targets: the label the goal asks for, -1 where any other will do. epsilon: `[batch]`. lower, upper: the
    box of the threat, `[batch, *shape]`. weights: what a unit of epsilon means per feature, None for 1. found,
    slots: the host's table of best points and each row's place in it; read it through `best`. ids, restarts, ages:
    int64 `[batch]`; age counts the replies a row has had. draws: the rows' randomness. notes: what the attack's survey
    found out about each row's sample, None where it has none.
    projected: the last projection, which need not be checked again.
    """

    norm: Norm
    grid: float | None
    classes: int
    inputs: Tensor
    labels: Tensor
    targets: Tensor
    epsilon: Tensor
    lower: Tensor
    upper: Tensor
    weights: Tensor | None
    found: Tensor
    slots: Tensor
    ids: Tensor
    restarts: Tensor
    ages: Tensor
    draws: Draws
    notes: Tensor | None = None
    projected: list[tuple[Tensor, int]] = field(default_factory=list, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def best(self) -> Tensor:
        """The point of smallest margin that any attack has found for each row's sample, at first the clean input."""
        return self.found[self.slots]

    def take(self, rows: Tensor) -> Problem:
        """The problem of some rows (int64 indices), in their order; they may repeat."""
        parts = {name: getattr(self, name)[rows] for name in PER_ROW}
        weights = None if self.weights is None else self.weights[rows]
        notes = None if self.notes is None else self.notes[rows]
        draws = replace(self.draws, ids=parts["ids"], restarts=parts["restarts"], ages=parts["ages"], _calls=count())
        return replace(self, **parts, weights=weights, notes=notes, draws=draws, projected=[])

    def wide(self, values: Tensor) -> Tensor:
        """`[batch]` as `[batch, 1, …, 1]`, so that it broadcasts over inputs."""
        return values.reshape(-1, *([1] * (self.inputs.ndim - 1)))

    def at(self, ages: Tensor, phase: int) -> Problem:
        """The same rows at other ages, with the draws of a phase (start, query or step)."""
        moved = copy(self)  # called at every step: dataclasses.replace would cost as much as the step's arithmetic
        draws = Draws(self.draws.seed, self.draws.stage, self.ids, self.restarts, ages, phase)
        moved.__dict__.update(ages=ages, draws=draws)
        return moved

    # the goal

    def margin(self, scores: Tensor) -> Tensor:
        """Distance to the goal in scores, `[batch]`; negative once it is reached."""
        return margin(scores, self.labels, self.targets)

    def loss(self, name: str, scores: Tensor) -> Tensor:
        """The named loss of `auditor.losses` towards the goal, `[batch]`, to be maximised."""
        return find_loss(name)(scores, self.labels, self.targets)

    # the norm

    def steepest(self, gradient: Tensor) -> Tensor:
        """The change of size 1 in the threat's norm that climbs the linearised loss fastest; 0 where gradient is 0."""
        weighted = gradient if self.weights is None else gradient * self.weights
        if self.norm is Norm.LINF:
            direction = weighted.sign()
        else:
            weighted = torch.where(self.upper > self.lower, weighted, 0)  # a frozen feature takes no share of the step
            direction = weighted / self.wide(_size(weighted).clamp_min(torch.finfo(gradient.dtype).tiny))
        return direction if self.weights is None else direction * self.weights

    def size(self, points: Tensor) -> Tensor:
        """How far points `[batch, *shape]` are from the inputs in the threat's norm, `[batch]`; l0 counts features."""
        change = points - self.inputs
        change = (change if self.weights is None else change / self.weights).flatten(1)
        length: Tensor = change.norm(p=ORDER[self.norm], dim=1)
        return length

    def project(self, points: Tensor) -> Tensor:
        """The points, moved into the threat model; never outside it by rounding, which is always inward.

        All but its grid: the host brings points there when it asks about them (`on_grid`), so that small steps add up.
        """
        if self.norm is Norm.L2:
            points = self._shrunk(points)
        points = points.clamp(self.lower, self.upper)
        if self.norm in (Norm.LINF, Norm.L2):  # the balls of the others are wider than the box it has been brought to
            self.projected[:] = [(points, points._version)]
        return points

    def random_point(self) -> Tensor:
        """A point drawn uniformly from the ball, then clipped to the bounds: one draw (two for l2)."""
        shape, dtype = self.inputs.shape[1:], self.inputs.dtype
        if self.norm is Norm.LINF:
            share = self.draws.uniform(*shape, dtype=dtype)
            return self.project(self.lower + share * (self.upper - self.lower))
        direction = self.draws.normal(*shape, dtype=dtype)
        size = self.draws.uniform(dtype=dtype) ** (1 / direction[0].numel())
        step = direction * self.wide(size * self.epsilon / _size(direction).clamp_min(1e-30))
        return self.project(self.inputs + (step if self.weights is None else step * self.weights))

    def random_corner(self) -> Tensor:
        """A random vertex of the linf box, or a random point on the l2 sphere."""
        shape, dtype = self.inputs.shape[1:], self.inputs.dtype
        signs = self.draws.signs(*shape, dtype=dtype)
        if self.norm is Norm.LINF:
            return self.project(torch.where(signs > 0, self.upper, self.lower))
        return self.project(self.inputs + self.wide(self.epsilon) * self.steepest(signs))

    def contains(self, points: Tensor) -> Tensor:
        """Which points lie inside, bool `[batch]`, to working precision. The verifier decides, not this."""
        known = any(points is one and points._version == version for one, version in self.projected)
        if known and bool(points.sum().isfinite()):  # what is no number stays none when it is projected
            return torch.ones_like(self.labels, dtype=torch.bool)
        if torch.equal(points.clamp(self.lower, self.upper), points):  # nearly always, and much cheaper than by row
            inside = torch.ones_like(self.labels, dtype=torch.bool)
        else:
            inside = ((points >= self.lower) & (points <= self.upper)).flatten(1).all(dim=1)
        if self.norm is Norm.LINF:
            return inside  # the box is the ball
        return inside & (self.size(points) <= self.epsilon * (1 + 1e-6))

    def radius(self) -> Tensor:
        """epsilon less what rounding a point to float32 can add to an l2 distance, `[batch]`."""
        reach = torch.maximum(self.lower.abs(), self.upper.abs()).nan_to_num(posinf=0.0)
        reach = reach if self.weights is None else reach / self.weights
        return (self.epsilon * (1 - 2e-6) - ROUNDING * _size(reach)).clamp_min(0)

    def _shrunk(self, points: Tensor) -> Tensor:
        """The points, drawn towards the inputs until what the box leaves of them is in the l2 ball.

        With the clamp that follows, that is the nearest point of ball and box in the weighted norm. Shrinking to the
        ball first and clamping then ends well inside it wherever the box cuts something off, and attacks with it.
        """
        tiny = torch.finfo(points.dtype).tiny
        change, radius = points - self.inputs, self.radius()
        low, high = self.lower - self.inputs, self.upper - self.inputs
        scaled = change if self.weights is None else change / self.weights
        factor = (radius / _size(scaled).clamp_min(tiny)).clamp_max(1)
        for _ in range(SHRINKINGS):
            moved = change * self.wide(factor)
            kept = moved.clamp(low, high)
            free = kept == moved
            if bool(free.all()):
                break
            cut = torch.where(free, 0, kept if self.weights is None else kept / self.weights)
            room = (radius.square() - _size(cut).square()).clamp_min(0).sqrt()
            longest = room / _size(torch.where(free, scaled, 0)).clamp_min(tiny)
            factor = torch.maximum(factor, longest.clamp_max(1))
        return torch.where(self.wide(factor) < 1, self.inputs + change * self.wide(factor), points)

    def on_grid(self, points: Tensor) -> Tensor:
        """The points as the deployed input can hold them: the nearest of its steps; all as they are without a grid.

        What lies in the ball stays in it: where the nearest step is outside, the way there is shortened first.
        """
        if self.grid is None:
            return points
        spacing = self.grid
        centre = (self.inputs.double() / spacing).round()
        change = points.double() / spacing - centre
        nearest = change.round()
        if self.norm is not Norm.LINF:  # the box of linf ends on the grid
            weights = 1 if self.weights is None else self.weights.double()
            epsilon = self.epsilon if self.weights is None else self.epsilon * (1 - 1e-6)  # weights are rounded here

            def inside(steps: Tensor) -> Tensor:
                size = (steps * spacing / weights).flatten(1).norm(p=ORDER[self.norm], dim=1)
                return self.wide(size <= epsilon)

            rounded = (change + 1e-6 * change.sign()).trunc()
            for share in SHORTENED:
                shorter = (share * change).round()
                rounded = torch.where(inside(shorter), shorter, rounded)
            nearest = torch.where(inside(change * (1 - 1e-6)), rounded, nearest)
        return ((centre + nearest) * spacing).float().to(points.dtype)


PER_ROW = ("inputs", "labels", "targets", "epsilon", "lower", "upper", "slots", "ids", "restarts", "ages")


def _size(change: Tensor) -> Tensor:
    """Euclidean length of each row, `[batch]`."""
    length: Tensor = change.flatten(1).norm(dim=1)
    return length
