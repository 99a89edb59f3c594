"""`plugins check`: each thing that can be wrong with a plugin is one readable line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from auditor.cli import main
from auditor.conformance import Line, check_module

ATTACK = '''
from dataclasses import dataclass, field
from typing import ClassVar
import torch
from auditor import Access, Attack, Norm, Rows, UsageError, hookimpl

@dataclass(frozen=True, kw_only=True)
class Mine(Attack):
    """Climb in one step. Choose it to see the checks at work. Costs one gradient.

    scale: of the step.
    """

    name: ClassVar[str] = "mine"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    scale: float = 1.0

    def start(self, problem):
        return Rows(x=problem.project(problem.inputs))

    def step(self, problem, rows, reply):
        move = problem.wide(problem.epsilon) * problem.steepest(reply.need_gradient())
        return Rows(x=problem.project(rows.x + self.scale * move))

@hookimpl
def register_attacks(register):
    register(Mine)
'''


def told(tmp_path: Path, *changes: tuple[str, str], text: str = ATTACK) -> list[Line]:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    return list(check_module(str(path)))


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_a_good_plugin_is_five_good_lines(tmp_path: Path) -> None:
    lines = told(tmp_path)
    assert all(line.ok for line in lines)
    assert texts(lines)[1:] == [
        "ok    attack mine: its docstring is complete",
        "ok    attack mine: options steps, scale",
        "ok    attack mine: gradient access; sound on linear models (linf): in the threat model, repeatable",
        "ok    attack mine: it breaks everything 1 % above the true distance",
    ]


Change = tuple[str, str]
DOCSTRING = ATTACK[ATTACK.index('    """Climb') : ATTACK.index("    name:")]
STEP = "self.scale * move"
OPTION = "scale: float = 1.0"
WRONG: dict[str, tuple[list[Change], str]] = {
    "not marked": (
        [("@hookimpl\n", "")],
        "FAIL  register_attacks is not marked with @hookimpl, so nobody calls it",
    ),
    "no hook": (
        [("@hookimpl\ndef register_attacks", "def register_attack")],
        "FAIL  it implements no hook, so it brings nothing",
    ),
    "nothing registered": (
        [("    register(Mine)", "    pass")],
        "FAIL  register_attacks registers nothing",
    ),
    "no dataclass": (
        [("@dataclass(frozen=True, kw_only=True)\n", "")],
        "FAIL  Mine should be a frozen dataclass; decorate it with @dataclass(frozen=True, kw_only=True).",
    ),
    "name taken": (
        [('= "mine"', '= "pgd"')],
        "FAIL  attack pgd: the name is taken by one of advaudit's own; choose another",
    ),
    "no docstring": (
        [(DOCSTRING, "")],
        "FAIL  attack mine: it has no docstring; say what it does, when to choose it and what it costs",
    ),
    "short docstring": (
        [(DOCSTRING, '    """Climb in one step."""\n\n')],
        "note  attack mine: its docstring does not say when to choose it, nor what it costs, nor what scale is",
    ),
    "no default": (
        [(OPTION, "scale: float")],
        "FAIL  attack mine: options that can't be given: scale has no default",
    ),
    "an option that is no text": (
        [(OPTION, f"{OPTION}\n    shape: tuple[int, ...] = (1, 2)")],
        "FAIL  attack mine: options that can't be given: shape=(1, 2): ValidationError: Expected `array`, got `str` - "
        "at `$.shape`",
    ),
    "outside": (
        [(f"problem.project(rows.x + {STEP})", "rows.x + 2 * move")],
        "FAIL  attack mine: (linf, seed 0) proposes points that break the threat model: {'outside the ball': 8}",
    ),
    "a little weak": (
        [(STEP, "0.95 * move")],
        "ok    attack mine: it breaks everything at 1.1 times the true distance, not at 1.01",
    ),
    "weak": (
        [(STEP, "0.5 * move")],
        "FAIL  attack mine: (linf, seed 0) breaks 0 of 8 at 1.01 times their distance; on two classes a gradient leads "
        "straight to the boundary",
    ),
    "weak without gradients": (
        [(STEP, "0 * move"), ("Access.GRADIENT", "Access.SCORE"), ("reply.need_gradient()", "reply.points")],
        "note  attack mine: (linf, seed 0) breaks 0 of 8 at 1.01 times their distance: as may be, where it draws at "
        "random",
    ),
    "raises": (
        [("        move =", "        raise RuntimeError('no')\n        move =")],
        "FAIL  attack mine: (linf, seed 0) did not run: RuntimeError: no",
    ),
    "can't be made": (
        [("    def start", "    def __post_init__(self):\n        raise UsageError('scale is odd')\n\n    def start")],
        "FAIL  attack mine: it can't be made with its defaults: scale is odd",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_one_line(kind: str, tmp_path: Path) -> None:
    changes, line = WRONG[kind]
    lines = told(tmp_path, *changes)
    assert line in texts(lines)
    assert all(one.ok == (not one.text.startswith("FAIL")) for one in lines)


def test_a_look_alike_of_a_hook_is_noted(tmp_path: Path) -> None:
    lines = texts(told(tmp_path, text=ATTACK + "\ndef register_attack(register):\n    pass\n"))
    assert "note  register_attack looks like a hook and is none; the hooks are register_attacks, " in lines[1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("def broken(:", "SyntaxError: invalid syntax (mine.py, line 1)"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise SystemExit(4)", "SystemExit: 4"),
        (ATTACK.replace("register_attacks", "register_atacks"), "which does not exist; did you mean register_attacks?"),
    ],
)
def test_what_can_not_be_loaded_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    (only,) = told(tmp_path, text=text)
    assert not only.ok
    assert only.text.startswith("FAIL  ")
    assert only.text.endswith(line)


def test_what_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert texts(list(check_module("no.such.module"))) == [
        "FAIL  no.such.module: ModuleNotFoundError: No module named 'no'"
    ]
    missing = "FAIL  no.py: There is no file no.py; give a .py file or an import path."
    assert texts(list(check_module("no.py"))) == [missing]


def test_a_module_in_the_working_directory_need_not_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "found_here.py").write_text(ATTACK, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere", *__import__("sys").path])
    assert next(iter(check_module("found_here"))).ok


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("attacks.fgsm", "ok    attack fgsm: it breaks everything 1 % above the true distance"),
        ("attacks.apgd", "ok    attack apgd: it breaks everything 1 % above the true distance"),
        ("checks.gradients", "ok    check gradients: it answers with and without a twin and attacks, twice the same"),
        (
            "checks.gradient_free",
            "ok    check gradient_free: it answers with and without a twin and attacks, twice the same",
        ),
        ("checks.randomised", "ok    check randomised: it answers with and without a twin and attacks, twice the same"),
        ("checks.companions", "ok    check companions: it answers with and without a twin and attacks, twice the same"),
        (
            "checks.probabilities",
            "ok    check probabilities: it answers with and without a twin and attacks, twice the same",
        ),
        ("checks.fidelity", "ok    check fidelity: it answers with and without a twin and attacks, twice the same"),
        ("certifiers.affine", "ok    certifier affine: sound on linear models: nothing certified that can be broken"),
        ("defenses.bit_depth", "ok    defence bit_depth: transform and relaxed agree; its gradient is bpda"),
        ("operators.linear", "ok    auditor.plugins.operators.linear can be imported, and its hooks exist"),
        ("targets.onnx_", "ok    auditor.plugins.targets.onnx_ can be imported, and its hooks exist"),
    ],
)
def test_what_is_bundled_passes(module: str, expected: str) -> None:
    lines = list(check_module(f"auditor.plugins.{module}"))
    assert [line.text for line in lines if not line.ok] == []
    assert expected in texts(lines)


def test_the_exit_code_says_whether_something_failed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(ATTACK, encoding="utf-8")
    good = CliRunner().invoke(main, ["plugins", "check", str(path)])
    path.write_text(ATTACK.replace("@hookimpl\n", ""), encoding="utf-8")
    bad = CliRunner().invoke(main, ["plugins", "check", str(path)])
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert "Traceback" not in bad.output
