"""Whether a fresh onnxruntime session shares what a record says, asked without any code of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

KINDS = {"float": "float32", "double": "float64"}
"""onnxruntime's names of element types that numpy calls otherwise."""


def disputed(model: Path, out: Path) -> str:
    """What the session says against the breaks of the record in `out`; empty where it shares them."""
    record = json.loads((out / "audit.json").read_text())
    broken = [outcome["id"] for outcome in record["outcomes"] if outcome["status"] == "broken"]
    with np.load(out / "evidence.npz") as evidence:
        x, labels, ids = evidence["x_adv"], evidence["label"].tolist(), evidence["id"].tolist()
    if ids != broken:
        return f"{len(broken)} broken samples, evidence of {len(ids)}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    keys = _keys(model)
    found = [answered(session, row, keys) for row in x]
    wrong = [i for i, answer, label in zip(ids, found, labels, strict=True) if answer == label]
    return f"onnxruntime classifies {wrong[:5]} as labelled" if wrong else ""


def answered(session: onnxruntime.InferenceSession, x: np.ndarray, keys: list[Any]) -> int | None:
    """The class that the file gives a sample; None where no output holds scores."""
    (source,) = session.get_inputs()
    batch, *shape = [length if isinstance(length, int) and length > 0 else -1 for length in source.shape] or [-1]
    kind = source.type.removeprefix("tensor(").removesuffix(")")
    point = x[None].reshape([1, *shape]) if shape.count(-1) == 0 and shape else x[None]
    point = np.repeat(point, max(batch, 1), axis=0)
    if not kind.startswith(("float", "double")):
        limits = np.iinfo(kind)
        point = np.clip(np.rint(point.astype(np.float64)), limits.min, limits.max)
    answers = session.run(None, {source.name: point.astype(KINDS.get(kind, kind))})
    rows = [row for answer in answers if (row := _scores(answer, keys)) is not None]
    return int(np.argmax(rows[0])) if rows else None


def _keys(model: Path) -> list[Any]:
    """The names of the classes as the file's ZipMap lists them."""
    nodes = [node for node in onnx.load(model, load_external_data=False).graph.node if node.op_type == "ZipMap"]
    lists = [attribute for node in nodes for attribute in node.attribute]
    return [key for one in lists for key in (*one.ints, *(text.decode() for text in one.strings))]


def _scores(answer: Any, keys: list[Any]) -> np.ndarray | None:
    """The first row of scores, from an output that may hold them."""
    if isinstance(answer, list):
        names = keys if set(keys) == set(answer[0]) else sorted(answer[0])
        return np.array([answer[0][name] for name in names])
    row = np.asarray(answer).reshape(len(answer), -1)[0] if np.ndim(answer) > 1 else np.asarray(answer).reshape(-1)
    return row if row.dtype.kind in "fiu" and row.size > 1 else None
