"""The fixture: a test fails where the gate does not pass, and says why; who does not ask for it loads nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from auditor import cli
from auditor.errors import UsageError
from auditor.options import ELSEWHERE, scan_command, scan_options

pytest_plugins = ["pytester"]

MNIST = Path(__file__).resolve().parents[1] / "examples" / "mnist"
TESTS = """
from pathlib import Path

import pytest

FAST = {"limit": 40, "suite": "quick", "escalate": False, "hardness": False, "certify": False, "norm": "linf"}
DATA = Path("samples.npz")

def test_passes(advaudit):
    record = advaudit("robust.onnx", DATA, fail_under=0.5, epsilon=0.3, **FAST)
    assert record.verdict == "passed"
    assert record.samples.n == 40
    assert record.metrics.robust_accuracy > 0.5
    assert record.command.startswith("advaudit scan robust.onnx --data samples.npz --fail-under 0.5 --epsilon 0.3")

def test_fails(advaudit):
    advaudit(Path("natural.onnx"), config="plan.toml", fail_under=0.0)
    pytest.exit("a test goes on after its gate failed")

@pytest.mark.parametrize("limit", [10])
def test_undecided(advaudit, limit):
    advaudit("robust.onnx", DATA, fail_under=0.5, epsilon=0.3, **(FAST | {"limit": limit}))

def test_no_rule(advaudit):
    advaudit("robust.onnx", DATA, epsilon=0.3, **FAST)

def test_no_file(advaudit):
    advaudit("missing.onnx", DATA, epsilon=0.3, fail_under=0.5)

def test_no_option(advaudit):
    advaudit("robust.onnx", DATA, epsilom=0.3, fail_under=0.5)
"""
PLAN = """
[samples]
path = "samples.npz"
limit = 40
[[threat]]
norm = "linf"
epsilon = 0.3
[search]
suite = "quick"
escalate = false
hardness = false
certify = false
[[gate]]
metric = "robust_accuracy"
at_least = 0.25
"""


def test_a_gate_is_a_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_gate=TESTS)
    for name in ("natural.onnx", "robust.onnx", "samples.npz"):
        shutil.copy(MNIST / name, pytester.path / name)
    (pytester.path / "plan.toml").write_text(PLAN, encoding="utf-8")
    result = pytester.runpytest_subprocess("--advaudit-out", "kept", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=5)
    text = result.stdout.str()
    assert "Traceback" not in text
    assert "test_gate.py:" not in text.split("short test summary")[0]
    blocks = dict(re.findall(r"_{5,} (\w+)\S* _{5,}\n(.*?)(?=\n[_=]{5,})", text, re.S))
    failed = blocks["test_fails"].splitlines()
    assert failed[0] == "advaudit: failed"
    assert failed[1].startswith("natural.onnx: Robust accuracy ≤ 0 % (linf 0.3, n = 40, 0–9); clean ")
    assert failed[2] == "  FAILED       robust accuracy at least 0.25: it is at most 0.0000 on 40 samples"
    assert failed[3] == f"Report: {pytester.path / 'kept' / 'test-gate.py-test-fails' / 'report.html'}"
    assert len(failed) == 4  # the rule that passed is not told
    undecided = blocks["test_undecided"].splitlines()
    assert undecided[0] == "advaudit: inconclusive, which is no pass: a rule can't be decided"
    assert undecided[2] == (
        "  INCONCLUSIVE robust accuracy at least 0.5: 10 samples are too few to say, the rule asks for 30"
    )
    for name, words in {
        "test_no_rule": "No rule was given for robust.onnx, so it could neither pass nor fail: give a gate",
        "test_no_file": "advaudit could not audit missing.onnx: There is no file missing.onnx",
        "test_no_option": "it has none called 'epsilom'",
    }.items():
        assert words in blocks[name]
        assert len(blocks[name].splitlines()) == 1
    kept = {path.parent.name for path in (pytester.path / "kept").glob("*/audit.json")}
    assert kept == {"test-gate.py-test-passes", "test-gate.py-test-fails", "test-gate.py-test-undecided-10"}


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
