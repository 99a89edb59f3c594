"""The fixture: a test fails where the gate does not pass, and says why; who does not ask for it loads nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from plans import quick_plan
from records import outcomes, record

import auditor.scan
from auditor import cli
from auditor.config import Config
from auditor.entry import Entry
from auditor.errors import UsageError
from auditor.folder import write_record
from auditor.gate import judged
from auditor.options import ELSEWHERE, scan_command, scan_options
from auditor.pytest_plugin import Advaudit
from auditor.scan import Scanned
from auditor.verdict import require_rules

pytest_plugins = ["pytester"]

MNIST = Path(__file__).resolve().parents[1] / "examples" / "mnist"
PLAN = quick_plan(at_least=0.25)
TESTS = """
import pytest

def test_passes(advaudit):
    assert advaudit("m.onnx", fail_under=0.5).verdict == "passed"

def test_fails(advaudit):
    advaudit("m.onnx", fail_under=0.95)
    pytest.exit("a test goes on after its gate failed")

@pytest.mark.parametrize("path", ["a/b", "a-b"])
def test_undecided(advaudit, path):
    advaudit("few.onnx", fail_under=0.5)

def test_twice(advaudit):
    advaudit("m.onnx", fail_under=0.5)
    advaudit("m.onnx", fail_under=0.5, out="chosen")
    advaudit("m.onnx", fail_under=0.5)

def test_hostile(advaudit):
    advaudit("::error::m\\x1b[2J\\n::warning::m##[x]", fail_under=0.95)

def test_no_rule(advaudit):
    advaudit("m.onnx", require_gate=False)

def test_no_option(advaudit):
    advaudit("m.onnx", epsilom=0.3, fail_under=0.5)
"""


def scan(model: str, options: Mapping[str, Any], *_: object, command: str) -> Scanned:
    """A stand-in for a scan: nine in ten of a hundred samples withstand, of few.onnx ten do."""
    policy = Config().rules(None, options["fail_under"])
    assert options["require_gate"]
    require_rules(policy, [("linf 8/255", "linf")])
    out = options["out"]
    out.mkdir(parents=True)
    made = record(outcomes("w" * 10 if model == "few.onnx" else "w" * 90 + "b" * 10), command=command)
    called = msgspec.structs.replace(made, model=msgspec.structs.replace(made.model, name=model))
    entry = Entry(judged(called, policy), out)
    write_record(out, entry.record)
    return Scanned([entry], [out / "report.html"])


@pytest.fixture
def ran(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.RunResult:
    """How pytest runs TESTS, in this process and without a model."""
    monkeypatch.setattr(auditor.scan, "scan", scan)
    pytester.makepyfile(test_gate=TESTS)
    return pytester.runpytest_inprocess("--advaudit-out", "kept", "-p", "no:cacheprovider")


def test_a_gate_is_a_test(pytester: pytest.Pytester, ran: pytest.RunResult) -> None:
    ran.assert_outcomes(passed=2, failed=6)
    text = ran.stdout.str()
    assert "Traceback" not in text
    assert "test_gate.py:" not in text.split("short test summary")[0]
    blocks = dict(re.findall(r"_{5,} (\w+)\S* _{5,}\n(.*?)(?=\n[_=]{5,})", text, re.S))
    failed = blocks["test_fails"].splitlines()
    assert failed[0] == "advaudit: failed"
    assert failed[1].startswith("m.onnx: Robust accuracy ≤ 90.0 % (linf 8/255, n = 100, 83–94); clean ")
    assert failed[2] == "  FAILED       robust accuracy at least 0.95: it is at most 0.9000 on 100 samples"
    assert re.fullmatch(r"Report: .*/kept/test-gate\.py-test-fails-[0-9a-f]{8}/report\.html", failed[3])
    assert len(failed) == 4
    undecided = blocks["test_undecided"].splitlines()
    assert undecided[0] == "advaudit: inconclusive, which is no pass: a rule can't be decided"
    assert undecided[2] == (
        "  INCONCLUSIVE robust accuracy at least 0.5: 10 samples can't pass it, the rule asks for 30"
    )
    for name, words in {
        "test_no_rule": "advaudit could not audit m.onnx: No rule was given, so it could neither pass nor fail: give ",
        "test_no_option": "it has none called 'epsilom'",
    }.items():
        assert words in blocks[name]
        assert len(blocks[name].splitlines()) == 1
    hostile = blocks["test_hostile"].splitlines()
    assert hostile[1].startswith(": :error::m\\u001b[2J ::warning::m## [x]: Robust accuracy")
    assert len(hostile) == 4


def test_each_scan_has_its_own_folder(pytester: pytest.Pytester, ran: pytest.RunResult) -> None:
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    kept = sorted(path.parent.name for path in (pytester.path / "kept").glob("*/audit.json"))
    names = ["fails", "hostile", "passes", "twice", "twice", "undecided-a-b", "undecided-a-b"]
    assert [re.sub(r"^test-gate\.py-test-(.*?)-[0-9a-f]{8}(-\d)?$", r"\1", name) for name in kept] == names
    twice = [name for name in kept if "twice" in name]
    assert twice[1] == f"{twice[0]}-3"
    assert (pytester.path / "chosen" / "audit.json").exists()


@pytest.fixture
def mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the bundled models and a plan."""
    for name in ("natural.onnx", "robust.onnx", "samples.npz"):
        shutil.copy(MNIST / name, tmp_path / name)
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def test_it_scans_as_the_command_does(mnist: None, advaudit: Advaudit) -> None:
    record = advaudit("robust.onnx", Path("samples.npz"), config="plan.toml", fail_under=0.5, epsilon=0.3)
    assert record.verdict == "passed"
    assert [row.threshold for row in record.gate.rules] == [0.25, 0.5]
    assert record.samples.n == 30
    assert record.command.startswith(
        "advaudit scan robust.onnx --data samples.npz --config plan.toml --fail-under 0.5 --epsilon 0.3"
    )


