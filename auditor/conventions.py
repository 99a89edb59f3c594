"""Finding out what a model expects of its inputs: nothing in the file says it, but its accuracy gives it away."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from auditor.access import OutputKind
from auditor.errors import AdvauditError
from auditor.preprocess import PRESETS, Preprocess, Shape, channels_at
from auditor.samples import Samples
from auditor.target import Target

SAMPLES = 200
FIRST = 40
"""Samples that every convention is tried on; only those near the best go on to the rest."""
BYTES = 255.0
DIM = 16.0
"""Largest value under which numbers are not taken for pixels from 0 to 255."""
GREY = frozenset({"mnist"})
"""Presets that only pictures of one channel can be meant by."""
PER_CLASS = 5
"""Samples a class from which a permutation of labels can be told from chance."""
PERMUTED = 0.7
"""Accuracy that a permutation must reach to be suggested."""
BETTER = 0.1
"""How much more accurate a convention must be to be suggested."""


@dataclass(frozen=True, kw_only=True)
class Convention:
    """An input convention, and how well the model does with it.

    name: for people. option: what `--preprocess` takes for it, None where only keys of `[model]` say it. accuracy:
    share of n samples classified as labelled. loss: mean cross-entropy of their labels.
    """

    name: str
    preprocess: Preprocess
    accuracy: float
    loss: float
    n: int
    option: str | None = None

    @property
    def noise(self) -> float:
        """Standard error of the accuracy, by Laplace's rule, so that it is not 0 at 100 %."""
        guess = (self.accuracy * self.n + 1) / (self.n + 2)
        return float((guess * (1 - guess) / self.n) ** 0.5)


def candidates(sample_shape: Shape, model_shape: Shape, low: float, high: float) -> dict[str, Preprocess]:
    """Conventions that make sense for these shapes and this range of values, the plainest first.

    Values within [0, 1] are taken for pixels: every preset for as many channels is tried, in both orders of channels
    and, where the file flattens pictures, in both orders of axes. Values up to 255 are scaled down first. For all
    others only `none` makes sense.
    """
    pixels = low >= 0 and (high <= 1 or DIM < high <= BYTES)
    found = {"none": Preprocess()} if high > 1 or not pixels else {}
    if not pixels:
        return found
    unit = 1.0 if high <= 1 else 1 / BYTES
    channels = _channels(sample_shape, model_shape)
    flat = len(model_shape) == 1 and len(sample_shape) == 3 and channels > 1
    layouts = (None, "nhwc" if channels_at(sample_shape) == 0 else "nchw") if flat else (None,)
    orders = ("rgb", "bgr") if channels == 3 and len(model_shape) != 1 else ("rgb",)
    for (name, options), layout, order in product(PRESETS.items(), layouts, orders):
        preset = Preprocess(**options)
        if (
            len(preset.mean) not in (0, 1, channels)
            or (name in GREY and channels > 1)
            or preset.channels == order == "bgr"
        ):
            continue
        parts = (
            name,
            f"layout {layout}" if layout else "",
            "bgr" if order == "bgr" else "",
            "/ 255" if unit < 1 else "",
        )
        given = replace(
            preset,
            scale=preset.scale * unit,
            layout=layout,
            channels="bgr" if "bgr" in (order, preset.channels) else "rgb",
        )
        if given not in found.values():
            found[", ".join(part for part in parts if part)] = given
    return found


def find_conventions(target: Target, samples: Samples, *, limit: int = SAMPLES) -> list[Convention]:
    """Conventions by the accuracy that the target reaches with them, the best first.

    Accuracies within a standard error of the best are taken for equal. Among those `none` comes first, since a file
    that has its normalisation inside often bears a second one; then the smallest cross-entropy, which tells neighbours
    apart (a scale that is wrong by a factor of 3 can leave the accuracy as it is, and makes every epsilon wrong by 3).
    All are tried on `FIRST` samples, those near the best on up to `limit`: some 20 × 40 + 5 × 200 queries. The target's
    own preprocessing is left as it was. Conventions that the file can't be run with are left out.
    """
    samples = samples.limit(limit, 0)
    early = samples.limit(FIRST, 0)
    own = target.preprocess
    try:
        trials = candidates(samples.shape, target.shape, float(samples.inputs.min()), float(samples.inputs.max()))
        tried = _ranked([found for name, p in trials.items() if (found := _try(target, early, name, p)) is not None], 2)
        if len(samples) == len(early) or not tried:
            return tried
        floor = max(found.accuracy for found in tried) - 2 * tried[0].noise
        near = [found for found in tried if found.accuracy >= floor]
        final = [_try(target, samples, found.name, found.preprocess) for found in near]
        return _ranked([found for found in final if found is not None]) + [f for f in tried if f not in near]
    finally:
        target.preprocess = own
        if own.sample_shape:
            target.fit(own.sample_shape)


