"""A twin that computes something else: the number is doubtful, the gate inconclusive, the doctor is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper
from onnx_files import make, value, write

from auditor.cli import main
from auditor.entry import read_record
from auditor.judgement import Verdict
from auditor.record import FindingStatus, Record, Severity

WRONG = """
from auditor import hookimpl


@hookimpl
def register_operators(operators):
    operators.register("Tanh", lambda node: lambda x: -x.tanh(), since=14)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of opset 17 with a Tanh, and samples that it classifies rightly."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 4)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Tanh", ["a"], ["y"])]
    write(tmp_path / "m.onnx", make(nodes, [value("x", ["N", 6])], [value("y", ["N", 4])], {"w": weight}))
    x = rng.standard_normal((60, 6)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=x, y=(x @ weight).argmax(1))
    (tmp_path / "plugins").mkdir()
    return tmp_path


def scan(folder: Path, code: int) -> Record:
    arguments = ["scan", "m.onnx", "--data", "samples.npz", "--epsilon", "1e-6", "--fail-under", "0.5"]
    arguments += ["--suite", "quick", "--out", "out", "--plugins-dir", "plugins", "--format", "markdown"]
    paths = {name: str(folder / name) for name in ("m.onnx", "samples.npz", "out", "plugins")}
    result = CliRunner().invoke(main, [paths.get(argument, argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return read_record(folder / "out")


def test_a_faithful_twin_passes(folder: Path) -> None:
    record = scan(folder, 0)
    assert record.fidelity is not None
    assert record.fidelity.label_agreement == 1.0
    assert record.verdict is Verdict.PASSED


def test_a_twin_below_the_floor_makes_the_number_doubtful_and_the_gate_inconclusive(folder: Path) -> None:
    (folder / "plugins" / "wrong.py").write_text(WRONG, encoding="utf-8")
    record = scan(folder, 3)
    assert record.fidelity is not None
    assert record.fidelity.label_agreement < record.fidelity.floor
    assert record.trust == "doubtful"
    assert record.verdict is Verdict.INCONCLUSIVE
    assert "twin agrees with the model on only" in record.gate.rules[0].reason
    (finding,) = [finding for finding in record.findings if finding.id == "fidelity"]
    assert finding.status is FindingStatus.RAISED
    assert "advaudit doctor" in finding.advice
    page = (folder / "out" / "report.md").read_text(encoding="utf-8")
    assert "doubtful" in page
    assert "below it" in page


SLIGHTLY_WRONG = WRONG.replace("-x.tanh()", "1.05 * x.tanh()")


def test_a_twin_that_is_slightly_wrong_is_worth_knowing_and_no_more(folder: Path) -> None:
    (folder / "plugins" / "wrong.py").write_text(SLIGHTLY_WRONG, encoding="utf-8")
    record = scan(folder, 0)
    (found,) = (finding for finding in record.findings if finding.id == "fidelity")
    assert (found.status, found.severity) == (FindingStatus.RAISED, Severity.INFO)
    assert "more than rounding" in found.explanation
    assert record.trust == "sound"
