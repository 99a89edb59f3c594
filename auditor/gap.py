"""The gap between a value of the twin and one of the runtime: how large, where, and whether it may be rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from auditor.fidelity import TINY
from auditor.places import is_float

TOLERANCES = {"float16": 4e-3, "bfloat16": 3e-2}
TOLERANCE = 1e-4
"""Largest difference that passes for rounding, as a share of the largest entry; wider for narrow floats."""
FLOOR = 1e-6
"""The same as a share of a node's largest input: where terms cancel, the result is small and their rounding is not."""
STEPPED = frozenset({"int8", "uint8", "int16", "uint16", "int4", "uint4"})
"""Types of quantised values: one step more or less is rounding, as long as few entries have it, or one."""
FEW = 0.01


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The largest difference between two values.

    index: where; twin, runtime: what they have there. scale: the runtime's largest entry. share: of the entries that
    differ by more than rounding, of size in all. kind: the runtime's type. shapes: both, where they are not the same;
    the difference is then infinite.
    """

    difference: float
    index: tuple[int, ...] = ()
    twin: float = float("nan")
    runtime: float = float("nan")
    scale: float = 0.0
    share: float = 1.0
    size: int = 1
    kind: str = ""
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @property
    def tolerance(self) -> float:
        """Share of the scale that passes for rounding in this type."""
        return tolerance(self.kind)

    def rounding(self, inputs: float = 0.0) -> bool:
        """Whether it may be rounding. inputs: the largest input of the node whose own rounding this would be."""
        if self.kind in STEPPED and self.difference <= 1 and self.share <= max(FEW, 1 / self.size):
            return True
        if not is_float(self.kind):
            return self.difference == 0
        return self.difference <= max(self.tolerance * self.scale, FLOOR * inputs)

    @property
    def text(self) -> str:
        """The gap in words."""
        if self.shapes is not None:
            return f"the twin has shape {list(self.shapes[0])}, the runtime {list(self.shapes[1])}"
        if np.isnan(self.twin) and np.isnan(self.runtime):
            return "the two are not the same"
        return (
            f"largest difference {self.difference:.3g} at {list(self.index)}, twin {self.twin:.6g}, "
            f"runtime {self.runtime:.6g} ({self.share:.1%} of the entries differ)"
        )


def compare(twin: Any, runtime: Any) -> Gap:
    """The gap between a value of the twin and one of the runtime: tensors, texts, or sequences of them."""
    if isinstance(runtime, list):
        if not isinstance(twin, list) or len(twin) != len(runtime):
            return Gap(difference=float("inf"))
        gaps = [compare(a, b) for a, b in zip(twin, runtime, strict=True)]
        return max(gaps, key=lambda gap: gap.difference, default=Gap(difference=0.0))
    ours = twin.detach().cpu().numpy() if isinstance(twin, torch.Tensor) else np.asarray(twin)
    theirs, kind = np.asarray(runtime), np.asarray(runtime).dtype.name
    if ours.shape != theirs.shape:
        return Gap(difference=float("inf"), kind=kind, shapes=(ours.shape, theirs.shape))
    if theirs.dtype.kind in "OUS":
        return Gap(difference=0.0 if np.array_equal(ours, theirs) else float("inf"), kind=kind)
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    apart = _apart(ours, theirs)
    if not apart.size:
        return Gap(difference=0.0, kind=kind)
    scale = largest(theirs)
    index = tuple(int(place) for place in np.unravel_index(int(apart.argmax()), apart.shape))
    return Gap(
        difference=float(apart[index]),
        index=index,
        twin=float(ours[index]),
        runtime=float(theirs[index]),
        scale=scale,
        share=float((apart > (tolerance(kind) * scale if is_float(kind) else 0)).mean()),
        size=apart.size,
        kind=kind,
    )


def shares(ours: np.ndarray, theirs: np.ndarray, *, common: bool = False) -> np.ndarray:
    """Differences of scores `[n, classes]`, each as a share of its class's largest score among theirs.

    One class that is masked by a huge constant so does not make the errors of the others look like rounding; one
    whose scores are all close to zero rounds as the sums they are left of. common: all have the largest scale, as
    probabilities do: no constant masks them, and a small one moves by as large a share of itself as logits move by.
    """
    finite = np.where(np.isfinite(theirs), np.abs(theirs.astype(np.float64)), 0)
    scale = finite.max(axis=0, initial=0.0)
    scale = np.maximum(scale, scale.max() if common else TINY * np.quantile(scale, 0.5, method="lower"))
    apart = _apart(ours.astype(np.float64), theirs.astype(np.float64))
    found: np.ndarray = np.divide(apart, scale, out=np.where(apart > 0, np.inf, 0.0), where=scale > 0)
    return found


def _apart(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Sizes of the differences: none between two NaN, infinite between NaN and a number."""
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        apart: np.ndarray = np.where(same, 0.0, np.nan_to_num(np.abs(ours - theirs), nan=np.inf, posinf=np.inf))
    return apart


def tolerance(kind: str) -> float:
    """Share of the largest entry that passes for rounding in this type."""
    return TOLERANCES.get(kind, TOLERANCE)


def largest(value: Any) -> float:
    """The largest finite size of an entry."""
    if isinstance(value, list):
        return max((largest(part) for part in value), default=0.0)
    if not isinstance(value, np.ndarray) or value.dtype.kind in "OUS":
        return 0.0
    finite = value.astype(np.float64)
    return float(np.abs(finite[np.isfinite(finite)]).max(initial=0.0))
