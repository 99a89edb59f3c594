"""Trying an ONNX file out: what it takes, what it answers, and in what batches. Made to run in the sandbox."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime as ort

from auditor.errors import ModelError
from auditor.onnx_file import external_files, read_model
from auditor.onnx_session import TYPES, cast, open_session, reason
from auditor.readout import Readout, choose, ending, probes
from auditor.watchdog import Watch

Shape = tuple[int, ...]
PICTURES = ((3, 224, 224), (3, 32, 32), (1, 28, 28), (1, 224, 224))
"""Channels, height and width to try where a file leaves them open and no samples are known yet."""

HASTE = 4
"""Share of the time limit after which two answers have to do: so a large model passes that runs within its limit."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """path: of a private copy. name: what to call it. shapes: of a sample, those to try, empty to go by the file.

    The rest is as in `TargetOptions`.
    """

    path: str
    name: str
    shapes: tuple[Shape, ...] = ()
    output: str | None = None
    classes: int | None = None
    device: str = "cpu"
    timeout: float = 60.0
    memory: int = 8 << 30


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out.

    missing: weight files that have to lie beside the copy first, with their least sizes; then nothing else is known.
    input, dtype: name and onnxruntime's type of the one input. declared: its shape, None where a length is left open;
    None altogether where the file does not say. stated: the batch that the file declares, None for any. batch: how many
    samples a run takes, None for any; 1 also where a Reshape inside insists on it. shape, readout:
    without batch, and how to read the answer; None while the file leaves its shape open and no guess would run.
    """

    missing: dict[str, int] = {}
    input: str = ""
    dtype: str = ""
    declared: tuple[int | None, ...] | None = None
    stated: int | None = None
    batch: int | None = None
    shape: Shape | None = None
    readout: Readout | None = None
    origin: dict[str, str] = {}


def inspect(question: Question) -> Facts:
    """Parse a file, check that it keeps the rules, and run it on a few probes.

    Costs eight forward passes of one sample. Raises ModelError where the file breaks a rule, the runtime refuses it,
    or its answer can't be read as a classifier's.
    """
    path = Path(question.path)
    model = read_model(path, memory=question.memory)
    files = external_files(question.name, model)
    if any(not (path.parent / file).exists() for file in files):
        return Facts(missing=files)
    session, _ = open_session(path, name=question.name, device=question.device, threads=1)
    return _Trial(question, model, session).facts()


