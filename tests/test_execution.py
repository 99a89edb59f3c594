from __future__ import annotations

from typing import Any

import msgspec
import pytest
import torch

from auditor.errors import UsageError
from auditor.execution import Execution


def execution(**options: Any) -> Execution:
    return Execution(**({"device": "cpu", "threads": 1} | options))


@pytest.mark.parametrize("width", [1, 3, 7, 64, 256])
def test_batches_are_padded_to_few_widths_and_never_beyond_the_own(width: int) -> None:
    plan = execution(width=width)
    widths = [plan.padded(rows) for rows in range(1, width + 1)]
    assert all(rows <= padded <= width for rows, padded in enumerate(widths, 1))
    assert widths == sorted(widths)
    assert [plan.padded(padded) for padded in widths] == widths
    assert len(set(widths)) <= width // 4 + 1
    assert plan.padded(width + 1) == width + 1  # wider batches are not its business


def test_a_unit_of_work_covers_several_batches() -> None:
    assert execution(width=1).chunk(784) == 64
    assert execution(width=64).chunk(3072) == 1024
    assert execution(width=64).chunk(150_528) == 256


@pytest.mark.parametrize("options", [{"precision": "float16"}, {"width": 0}, {"width": -3}])
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        execution(**options)


def test_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Execution.choose().device == "cpu"
    assert Execution.choose(threads=3).threads == 3
    assert Execution.choose(width=5).width == 5
    with pytest.raises(UsageError, match="no CUDA device; use --device cpu"):
        Execution.choose("cuda")
    with pytest.raises(UsageError, match="'tpu'"):
        Execution.choose("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Execution.choose().device == "cuda"
    assert Execution.choose().width > Execution.choose("cpu").width
    assert Execution.choose("cpu").device == "cpu"


def test_it_is_plain_data() -> None:
    one = execution(width=7, precision="float64")
    assert msgspec.convert(msgspec.to_builtins(one), Execution) == one
