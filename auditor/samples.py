"""What the model is fed: inputs of one shape in their own units, labels, and ids that stay with their samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from auditor.errors import SamplesError, UsageError

PREDICTED = -1
"""Label of a sample whose label the model has yet to predict."""
PIXEL = np.float32(255)


@dataclass(frozen=True, kw_only=True)
class SamplesOptions:
    """What a loader is told besides the reference.

    size: height and width that pictures are brought to, None to keep theirs. picture: those of the file, which picture
    files are brought to where no size is stated; an array keeps its own. channels: 1 for grey or 3 for RGB, None
    to keep what the pictures have. classes: names in the order of the model's labels, None to take the source's own.
    labels: `given`, or `predicted` to take the model's own answers for labels. limit, seed: how many samples to load,
    chosen as `Samples.limit` does; None for all.
    """

    size: tuple[int, int] | None = None
    picture: tuple[int, int] | None = None
    channels: int | None = None
    classes: tuple[str, ...] | None = None
    labels: str = "given"
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.labels not in ("given", "predicted"):
            raise UsageError(f"--labels is `given` or `predicted`, got {self.labels!r}.")
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"size is [height, width] in pixels, got {list(self.size)}.")
        if self.channels not in (None, 1, 3):
            raise UsageError(f"Pictures have 1 channel (grey) or 3 (RGB), got {self.channels}.")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit is at least 1, got {self.limit}.")
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise UsageError("classes lists a name twice; each label has its own name.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Labelled inputs.

    inputs: float32 `[n, *shape]`, 8-bit pixels divided by 255, everything else in its own units. labels: int64 `[n]`,
    `PREDICTED` while the model has not been asked. ids: int64 `[n]`, increasing: each sample's position in its source,
    whatever subset this is. lower, upper: float32 like inputs, a box for each sample, which is then the threat by
    itself. An input may lie a little outside its box; attacks start inside. class_names: by label. pixels: whether the
    inputs were 8-bit pictures. labels_source: `given` or `predicted`. skipped: reason to count, of what the source
    holds besides. Raises SamplesError where these don't fit together.
    """

    inputs: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    pixels: bool = False
    labels_source: str = "given"
    skipped: Mapping[str, int] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        n = len(self.inputs)
        if not n or not self.inputs.size:
            skipped = "; ".join(f"{count} {reason}" for reason, count in self.skipped.items())
            raise SamplesError(
                f"{self._name} no samples to audit{f' ({skipped})' if skipped else ''}; give at least one."
            )
        if self.labels.shape != (n,):
            raise SamplesError(
                f"{self._name} {n} inputs and labels of shape {list(self.labels.shape)}; give one label for each input."
            )
        if not np.isfinite(self.inputs).all():
            bad = ~np.isfinite(self.inputs).reshape(n, -1).all(axis=1)
            raise SamplesError(
                f"{self._name} {int(bad.sum())} of {n} inputs with values that are not finite "
                f"(the first is number {int(self.ids[bad][0])}); remove or impute them."
            )
        self._check_boxes()
        negative = self.labels < (PREDICTED if self.labels_source == "predicted" else 0)
        if negative.any():
            raise SamplesError(
                f"{self._name} the label {int(self.labels[negative][0])}; labels are class numbers from 0 on."
            )
        if self.class_names is not None and self.labels.max() >= len(self.class_names):
            raise SamplesError(
                f"{self._name} the label {int(self.labels.max())}, but names for {len(self.class_names)} classes only; "
                "name every class, in the order of the model's labels."
            )

    @property
    def _name(self) -> str:
        return f"{self.source or 'The data'} has"

    def _check_boxes(self) -> None:
        if self.lower is None and self.upper is None:
            return
        if self.lower is None or self.upper is None:
            raise SamplesError(f"{self._name} only one of `lower` and `upper`; a box for each sample takes both.")
        if self.lower.shape != self.inputs.shape or self.upper.shape != self.inputs.shape:
            raise SamplesError(
                f"{self._name} inputs of shape {list(self.inputs.shape)}, `lower` of {list(self.lower.shape)} and "
                f"`upper` of {list(self.upper.shape)}; boxes have the shape of the inputs."
            )
        if np.isnan(self.lower).any() or np.isnan(self.upper).any():
            raise SamplesError(f"{self._name} boxes with values that are not numbers; give each feature two bounds.")
        crossed = (self.lower > self.upper).reshape(len(self), -1).any(axis=1)
        if crossed.any():
            raise SamplesError(
                f"{self._name} `lower` above `upper` for {int(crossed.sum())} of {len(self)} samples "
                f"(the first is number {int(self.ids[crossed][0])}); exchange or correct them."
            )
        outside = np.maximum(self.lower - self.inputs, self.inputs - self.upper)
        slack = self.upper - self.lower + 0.01 * np.abs(self.inputs).max()
        far = (outside > slack).reshape(len(self), -1).any(axis=1)
        if far.any():
            raise SamplesError(
                f"{self._name} {int(far.sum())} of {len(self)} inputs far outside their own boxes "
                f"(the first is number {int(self.ids[far][0])}); give both in the same units."
            )

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.inputs.shape[1:])

    @cached_property
    def digest(self) -> str:
        """SHA-256 over inputs, labels, ids and boxes, as hex: equal digests mean the same audit."""
        digest = hashlib.sha256()
        for array in (self.inputs, self.labels, self.ids, self.lower, self.upper):
            if array is None:
                digest.update(b"none;")
                continue
            little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            digest.update(f"{little.dtype.str} {little.shape};".encode())
            digest.update(little.data)
        return digest.hexdigest()

    def take(self, indices: Any) -> Samples:
        """The samples at these positions (integers, a slice, or one boolean a sample), with their ids."""
        return replace(
            self,
            inputs=self.inputs[indices],
            labels=self.labels[indices],
            ids=self.ids[indices],
            lower=None if self.lower is None else self.lower[indices],
            upper=None if self.upper is None else self.upper[indices],
        )

    def limit(self, n: int, seed: int) -> Samples:
        """A random subset of at most n, in the order of ids. A smaller one is part of a larger one of the same seed."""
        return self.take(np.flatnonzero(chosen(self.ids, n, seed)))

    def drop(self, mask: np.ndarray, reason: str) -> Samples:
        """The samples without those that the mask `[n]` marks; their count is entered in `skipped`."""
        count = int(np.asarray(mask, bool).sum())
        if not count:
            return self
        skipped = {**self.skipped, reason: self.skipped.get(reason, 0) + count}
        return replace(self, skipped=skipped).take(np.flatnonzero(~np.asarray(mask, bool)))

    def with_labels(self, predicted: np.ndarray) -> Samples:
        """The same inputs with the model's answers `[n]` for labels: what is audited then is stability."""
        return replace(self, labels=np.asarray(predicted, np.int64), labels_source="predicted")

    def aligned(self, names: tuple[str, ...] | None) -> Samples:
        """Labels renumbered to the model's own class names: a table may hold only some of them.

        As they are where either side has no names, or they share none. Raises SamplesError where they share some.
        """
        own = self.class_names
        if own is None or names is None or own == names or not set(own) & set(names):
            return self
        used = [own[label] for label in np.unique(self.labels) if label != PREDICTED]
        unknown = [name for name in used if name not in names]
        if unknown:
            raise SamplesError(
                f"{self._name} the class {unknown[0]!r}, the model's are {', '.join(names[:10])}"
                f"{', …' if len(names) > 10 else ''}; rename it or leave it out."
            )
        places = {name: place for place, name in enumerate(names)}
        renumber = np.array([places.get(name, PREDICTED) for name in own] + [PREDICTED])
        return replace(self, labels=renumber[self.labels], class_names=names)


