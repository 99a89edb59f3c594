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
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.threat import Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The state of a batch of rows: tensors whose first dimension is the batch.

    Subclass it with further fields (tensors only, or None for all rows at once). x: the points under way,
    `[batch, *shape]`. done: bool `[batch]`, rows the attack has finished with; None while none are.
    """

    x: Tensor
    done: Tensor | None = None


R = TypeVar("R", bound=Rows)


def take(rows: R, index: Tensor) -> R:
    """Some of the rows, in this order."""
    columns: dict[str, Any] = {f.name: getattr(rows, f.name) for f in dataclasses.fields(rows)}
    columns = {name: None if column is None else column[index] for name, column in columns.items()}
    return dataclasses.replace(rows, **columns)


def join(parts: list[R]) -> R:
    """Rows of several batches as one. All parts have the same fields set."""
    if len(parts) == 1:
        return parts[0]
    names = [f.name for f in dataclasses.fields(parts[0])]
    columns: dict[str, Any] = {}
    for name in names:
        values = [getattr(part, name) for part in parts]
        if any(value is None for value in values) and name == "done":
            values = [_undone(part) if value is None else value for part, value in zip(parts, values, strict=True)]
        columns[name] = None if values[0] is None else torch.cat(values)
    return dataclasses.replace(parts[0], **columns)


def _undone(part: Rows) -> Tensor:
    return torch.zeros(len(part.x), dtype=torch.bool, device=part.x.device)


@dataclass(frozen=True, kw_only=True)
class Query:
    """What an attack asks of the model in one step.

    points: `[m, *shape]`. owner: int64 `[m]`, the row each point belongs to; None when they are the rows in order.
    gradient: whether the gradient of the objective is wanted (an attack with gradient access only). cotangents:
    `[m, c, classes]`, ask for c gradients of these combinations of scores at each point: one forward, c backwards.
    probes: bool `[m]`, points that only feel their way and are not proposed as adversarial (they may lie outside).
    view: a differentiable map that stands before the model for this query.
    """

    points: Tensor
    owner: Tensor | None = None
    gradient: bool = True
    cotangents: Tensor | None = None
    probes: Tensor | None = None
    view: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the host answers, a row for each point of the query. What the access does not cover is None.

    scores: logits or log-probabilities `[m, classes]`. labels: int64 `[m]`. loss: the objective, `[m]`. gradient: of
    the objective, `[m, *shape]`. gradients: of the cotangents, `[m, c, *shape]`.
    """

    labels: Tensor
    scores: Tensor | None = None
    loss: Tensor | None = None
    gradient: Tensor | None = None
    gradients: Tensor | None = None

    def need_gradient(self) -> Tensor:
        """The gradient, `[m, *shape]`. Raises UsageError where the query did not ask for it."""
        if self.gradient is None:
            raise UsageError("This attack reads a gradient that its query did not ask for.")
        return self.gradient

    def need_loss(self) -> Tensor:
        """The objective, `[m]`. Raises UsageError for an attack with decision access."""
        if self.loss is None:
            raise UsageError("This attack reads a loss, but its access is `decision`.")
        return self.loss


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A search for adversarial examples, as a frozen set of hyper-parameters.

    Fields are the options that a suite, audit.toml and `--attack name:field=value` may set. `steps` is how many
    replies a row gets; the point a row ends on is judged too.
    """

    name: ClassVar[str]
    access: ClassVar[Access]
    norms: ClassVar[frozenset[Norm]]

    steps: int = 1

    @abstractmethod
    def start(self, problem: Problem) -> Rows:
        """Rows for a batch that begins; `problem.ages` is 0."""

    @abstractmethod
    def step(self, problem: Problem, rows: Any, reply: Reply) -> Rows:
        """The rows after a reply; `problem.ages` counts the replies before this one."""

    def query(self, problem: Problem, rows: Any) -> Query:
        """What to ask; by default the scores at `rows.x`, and the objective's gradient if the access covers it."""
        return Query(points=rows.x, gradient=self.access is Access.GRADIENT)

    def objective(self, scores: Tensor, problem: Problem, rows: Any) -> Tensor:
        """What to climb, `[batch]`, differentiable in scores; by default cross-entropy."""
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
