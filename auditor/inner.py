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

import numpy as np
import onnx
import onnxruntime as ort

from auditor.errors import ModelError
from auditor.onnx_file import PrivateCopy, external_files, read_model
from auditor.onnx_probe import Facts, Question, inspect
from auditor.onnx_session import PROVIDERS, QUIET, TYPES, cast, reason
from auditor.readout import Readout
from auditor.sandbox import confined
from auditor.target import Target, TargetOptions
from auditor.watchdog import Watch


class Inside:
    """An ONNX file opened for looking at what its nodes compute.

    It is tried out on a private copy as a scan tries it, and every run stands under the watchdog. model: with its
    weights. readout: how the audited scores are read. dtype: what the input is cast to. batch: how many samples a run
    takes.
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
        self._run_options = ort.RunOptions()
        self._run_options.log_severity_level = QUIET
        self._watch = Watch(options.timeout, partial(setattr, self._run_options, "terminate", True))

    def feed(self, x: np.ndarray) -> np.ndarray:
        """Preprocessed samples in the file's type, the last repeated until the file's batch is full."""
        missing = max(self.batch - len(x), 0)
        full = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) if missing else x
        return np.ascontiguousarray(cast(full, self.dtype))

    def values(self, names: Sequence[str], x: np.ndarray) -> dict[str, Any]:
        """What nodes compute for one feed, without optimisations; a value that the runtime can't return is left out.

        Costs a session and a run, or one of each a value where some can't be returned. Raises ModelError where a run
        takes too long.
        """
        try:
            return dict(zip(names, self._run(self._session(names), names, x), strict=True))
        except ModelError:
            raise
        except Exception:  # the runtime's exceptions share no base class
            parts = [] if len(names) == 1 else [self.values([name], x) for name in names]
        return {name: value for part in parts for name, value in part.items()}

    def scores(self, feeds: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Scores `[batch, classes]` for one feed after the other, without optimisations. Raises ModelError."""
        names = [self.readout.output]
        try:
            session = self._session(names)
            for x in feeds:
                (answer,) = self._run(session, names, x)
                yield self.readout.scores(answer)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"{self.name} could not be run without optimisations: {reason(error)}.") from error

    def _session(self, names: Sequence[str]) -> ort.InferenceSession:
        variant = onnx.ModelProto()
        variant.CopyFrom(self._bare)
        stated = {output.name: output for output in variant.graph.output}
        wanted = [stated.get(name) or onnx.ValueInfoProto(name=name) for name in names]
        kept = [onnx.ValueInfoProto.FromString(output.SerializeToString()) for output in wanted]
        del variant.graph.output[:]
        variant.graph.output.extend(kept)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = QUIET
        options.intra_op_num_threads = self._options.threads or 0
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(self._copy.path.parent)
        )
        return ort.InferenceSession(variant.SerializeToString(), options, providers=[PROVIDERS["cpu"]])

    def _run(self, session: ort.InferenceSession, names: Sequence[str], x: np.ndarray) -> list[Any]:
        self._run_options.terminate = False
        try:
            with self._watch:
                answers: list[Any] = session.run(list(names), {self._input: x}, self._run_options)
                return answers
        except Exception as error:
            if self._run_options.terminate:
                raise ModelError(
                    f"{self.name} did not answer within {self._options.timeout:g} s without optimisations."
                ) from error
            raise

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
