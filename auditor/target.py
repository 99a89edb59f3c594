"""What is deployed: the model file, run by its own runtime in its own precision, every query metered."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from auditor.access import Access, OutputKind
from auditor.errors import ModelError, SamplesError, TargetUnavailable, UnsupportedOperator
from auditor.preprocess import Preprocess, channels_at

if TYPE_CHECKING:
    from auditor.operators import Operators
    from auditor.thresholds import Trees
    from auditor.twin import Twin

ATTEMPTS = 3
"""How often a target is asked before it is given up for lost."""
PATIENCE = 10.0
"""Seconds after which a lost query is not repeated: what took that long would again."""


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """What a loader is told besides the reference.

    preprocess: what stands before the file. output: name of the output to audit, None to find it. device: `cpu` or
    `cuda`; one that is not there is an error. threads: of the runtime within an operator, None for its default. trust:
    whether code that the file carries may run, and limits on a first trial are lifted. deployed_batch: how many samples
    share a batch where the file is deployed, None where nobody says. operators: the registry that builds twins.
    classes: how many there are, for a file that answers with a label and does not say. timeout, memory: limits on the
    trial of an untrusted file, in seconds and bytes; the time-out also holds for each run.
    """

    preprocess: Preprocess = field(default_factory=Preprocess)
    output: str | None = None
    device: str = "cpu"
    threads: int | None = None
    trust: bool = False
    deployed_batch: int | None = None
    operators: Operators | None = None
    classes: int | None = None
    timeout: float = 60.0
    memory: int = 8 << 30


class Target(ABC):
    """The model under audit, seen only through its answers.

    A subclass says how to run a batch (`_run`) and, where it can, how to build a differentiable copy (`twin`).
    Everything else is here: preprocessing, the deployed batch size, metering, retries.

    name: what the report calls it. sha256: digest of the file and everything it loads. classes: number of labels.
    class_names: their names where the file knows them. output: what the scores are. access: the most it offers.
    shape: of one sample as the file takes it, without batch. integral: it takes whole numbers, to which inputs are
    rounded. batch: the batch size the file insists on, None for any.
    deployed_batch: the one it is deployed at, None where nobody says.
    runtime: name, version, provider, optimisation level, threads: whatever may change a verdict. queries: samples run.
    Where a file leaves its shape open, shape, classes and output hold only after `fit`.
    """

    name: str
    sha256: str
    path: Path | None = None
    classes: int
    class_names: tuple[str, ...] | None = None
    output: OutputKind = OutputKind.LOGITS
    access: Access = Access.SCORE
    shape: tuple[int, ...]
    integral: bool = False
    batch: int | None = None
    deployed_batch: int | None = None
    runtime: Mapping[str, str]
    preprocess: Preprocess
    queries: int = 0

    @abstractmethod
    def _run(self, x: np.ndarray) -> np.ndarray:
        """Scores `[batch, classes]` for preprocessed inputs `[batch, *shape]`, in the deployed precision.

        Raises TargetUnavailable where asking again may help, ModelError where it can't.
        """

    def twin(self) -> Twin:
        """A differentiable copy. Raises UnsupportedOperator where there is none, with the reason."""
        raise UnsupportedOperator(f"{self.name} offers no gradients; it is audited gradient-free.")

    def trees(self) -> Trees | None:
        """The branches of a model that is an ensemble of decision trees and nothing else, once it is fitted to the
        samples; None for every other."""
        return None

    def thresholds(self) -> list[np.ndarray] | None:
        """Where the trees of a tree ensemble branch, for each feature of the flattened sample, in sample units.

        Sorted float32 values, each the largest of the side below: between it and the next float32 some tree's branch
        changes, and nothing changes in between two of them. None where `trees` is.
        """
        trees = self.trees()
        return None if trees is None else trees.thresholds

    def scores(self, x: np.ndarray, *, batch: int | None = None) -> np.ndarray:
        """Scores `[n, classes]` as float32 for inputs `[n, *sample_shape]` float32 in sample units.

        batch: how many go through the runtime together; default all at once, or the size the file insists on.
        Raises TargetUnavailable where it was lost again and again, ModelError where the answer has the wrong shape.
        """
        width = self.batch or batch or max(len(x), 1)
        rows = [self._ask(x[start : start + width]) for start in range(0, len(x), width)]
        self.queries += len(x)
        return np.concatenate(rows) if rows else np.zeros((0, self.classes), np.float32)

    def labels(self, x: np.ndarray, *, batch: int | None = None) -> np.ndarray:
        """Predicted labels `[n]`: the first class with the largest score, as the runtime's user would take it."""
        labels: np.ndarray = self.scores(x, batch=batch).argmax(axis=1)
        return labels

    def fit(self, sample_shape: tuple[int, ...]) -> None:
        """Settle how samples of this shape reach the file. Raises SamplesError where they can't."""
        self.preprocess = self.preprocess.fit(sample_shape, self.shape)

    @property
    def picture(self) -> tuple[int, int, int] | None:
        """Height, width and channels where the file takes pictures, for the options of samples; else None."""
        channels = channels_at(self.shape)
        if channels is None:
            return None
        height, width = self.shape[1:] if channels == 0 else self.shape[:2]
        return height, width, self.shape[channels]

    def _ask(self, x: np.ndarray) -> np.ndarray:
        padded = x
        if self.batch and len(x) < self.batch:  # a file with a fixed batch takes no fewer
            padded = np.concatenate([x, np.repeat(x[-1:], self.batch - len(x), axis=0)])
        model_input = np.ascontiguousarray(self.preprocess(padded.astype(np.float32, copy=False)))
        scores = self._patiently(model_input)
        if scores.ndim != 2 or scores.shape != (len(padded), self.classes):
            raise ModelError(
                f"{self.name} should return {self.classes} scores for each of {len(padded)} inputs, "
                f"it returned an array of shape {tuple(scores.shape)}."
            )
        return scores[: len(x)].astype(np.float32, copy=False)

    def _patiently(self, model_input: np.ndarray) -> np.ndarray:
        left = ATTEMPTS
        while True:
            began = time.monotonic()
            try:
                return self._run(model_input)
            except TargetUnavailable:
                left -= 1
                if not left or time.monotonic() - began > PATIENCE:
                    raise


def digest_files(paths: list[Path]) -> str:
    """SHA-256 over the bytes of the files in this order, as hex."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def check_classes(labels: np.ndarray, classes: int) -> None:
    """Raise SamplesError unless every label is a class of the model."""
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise SamplesError(
            f"Labels run from 0 to {classes - 1} for this model, {len(wrong)} of {len(labels)} do not "
            f"(the first is {int(wrong[0])}); map them to the model's classes."
        )
