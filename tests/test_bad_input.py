"""Bad input of every kind: one sentence, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import labelled, linear_model
from onnx import TensorProto, helper

from auditor.cli import main


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a good model and good samples."""
    weight, bias = linear_model(tmp_path / "m.onnx")
    labelled(tmp_path / "s.npz", weight, bias)
    return tmp_path


@dataclass
class Done:
    """How a call of the command line ended."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process, in the folder of the good model."""
    monkeypatch.chdir(here)
    monkeypatch.delenv("ADVAUDIT_DEBUG", raising=False)

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["advaudit", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return Done(int(stop.value.code or 0), said.out, said.err)

    return call


def run_apart(folder: Path, *arguments: str, preexec: Callable[[], None] | None = None) -> Done:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "auditor", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=preexec,
    )
    return Done(done.returncode, done.stdout, done.stderr)


GOOD = ("scan", "m.onnx", "--data", "s.npz", "--epsilon", "0.1", "--suite", "quick")


def plain(*arguments: str) -> Callable[[Path], tuple[str, ...]]:
    return lambda folder: arguments


def saved(name: str, **arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.savez(folder / name, **arrays)


def truncated(folder: Path) -> tuple[str, ...]:
    (folder / "t.onnx").write_bytes((folder / "m.onnx").read_bytes()[:60])
    return ("scan", "t.onnx", *GOOD[2:])


def not_onnx(folder: Path) -> tuple[str, ...]:
    (folder / "n.onnx").write_text("this is no model, only a sentence\n" * 20)
    return ("scan", "n.onnx", *GOOD[2:])


def data(**arrays: np.ndarray) -> Callable[[Path], tuple[str, ...]]:
    def make(folder: Path) -> tuple[str, ...]:
        np.savez(folder / "d.npz", **arrays)
        return ("scan", "m.onnx", "--data", "d.npz", *GOOD[4:])

    return make


def config(text: str, *more: str) -> Callable[[Path], tuple[str, ...]]:
    def make(folder: Path) -> tuple[str, ...]:
        (folder / "plan.toml").write_text(text)
        return (*GOOD, "--config", "plan.toml", *more)

    return make


def out_is_file(folder: Path) -> tuple[str, ...]:
    (folder / "o").write_text("mine")
    return (*GOOD, "--out", "o")


def folder_without_classes(folder: Path) -> tuple[str, ...]:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.txt").write_text("no folder here")
    return ("scan", "m.onnx", "--data", "pictures", *GOOD[4:])


def norm_and_boxes(folder: Path) -> tuple[str, ...]:
    with np.load(folder / "s.npz") as s:
        np.savez(folder / "b.npz", x=s["x"], y=s["y"], lower=s["x"] - 0.1, upper=s["x"] + 0.1)
    return ("scan", "m.onnx", "--data", "b.npz", *GOOD[4:])


def boxes_and_bounds(folder: Path) -> tuple[str, ...]:
    norm_and_boxes(folder)
    return ("scan", "m.onnx", "--data", "b.npz", "--bounds", "0", "1")


def misspelt_hook(folder: Path) -> tuple[str, ...]:
    (folder / "p").mkdir()
    (folder / "p" / "mine.py").write_text(
        "from auditor.hookspecs import hookimpl\n@hookimpl\ndef register_attack(register):\n    pass\n"
    )
    return (*GOOD, "--plugins-dir", "p")


def hangs(folder: Path) -> tuple[str, ...]:
    """A loop of 2^62 rounds around a matrix product."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "square"], ["next"]),
            helper.make_node("Identity", ["again"], ["more"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    eye = helper.make_tensor("square", TensorProto.FLOAT, [12, 12], np.eye(12, dtype=np.float32).ravel())
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds", "yes", "x"], ["z"], body=body)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 12])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 12])],
        [
            eye,
            helper.make_tensor("rounds", TensorProto.INT64, [], [2**62]),
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "h.onnx")
    (folder / "plan.toml").write_text("[run]\ntimeout = 2.0\n")
    return ("scan", "h.onnx", *GOOD[2:], "--config", "plan.toml")


def no_rule_for_one(folder: Path) -> tuple[str, ...]:
    threats = "".join(f'[[threat]]\nnorm = "{norm}"\nepsilon = 0.1\n' for norm in ("linf", "l2"))
    (folder / "plan.toml").write_text(f'{threats}[[gate]]\nmetric = "trust"\nthreat = "l2"\n')
    return (*GOOD[:4], "--config", "plan.toml", "--require-gate")


X = np.full((40, 12), 0.5, np.float32)
Y = np.zeros(40, np.int64)
NAN = X.copy()
NAN[3, 4] = np.nan

CASES: dict[str, tuple[Callable[[Path], tuple[str, ...]], str]] = {
    "missing file": (plain("scan", "gone.onnx", *GOOD[2:]), "gone.onnx"),
    "missing samples": (plain("scan", "m.onnx", "--data", "gone.npz", "--epsilon", "0.1"), "gone.npz"),
    "not onnx": (not_onnx, "n.onnx"),
    "truncated": (truncated, "t.onnx"),
    "wrong shapes": (data(x=np.zeros((40, 5), np.float32), y=Y), "shape"),
    "wrong dtype": (data(x=np.full((40, 12), "a"), y=Y), "number"),
    "pickled objects": (data(x=np.array([{}] * 40, dtype=object), y=Y), "d.npz"),
    "labels out of range": (data(x=X, y=Y + 7), "Labels run from 0 to 2"),
    "nan samples": (data(x=NAN, y=Y), "not finite"),
    "no samples": (data(x=X[:0], y=Y[:0]), "no samples"),
    "labels missing": (data(x=X), "`y`"),
    "negative epsilon": (plain(*GOOD[:5], "-0.1"), "epsilon"),
    "epsilon of nothing": (plain(*GOOD[:5], "0"), "above 0"),
    "epsilon beyond float32": (plain(*GOOD[:5], "1e300"), "at most"),
    "bounds that bound nothing": (plain(*GOOD, "--bounds", "-inf", "inf"), "bounds"),
    "step that goes nowhere": (plain(*GOOD, "--attack", "pgd:rel_step=-1"), "rel_step"),
    "no threads": (config("[run]\nthreads = 0\n"), "threads"),
    "boxes and bounds": (boxes_and_bounds, "whole threat"),
    "no epsilon": (plain("scan", "m.onnx", "--data", "s.npz"), "--epsilon"),
    "no data": (plain("scan", "m.onnx", "--epsilon", "0.1"), "advaudit init"),
    "bounds that samples leave": (plain(*GOOD, "--bounds", "0.4", "0.6"), "reach beyond"),
    "unknown attack": (plain(*GOOD, "--attack", "magic"), "magic"),
    "unknown option of an attack": (plain(*GOOD, "--attack", "pgd:stride=3"), "stride"),
    "option of the wrong type": (plain(*GOOD, "--attack", "pgd:steps=many"), "steps"),
    "unknown loss": (plain(*GOOD, "--attack", "pgd:loss=hinge"), "hinge"),
    "unknown command-line option": (plain(*GOOD, "--epsilom", "3"), "--epsilom"),
    "unknown suite": (plain(*GOOD[:-1], "magic"), "magic"),
    "unknown format": (plain(*GOOD, "--format", "pdf"), "pdf"),
    "unknown preset": (plain(*GOOD, "--preprocess", "imagnet"), "imagnet"),
    "unreadable plan": (plain(*GOOD, "--config", "gone.toml"), "gone.toml"),
    "plan that is no toml": (config("[model\n"), "TOML"),
    "distances by no attack": (config('[search]\ndistances = "jmsa"\n'), "jmsa"),
    "distances by a fixed budget": (config('[search]\ndistances = "apgd"\n'), "minimum-norm attack"),
    "distances in another norm": (config('[search]\ndistances = "jsma"\n'), "jsma knows l0"),
    "protected class that is none": (config('[[protect]]\nlabel = "stop"\n'), "'stop'"),
    "protected from itself": (config("[[protect]]\nlabel = 1\ninto = 1\n"), "two classes"),
    "confusion that costs nothing": (config("[[protect]]\nlabel = 1\ncost = 0\n"), "protect"),
    "unknown key": (config("[search]\nsuit = 'quick'\n"), "suit"),
    "unknown gate metric": (config("[[gate]]\nmetric = 'goodness'\nat_least = 0.5\n"), "goodness"),
    "output path is a file": (out_is_file, "is a file"),
    "image folder without classes": (folder_without_classes, "pictures"),
    "norm and boxes": (norm_and_boxes, "lower"),
    "provider absent": (plain(*GOOD, "--device", "cuda"), "cuda"),
    "misspelt hook": (misspelt_hook, "register_attacks"),
    "model that hangs": (hangs, "2 s"),
    "untrusted torch file": (plain("scan", "m.pt2", *GOOD[2:]), "m.pt2"),
    "target class that is not there": (plain(*GOOD, "--goal", "targeted:9"), "targeted:9"),
    "no rule where one is required": (plain(*GOOD, "--require-gate"), "No rule was given"),
    "no rule for a threat where one is required": (no_rule_for_one, "No rule is for the threat linf 0.1"),
    "record that is not there": (plain("gate", "gone", "--fail-under", "0.5"), "gone"),
    "gate without a policy": (plain("gate", "gone"), "policy"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence(case: str, here: Path, run: Run) -> None:
    make, named = CASES[case]
    arguments = make(here)
    before = sorted(path.name for path in here.rglob("*"))
    if case == "provider absent":
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a CUDA device")
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    said = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(said) == 1, done.stderr
    assert len(said[0]) < 500
    assert "bug" not in done.stderr, done.stderr
    after = sorted(path.name for path in here.rglob("*"))
    assert after == before, "something was written"


def test_good_input_passes_where_bad_input_fails(here: Path, run: Run) -> None:
    done = run(*GOOD, "--out", "o")
    assert done.returncode == 0, done.stderr
    assert (here / "o" / "audit.json").exists()


def test_record_of_another_plan_is_refused(here: Path, run: Run) -> None:
    from auditor.journal import JOURNAL

    assert run(*GOOD, "--out", "o").returncode == 0
    (here / "o" / "audit.json").unlink()
    (here / "o" / JOURNAL).write_text('{"schema": 1, "plan_digest": "another", "execution": {}}\n')
    done = run(*GOOD, "--out", "o", "--resume")
    assert done.returncode == 2
    assert "another" in done.stderr
    done = run(*GOOD, "--out", "o")
    assert done.returncode == 2
    assert "--resume" in done.stderr


def test_a_complete_record_is_not_replaced_unasked(here: Path, run: Run) -> None:
    assert run(*GOOD, "--out", "o").returncode == 0
    kept = (here / "o" / "audit.json").read_bytes()
    done = run(*GOOD, "--out", "o")
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert (here / "o" / "audit.json").read_bytes() == kept


def test_resuming_a_complete_scan_keeps_it(here: Path, run: Run) -> None:
    assert run(*GOOD, "--out", "o").returncode == 0
    kept = (here / "o" / "audit.json").read_bytes()
    assert run(*GOOD, "--out", "o", "--resume").returncode == 0
    assert (here / "o" / "audit.json").read_bytes() == kept
    done = run(*GOOD, "--out", "o", "--resume", "--seed", "3")
    assert done.returncode == 2
    assert "another plan" in done.stderr


def test_an_edited_record_is_refused(here: Path, run: Run) -> None:
    assert run(*GOOD, "--out", "o").returncode == 0
    path = here / "o" / "audit.json"
    path.write_text(path.read_text().replace('"status": "broken"', '"status": "withstood"'))
    done = run("gate", "o", "--fail-under", "0.1")
    assert done.returncode == 2
    assert "not those that were written" in done.stderr


def test_a_user_file_is_never_taken_away(here: Path, run: Run) -> None:
    (here / "o" / "journal.blocks").mkdir(parents=True)
    (here / "o" / "journal.blocks" / "mine.npz").write_text("mine")
    assert run(*GOOD, "--out", "o").returncode == 0
    assert run(*GOOD, "--out", "o", "--overwrite").returncode == 0
    assert (here / "o" / "journal.blocks" / "mine.npz").read_text() == "mine"


def test_full_disk_is_one_sentence_and_resumable(here: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    done = run_apart(here, *GOOD, "--out", "o", preexec=limit)
    assert done.returncode == 2, done.stderr
    assert "can't be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (here / "o" / "audit.json").exists()
    done = run_apart(here, *GOOD, "--out", "o", "--resume")
    assert done.returncode == 0, done.stderr
