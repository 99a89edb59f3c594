"""The functions below are run in the child too, which imports this file by its name."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import msgspec
import pytest

from auditor.errors import ModelError, UsageError
from auditor.sandbox import confined

MIB = 1 << 20


class Ask(msgspec.Struct):
    number: int
    text: str = ""


class Told(msgspec.Struct):
    number: int
    modules: list[str] = []


def double(ask: Ask) -> Told:
    print("noise on standard output")
    os.write(1, b"native noise")
    return Told(2 * ask.number, sorted(sys.modules))


def refuse(ask: Ask) -> Told:
    raise UsageError(ask.text)


def stumble(ask: Ask) -> Told:
    raise ZeroDivisionError("two\nlines")


def die(ask: Ask) -> Told:
    os.kill(os.getpid(), signal.SIGSEGV)
    return Told(0)


def leave(ask: Ask) -> Told:
    os._exit(7)


def sleep(ask: Ask) -> Told:
    time.sleep(ask.number)
    return Told(0)


def hoard(ask: Ask) -> Told:
    return Told(len(bytearray(ask.number * MIB)))


def write(ask: Ask) -> Told:
    with open(ask.text, "wb") as file:
        file.write(b"x" * 5000)
    return Told(0)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    for function in (double, refuse, stumble, die, leave, sleep, hoard, write):
        monkeypatch.setattr(function, "__module__", "test_sandbox")


def test_the_answer_comes_back_whatever_else_is_printed() -> None:
    assert confined(double, Ask(21), subject="m", timeout=20, memory=4096 * MIB).number == 42


def test_the_child_loads_no_torch() -> None:
    assert "torch" not in confined(double, Ask(1), subject="m", timeout=20, memory=4096 * MIB).modules


def test_our_own_errors_keep_their_words() -> None:
    with pytest.raises(ModelError, match=r"^the child's own sentence$"):
        confined(refuse, Ask(0, "the child's own sentence"), subject="m", timeout=20, memory=4096 * MIB)


def test_what_an_error_quotes_can_not_write_on_the_terminal() -> None:
    with pytest.raises(ModelError, match=re.escape("the node \ufffd[31m of the file")):
        confined(refuse, Ask(0, "the node \x1b[31m of the file"), subject="m", timeout=20, memory=4096 * MIB)


def test_other_errors_become_one_line() -> None:
    with pytest.raises(ModelError, match=r"ZeroDivisionError: two lines"):
        confined(stumble, Ask(0), subject="m", timeout=20, memory=4096 * MIB)


def test_a_crash_is_told_by_its_signal() -> None:
    with pytest.raises(ModelError, match=r"m\.onnx crashed its process \(SIGSEGV\)"):
        confined(die, Ask(0), subject="m.onnx", timeout=20, memory=4096 * MIB)


def test_an_early_end_is_no_answer() -> None:
    with pytest.raises(ModelError, match="exit code 7"):
        confined(leave, Ask(0), subject="m.onnx", timeout=20, memory=4096 * MIB)


def test_a_hang_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.sandbox.GRACE", 0.5)
    began = time.monotonic()
    with pytest.raises(ModelError, match="did not answer in time"):
        confined(sleep, Ask(60), subject="m.onnx", timeout=0.5, memory=4096 * MIB)
    assert time.monotonic() - began < 10


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel keeps this limit on Linux only")
def test_memory_is_limited() -> None:
    assert confined(hoard, Ask(10), subject="m", timeout=20, memory=1024 * MIB).number == 10 * MIB
    with pytest.raises(ModelError, match=r"more than 1 GiB"):
        confined(hoard, Ask(2048), subject="m", timeout=20, memory=1024 * MIB)


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit on Windows")
def test_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"OSError"):
        confined(write, Ask(0, str(tmp_path / "file")), subject="m", timeout=20, memory=4096 * MIB)
