from __future__ import annotations

import platform

import torch

from auditor import environment
from auditor.environment import CPU_FLAGS, cpu_flags, installed


def test_facts_are_text() -> None:
    facts = environment.environment()
    assert facts["python"] == platform.python_version()
    assert all(isinstance(value, str) for value in facts.values())
    assert facts["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_packages_that_are_not_there_are_left_out() -> None:
    assert {"torch", "onnx", "numpy"} <= set(installed())
    assert None not in installed().values()


def test_flags_are_those_that_change_arithmetic() -> None:
    assert set(cpu_flags()) <= set(CPU_FLAGS)


def test_no_cpuinfo_no_crash(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(environment.Path, "read_text", missing)
    assert cpu_flags() == []
    assert isinstance(environment.processor(), str)
