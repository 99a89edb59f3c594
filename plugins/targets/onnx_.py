"""ONNX files, run by onnxruntime."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from auditor.access import Access, OutputKind
from auditor.deadline import limited
from auditor.errors import ModelError, SamplesError, TargetUnavailable, UnsupportedOperator
from auditor.hookspecs import hookimpl
from auditor.onnx_file import PrivateCopy
from auditor.onnx_probe import Facts, Question, inspect
from auditor.onnx_session import QUIET, TYPES, cast, describe, open_session, reason
from auditor.preprocess import Shape, channels_at
from auditor.sandbox import confined
from auditor.target import Target, TargetOptions
from auditor.watchdog import Watch

if TYPE_CHECKING:
    from onnx import ModelProto

    from auditor.operators import Operators
    from auditor.thresholds import Trees
    from auditor.twin import Twin

PATIENCE = 5
"""How many times the limit of one run of the file its twin gets to be built, which takes a dozen runs of its own."""


@hookimpl
def load_target(ref: str, options: TargetOptions) -> Target | None:
    return OnnxTarget(Path(ref), options) if ref.lower().endswith(".onnx") else None


class OnnxTarget(Target):
    """A classifier in an ONNX file, behind onnxruntime on the CPU or a GPU.

    Unless the file is trusted it is parsed and tried out in a process of its own under limits first; what is run
    afterwards is the private copy that was tried. Inputs are cast to the file's type: integers are rounded and held
    within their range, so a file that takes bytes wants `scale = 255`. Runs of one sample at a time cost a few
    microseconds more than the runtime itself takes.
    Raises ModelError where the file or the device can't be used, with the runtime's reason.
    """

    def __init__(self, path: Path, options: TargetOptions) -> None:
        self.name, self.path, self.options = path.name, path, options
        self.preprocess, self.deployed_batch = options.preprocess, options.deployed_batch
        self._copy = PrivateCopy(path)
        self._adopt(self._try_out(()))
        self._session, where = open_session(
            self._copy.path, name=self.name, device=options.device, threads=options.threads
        )
        self._run_options = ort.RunOptions()
        self._run_options.log_severity_level = QUIET
        self._watch = Watch(options.timeout, partial(setattr, self._run_options, "terminate", True))
        self.sha256 = self._copy.sha256
        self.runtime = describe(where, options.threads) | self._facts.origin

    def fit(self, sample_shape: Shape) -> None:
        """Settle how samples of this shape reach the file; one that leaves its shape open is tried out again."""
        declared = self._facts.declared
        if declared is None or None in declared:
            shapes = possible_shapes(declared, tuple(sample_shape), self.preprocess.layout)
            if not shapes:
                raise SamplesError(
                    f"{self.name} takes inputs of shape {_text(declared)}, the samples have shape "
                    f"{_text(sample_shape)}; resize them (`[samples] size`) or give the right file."
                )
            if self.shape != shapes[0]:
                self._adopt(self._try_out(shapes))
        super().fit(sample_shape)

    def twin(self) -> Twin:
        """A differentiable copy. Raises UnsupportedOperator where an operator has none, or none are loaded."""
        if self.options.operators is None:
            raise UnsupportedOperator(f"No differentiable operators are loaded; {self.name} is audited gradient-free.")
        return self.twin_of(self.options.operators)

    def twin_of(self, operators: Operators, edit: Callable[[ModelProto], object] | None = None) -> Twin:
        """A twin made of these operators. edit: changes the graph first, in place; the file stays as it is.

        Raises UnsupportedOperator where an operator has no differentiable version.
        """
        import onnx

        from auditor.build import build_twin

        with limited(PATIENCE * self.options.timeout):
            model = onnx.load(self._copy.path)
            if edit is not None:
                edit(model)
            return build_twin(
                model,
                output=self._readout.source,
                kind=self.output,
                preprocess=self.preprocess,
                operators=operators,
                fixed_batch=self._facts.stated is not None,
            )

    def trees(self) -> Trees | None:
        """The branches of a tree ensemble, in sample units; None for every other file."""
        operators = self.options.operators
        if operators is None or not self.preprocess.sample_shape:
            return None
        import onnx

        from auditor.branches import read_trees

        with limited(PATIENCE * self.options.timeout):
            return read_trees(
                onnx.load(self._copy.path),
                output=self._readout.source,
                dtype=self._dtype,
                preprocess=self.preprocess,
                operators=operators,
            )

    def _try_out(self, shapes: tuple[Shape, ...]) -> Facts:
        """What the file is, for samples of one of these shapes, or of the shape it declares."""
        options = self.options
        question = Question(
            path=str(self._copy.path),
            name=self.name,
            shapes=shapes,
            output=options.output,
            classes=options.classes,
            device=options.device if options.trust else "cpu",
            timeout=options.timeout,
            memory=sys.maxsize if options.trust else options.memory,
        )
        while True:
            if options.trust:
                facts = inspect(question)
            else:
                facts = confined(inspect, question, subject=self.name, timeout=options.timeout, memory=options.memory)
            if not facts.missing:
                return facts
            self._copy.add(facts.missing, memory=question.memory)

    def _adopt(self, facts: Facts) -> None:
        self._facts = facts
        self._input, self._dtype = facts.input, np.dtype(TYPES[facts.dtype])
        self.integral = not np.issubdtype(self._dtype, np.floating)
        self.shape, self.batch = facts.shape or (), facts.batch
        if facts.readout is None:
            self.classes = 0  # known once `fit` has settled the shape
            return
        self._readout = facts.readout
        self._outputs = [facts.readout.output]
        self.classes, self.class_names = facts.readout.classes, facts.readout.class_names
        self.output = facts.readout.kind
        self.access = Access.DECISION if facts.readout.kind is OutputKind.LABELS else Access.SCORE

    def _run(self, x: np.ndarray) -> np.ndarray:
        if x.dtype != self._dtype:
            x = cast(x, self._dtype)
        try:
            with self._watch:
                (answer,) = self._session.run(self._outputs, {self._input: x}, self._run_options)
        except Exception as error:
            raise self._failure(error) from error
        return self._readout.scores(answer)

    def _failure(self, error: Exception) -> ModelError:
        if self._run_options.terminate:
            self._run_options.terminate = False
            return TargetUnavailable(f"{self.name} did not answer within {self.options.timeout:g} s and was stopped.")
        kind = ModelError if "INVALID_ARGUMENT" in str(error) else TargetUnavailable
        return kind(f"{self.name} could not be run: {reason(error)}.")


def possible_shapes(declared: Sequence[int | None] | None, sample: Shape, layout: str | None) -> tuple[Shape, ...]:
    """Shapes in which a file that leaves its own open may take these samples, the likeliest first.

    declared: without batch, None for open lengths, None altogether for any. layout: `nchw` or `nhwc` where it is known.
    """
    shapes: list[Shape] = [sample]
    if len(sample) == 2:
        shapes = [(1, *sample), (*sample, 1), sample]
    elif channels_at(sample) == 2:
        shapes = [(sample[2], *sample[:2]), sample]
    elif channels_at(sample) == 0:
        shapes = [sample, (*sample[1:], sample[0])]
    if layout == "nhwc":
        shapes.reverse()
    if declared is None:
        return tuple(shapes)
    fixed = prod(length for length in declared if length is not None)
    if list(declared).count(None) == 1 and fixed and prod(sample) % fixed == 0:
        shapes.append(tuple(prod(sample) // fixed if length is None else length for length in declared))
    fitting = (
        shape
        for shape in shapes
        if len(shape) == len(declared) and all(d in (None, s) for d, s in zip(declared, shape, strict=True))
    )
    return tuple(dict.fromkeys(fitting))


def _text(shape: Sequence[int | None] | None) -> str:
    return "any" if shape is None else str(["any" if length is None else length for length in shape]).replace("'", "")
