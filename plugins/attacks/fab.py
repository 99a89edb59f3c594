"""FAB, fast adaptive boundary attack, and FAB-T. Croce and Hein, https://arxiv.org/abs/1907.02044

FAB-T, as AutoAttack plays it: https://arxiv.org/abs/2003.01690
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from auditor.access import Access
from auditor.aims import ranking
from auditor.attack import Attack, Query, Reply, Rows, choose
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.hyperplane import away, length, outer_box, scale_of, to_plane
from auditor.problem import Problem
from auditor.threat import Norm

TARGETS = ("ranked", "all")


@dataclass(frozen=True, kw_only=True)
class FABRows(Rows):
    """point: the iterate, which may leave the ball. aim: the class whose boundary it follows (`ranked`). best,
    best_size, best_margin: the nearest adversarial point so far, of infinite size while there is none. inner,
    inner_margin: the end of the final search's segment that is not adversarial."""

    point: Tensor
    aim: Tensor
    best: Tensor
    best_size: Tensor
    best_margin: Tensor
    inner: Tensor
    inner_margin: Tensor


@dataclass(frozen=True, kw_only=True)
class FAB(Attack):
    """Follow the decision boundary to its point nearest to the input: project on its linearisation, step back, repeat.

    Needs no step size, does not mind how scores are scaled, and looks for the smallest change, whatever epsilon is.
    Choose it for distances, and as a second opinion next to APGD, as AutoAttack does. Each step linearises the boundary
    at the iterate, projects the iterate and the input on it within the bounds, overshoots, and looks whether it is
    across. Costs two forwards and one backward a step (with `targets = "all"` one backward for each other class), and
    once a sample one forward.

    steps: linearisations. targets: `ranked` follows the boundary to one class, restart after restart in the order of
    the clean scores (this is FAB-T: give it as many restarts as classes to try, AutoAttack 9), `all` whichever boundary
    is nearest to the iterate; where the goal is a label, both head for that. alpha_max: largest weight of the input's
    projection in a step; it draws the iterate towards the input. eta: overshoot. beta: an iterate that is across goes
    back to this share of its change. search: forwards at the end that shorten the change by interpolating the margin, 3
    in the paper and none in AutoAttack.

    Restarts begin at the input until each class has had its turn. Later ones begin at random, half of epsilon away, or
    without an epsilon half of the first-order distance to the boundary.
    """

    name: ClassVar[str] = "fab"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2, Norm.L1})
    minimum_norm: ClassVar[bool] = True

    steps: int = 100
    targets: str = "ranked"
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    search: int = 0

    def __post_init__(self) -> None:
        if self.targets not in TARGETS:
            raise UsageError(f"fab: targets is one of {', '.join(TARGETS)}, got {self.targets!r}.")
        if not 0 <= self.alpha_max <= 1:
            raise UsageError(f"fab: alpha_max is from 0 to 1, got {self.alpha_max}.")
        if not 1 <= self.eta < float("inf"):
            raise UsageError(f"fab: eta is at least 1, got {self.eta}.")
        if not 0 <= self.beta < 1:
            raise UsageError(f"fab: beta is at least 0 and below 1, got {self.beta}.")
        if self.search < 0:
            raise UsageError(f"fab: search is at least 0, got {self.search}.")

    @property
    def replies(self) -> int:
        """Two a step, one with a gradient where the boundary is linearised and one without where the step led."""
        return 2 * self.steps + self.search

    def cost(self, classes: int) -> tuple[int, int]:
        return self.replies + 1, self.steps * (1 if self.targets == "ranked" else classes - 1)

    def survey_cost(self, classes: int) -> tuple[int, int]:
        return 1, 1  # the gradient only without an epsilon

    def survey(self, problem: Problem) -> Query:
        """The clean scores; without an epsilon the gradient too, for the size of random starts."""
        return Query(points=problem.inputs, gradient=problem.epsilon.isinf())

    def learn(self, problem: Problem, reply: Reply) -> Tensor:
        """The clean scores, and as the last column how far the boundary is to first order (0 where that is unknown)."""
        scores = reply.need_scores()
        far = torch.zeros_like(scores[:, :1])
        if reply.gradient is not None:
            far = away(problem, reply.need_loss()[:, None], reply.gradient[:, None]).nan_to_num(posinf=0.0)
        return torch.cat([scores, far], dim=1)

    def start(self, problem: Problem) -> FABRows:
        scores, far = _notes(problem)
        one_class = (problem.targets >= 0) | (self.targets == "all")
        others = problem.classes - 1
        rank = torch.where(one_class, 0, problem.restarts % others)
        again = torch.where(one_class, problem.restarts, problem.restarts // others) > 0
        point = problem.inputs
        if bool(again.any()):
            radius = torch.where(problem.epsilon.isinf(), far, problem.epsilon) / 2
            point = torch.where(problem.wide(again), _scattered(problem, radius), point)
        nothing = torch.full_like(problem.epsilon, float("inf"))
        return FABRows(
            x=problem.project(point),
            point=point,
            aim=ranking(problem, scores).gather(1, rank[:, None])[:, 0],
            best=problem.inputs,
            best_size=nothing,
            best_margin=nothing,
            inner=problem.inputs,
            inner_margin=problem.margin(scores),
        )

    def query(self, problem: Problem, rows: FABRows) -> Query:
        vectors = None
        if self.targets == "all":
            sign, pivot, others = _pairs(problem)
            vectors = one_hot(others, problem.classes) - one_hot(pivot, problem.classes)[:, None]
            vectors = sign[:, None, None] * vectors.to(rows.point.dtype)
        return Query(
            points=rows.point,
            gradient=self._linearises(problem.ages),
            cotangents=vectors,
            probes=~problem.contains(rows.point),
        )

    def objective(self, scores: Tensor, problem: Problem, rows: FABRows) -> Tensor:
        """The function whose zero is the boundary that a row follows."""
        towards = problem.loss("margin", scores)
        if problem.notes is None:  # the survey
            return towards
        aim, own = (scores.gather(1, of[:, None])[:, 0] for of in (rows.aim, problem.labels))
        return torch.where(problem.targets >= 0, towards, aim - own)

    def step(self, problem: Problem, rows: FABRows, reply: Reply) -> FABRows:
        margin = problem.margin(reply.need_scores())
        size = length(problem, reply.points - problem.inputs)
        nearer = (margin < 0) & (size < rows.best_size)
        best = torch.where(problem.wide(nearer), reply.points, rows.best)
        best_size = torch.where(nearer, size, rows.best_size)
        best_margin = torch.where(nearer, margin, rows.best_margin)
        point = rows.point
        if reply.gradient is not None or reply.gradients is not None:
            point = torch.where(problem.wide(self._linearises(problem.ages)), self._forward(problem, reply), point)
        crossed = (margin < 0) & (problem.ages % 2 == 1) & (problem.ages < 2 * self.steps)
        back = problem.inputs + self.beta * (reply.points - problem.inputs)
        point = torch.where(problem.wide(crossed), back, point)
        moved = FABRows(
            x=point,
            point=point,
            aim=rows.aim,
            best=best,
            best_size=best_size,
            best_margin=best_margin,
            inner=rows.inner,
            inner_margin=rows.inner_margin,
        )
        moved = self._searched(problem, moved, reply, margin) if self.search else moved
        newest = problem.epsilon.isinf() | best_size.isinf()  # without an epsilon all but it have been judged
        return replace(moved, x=problem.project(torch.where(problem.wide(newest), moved.point, best)))

    def _linearises(self, ages: Tensor) -> Tensor:
        return (ages % 2 == 0) & (ages < 2 * self.steps)

    def _forward(self, problem: Problem, reply: Reply) -> Tensor:
        """From the iterate to just beyond the boundary as it looks there, and a little towards the input's own way."""
        gap, slope = self._plane(problem, reply)
        x, clean, box = reply.points, problem.inputs, outer_box(problem)
        ours = to_plane(problem, x, slope, -gap, box)
        clean_gap = gap + (slope * (clean - x)).flatten(1).sum(dim=1)
        straight = to_plane(problem, clean, slope, -clean_gap, box)
        one, other = length(problem, ours), length(problem, straight)
        share = problem.wide((one / (one + other).clamp_min(torch.finfo(one.dtype).tiny)).clamp_max(self.alpha_max))
        mixed = (1 - share) * (x + self.eta * ours) + share * (clean + self.eta * straight)
        return _away(problem, mixed).clamp(*box)

    def _plane(self, problem: Problem, reply: Reply) -> tuple[Tensor, Tensor]:
        """Value and gradient of the function whose zero is the boundary, at the iterate."""
        if self.targets == "ranked":
            return reply.need_loss(), reply.need_gradient()
        scores, slopes = reply.need_scores(), reply.need_gradients()
        sign, pivot, others = _pairs(problem)
        gaps = sign[:, None] * (scores.gather(1, others) - scores.gather(1, pivot[:, None]))
        far = away(problem, gaps, slopes)
        # any boundary will do, and the nearest is best; but to reach a target all have to be crossed, the last counts
        chosen = torch.where(problem.targets[:, None] >= 0, far * gaps.sign(), far).argmin(dim=1)
        every = torch.arange(len(problem), device=chosen.device)
        return gaps[every, chosen], slopes[every, chosen]

    def _searched(self, problem: Problem, rows: FABRows, reply: Reply, margin: Tensor) -> FABRows:
        """The final search: the next point on the segment, where the margin would be 0 were it linear."""
        closing = (problem.ages >= 2 * self.steps) & (margin >= 0)
        inner = torch.where(problem.wide(closing), reply.points, rows.inner)
        inner_margin = torch.where(closing, margin, rows.inner_margin)
        share = inner_margin / (inner_margin - rows.best_margin)
        share = torch.where((share >= 0) & (share <= 1), share, 1)
        between = inner + problem.wide(share) * (rows.best - inner)
        searching = (problem.ages >= 2 * self.steps - 1) & rows.best_size.isfinite()
        ahead = vars(rows) | {"point": between, "inner": inner, "inner_margin": inner_margin}
        return choose(searching, FABRows(**ahead), rows)


def _notes(problem: Problem) -> tuple[Tensor, Tensor]:
    """The clean scores `[batch, classes]`, and how far the boundary is to first order `[batch]`."""
    notes = cast("Tensor", problem.notes)
    return notes[:, :-1], notes[:, -1]


def _pairs(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """The differences of scores that have to become positive: sign · (others - pivot), any of them without a target."""
    aimed = problem.targets >= 0
    pivot = torch.where(aimed, problem.targets, problem.labels)
    every = torch.arange(problem.classes - 1, device=pivot.device)
    others = every + (every >= pivot[:, None])
    return torch.where(aimed, -1, 1), pivot, others


def _away(problem: Problem, points: Tensor) -> Tensor:
    """In linf the points on the threat's grid, rounded away from the input: to the nearest would fall short again."""
    if problem.grid is None or problem.norm is not Norm.LINF:
        return points
    change = points - problem.inputs
    return problem.inputs + change.sign() * (change.abs() / problem.grid - 1e-3).ceil() * problem.grid


def _scattered(problem: Problem, radius: Tensor) -> Tensor:
    """Points at random, this far from the inputs in the threat's norm before they are brought within the bounds."""
    shape, dtype = problem.inputs.shape[1:], problem.inputs.dtype
    noise = 2 * problem.draws.uniform(*shape, dtype=dtype) - 1
    if problem.norm is not Norm.LINF:
        noise = problem.draws.normal(*shape, dtype=dtype)
    change = noise * scale_of(problem)
    change = change * problem.wide(radius / length(problem, change).clamp_min(torch.finfo(dtype).tiny))
    return (problem.inputs + change).clamp(*outer_box(problem))


@hookimpl
def register_attacks(register: Register) -> None:
    register(FAB)
