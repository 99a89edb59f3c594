"""The attack protocol: state is rows; the host owns the loop, the model, differentiation and success.

An attack says where its rows start, what it wants to know of them, and how a reply moves them. The host drops solved
rows, refills their slots, keeps the best point, counts every pass and verifies every claim.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from auditor.access import Access
from auditor.errors import PluginError
from auditor.problem import Problem
from auditor.threat import Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The state of a batch of rows: tensors whose first dimension is the batch.

    Subclass it with further fields (tensors only, or None for all rows at once). x: the points under way,
    `[batch, *shape]`. done: bool `[batch]`, rows that have reached the goal, as the attack asserts; None while none
    have. over: bool `[batch]`, rows that have nothing left to try, and assert nothing; None while none are.
    """

    x: Tensor
    done: Tensor | None = None
    over: Tensor | None = None


R = TypeVar("R", bound="Rows | Reply")


def take(rows: R, index: Tensor) -> R:
    """Some of the rows (or of a reply's points), in this order."""
    columns: dict[str, Any] = {f.name: getattr(rows, f.name) for f in dataclasses.fields(rows)}
    columns = {name: None if column is None else column[index] for name, column in columns.items()}
    return dataclasses.replace(rows, **columns)


def choose(mask: Tensor, left: R, right: R) -> R:
    """Rows of `left` where the mask (bool `[batch]`) holds, of `right` elsewhere, in every column.

    For attacks in phases: compute what each phase would do, then let each row have its own.
    """
    columns: dict[str, Any] = {}
    for name in (f.name for f in dataclasses.fields(left)):
        one, other = getattr(left, name), getattr(right, name)
        if one is None or other is None:
            columns[name] = other if one is None else one
        else:
            columns[name] = torch.where(mask.reshape(-1, *([1] * (one.ndim - 1))), one, other)
    return dataclasses.replace(left, **columns)


class Taken:
    """Rows that repeat, one for each point of a query: a column is gathered when it is read, since many never are."""

    def __init__(self, rows: Rows, index: Tensor):
        self._rows = rows
        self._index = index

    def __getattr__(self, name: str) -> Tensor | None:
        column = getattr(self._rows, name)
        return None if column is None else column[self._index]


def join(parts: list[R]) -> R:
    """Rows of several batches as one. All parts have the same fields set."""
    if len(parts) == 1:
        return parts[0]
    names = [f.name for f in dataclasses.fields(parts[0])]
    columns: dict[str, Any] = {}
    for name in names:
        values = [getattr(part, name) for part in parts]
        if name in ("done", "over") and any(value is not None for value in values):
            values = [_undone(part) if value is None else value for part, value in zip(parts, values, strict=True)]
        if len({value is None for value in values}) > 1:
            raise PluginError(f"Rows that begin should have every column that others have, {name} is None for some.")
        columns[name] = None if values[0] is None else torch.cat(values)
    return dataclasses.replace(parts[0], **columns)


def _undone(part: Any) -> Tensor:
    return torch.zeros(len(part.x), dtype=torch.bool, device=part.x.device)


@dataclass(frozen=True, kw_only=True)
class Query:
    """What an attack asks of the model in one step.

    points: `[m, *shape]`. owner: int64 `[m]`, the row each point belongs to; None when they are the rows in order. A
    row may have any number of points, none too. gradient: whether the gradient of the objective is wanted, for all
    points or (bool `[m]`) for some: the others cost a forward only, and their gradient is 0 (an attack with gradient
    access only). cotangents: `[m, c, classes]`, ask for c gradients of these combinations of scores at
    each point instead: one forward, c backwards. probes: bool `[m]`, points that only feel their way and are not
    proposed as adversarial: they may lie outside the threat model. view: a differentiable map from the m points to
    what the model sees of them, for this query; what is asked through a view is a probe, since the answer is not the
    point's own.
    """

    points: Tensor
    owner: Tensor | None = None
    gradient: bool | Tensor = True
    cotangents: Tensor | None = None
    probes: Tensor | None = None
    view: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the host answers, a row for each point of the query. What the access does not cover is None.

    points: those that were asked about, `[m, *shape]`. owner: int64 `[m]`, the row that each belongs to. labels: int64
    `[m]`. scores: logits or log-probabilities `[m, classes]`. loss: the objective, `[m]`. gradient: of the objective,
    `[m, *shape]`. gradients: of the cotangents, `[m, c, *shape]`.
    """

    points: Tensor
    owner: Tensor
    labels: Tensor
    scores: Tensor | None = None
    loss: Tensor | None = None
    gradient: Tensor | None = None
    gradients: Tensor | None = None

    def need_scores(self) -> Tensor:
        """The scores, `[m, classes]`. Raises PluginError for an attack with decision access."""
        return _needed(self.scores, "scores, but its access is `decision`")

    def need_loss(self) -> Tensor:
        """The objective, `[m]`. Raises PluginError for an attack with decision access."""
        return _needed(self.loss, "a loss, but its access is `decision`")

    def need_gradient(self) -> Tensor:
        """The gradient, `[m, *shape]`. Raises PluginError where the query did not ask for it."""
        return _needed(self.gradient, "a gradient that its query did not ask for, or that its access does not cover")

    def need_gradients(self) -> Tensor:
        """The cotangents' gradients, `[m, c, *shape]`. Raises PluginError where the query had no cotangents."""
        return _needed(self.gradients, "gradients, but its query had no cotangents, or its access does not cover them")

    def sums(self, values: Tensor, rows: int) -> Tensor:
        """The sum of values `[m, …]` over the points of each of so many rows, `[rows, …]`; 0 for a row without any."""
        return values.new_zeros(rows, *values.shape[1:]).index_add_(0, self.owner, values)