class _Trial:
    """One session under a time limit."""

    def __init__(self, question: Question, model: onnx.ModelProto, session: ort.InferenceSession) -> None:
        self.question, self.model, self.session = question, model, session
        self.input = _only_input(question.name, session)
        self.options = ort.RunOptions()
        self.hurry = time.monotonic() + question.timeout / HASTE
        self.watch = Watch(question.timeout, self._stop)
        self.outputs = [output.name for output in session.get_outputs()]

    def _stop(self) -> None:
        self.options.terminate = True

    def facts(self) -> Facts:
        """Everything, from the first of the possible shapes that runs."""
        given = self.input.shape
        declared = tuple(length if isinstance(length, int) and length > 0 else None for length in given)
        stated = declared[0] if declared else None
        shape, answers = self.settle(declared, stated or 1)
        facts = Facts(
            input=self.input.name,
            dtype=self.input.type,
            declared=declared[1:] if declared else None,
            stated=stated,
            batch=stated,
            origin=_origin(self.model),
        )
        if shape is None:
            return facts
        readout = choose(
            answers,
            {name: ending(self.model, name) for name in self.outputs},
            wanted=self.question.output,
            classes=self.question.classes,
            width=lambda value: self.width(value, shape, stated or 1),
        )
        batch = stated or (None if self.takes_two(readout, shape) else 1)
        return msgspec.structs.replace(facts, shape=shape, readout=readout, batch=batch)

    def settle(self, declared: tuple[int | None, ...], batch: int) -> tuple[Shape | None, list[dict[str, Any]]]:
        """The first shape that runs, and the answers to the probes; None where none is certain to be meant."""
        first = ""
        for shape in self.question.shapes or _shapes(declared[1:]):
            answers, failure = self.answer(shape, batch)
            if answers:
                return shape, answers
            first = first or failure
        certain = self.question.shapes or (declared and None not in declared[1:])
        if certain:
            raise ModelError(f"{self.question.name} could not be run: {first}.")
        return None, []

    def answer(self, shape: Shape, batch: int) -> tuple[list[dict[str, Any]], str]:
        """Answers to those probes that run, and why the first that did not failed. Raises ModelError for huge ones."""
        if 4 * prod((batch, *shape)) > self.question.memory:
            raise ModelError(
                f"{self.question.name} should take samples of a size that can be computed with, it takes "
                f"{[batch, *shape]}; --trust-model lifts the limit."
            )
        answers: list[dict[str, Any]] = []
        failure = ""
        for probe in probes((batch, *shape)):
            if len(answers) > 1 and time.monotonic() > self.hurry:
                break
            try:
                answers.append(self.run(probe))
            except ModelError:
                raise
            except Exception as error:
                failure = failure or reason(error)
        return answers, failure

    def run(self, x: np.ndarray) -> dict[str, Any]:
        feed = {self.input.name: cast(x, TYPES[self.input.type])}
        try:
            with self.watch:
                return dict(zip(self.outputs, self.session.run(self.outputs, feed, self.options), strict=True))
        except Exception as error:
            if self.options.terminate:
                raise ModelError(
                    f"{self.question.name} should answer within {self.question.timeout:g} s, a run took longer; "
                    "raise `[run] timeout` if it is that large."
                ) from error
            raise

    def takes_two(self, readout: Readout, shape: Shape) -> bool:
        """Whether a batch of two is answered by two rows: a Reshape inside may insist on one, whatever is declared."""
        try:
            return len(readout.scores(self.run(next(probes((2, *shape))))[readout.output])) == 2
        except Exception:  # whatever it says, it does not take two
            return False

    def width(self, value: str, shape: Shape, batch: int) -> int | None:
        """Length of the last axis of a value inside the graph, by running a variant of the file that returns it."""
        variant = onnx.ModelProto()
        variant.CopyFrom(self.model)
        variant.graph.output.append(onnx.ValueInfoProto(name=value))
        options = ort.SessionOptions()
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(variant.SerializeToString(), options, providers=["CPUExecutionProvider"])
            x = cast(next(probes((batch, *shape))), TYPES[self.input.type])
            with self.watch:
                (inner,) = session.run([value], {self.input.name: x}, self.options)
        except Exception:  # the count is then asked for
            return None
        return int(inner.shape[-1]) if inner.ndim else None


def _only_input(name: str, session: ort.InferenceSession) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ModelError(
            f"A model to audit takes one input, {name} takes {len(inputs)} ({', '.join(i.name for i in inputs)}); "
            "join or fix the others in the file."
        )
    if inputs[0].type not in TYPES:
        raise ModelError(f"{name} should take numbers, its input {inputs[0].name!r} takes {inputs[0].type}.")
    if len(inputs[0].shape) == 1:
        raise ModelError(
            f"{name} should take a batch of samples, its input has the shape {list(inputs[0].shape)}; "
            "export it with a batch axis."
        )
    return inputs[0]


def _shapes(declared: tuple[int | None, ...]) -> Iterator[Shape]:
    """Shapes that a sample may have by the declaration: itself, or pictures in both orders of axes."""
    if declared and None not in declared:
        yield tuple(length or 0 for length in declared)
    elif len(declared) == 3:
        for (channels, height, width), last in product(PICTURES, (False, True)):
            shape = (height, width, channels) if last else (channels, height, width)
            if all(want in (None, have) for want, have in zip(declared, shape, strict=True)):
                yield shape


def _origin(model: onnx.ModelProto) -> dict[str, str]:
    """Where the file comes from, for the record."""
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    return {
        "opset": str(opset),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "ir_version": str(model.ir_version),
        "nodes": str(len(model.graph.node)),
    }
