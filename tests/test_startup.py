"""Commands that run no model load nothing of what runs one; how long they take is measured by `benchmarks.startup`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest
from records import outcomes, record

from auditor.entry import digest_outcomes, read_bytes
from auditor.errors import RecordError
from auditor.folder import write_arrays, write_record
from auditor.record import EVIDENCE

HEAVY = {"torch", "onnx", "onnxruntime", "scipy", "PIL", "jinja2", "rich", "pluggy"}
RUN = "import sys\nfrom auditor.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit as stop: code = stop.code"


def loaded(code: str, *arguments: str) -> tuple[set[str], str]:
    """The packages that a fresh interpreter has loaded once it ran this code, and what it printed."""
    told = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", told, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stderr.split()), done.stdout


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A record of 40 samples, one of them broken, with evidence that its digest fits."""
    found = outcomes("w" * 39 + "b")
    x = np.zeros((1, 4), np.float32)
    arrays = {"id": np.array([39]), "x": x, "x_adv": x + 1, "label": np.array([0]), "adversarial_label": np.array([1])}
    write_arrays(tmp_path / EVIDENCE, arrays)
    made = record(found)
    write_record(tmp_path, msgspec.structs.replace(made, outcomes_digest=digest_outcomes(found, arrays)))
    return tmp_path


def test_help_loads_the_command_line_alone() -> None:
    there, text = loaded(RUN, "--help")
    assert "--version" in text
    assert "click" in there
    assert not there & (HEAVY | {"numpy", "msgspec"})


def test_a_gate_that_reads_the_evidence_loads_no_library_for_it(whole: Path) -> None:
    there, text = loaded(f"{RUN}\nassert code == 0, code", "gate", str(whole), "--fail-under", "0.4")
    assert "PASSED" in text
    assert "msgspec" in there
    assert not there & (HEAVY | {"numpy"})


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_bytes_are_those_of_numpy(tmp_path: Path, order: Literal["C", "F"]) -> None:
    arrays = {"x": np.arange(6.0).reshape(2, 3).copy(order=order), "id": np.array([3]), "none": np.zeros((0, 4))}
    write_arrays(tmp_path / EVIDENCE, arrays)
    assert read_bytes(tmp_path) == {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY"])
def test_torn_evidence_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / EVIDENCE).write_bytes(content)
    with pytest.raises(RecordError, match="can't be read"):
        read_bytes(tmp_path)


def test_what_a_gate_is_made_of_leaves_scipy_to_its_functions() -> None:
    names = ("config", "consistency", "entry", "metrics", "paired", "rates", "sequential", "summary")
    there, _ = loaded("import " + ", ".join(f"auditor.{name}" for name in names))
    assert not there & HEAVY