def _needed(value: Tensor | None, what: str) -> Tensor:
    if value is None:
        raise PluginError(f"The attack reads {what}.")
    return value


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A search for adversarial examples, as a frozen set of hyper-parameters.

    Fields are the options that a suite, audit.toml and `--attack name:field=value` may set. `steps` is how many
    replies a row gets; the point a row ends on is judged too.

    minimum_norm: whether the attack looks for the smallest change by itself. Such an attack may be played without an
    epsilon (`distance = true` in a stage): then `problem.epsilon` is infinite and only the bounds limit its points.
    needs_trees: whether it reads the branches of a tree ensemble, `problem.trees`; on other models it is skipped. Such
    an attack has score access, since it asks the deployed file, but runs only where the audit grants gradient access,
    which stands for an attacker who reads the model.
    """

    name: ClassVar[str]
    access: ClassVar[Access]
    norms: ClassVar[frozenset[Norm]]
    minimum_norm: ClassVar[bool] = False
    needs_trees: ClassVar[bool] = False

    steps: int = 1

    @abstractmethod
    def start(self, problem: Problem) -> Rows:
        """Rows for a batch that begins; `problem.ages` is 0."""

    @abstractmethod
    def step(self, problem: Problem, rows: Any, reply: Reply) -> Rows:
        """The rows after a reply; `problem.ages` counts the replies before this one."""

    def survey(self, problem: Problem) -> Query | None:
        """What to ask about each sample once, before its rows begin: for what all its restarts share.

        problem: one row a sample, of restart 0. None, the default, asks nothing. Its points are not proposed; the
        gradient is that of minus the margin.
        """
        return None

    def learn(self, problem: Problem, reply: Reply) -> Tensor:
        """What to keep of the survey, `[batch, …]`: each row finds its sample's part in `problem.notes`."""
        raise PluginError(f"{self.name} has a survey, but does not define `learn`.")

    @property
    def replies(self) -> int:
        """How many replies a row gets: `steps`, unless a step takes several."""
        return self.steps

    def cost(self, classes: int) -> tuple[int, int]:
        """Forwards and backwards (gradient access) or queries and 0 that one row costs which runs to its end."""
        return self.replies + 1, self.replies if self.access is Access.GRADIENT else 0

    def survey_cost(self, classes: int) -> tuple[int, int]:
        """The same of the survey, once a sample and round."""
        return 0, 0

    def query(self, problem: Problem, rows: Any) -> Query:
        """What to ask; by default the scores at `rows.x`, and the objective's gradient if the access covers it."""
        return Query(points=rows.x, gradient=self.access is Access.GRADIENT)

    def objective(self, scores: Tensor, problem: Problem, rows: Any) -> Tensor:
        """What to climb, a number a point `[m]`, differentiable in scores; by default cross-entropy.

        scores: `[m, classes]`, of some of the query's points; problem and rows are those of their owners. Points don't
        know of each other: the host may ask for them in pieces of any size.
        """
        return problem.loss("ce", scores)

    def parameters(self) -> dict[str, Any]:
        """The fields as they are set."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class LibraryAttack(ABC):
    """The second, lesser door: an attack that owns its loop, such as one of another library.

    Its results are verified like all others, but it leaves no trace: no best point, no dropping of solved rows, no
    bit-exact resume inside it.
    """

    name: ClassVar[str]
    access: ClassVar[Access]
    norms: ClassVar[frozenset[Norm]]

    @abstractmethod
    def run_on(
        self,
        model: Callable[[Tensor], Tensor],
        inputs: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        seed: int,
    ) -> Tensor | np.ndarray:
        """Candidates `[n, *shape]` for inputs `[n, *shape]`; a row equal to its input means that nothing was found.

        model: scores `[n, classes]`, differentiable where the access is `gradient`; every pass is counted.
        """

    def parameters(self) -> dict[str, Any]:
        """The fields as they are set."""
        return dataclasses.asdict(self)


AnyAttack = Attack | LibraryAttack
