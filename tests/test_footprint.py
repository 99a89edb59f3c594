"""Memory of a pass: counted on a net whose tensors can be counted by hand, and what follows for the width."""

from __future__ import annotations

import numpy as np
import pytest
from auditor.plugins.operators import bundled
from onnx import TensorProto, helper, numpy_helper

from auditor.access import OutputKind
from auditor.build import build_twin
from auditor.errors import ModelError
from auditor.execution import Execution
from auditor.footprint import forward_bytes, narrowed
from auditor.preprocess import Preprocess
from auditor.twin import Twin

FEATURES, COPIES = 64, 50


def twin() -> Twin:
    """x fifty times over, its exponentials, their sums: two tensors of 50 x 64 floats a sample, and little else."""
    nodes = [
        helper.make_node("Concat", ["x"] * COPIES, ["wide"], axis=1),
        helper.make_node("Exp", ["wide"], ["e"]),
        helper.make_node("MatMul", ["e", "w"], ["y"]),
    ]
    weight = np.random.default_rng(0).normal(size=(FEATURES * COPIES, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    preprocess = Preprocess().fit((FEATURES,), (FEATURES,))
    return build_twin(
        model, output="y", kind=OutputKind.LOGITS, preprocess=preprocess, operators=bundled(), fixed_batch=False
    )


X = np.random.default_rng(1).random((8, FEATURES)).astype(np.float32)
WIDE = 2 * COPIES * FEATURES * 4
"""Bytes of the two wide tensors of one sample."""


@pytest.mark.parametrize("n", [1, 4])
def test_what_is_allocated_is_counted_once(n: int) -> None:
    counted = forward_bytes(twin(), X[:n])
    assert n * WIDE <= counted <= n * WIDE * 1.1 + 1024


def test_a_batch_is_as_wide_as_memory_allows() -> None:
    execution = Execution(device="cpu", threads=1, width=64)
    sample = 2 * forward_bytes(twin(), X[:1])
    assert narrowed(execution, twin(), X, 100 * sample).width == 64
    assert narrowed(execution, twin(), X, 10 * sample).width == 10
    assert narrowed(execution, None, X, 1).width == 64


def test_a_sample_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"a single sample takes .*raise `\[run\] memory`"):
        narrowed(Execution(device="cpu", threads=1), twin(), X, WIDE)
