"""onnxruntime as it is deployed: one way to open a session, with everything that can change a verdict settled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from auditor.environment import cpu_flags
from auditor.errors import ModelError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
CUDA = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC", "do_copy_in_default_stream": "1"}
"""Full float32, and no choice of algorithms by stopwatch: a verdict must not depend on how busy the GPU is."""
TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(uint16)": np.uint16,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
"""Input types that samples can be turned into."""
QUIET = 4
"""Severity from which onnxruntime may write to stderr: fatal; everything else comes back as an error."""
REASON = 300
"""Characters of the runtime's own words that a message quotes."""


def open_session(
    path: Path, *, name: str, device: str = "cpu", threads: int | None = None
) -> tuple[ort.InferenceSession, str]:
    """A session for a file at the runtime's default optimisation level, and where it runs, in words.

    device: `cpu` or `cuda`. onnxruntime falls back to the CPU without a word, so for a GPU it is first forbidden to;
    a file some of whose nodes have no kernel there (shapes, int8) is then run as it would be deployed, on both, and the
    words say so. threads: within an operator, None for one a core. Raises ModelError where the runtime refuses the file
    (with its reason) or the device is not there.
    """
    ort.set_default_logger_severity(QUIET)
    if device == "cpu":
        return _open(path, name, _options(threads), [PROVIDERS["cpu"]]), PROVIDERS["cpu"]
    if PROVIDERS[device] not in ort.get_available_providers():
        raise ModelError(
            f"Device {device} needs onnxruntime's {PROVIDERS[device]}, which this installation lacks; "
            "install onnxruntime-gpu, or use --device cpu."
        )
    providers = [(PROVIDERS[device], CUDA)]
    alone = _options(threads)
    alone.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session, where = _open(path, name, alone, providers), PROVIDERS[device]
    except ModelError:
        session, where = _open(path, name, _options(threads), providers), f"{PROVIDERS[device]}, some nodes on the CPU"
    if session.get_providers()[0] != PROVIDERS[device]:
        raise ModelError(
            f"Device {device} was asked for, but onnxruntime could not start its {PROVIDERS[device]} here; "
            "`advaudit doctor` says more, --device cpu goes on without it."
        )
    return session, where


def _options(threads: int | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads or 0
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _open(path: Path, name: str, options: ort.SessionOptions, providers: list[Any]) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the runtime's exceptions share no base class
        raise ModelError(f"onnxruntime {ort.__version__} refuses {name}: {reason(error)}.") from error


def reason(error: Exception) -> str:
    """What the runtime says, without its codes, source lines and paths."""
    text = " ".join(str(error).split())
    for pattern, replacement in (
        (r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", ""),
        (r"Load model from .*? failed: ?", ""),
        (r"Fatal error: |This is an invalid model\. (?:Error: )?", ""),
        (r'In Node, \("([^"]*)", (\w+), "([^"]*)", [^)]*\) : .*? -> \(.*?\) ?, Error ', r"node \1 (\3 \2): "),
        (r"Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: ", r"\1 '\2': "),
        (r"/\S+\.(?:cc|h|cpp|cu):\d+ .*?\)(?: const| \[with [^]]*\])* ", ""),
    ):
        text = re.sub(pattern, replacement, text)
    text = text.strip(" .")
    return f"{text[:REASON]}…" if len(text) > REASON else text or type(error).__name__


def cast(x: np.ndarray, kind: Any) -> np.ndarray:
    """Model inputs in the file's type. Integers are rounded to the nearest and held within their range."""
    if np.issubdtype(kind, np.floating):
        return x.astype(kind, copy=False)
    limits = np.iinfo(kind)
    return np.clip(np.rint(x.astype(np.float64)), limits.min, limits.max).astype(kind)


def describe(where: str, threads: int | None) -> dict[str, str]:
    """Name, version and everything about a session that may change a verdict, int8 most of all."""
    return {
        "name": "onnxruntime",
        "version": ort.__version__,
        "provider": where,
        "optimisation": "all",
        "threads": str(threads or "one a core"),
        "tf32": "off",
        "cpu_flags": " ".join(cpu_flags()),
    }
