"""The smooth source: the twin of a file with what hides gradients replaced, and of a defended one without its defence.

It need not say what the model says, only point where the model's scores change (BPDA). Worth its stage where the twin's
own gradients are zero or misleading: behind rounding, thresholds, masks of the largest entries, saturation, a defence.
Athalye, Carlini, Wagner, https://arxiv.org/abs/1802.00420
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from auditor.access import OutputKind
from auditor.batching import Batched, Batching
from auditor.defense import DefendedTarget
from auditor.errors import UnsupportedOperator
from auditor.masks import LAST, RANKS, unmask
from auditor.operators import Operators
from auditor.softening import softened
from auditor.spread import SPREAD, Scaled, spread
from auditor.study import Study
from auditor.target import Target, TargetOptions
from auditor.twin import Twin

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx import ModelProto

STUDIED, JUDGED = 16, 64
"""Samples from which the stand-ins learn how large what they take usually is, and those that the twin is judged by."""
WIDTHS = (1.0, 0.3, 0.1, 0.03)
"""Widths of softened steps that are tried, widest first.

Nets with k-WTA layers that keep 2 or 3 % were broken most with the widest at which they still classed samples as the
model does; with wider ones, or all entries let pass, less often than by their plain twins.
"""
ALIKE = 0.8
"""Share of samples that the twin should class as the model does."""
BARE = 0.5
"""Share of samples that a model must class as before for its defence to be left out."""


@runtime_checkable
class Rebuildable(Protocol):
    """A target whose twin is made of operators that can be chosen."""

    options: TargetOptions

    def twin_of(self, operators: Operators, edit: Callable[[ModelProto], object] | None = None) -> Twin:
        """The twin made of these operators, of a graph that is edited first."""


def smoothed(target: Target, inputs: np.ndarray | None = None) -> Twin:
    """The twin of the target with suspicious operators replaced; `surrogates` names each, and what was done to it.

    Rounding of any kind is left out, forwards and backwards, and still clips where quantisation does: for an int8 file
    this is the net that was quantised. Signs and comparisons get a slope, as wide as the net can bear: it should class
    most samples as the model does. Random masks let everything pass, and masks of the largest entries where the net can
    bear that. Sigmoids, softmaxes and the like that are saturated on the samples are run at a lower temperature. Scores
    are scaled to a usual spread. Behind a defence that keeps an input's shape, the model is taken as it is without it,
    unless it then classes most samples otherwise. Costs about as much as building the twin once or twice, `JUDGED`
    queries, and as many forwards for every width that is tried.

    inputs: clean samples `[n, *sample_shape]`, of which those first are looked at; None for random ones in [0, 1].
    Raises UnsupportedOperator with the reason where there is no such twin: nothing was replaced, an operator has no
    gradient even so, or the module is the user's own.
    """
    inputs = _random(target) if inputs is None else inputs[:JUDGED]
    if isinstance(target, DefendedTarget):
        return _undefended(target, inputs)
    operators = target.options.operators if isinstance(target, Rebuildable) else None
    if not isinstance(target, Rebuildable) or operators is None:
        raise UnsupportedOperator(
            f"The operators of {target.name} can't be replaced: it is code of its own, or nothing that has a twin."
        )
    points = torch.from_numpy(np.ascontiguousarray(inputs, np.float32))
    labels = torch.from_numpy(target.labels(inputs, batch=1))
    found = _Candidate.of(target, operators, points, labels, ranks=True)
    if found.alike < ALIKE and any(name.startswith(RANKS) for name in found.taken):
        found = max(found, _Candidate.of(target, operators, points, labels, ranks=False), key=lambda one: one.alike)
    return _even(found.finished(target.name), points[:STUDIED])


@dataclass(frozen=True)
class _Candidate:
    """A twin with stand-ins that have learnt. alike: share of samples that it classes as the model does."""

    twin: Twin
    study: Study
    taken: frozenset[str]
    alike: float

    @classmethod
    def of(
        cls, target: Rebuildable, operators: Operators, points: Tensor, labels: Tensor, *, ranks: bool
    ) -> _Candidate:
        """The candidate with the widest steps that is alike enough, or else the one that is most."""
        study, taken = Study(), set[str]()
        twin = target.twin_of(softened(operators, study), lambda model: taken.update(unmask(model, ranks=ranks)))
        if twin.peeled is None and any(name.startswith(LAST) for name in taken):
            twin = replace(twin, output=OutputKind.LOGITS)  # no longer what the file returns
        shares: dict[float, float] = {}
        for width in WIDTHS:
            shares[width] = _taught(twin, study, points, labels, width)
            if shares[width] >= ALIKE or not study.tunable:
                break
        best = max(shares, key=lambda width: shares[width])
        if best != width:
            _taught(twin, study, points, labels, best)
        return cls(twin, study, frozenset(taken), shares[best])

    def finished(self, name: str) -> Twin:
        """The twin, with what was replaced. Raises UnsupportedOperator where nothing was."""
        replaced = {*self.study.labels(), *self.taken}
        if not replaced:
            raise UnsupportedOperator(f"Nothing in {name} hides gradients, so there is nothing to replace.")
        module = self.twin.module
        kept = module.graph.surrogates if isinstance(module, Batched) else self.twin.surrogates
        return replace(self.twin, surrogates=tuple(sorted({*replaced, *kept})), whole=None, random=False)


def _taught(twin: Twin, study: Study, points: Tensor, labels: Tensor, width: float) -> float:
    """Let the stand-ins learn for steps of this width; the share of samples that the twin then classes as labelled."""
    study.width = width
    _learn(twin, study, points[:STUDIED])
    with torch.no_grad():
        return float((twin.logits(points).argmax(dim=1) == labels).float().mean())


def _undefended(target: DefendedTarget, inputs: np.ndarray) -> Twin:
    """The smoothed twin of what stands behind a defence, with the defence left out where that can be."""
    name, behind = target.defense.name, True
    passed = target.defense.transform(inputs.astype(np.float32))
    try:
        twin = smoothed(target.inner, inputs if passed.shape == inputs.shape else passed)
    except UnsupportedOperator:
        twin, behind = target.inner.twin(), False
    if _idle(target, inputs):
        return replace(twin, surrogates=(*twin.surrogates, f"defence {name}: left out"))
    if behind:
        return target.defense.wrap_twin(twin)
    raise UnsupportedOperator(f"The defence {name} can't be left out, and nothing behind it can be replaced.")


def _idle(target: DefendedTarget, inputs: np.ndarray) -> bool:
    """Whether the model takes the samples without its defence, and classes most of them as it does with it."""
    if target.defense.transform(inputs.astype(np.float32)).shape != inputs.shape:
        return False
    alike = target.inner.labels(inputs) == target.labels(inputs)
    return bool(alike.mean() >= BARE)


def _learn(twin: Twin, study: Study, points: Tensor) -> None:
    """Show the samples to the stand-ins, one at a time, as no operator may mix them."""
    module = twin.module
    if not isinstance(module, Batched):
        return
    before = module.batching
    try:
        study.open, module.batching = True, Batching.LOOPED
        for made in study.met:
            made.forget()
        with torch.enable_grad():  # without, positions and truths are not carried as floats
            twin.logits(points.clone().requires_grad_())
    finally:
        study.open, module.batching = False, before


def _even(twin: Twin, points: Tensor) -> Twin:
    """The twin with scores whose usual spread among the classes is that of other nets."""
    if twin.peeled is None and twin.output is OutputKind.PROBABILITIES:
        return twin
    found = spread(twin, points)
    return replace(twin, module=Scaled(twin.module, SPREAD / found)) if found > 0 else twin


def _random(target: Target) -> np.ndarray:
    shape = target.preprocess.sample_shape or target.shape
    return np.random.default_rng(0).random((JUDGED, *shape), np.float32)
