"""The threat model: which changes of an input count. Computed in float64, rounded inward to the model's float32."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np

from auditor.errors import SamplesError, UsageError
from auditor.samples import Samples
from auditor.spatial import ROTATION, TRANSLATION, is_picture, reach, shares, transforms

GRID_TOLERANCE = 4
"""How far a clean value may lie off the grid, in units of its float32 spacing: rounding, not another grid."""


class Norm(StrEnum):
    """How the size of a change is measured."""

    LINF = "linf"
    L2 = "l2"
    L1 = "l1"
    L0 = "l0"
    SPATIAL = "spatial"


@dataclass(frozen=True)
class Goal:
    """What the adversary wants: another label than the true one, or (`target`) one label in particular."""

    target: int | None = None

    @classmethod
    def parse(cls, text: str) -> Goal:
        """`untargeted` or `targeted:K`. Raises UsageError."""
        if text == "untargeted":
            return cls()
        kind, _, label = text.partition(":")
        if kind == "targeted" and label.isdecimal():
            return cls(int(label))
        raise UsageError(f"A goal is `untargeted` or `targeted:K` with K a class number, got {text!r}.")

    def __str__(self) -> str:
        return "untargeted" if self.target is None else f"targeted:{self.target}"


def parse_epsilon(text: str | float) -> float:
    """`0.03`, `8/255` or a number, as a float. Raises UsageError unless it is a finite number of at least 0."""
    try:
        value = float(Fraction(str(text).replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise UsageError(f"epsilon is a number of at least 0 such as 0.03 or 8/255, got {str(text)!r}.")
    return value


@dataclass(frozen=True)
class Region:
    """The threat model around given samples, as arrays `[n, *shape]` in float32.

    lower, upper: the box that no adversarial example may leave (bounds, frozen features, linf ball or given boxes).
    weights: what a unit of epsilon means per feature, None where 1.
    """

    lower: np.ndarray
    upper: np.ndarray
    weights: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """Norm, epsilon, bounds and goal, and which features may change how far.

    norm: of the change δ. epsilon: its largest size, in sample units; with `boxes` it is 1, the whole box.
    bounds: values that any input may have; None is unbounded. weights: `[*shape]` or broadcastable, the change counts
    as δ/w. frozen: boolean `[*shape]`, features that must not change. boxes: the samples' own lower and upper arrays
    are the threat. grid: spacing of the values that the deployed input can take (1/255 for 8-bit pictures).
    rotation, translation: for the spatial norm, degrees and pixels to either side that epsilon is a multiple of; the
    threat is the finite set of transforms of `auditor.spatial`, and translation is 3/28 of the shorter side if None.
    epsilon_text: as the user wrote it, for the report.
    """

    norm: Norm = Norm.LINF
    epsilon: float = 0.0
    bounds: tuple[float, float] | None = None
    goal: Goal = Goal()
    weights: np.ndarray | None = None
    frozen: np.ndarray | None = None
    boxes: bool = False
    grid: float | None = None
    rotation: float = ROTATION
    translation: float | None = None
    epsilon_text: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if self.bounds is not None and not -np.inf < self.bounds[0] < self.bounds[1] < np.inf:
            raise UsageError(
                f"bounds are two numbers LO HI with LO below HI, got {self.bounds[0]:g} {self.bounds[1]:g}."
            )
        if self.grid is not None and not 0 < self.grid < float("inf"):
            raise UsageError(f"grid is the positive distance between input values, such as 1/255, got {self.grid}.")
        if self.weights is not None and not (np.isfinite(self.weights).all() and (self.weights > 0).all()):
            raise UsageError("weights are positive numbers; to keep a feature from changing, name it in `frozen`.")
        if self.boxes and (self.weights is not None or self.frozen is not None):
            raise UsageError("The samples bring their own boxes, which are the whole threat; drop weights and frozen.")
        if not 0 <= self.rotation <= 180:
            raise UsageError(f"rotation is an angle from 0 to 180 degrees, got {self.rotation:g}.")
        if self.translation is not None and not 0 <= self.translation < np.inf:
            raise UsageError(f"translation is a number of pixels from 0 on, got {self.translation:g}.")
        if self.norm is Norm.SPATIAL:
            given = [name for name in ("weights", "frozen", "grid") if getattr(self, name) is not None]
            if given or self.boxes:
                raise UsageError(
                    f"The spatial threat moves whole pictures, it has no {given[0] if given else 'boxes'}."
                )

    @property
    def title(self) -> str:
        """As the report's sentence names it: `linf 8/255`."""
        if self.name:
            return self.name
        if self.norm is Norm.SPATIAL:
            shift = f"{TRANSLATION:.0%}" if self.translation is None else f"{self.epsilon * self.translation:g} px"
            return f"rotation ≤ {self.epsilon * self.rotation:g}°, shift ≤ {shift}"
        return "per-sample boxes" if self.boxes else f"{self.norm} {self.epsilon_text or f'{self.epsilon:g}'}"

    @property
    def limits(self) -> tuple[float, float] | None:
        """The values that any input may have, rounded inward; None where the samples' own boxes are all there is."""
        if self.boxes:
            return None
        low, high = self.bounds or (-np.inf, np.inf)
        return float(_up(np.array(low))), float(_down(np.array(high)))

    def region(self, samples: Samples) -> Region:
        """The box around each sample, rounded inward.

        Raises SamplesError where samples lie outside the bounds or off the grid, UsageError where weights or frozen
        features don't fit their shape.
        """
        x = samples.inputs.astype(np.float64)
        shape = x.shape[1:]
        if self.boxes:
            return self._own_boxes(samples)
        self._check_bounds(x)
        weights = _fitting("weights", self.weights, shape)
        frozen = _fitting("frozen", self.frozen, shape)
        radius = self.epsilon * (np.ones(shape) if weights is None else weights.astype(np.float64))
        if self.norm is Norm.SPATIAL:
            self._check_pictures(shape)
        if self.norm in (Norm.L0, Norm.SPATIAL):
            radius = np.full(shape, np.inf)  # epsilon says nothing of a single feature
        if self.grid is not None:
            lower, upper = self._on_grid(x, radius)
        else:
            lower, upper = _ball(x, radius)
        if self.bounds is not None:
            lower = np.maximum(lower, _up(np.full(shape, self.bounds[0])))
            upper = np.minimum(upper, _down(np.full(shape, self.bounds[1])))
        if frozen is not None:
            lower = np.where(frozen, samples.inputs, lower)
            upper = np.where(frozen, samples.inputs, upper)
        broad = None if weights is None else np.broadcast_to(weights, x.shape).astype(np.float32)
        return Region(lower.astype(np.float32), upper.astype(np.float32), broad)

    @property
    def fill(self) -> float:
        """What lies beyond the picture for the spatial threat: 0, or the bound that is nearest to it."""
        low, high = self.bounds or (0.0, 0.0)
        return min(max(0.0, low), high)

    def transforms(self, shape: tuple[int, ...]) -> np.ndarray:
        """The spatial threat's set for samples of a shape: rows of θ (degrees), u and v (pixels), `[m, 3]`."""
        return transforms(self.epsilon * self.rotation, self.epsilon * self._translation(shape)).copy()

    def share(self, moves: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The epsilon that each of some transforms `[m, 3]` of samples of a shape needs, `[m]`."""
        return shares(moves, self.rotation, self._translation(shape))

    def _translation(self, shape: tuple[int, ...]) -> float:
        return reach(shape) if self.translation is None else self.translation

    def _check_pictures(self, shape: tuple[int, ...]) -> None:
        if not is_picture(shape):
            raise UsageError(
                "The spatial threat turns and shifts pictures, [channels, height, width], [height, width, channels] or "
                f"[height, width]; the samples have the shape {list(shape)}."
            )
        if self.bounds is None:
            raise UsageError("The spatial threat needs bounds, the values that a pixel may have; give --bounds LO HI.")
        if self.epsilon * self.rotation > 180:
            raise UsageError(f"epsilon times rotation is at most 180 degrees, got {self.epsilon * self.rotation:g}.")

    def _own_boxes(self, samples: Samples) -> Region:
        if samples.lower is None or samples.upper is None:
            raise SamplesError("The threat is the samples' own boxes, but they have no `lower` and `upper` arrays.")
        half = (samples.upper.astype(np.float64) - samples.lower) / 2
        return Region(samples.lower, samples.upper, half.astype(np.float32))

    def _check_bounds(self, x: np.ndarray) -> None:
        if self.bounds is None:
            return
        low, high = self.bounds
        outside = ((x < low) | (x > high)).reshape(len(x), -1).any(axis=1)
        if outside.any():
            raise SamplesError(
                f"Bounds are {low:g} to {high:g}, but {int(outside.sum())} of {len(x)} samples reach beyond them "
                f"(values from {x.min():g} to {x.max():g}); give `--bounds` that hold for the data."
            )

    def _on_grid(self, x: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spacing = float(self.grid or 1)
        steps = np.rint(x / spacing)
        noise = GRID_TOLERANCE * np.spacing(np.maximum(np.abs(x), spacing * 1e-3).astype(np.float32))
        if (np.abs(x - steps * spacing) > np.minimum(noise, spacing / 4)).any():
            off = np.abs(x / spacing - steps).max()
            raise SamplesError(
                f"Inputs should lie on the grid of {spacing:g}, they are up to {off:.2g} steps off it; "
                "drop `grid`, or give the inputs as the device sees them."
            )
        reach = np.floor(radius / spacing + 1e-9)
        low, high = self.bounds or (-np.inf, np.inf)
        first, last = np.ceil(low / spacing - 1e-9), np.floor(high / spacing + 1e-9)
        first += float(np.float32(first * spacing)) < low  # float32 may round a step across the bound
        last -= float(np.float32(last * spacing)) > high
        lower = np.maximum(steps - reach, first) * spacing
        upper = np.minimum(steps + reach, last) * spacing
        return lower, upper


def _ball(x: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The float32 interval of each value that is inside x ± radius by the verifier's own float64 arithmetic."""
    lower, upper = _up(x - radius).astype(np.float64), _down(x + radius).astype(np.float64)
    lower = np.where(x - lower > radius, _next(lower, np.inf), lower)
    upper = np.where(upper - x > radius, _next(upper, -np.inf), upper)
    return np.minimum(lower, x), np.maximum(upper, x)


def _next(values: np.ndarray, towards: float) -> np.ndarray:
    return np.nextafter(values.astype(np.float32), np.float32(towards)).astype(np.float64)


def _up(values: np.ndarray) -> np.ndarray:
    """float64 to the nearest float32 that is not smaller."""
    rounded = values.astype(np.float32)
    return np.where(rounded < values, np.nextafter(rounded, np.float32(np.inf)), rounded)


def _down(values: np.ndarray) -> np.ndarray:
    """float64 to the nearest float32 that is not larger."""
    rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _fitting(name: str, values: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if values is None:
        return None
    flat = np.asarray(values)
    if flat.size == int(np.prod(shape)):
        return flat.reshape(shape)
    try:
        return np.broadcast_to(flat, shape)
    except ValueError as error:
        raise UsageError(
            f"{name} should have one value per feature of shape {shape}, it has shape {flat.shape}."
        ) from error
