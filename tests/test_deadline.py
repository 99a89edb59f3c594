"""The time limit on a twin: an endless body is stopped between two of its operators."""

from __future__ import annotations

import time

import pytest
import torch
from auditor.plugins.operators import bundled
from onnx_files import endless_loop

from auditor.deadline import check, limited
from auditor.errors import ModelError
from auditor.graph import Graph
from auditor.program import read_program


def test_a_loop_is_left_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.plugins.operators.control.ROUNDS", 1 << 62)
    operators = bundled()
    graph = Graph(read_program(endless_loop(), operators), "y", operators)
    began = time.monotonic()
    with limited(0.2), pytest.raises(ModelError, match=r"within 0.2 s.*raise `\[run\] timeout`"):
        graph(torch.zeros(1, 4))
    assert time.monotonic() - began < 20


def test_limits_end_with_their_block_and_may_not_grow() -> None:
    with limited(0.0):
        time.sleep(0.01)
        with limited(60.0), pytest.raises(ModelError, match="within 0 s"):
            check()
        with pytest.raises(ModelError):
            check()
    check()
