from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from auditor.guard import SETTINGS, unmoved

CHANGES: dict[str, Callable[[], object]] = {
    "torch's generator": lambda: torch.rand(3),
    "torch's seed": lambda: torch.manual_seed(1),
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "gradient mode": lambda: torch.set_grad_enabled(False),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "precision of products": lambda: torch.set_float32_matmul_precision("medium"),
    "determinism": lambda: torch.use_deterministic_algorithms(True),
    "numpy's generator": lambda: np.random.rand(),
    "numpy's errors": lambda: np.seterr(divide="ignore"),
    "Python's generator": random.random,
    "directory": lambda: os.chdir("/"),
}


def state() -> list[str]:
    return [repr(read().tolist() if isinstance(read(), torch.Tensor) else read()) for read, _ in SETTINGS]


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("raises", [False, True])
def test_a_change_ends_with_the_block(name: str, raises: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = state()
    error = RuntimeError if raises else ()
    try:
        with unmoved():
            CHANGES[name]()
            assert state() != before
            if raises:
                raise RuntimeError
    except error:
        pass
    assert state() == before


def test_every_setting_is_tried() -> None:
    assert len(CHANGES) == len(SETTINGS) + 1  # two of them move torch's generator


def test_what_was_not_changed_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []
    monkeypatch.setattr("auditor.guard.SETTINGS", ((lambda: 1, written.append),))
    with unmoved():
        pass
    assert written == []