def _ranked(tried: list[Convention], errors: float = 1) -> list[Convention]:
    """By accuracy; those within so many standard errors of the best by plainness, then by cross-entropy."""
    if not tried:
        return []
    best = max(tried, key=lambda found: found.accuracy)
    floor = best.accuracy - errors * best.noise
    return sorted(
        tried,
        key=lambda found: (
            (0.0, float(found.name != "none"), found.loss) if found.accuracy >= floor else (1.0, -found.accuracy, 0.0)
        ),
    )


def suggest_permutation(target: Target, samples: Samples, *, limit: int = SAMPLES) -> tuple[int, ...] | None:
    """The renumbering of labels under which the model would be right, None where there is no clear one.

    Entry k is the class that the model gives to samples labelled k. A suggestion for people, never applied: a model
    that confuses two classes consistently looks the same. Source: the assignment of largest agreement in the
    confusion matrix (Hungarian method).
    """
    samples = samples.limit(limit, 0)
    labels, predicted = samples.labels, target.labels(samples.inputs, batch=target.batch or FIRST)
    return permutation(labels, predicted, target.classes)


def permutation(labels: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[int, ...] | None:
    """`suggest_permutation` for given labels and predictions, both `[n]`."""
    present = len(np.unique(labels))
    if len(labels) < PER_CLASS * present or present < 2 or labels.min() < 0 or labels.max() >= classes:
        return None
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    _, columns = linear_sum_assignment(confusion, maximize=True)
    matched = confusion[np.arange(classes), columns].sum() / len(labels)
    as_given = (labels == predicted).mean()
    if matched < PERMUTED or matched < as_given + BETTER:
        return None
    return tuple(int(column) for column in columns)


def suggest(target: Target, samples: Samples, accuracy: float) -> str:
    """One or two sentences on what would raise a clean accuracy that is near chance."""
    best = next(iter(find_conventions(target, samples)), None)
    reached = 0.0 if best is None else best.accuracy
    renumbered = suggest_permutation(target, samples) if reached < PERMUTED else None
    if renumbered is not None:
        moved = [f"{old} is {new}" for old, new in enumerate(renumbered) if old != new]
        return (
            f"The labels seem to be numbered otherwise than the model's classes ({', '.join(moved[:5])}"
            f"{', …' if len(moved) > 5 else ''}); correct them or list the `classes` in the model's order."
        )
    if best is not None and reached > accuracy + BETTER:
        keys = ", ".join(f"{key} = {json.dumps(value)}" for key, value in best.preprocess.table().items())
        how = f"`--preprocess {best.option}`" if best.option else f"`[model] {keys}`"
        return f"With {how} it would be {reached:.0%} (on {best.n} samples)."
    return "No usual scale, mean or order of channels helps; check that the samples belong to this model."


def _channels(sample_shape: Shape, model_shape: Shape) -> int:
    """How many channels a picture has; 1 where that can't be seen."""
    for shape in (model_shape, sample_shape):
        if (axis := channels_at(shape)) is not None:
            return shape[axis]
    return 1


def _try(target: Target, samples: Samples, name: str, preprocess: Preprocess) -> Convention | None:
    """The accuracy with a convention; None where the target can't be run with it."""
    try:
        target.preprocess = preprocess
        target.fit(samples.shape)
        scores = target.scores(samples.inputs, batch=FIRST)
    except AdvauditError:
        return None
    if samples.labels.max() >= scores.shape[1]:
        return None
    return Convention(
        name=name,
        preprocess=preprocess,
        accuracy=float((scores.argmax(axis=1) == samples.labels).mean()),
        loss=_cross_entropy(scores.astype(np.float64), samples.labels, target.output),
        n=len(samples),
        option=name if name in PRESETS else None,
    )


def _cross_entropy(scores: np.ndarray, labels: np.ndarray, kind: OutputKind) -> float:
    if kind is OutputKind.PROBABILITIES:
        scores = np.log(np.maximum(scores, np.finfo(np.float32).tiny))
    own = scores[np.arange(len(labels)), labels]
    loss = float((logsumexp(scores, axis=1) - own).mean())
    return loss if np.isfinite(loss) else float("inf")
