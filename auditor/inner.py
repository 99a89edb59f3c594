"""Values inside an ONNX file as onnxruntime computes them, for holding them against the twin's.

Optimised, the runtime fuses nodes, and the values between them are gone. So a variant of the file that returns them is
run, with the optimisations off; the audited file itself is never changed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime as ort

from auditor.errors import ModelError, NotRun
from auditor.onnx_file import PrivateCopy, external_files, read_model
from auditor.onnx_probe import Facts, Question, inspect
from auditor.onnx_session import PROVIDERS, QUIET, TYPES, cast, reason
from auditor.readout import Readout
from auditor.sandbox import confined
from auditor.target import Target, TargetOptions
from auditor.watchdog import Watch


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """path: of a private copy. name: what to call it. outputs: values to return. feed: bytes of what `input` gets."""

    path: str
    name: str
    outputs: tuple[str, ...]
    input: str
    feed: bytes
    shape: tuple[int, ...]
    dtype: str
    timeout: float
    memory: int


def attempt(trial: Trial) -> bool:
    """Whether the runtime returns these values without optimisations. Made to run in the sandbox.

    Costs a session and a run on one thread. Raises ModelError where that takes too long.
    """
    path = Path(trial.path)
    bare = read_model(path, memory=trial.memory)
    x = np.frombuffer(trial.feed, trial.dtype).reshape(trial.shape)
    try:
        variant = Variant(trial.name, bare, trial.outputs, path.parent, threads=1, timeout=trial.timeout)
        variant.run(trial.input, x)
    except ModelError:
        raise
    except Exception:  # the runtime's exceptions share no base class
        return False
    return True


class Variant:
    """A session on a file that returns other values of it, with the optimisations off; its runs have a time limit.

    bare: the file without the weights beside it, which lie in `folder`.
    """

    def __init__(
        self, name: str, bare: onnx.ModelProto, outputs: Sequence[str], folder: Path, *, threads: int, timeout: float
    ) -> None:
        self.name, self.outputs, self._timeout = name, list(outputs), timeout
        model = onnx.ModelProto()
        model.CopyFrom(bare)
        stated = {output.name: output for output in model.graph.output}
        wanted = [stated.get(output) or onnx.ValueInfoProto(name=output) for output in outputs]
        kept = [onnx.ValueInfoProto.FromString(output.SerializeToString()) for output in wanted]
        del model.graph.output[:]
        model.graph.output.extend(kept)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = QUIET
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=[PROVIDERS["cpu"]])
        self._options = ort.RunOptions()
        self._options.log_severity_level = QUIET
        self._watch = Watch(timeout, partial(setattr, self._options, "terminate", True))

    def run(self, name: str, x: np.ndarray) -> list[Any]:
        """The values for one feed of the input of this name. Raises NotRun where that takes too long."""
        self._options.terminate = False
        try:
            with self._watch:
                answers: list[Any] = self._session.run(self.outputs, {name: x}, self._options)
                return answers
        except Exception as error:
            if self._options.terminate:
                raise NotRun(f"{self.name} did not answer within {self._timeout:g} s without optimisations.") from error
            raise


class Inside:
    """An ONNX file opened for looking at what its nodes compute.

    It is tried out on a private copy as a scan tries it, and every variant in a process of its own first. model: with
    its weights. readout: how the audited scores are read. dtype: what the input is cast to. batch: how many samples a
    run takes.
    Raises ModelError where the file can't be used, or is not the one that the target was loaded from.
    """

    readout: Readout

    def __init__(self, path: Path, target: Target, options: TargetOptions) -> None:
        self.name, self._options = target.name, options
        memory = sys.maxsize if options.trust else options.memory
        self._copy = PrivateCopy(path)
        bare = read_model(self._copy.path, memory=memory)
        self._copy.add(external_files(self.name, bare), memory=memory)
        if self._copy.sha256 != target.sha256:
            raise ModelError(f"{path} was changed while it was looked at; leave it alone and try again.")
        facts = self._try_out(target.shape, memory)
        if facts.readout is None:
            raise ModelError(f"{self.name} leaves the shape of its input open; give samples with --data.")
        self.readout, self.batch = facts.readout, facts.stated or 1
        self._input, self.dtype = facts.input, np.dtype(TYPES[facts.dtype])
        self._bare = bare
        self.model = onnx.load(self._copy.path)

    def feed(self, x: np.ndarray) -> np.ndarray:
        """Preprocessed samples in the file's type, the last repeated until the file's batch is full."""
        missing = max(self.batch - len(x), 0)
        full = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) if missing else x
        return np.ascontiguousarray(cast(full, self.dtype))

    def values(self, names: Sequence[str], x: np.ndarray) -> dict[str, Any]:
        """What nodes compute for one feed, without optimisations; a value that the runtime can't return is left out.

        Costs a process, two sessions and two runs, or as much a value where some can't be returned. Raises NotRun where
        the runtime crashes or takes too long.
        """
        if not names:
            return {}
        if self._survives(names, x):
            try:
                return dict(zip(names, self._variant(names).run(self._input, x), strict=True))
            except ModelError:
                raise
            except Exception:  # the runtime's exceptions share no base class
                pass
        parts = [] if len(names) == 1 else [self.values([name], x) for name in names]
        return {name: value for part in parts for name, value in part.items()}

    def scores(self, feeds: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Scores `[batch, classes]` for one feed after the other, without optimisations.

        Raises NotRun where the runtime crashes on the first feed or takes too long, ModelError where it refuses one.
        """
        names = [self.readout.output]
        self._survives(names, feeds[0])
        try:
            variant = self._variant(names)
            for x in feeds:
                (answer,) = variant.run(self._input, x)
                yield self.readout.scores(answer)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"{self.name} could not be run without optimisations: {reason(error)}.") from error

    def _variant(self, names: Sequence[str]) -> Variant:
        return Variant(
            self.name,
            self._bare,
            names,
            self._copy.path.parent,
            threads=self._options.threads or 0,
            timeout=self._options.timeout,
        )

    def _survives(self, names: Sequence[str], x: np.ndarray) -> bool:
        """Whether a variant runs on one feed, tried in a process of its own: unoptimised, the runtime may crash."""
        timeout = self._options.timeout
        memory = sys.maxsize if self._options.trust else self._options.memory
        trial = Trial(
            path=str(self._copy.path),
            name=self.name,
            outputs=tuple(names),
            input=self._input,
            feed=x.tobytes(),
            shape=x.shape,
            dtype=x.dtype.name,
            timeout=timeout,
            memory=memory,
        )
        subject = f"without optimisations {self.name}"
        try:
            return confined(attempt, trial, subject=subject, timeout=timeout, memory=memory)
        except ModelError as error:
            raise NotRun(str(error)) from error

    def _try_out(self, shape: tuple[int, ...], memory: int) -> Facts:
        options = self._options
        question = Question(
            path=str(self._copy.path),
            name=self.name,
            shapes=(shape,),
            output=options.output,
            classes=options.classes,
            timeout=options.timeout,
            memory=memory,
        )
        if options.trust:
            return inspect(question)
        return confined(inspect, question, subject=self.name, timeout=options.timeout, memory=options.memory)
