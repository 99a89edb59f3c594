"""The defence protocol (inference time): wraps target and twin, and says what it does to gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from auditor.target import Target
from auditor.twin import Twin


@dataclass(frozen=True, kw_only=True)
class Defense(ABC):
    """A transformation of inputs that is deployed in front of the model.

    gradient: `exact` (differentiable as it is), `bpda` (the twin gets a stand-in backward pass, named in the report)
    or `random` (answers vary; the verifier asks several times, and attacks climb an expectation). A random one draws
    from `auditor.chance.CHANCE` and nothing else, in `transform` and `relaxed` the same numbers in the same order, so
    that an audit of it can be repeated. Inputs are in sample units.
    """

    name: ClassVar[str]
    gradient: ClassVar[str]

    def table(self) -> dict[str, Any]:
        """The defence as it would be written in audit.toml, all options spelt out."""
        return {"name": self.name, **asdict(self)}

    def shaped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what reaches the model, for samples of this shape; the same unless the defence says otherwise.

        Raises UsageError for samples that the defence can't take.
        """
        return shape

    @abstractmethod
    def transform(self, x: np.ndarray) -> np.ndarray:
        """What reaches the target, for inputs `[batch, *shape]`: the real thing."""

    @abstractmethod
    def relaxed(self, x: Tensor) -> Tensor:
        """The same for the twin, with a useful gradient."""

    def wrap_target(self, target: Target) -> Target:
        """The target behind this defence."""
        return DefendedTarget(self, target)

    def wrap_twin(self, twin: Twin) -> Twin:
        """The twin behind this defence; a stand-in gradient is added to its surrogates, and that it is random said."""
        own = (f"defence {self.name}: {self.gradient}",) if self.gradient == "bpda" else ()
        return replace(
            twin,
            before=(self.relaxed, *twin.before),
            surrogates=(*twin.surrogates, *own),
            random=twin.random or self.gradient == "random",
        )


class DefendedTarget(Target):
    """A target with a defence in front: the pair is what is deployed, so the pair is what decides."""

    def __init__(self, defense: Defense, inner: Target):
        self.defense = defense
        self.inner = inner
        self.name = inner.name
        self.path, self.sha256 = inner.path, inner.sha256
        self.class_names, self.access = inner.class_names, inner.access
        self.batch, self.deployed_batch, self.runtime = inner.batch, inner.deployed_batch, inner.runtime
        self._adopt()

    def _adopt(self) -> None:
        """Take over what the target inside may only know once it is fitted."""
        inner = self.inner
        self.classes, self.output, self.shape = inner.classes, inner.output, inner.shape
        self.preprocess = inner.preprocess

    def fit(self, sample_shape: tuple[int, ...]) -> None:
        self.inner.fit(self.defense.shaped(sample_shape))
        self._adopt()

    def twin(self) -> Twin:
        return self.defense.wrap_twin(self.inner.twin())

    def scores(self, x: np.ndarray, *, batch: int | None = None) -> np.ndarray:
        self.queries += len(x)
        return self.inner.scores(self.defense.transform(x.astype(np.float32, copy=False)), batch=batch)

    def _run(self, x: np.ndarray) -> np.ndarray:
        return self.inner._run(x)
