"""What one batch of rows has to solve: inputs, limits and goal, the norm's geometry, and the rows' own randomness."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from itertools import count

import torch
from torch import Tensor

from auditor import geometry
from auditor.draws import Draws
from auditor.errors import PluginError
from auditor.geometry import ORDER as ORDER
from auditor.grid import snapped
from auditor.losses import find_loss, margin
from auditor.threat import Norm
from auditor.thresholds import TreeTable


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A batch of rows as an attack sees it. Every tensor has the batch first; rows differ in everything, age too.

    norm, grid: of the threat. classes: of the model. inputs: clean samples `[batch, *shape]`. labels: int64
    `[batch]`. targets: the label the goal asks for, -1 where any other will do. epsilon: `[batch]`. lower, upper: the
    box of the threat, `[batch, *shape]`. weights: what a unit of epsilon means per feature, None for 1. found,
    slots: the host's table of best points and each row's place in it; read it through `best`. ids, restarts, ages:
    int64 `[batch]`; age counts the replies a row has had. draws: the rows' randomness. notes: what the attack's survey
    found out about each row's sample, None where it has none. limits: the values that any input may have, None where
    the samples' own boxes are all there is. transforms: the spatial threat's set, `[m, 3]`, None in other norms.
    trees: the branches of the model's trees, for an attack that needs them, else None.
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
    limits: tuple[float, float] | None = None
    transforms: Tensor | None = None
    trees: TreeTable | None = None
    notes: Tensor | None = None
    projected: list[tuple[Tensor, int]] = field(default_factory=list, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def best(self) -> Tensor:
        """The point of smallest margin that any attack has found for each row's sample, at first the clean input."""
        return self.found[self.slots]

    def need_trees(self) -> TreeTable:
        """The branches of the model's trees. Raises PluginError for an attack that does not say `needs_trees`."""
        if self.trees is None:
            raise PluginError("The attack reads a model's trees, which it gets where its class says `needs_trees`.")
        return self.trees

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

    def steepest(self, gradient: Tensor, points: Tensor | None = None) -> Tensor:
        """The change of size 1 in the threat's norm that climbs the linearised loss fastest; 0 where gradient is 0.

        In l1 that is one feature, the steepest of those that are not frozen; in l0 it is one too, which goes all the
        way to its bound, where that raises the loss most (one weight far where there is no bound). points: where the
        step begins, for l0 to measure the way from there, and for l2 and l1 to pass over what the box stops there.
        """
        if self.norm is Norm.LINF:
            return geometry.steepest(self.norm, gradient, None, self.weights)
        start = self.inputs if points is None else points
        if self.norm is Norm.L0:
            return geometry.farthest(gradient, *(bound - start for bound in self._limits(start)))
        free = self.upper > self.lower
        if points is not None:
            free = free & torch.where(gradient > 0, start < self.upper, start > self.lower)
        return geometry.steepest(self.norm, gradient, free, self.weights)

    def dual(self, gradient: Tensor) -> Tensor:
        """How fast the linearised loss can rise per unit of distance, `[batch]`; frozen features can't help.

        Raises PluginError in l0, which counts features however far they go.
        """
        if self.norm not in (Norm.LINF, Norm.L2, Norm.L1):
            raise PluginError(f"Only linf, l2 and l1 have a dual norm, an attack asks for that of {self.norm}.")
        return geometry.dual(self.norm, gradient, self.upper > self.lower, self.weights)

    def size(self, points: Tensor) -> Tensor:
        """How far points `[batch, *shape]` are from the inputs in the threat's norm, `[batch]`.

        l0 counts features, by which every value of the array is meant.
        """
        return geometry.size(self.norm, points - self.inputs, self.weights)

    def project(self, points: Tensor) -> Tensor:
        """The nearest points of ball and bounds, by the euclidean length of change / weights; inside ones stay.

        Never outside by rounding, which is always inward. All but the threat's grid: the host brings points there
        when it asks about them (`on_grid`), so that small steps add up.
        """
        box = (self.inputs, self.lower, self.upper)
        if self.norm is Norm.L2:
            points = geometry.to_l2(points, *box, self.radius(), self.weights)
        elif self.norm is Norm.L1:
            points = geometry.to_l1(points, *box, self.epsilon, self.weights)
        elif self.norm is Norm.L0:
            points = geometry.to_l0(points, *box, self.epsilon, self.weights)
        points = points.clamp(self.lower, self.upper)
        self.projected[:] = [(points, points._version)]
        return points

    def random_point(self) -> Tensor:
        """A point drawn uniformly from the ball, then clipped to the bounds: one draw for linf, else two.

        l0: floor(epsilon) random features at random values. Infinite epsilon: uniform within the bounds. An infinite
        bound is taken to be one weight away from the input, here and in `random_corner`.
        """
        shape, dtype, features = self.inputs.shape[1:], self.inputs.dtype, self.inputs[0].numel()
        if self.norm is Norm.L0:
            return self.project(self._some_features(self._between(self.draws.uniform(*shape, dtype=dtype))))
        if self.norm is Norm.L2:
            step = self.draws.normal(*shape, dtype=dtype)
            size = self.draws.uniform(dtype=dtype) ** (1 / features)
            share, length = torch.special.ndtr(step), geometry.length(step).clamp_min(1e-30) / size
        elif self.norm is Norm.L1:  # exponential draws, one too many, over their sum
            drawn = self.draws.uniform(features + 1, dtype=dtype)
            share, steps = drawn[:, :-1].reshape(self.inputs.shape), -torch.log1p(-drawn)
            length = steps.sum(dim=1).clamp_min(1e-30)
            step = steps[:, :-1].reshape(self.inputs.shape) * self.draws.signs(*shape, dtype=dtype)
        else:
            return self.project(self._between(self.draws.uniform(*shape, dtype=dtype)))
        step = step * self.wide(self.epsilon / length)
        point = self.inputs + (step if self.weights is None else step * self.weights)
        return self.project(torch.where(self.wide(self.epsilon.isinf()), self._between(share), point))

    def random_corner(self) -> Tensor:
        """A random vertex of the linf box, a random point on the l2 sphere, one feature by epsilon or as far as the
        bounds let it (l1), or floor(epsilon) features at random bounds (l0). Infinite epsilon: a vertex of the box."""
        shape, dtype = self.inputs.shape[1:], self.inputs.dtype
        lower, upper = self._limits(self.inputs)
        if self.norm is Norm.L1:
            return self._one_feature(lower, upper)
        signs = self.draws.signs(*shape, dtype=dtype)
        vertex = torch.where(signs > 0, upper, lower)
        if self.norm is Norm.L0:
            return self.project(self._some_features(vertex))
        if self.norm is Norm.L2:
            point = self.inputs + self.wide(self.epsilon) * self.steepest(signs)
            vertex = torch.where(self.wide(self.epsilon.isinf()), vertex, point)
        return self.project(vertex)

    def contains(self, points: Tensor) -> Tensor:
        """Which points lie inside, bool `[batch]`, to working precision. The verifier decides, not this."""
        known = any(points is one and points._version == version for one, version in self.projected)
        if known and bool(points.sum().isfinite()):  # what is no number stays none when it is projected
            return torch.ones_like(self.labels, dtype=torch.bool)
        if torch.equal(points.clamp(self.lower, self.upper), points):  # nearly always, and much cheaper than by row
            inside = torch.ones_like(self.labels, dtype=torch.bool)
        else:
            inside = ((points >= self.lower) & (points <= self.upper)).flatten(1).all(dim=1)
        if self.norm not in (Norm.L2, Norm.L1, Norm.L0):
            return inside  # the box is the ball
        return inside & (self.size(points) <= self.epsilon * (1 if self.norm is Norm.L0 else 1 + 1e-6))

    def radius(self) -> Tensor:
        """epsilon less what rounding a point to float32 can add to the distance, `[batch]`; whole in l0."""
        if self.norm is Norm.L2:
            return geometry.l2_radius(self.epsilon, self.lower, self.upper, self.weights)
        return self.epsilon.floor() if self.norm is Norm.L0 else self.epsilon * (1 - 2e-6)

    def on_grid(self, points: Tensor) -> Tensor:
        """The points as the deployed input can hold them: the nearest of its steps; all as they are without a grid.

        What lies in the ball stays in it: where the nearest step is outside, the way there is shortened first.
        """
        if self.grid is None:
            return points
        return snapped(self.norm, self.grid, points, self.inputs, self.epsilon, self.weights)

    def _limits(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """The box; where it is infinite, a weight away from the start."""
        away = 1 if self.weights is None else self.weights
        lower = torch.where(self.lower.isinf(), start - away, self.lower)
        return lower, torch.where(self.upper.isinf(), start + away, self.upper)

    def _between(self, share: Tensor) -> Tensor:
        lower, upper = self._limits(self.inputs)
        return lower + share * (upper - lower)

    def _some_features(self, values: Tensor) -> Tensor:
        """The inputs, with floor(epsilon) random features of those that may change at these values."""
        order = self.draws.uniform(*self.inputs.shape[1:], dtype=self.inputs.dtype)
        order = torch.where(self.upper > self.lower, order, -1)
        return torch.where(geometry.largest(order, self.radius()), values, self.inputs)

    def _one_feature(self, lower: Tensor, upper: Tensor) -> Tensor:
        """The inputs, with one random feature of those that may change moved to the edge of the l1 ball or a limit."""
        free = (self.upper > self.lower).flatten(1)
        place = self.draws.integers(free.sum(dim=1).clamp_min(1))
        chosen = (free & (free.cumsum(dim=1) == place[:, None] + 1)).reshape(self.inputs.shape)
        up = self.wide(self.draws.signs()) > 0
        up = torch.where(self.inputs < self.upper, up | (self.inputs <= self.lower), False)  # the side with room
        room = torch.where(up, upper - self.inputs, lower - self.inputs)
        edge = self.wide(self.epsilon) if self.weights is None else self.wide(self.epsilon) * self.weights
        return self.project(self.inputs + torch.where(chosen, room.clamp(-edge, edge), 0))


PER_ROW = ("inputs", "labels", "targets", "epsilon", "lower", "upper", "slots", "ids", "restarts", "ages")
