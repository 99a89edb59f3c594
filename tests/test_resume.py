"""Killed at any moment and resumed, a scan ends with the same bits as one that ran through."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from auditor.entry import read_evidence, read_record

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "mnist"
SCAN = (
    "scan", "robust.onnx", "--data", "samples.npz", "--epsilon", "0.3", "--limit", "150", "--batch-size", "8",
    "--attack", "noise:steps=4", "--attack", "pgd:steps=20,loss=margin", "--attack", "apgd:steps=20,loss=dlr",
    "--attack", "square:steps=60", "--progress", "none",
)  # fmt: skip
KILLS = 20


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "auditor", *SCAN, "--out", str(out), *more],
        cwd=EXAMPLE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(out: Path, *more: str) -> float:
    began = time.monotonic()
    process = start(out, *more)
    _, said = process.communicate(timeout=280)
    assert process.returncode == 0, said
    return time.monotonic() - began


def bits(out: Path) -> tuple[str, dict[str, bytes], list[object]]:
    """What must be equal: outcomes, evidence, and what each stage broke and spent."""
    record = read_record(out)
    evidence = {name: array.tobytes() for name, array in read_evidence(out).items()}
    stages: list[object] = [(a.name, a.broken, a.forwards, a.backwards, a.queries, a.rejected) for a in record.attacks]
    return record.outcomes_digest, evidence, stages


def test_two_runs_are_bit_identical(tmp_path: Path) -> None:
    finish(tmp_path / "a")
    finish(tmp_path / "b")
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    record = read_record(tmp_path / "a")
    assert sum(outcome.status == "broken" for outcome in record.outcomes) > 3, "nothing broken: the test can't fail"


@pytest.mark.slow
def test_killed_twenty_times_and_resumed(tmp_path: Path) -> None:
    whole = finish(tmp_path / "whole")
    wanted = bits(tmp_path / "whole")
    draw = random.Random(0)
    for kill in range(KILLS):
        out = tmp_path / f"killed{kill}"
        process = start(out)
        time.sleep(whole * draw.uniform(0.2, 0.98))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if not (out / "audit.json").exists():  # else the kill came after the end
            finish(out, "--resume")
        assert bits(out) == wanted, f"kill {kill}"
        assert not (out / "journal.jsonl").exists()