def chosen(ids: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Which of these ids belong to a random subset of size n, bool; subsets nest and survive skipped samples."""
    return ranked(ids, seed) < n


def ranked(ids: np.ndarray, seed: int) -> np.ndarray:
    """The place of each id in a random order, int64. Whether one ranks before another depends on them and the seed
    alone (splitmix64, Steele et al., OOPSLA 2014)."""
    z = ids.astype(np.uint64) + np.uint64(seed * 0xD1342543DE82EF95 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    rank = np.empty(len(ids), np.int64)
    rank[np.lexsort((ids, z ^ (z >> np.uint64(31))))] = np.arange(len(ids))
    return rank


def as_inputs(name: str, array: np.ndarray) -> np.ndarray:
    """Numbers of any kind as float32, 8-bit pixels divided by 255. Raises SamplesError for anything but numbers."""
    if array.dtype == np.uint8:
        return array.astype(np.float32) / PIXEL
    if array.dtype.kind not in "fiub":
        raise SamplesError(
            f"{name} should hold numbers, it has the type {array.dtype}; convert it to float32 or uint8."
        )
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which the samples refuse
        return array.astype(np.float32)


def as_labels(name: str, array: np.ndarray) -> np.ndarray:
    """Class numbers as int64 `[n]`, from integers or whole floats, `[n]` or `[n, 1]`. Raises SamplesError otherwise."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        raise SamplesError(
            f"{name} should hold one class number a sample, it has shape {list(array.shape)}; "
            "take the argmax of one-hot labels."
        )
    if array.dtype.kind not in "fiub" or not (np.isfinite(array).all() and (array == np.floor(array)).all()):
        raise SamplesError(f"{name} should hold class numbers from 0 on, it holds {_kind(array)}; number the classes.")
    return array.astype(np.int64)


def _kind(array: np.ndarray) -> str:
    return "values that are not whole" if array.dtype.kind == "f" else f"the type {array.dtype}"
