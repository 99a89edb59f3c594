"""onnx's own backend node tests: the cases, what a backend made of one, and what counts as passing it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from onnx import ModelProto, SequenceProto, TensorProto, numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

BFLOAT16_TOLERANCE = 2**-6
"""Two units in the last place of a bfloat16, as onnx's own runner allows."""

RESOLUTION = 2**-23
"""What float32 resolves, relative to the largest entry: differences below that are between two roundings of zero."""

AS_DEPLOYED = "; onnxruntime returns the same"
"""Added to the reason where the case and the runtime disagree, and the backend sides with the runtime."""


class Outcome(Enum):
    """What became of a case; the same four for every backend."""

    PASS = "pass"
    """Every output has the value, shape and type that the case states."""
    WRONG = "wrong"
    """Outputs came, without an error, and one of them is another."""
    REFUSED = "refused"
    """An error while the model was loaded or converted."""
    FAILED = "failed"
    """An error when it was run, a crash, or more time than the limit."""


@dataclass(frozen=True)
class Result:
    """One case on one backend. gradient: "correct", why it was not checked, how that failed; empty if there is none."""

    case: str
    outcome: Outcome
    reason: str = ""
    gradient: str = ""


@dataclass(frozen=True)
class Case:
    """A model with inputs and expected outputs: numpy arrays, lists of them (sequences), None (empty optionals)."""

    name: str
    model: ModelProto
    inputs: list[Any]
    expected: list[Any]
    rtol: float
    atol: float


def load_cases(pattern: str = "") -> list[Case]:
    """The cases whose names match, generated anew: about five seconds."""
    with np.errstate(all="ignore"):
        return [_case(case) for case in load_model_tests(kind="node") if re.search(pattern, case.name)]


def _case(case: TestCase) -> Case:
    ((inputs, expected),) = case.data_sets
    inputs, expected = [_decoded(value) for value in inputs], [_decoded(value) for value in expected]
    return Case(case.name, case.model, inputs, expected, case.rtol, case.atol)


def _decoded(value: Any) -> Any:
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, SequenceProto):
        return numpy_helper.to_list(value)
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    return value if value is None else np.asarray(value)


def difference(case: Case, outputs: Sequence[Any]) -> str:
    """How the outputs differ from those expected, in a few words; empty where they don't."""
    if len(outputs) != len(case.expected):
        return f"{len(outputs)} outputs instead of {len(case.expected)}"
    found = (_difference(*pair, case) for pair in zip(outputs, case.expected, strict=True))
    return next((words for words in found if words), "")


def _difference(value: Any, expected: Any, case: Case) -> str:
    if expected is None or isinstance(expected, list):
        if type(value) is not type(expected) or (expected is not None and len(value) != len(expected)):
            return "not the sequence or optional expected"
        found = (_difference(*pair, case) for pair in zip(value or [], expected or [], strict=True))
        return next((words for words in found if words), "")
    if value is None or isinstance(value, list):
        return "not a tensor"
    value = np.asarray(value)
    if value.shape != expected.shape:
        return f"shape {list(value.shape)} instead of {list(expected.shape)}"
    cast = as_declared(value, expected.dtype)
    if cast is None:
        return f"{value.dtype} values that are no {expected.dtype}"
    if kind(expected.dtype) not in ("float", "c"):
        return "" if np.array_equal(cast, expected) else "other values"
    rtol = max(case.rtol, BFLOAT16_TOLERANCE) if expected.dtype.name == "bfloat16" else case.rtol
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    cast, expected = cast.astype(wide), expected.astype(wide)
    resolved = RESOLUTION * np.abs(expected[np.isfinite(expected)]).max(initial=0)
    close = np.isclose(cast, expected, rtol, max(case.atol, resolved), equal_nan=True)
    return "" if close.all() else f"other values ({int((~close).sum())} of {close.size})"


def as_declared(value: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    """The value in the element type that the file declares; None where it can't be one.

    Any backend may compute floats of one width for another, wider integers, and whole numbers or truth values as
    floats, as long as each entry is one that the declared type has.
    """
    if value.dtype == dtype or dtype.kind in "OU":
        return value
    with np.errstate(all="ignore"):
        if is_float(dtype):
            return value.astype(dtype) if is_float(value.dtype) else None
        if not is_float(value.dtype) and kind(value.dtype) != kind(dtype):
            return None
        cast = value.astype(dtype)
        return cast if np.array_equal(cast.astype(value.dtype), value) else None


def kind(dtype: np.dtype) -> str:
    """The family of an element type, also of those that numpy itself lacks."""
    return "int" if "int" in dtype.name else "float" if is_float(dtype) else dtype.kind


def is_float(dtype: np.dtype) -> bool:
    """Whether the type holds floats, also those that numpy itself lacks."""
    return "float" in dtype.name
