"""What is put in an operator's place, and learns on a few samples how steep it has to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from auditor.operators import Function, Node

LEFT_OUT = "left out"
SOFTENED = "softened"
NOT_ROUNDED = "not rounded"
COOLED = "at a lower temperature"
ITS_MEAN = "its mean"


@dataclass(eq=False)
class StandIn:
    """One node's function in another's place.

    function: takes a scale, then the node's inputs. measure: the typical size of what the scale is for, on a batch;
    None where there is nothing to be seen. settle: from the mean of these, and the study's width, to the scale; None
    leaves the original alone.
    """

    label: str
    study: Study
    function: Callable[..., Any]
    measure: Callable[..., float | None] | None = None
    settle: Callable[[float, float], float | None] = field(default=lambda typical, width: width * typical or None)
    original: Function | None = None
    scale: float | None = 1.0
    total: float = 0.0
    calls: int = 0
    reached: bool = False

    def __call__(self, *values: Any) -> Any:
        if self.study.open:
            self._learn(values)
        if self.scale is None and self.original is not None:
            return self.original(*values)
        return self.function(self.scale or 1.0, *values)

    def _learn(self, values: tuple[Any, ...]) -> None:
        self.reached |= any(isinstance(value, Tensor) and value.is_floating_point() for value in values)
        seen = [value.detach() if isinstance(value, Tensor) else value for value in values]
        typical = None if self.measure is None else self.measure(*seen)
        if typical is not None:
            self.total, self.calls = self.total + typical, self.calls + 1
            self.scale = self.settle(self.total / self.calls, self.study.width)

    def forget(self) -> None:
        """Begin anew."""
        self.total, self.calls, self.reached = 0.0, 0, False
        self.scale = None if self.original is not None else 1.0

    @property
    def stands(self) -> bool:
        """Whether it was met in the study, and is not the original."""
        learnt = self.measure is None or self.calls > 0
        return self.reached and learnt and (self.scale is not None or self.original is None)


@dataclass(eq=False)
class Study:
    """What the stand-ins of a twin learn from samples, and which of them stand.

    open: whether they are learning. width: of steps that are softened, as a part of the usual distance from them: a
    wide one is seen from afar, a narrow one changes less of what the file computes.
    """

    open: bool = False
    width: float = 1.0
    met: list[StandIn] = field(default_factory=list)
    noted: set[str] = field(default_factory=set)

    def stand_in(self, node: Node, words: str, function: Callable[..., Any], **options: Any) -> StandIn:
        """A function in the place of a node's own; `words` say what was done to the operator."""
        made = StandIn(f"{node.op_type}: {words}", self, function, **options)
        self.met.append(made)
        return made

    @property
    def tunable(self) -> bool:
        """Whether the width matters."""
        return any(made.stands and made.measure is not None for made in self.met)

    def labels(self) -> tuple[str, ...]:
        """What was replaced, by operator, for the report."""
        return tuple(sorted({made.label for made in self.met if made.stands} | self.noted))