def test_it_fails_where_the_model_does(mnist: None, advaudit: Advaudit) -> None:
    with pytest.raises(pytest.fail.Exception) as failed:
        advaudit(Path("natural.onnx"), config="plan.toml", fail_under=0.0)
    lines = str(failed.value).splitlines()
    assert lines[0] == "advaudit: failed"
    assert lines[2:-1] == ["  FAILED       robust accuracy at least 0.25: it is at most 0.0000 on 30 samples"]
    assert Path(lines[-1].removeprefix("Report: ")).is_file()


def test_a_scan_that_can_not_be_run_fails(mnist: None, advaudit: Advaudit) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"^advaudit could not audit gone.onnx: There is no file gone.onnx"):
        advaudit("gone.onnx", config="plan.toml")
    (Path.cwd() / "plan.toml").write_text(PLAN.split("[[gate]]")[0], encoding="utf-8")
    with pytest.raises(pytest.fail.Exception, match="No rule was given"):
        advaudit("robust.onnx", config="plan.toml")


def test_whoever_does_not_ask_for_it_does_not_wait_for_it() -> None:
    code = "import sys, auditor.pytest_plugin; print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"'(\w+)'", done.stdout))
    assert not loaded & {"torch", "numpy", "onnx", "onnxruntime", "msgspec", "click", "scipy", "PIL"}


def test_the_plugin_is_an_entry_point(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.pluginmanager.get_plugin("advaudit") is sys.modules["auditor.pytest_plugin"]


def test_options_that_are_not_given_are_those_of_the_command() -> None:
    with cli.scan.make_context("scan", ["model.onnx"]) as context:
        expected = {name: value for name, value in context.params.items() if name not in (*ELSEWHERE, "model")}
    assert scan_options({}) == expected
    assert scan_options({"limit": None, "surrogates": None}) == expected


def test_options_are_made_what_the_command_makes_of_them() -> None:
    given = {
        "config": "a.toml", "epsilon": 0.3, "bounds": [0, 1], "attacks": ["pgd", "square"], "limit": 5,
        "escalate": False, "deep": True, "fail_under": "0.5", "formats": ("html",),
    }  # fmt: skip
    line = scan_command("m.onnx", given)
    assert line == (
        "advaudit scan m.onnx --config a.toml --epsilon 0.3 --bounds 0 1 --attack pgd --attack square --limit 5 "
        "--no-escalate --deep --fail-under 0.5 --format html"
    )
    with cli.scan.make_context("scan", line.split()[2:]) as context:
        assert {**scan_options(given), "model": "m.onnx"} == {
            name: value for name, value in context.params.items() if name not in ELSEWHERE
        }


@pytest.mark.parametrize(
    "given", [{"limt": 3}, {"limit": 0}, {"limit": "x"}, {"norm": "l7"}, {"attacks": 3}, {"fail_under": 2}]
)
def test_an_option_that_the_command_would_refuse_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(given))):
        scan_options(given)
