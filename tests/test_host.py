"""The host: three ways in, one door; a bad plugin is named with its error, and everything else goes on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

from auditor import (
    Access,
    Attack,
    ModelError,
    Norm,
    PluginError,
    Problem,
    Reply,
    Rows,
    Samples,
    SamplesError,
    SamplesOptions,
    TargetOptions,
    hookimpl,
)
from auditor.cli import main
from auditor.host import BUNDLED, OPERATORS, Host
from auditor.testing import LinearTarget

PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
from auditor import Access, Attack, Norm, Rows, hookimpl

@dataclass(frozen=True, kw_only=True)
class {cls}(Attack):
    name: ClassVar[str] = "{name}"
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[frozenset[Norm]] = frozenset({{Norm.LINF}})

    def start(self, problem):
        return Rows(x=problem.inputs)

    def step(self, problem, rows, reply):
        return rows

@hookimpl
def {hook}(register):
    register({cls})
"""


def source(name: str = "mine", *, hook: str = "register_attacks", cls: str = "Mine") -> str:
    return PLUGIN.format(name=name, hook=hook, cls=cls)


def folder(tmp_path: Path, **files: str) -> Host:
    """A host with these files as local plugins, and nothing else."""
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    return Host.load(bundled=(), installed=False, folder=tmp_path)


@pytest.fixture(scope="module")
def everything() -> Host:
    return Host.load(installed=False)


def test_all_that_is_bundled_loads(everything: Host) -> None:
    assert everything.errors == []
    names = [plugin.name for plugin in everything.plugins]
    assert set(BUNDLED) <= set(names)
    assert sum(name.startswith(OPERATORS) for name in names) >= 10
    assert {"noise", "fgsm", "pgd", "apgd", "square"} <= set(everything.attacks)
    assert {"html", "markdown"} <= set(everything.reporters)
    assert everything.operators is not None
    assert ("", "Conv") in everything.operators


def test_what_is_loaded_is_told_with_version_and_digest(everything: Host, tmp_path: Path) -> None:
    text = source()
    (plugin,) = folder(tmp_path, mine=text).plugins
    assert (plugin.name, plugin.version, plugin.error) == ("mine", "local", None)
    assert plugin.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert all(len(plugin.sha256) == 64 for plugin in everything.plugins)


def test_every_file_of_a_folder_is_a_plugin(tmp_path: Path) -> None:
    host = folder(tmp_path, one=source("one"), two=source("two"))
    assert sorted(host.attacks) == ["one", "two"]
    assert host.errors == []


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="--plugins-dir takes a directory"):
        Host.load(bundled=(), installed=False, folder=tmp_path / "nowhere")


def test_installed_plugins_come_through_their_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(register_attacks=hookimpl(lambda register: register(Stranger)))
    sound = SimpleNamespace(name="stranger", dist=SimpleNamespace(version="2.5"), load=lambda: module)

    def broken() -> Any:
        raise ImportError("no module named nothing")

    lost = SimpleNamespace(name="lost", dist=None, load=broken)
    monkeypatch.setattr("auditor.host.entry_points", lambda group: [lost, sound] if group == "advaudit" else [])
    module.register_attacks.__name__ = "register_attacks"
    host = Host.load(bundled=())
    assert host.attacks == {"stranger": Stranger}
    assert [(p.name, p.version, p.error) for p in host.plugins] == [
        ("lost", "?", "ImportError: no module named nothing"),
        ("stranger", "2.5", None),
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def broken(:", "SyntaxError: invalid syntax (bad.py, line 1)"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        (source() + "    raise RuntimeError('half way')", "RuntimeError: half way"),
        (source().replace("register(Mine)", "exit()"), "SystemExit: None"),
        (source("good"), "The attack 'good' is registered twice; rename one."),
        (
            source().replace("register(Mine)", "register(Mine())"),
            "Mine(steps=1) is registered as attack, but is no subclass of Attack or LibraryAttack; register the class.",
        ),
    ],
    ids=["import", "syntax", "exit", "raises", "exits while registering", "name taken", "an instance"],
)
def test_a_bad_plugin_is_named_and_the_rest_goes_on(text: str, error: str, tmp_path: Path) -> None:
    host = folder(tmp_path, aaa=source("good"), bad=text, zzz=source("late"))
    (plugin,) = host.errors
    assert (plugin.name, plugin.error) == ("bad", error)
    assert {"good", "late"} <= set(host.attacks)


def test_a_plugin_can_not_replace_what_is_bundled(everything: Host, tmp_path: Path) -> None:
    (tmp_path / "pgd.py").write_text(source("pgd"), encoding="utf-8")
    host = Host.load(installed=False, folder=tmp_path)
    assert host.attacks["pgd"] is everything.attacks["pgd"]
    (plugin,) = host.errors
    assert (plugin.name, plugin.error) == ("pgd", "The attack 'pgd' is registered twice; rename one.")


@pytest.mark.parametrize(
    ("hook", "hint"),
    [
        ("register_attack", "did you mean register_attacks?"),
        ("load_targets", "did you mean load_target?"),
        ("when_done", "the hooks are register_attacks, register_checks, "),
    ],
)
def test_a_hook_that_does_not_exist_stops_the_start(hook: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as caught:
        folder(tmp_path, typo=source(hook=hook))
    assert f"Plugin typo implements the hook {hook}, which does not exist; {hint}" in str(caught.value)


def test_a_hook_with_other_arguments_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"Plugin odd: .*registrar"):
        folder(tmp_path, odd=source().replace("(register):", "(registrar):"))


def test_on_the_command_line_they_are_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "typo.py").write_text(source(hook="register_atacks"), encoding="utf-8")
    stopped = CliRunner().invoke(main, ["plugins", "list", "--plugins-dir", str(tmp_path)])
    assert stopped.exit_code == 2
    assert stopped.output.splitlines() == [
        "Error: Plugin typo implements the hook register_atacks, which does not exist; did you mean register_attacks?"
    ]
    (tmp_path / "typo.py").write_text("def broken(:", encoding="utf-8")
    listed = CliRunner().invoke(main, ["plugins", "list", "--plugins-dir", str(tmp_path)])
    assert listed.exit_code == 2
    assert "can't be used: SyntaxError: invalid syntax" in listed.output
    assert "  pgd" in listed.output


@dataclass(frozen=True, kw_only=True)
class Stranger(Attack):
    """Stays where it is."""

    name: ClassVar[str] = "stranger"
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.inputs)

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        return rows


def test_loaders_are_asked_until_one_knows_the_reference() -> None:
    asked = []

    class Loader:
        def __init__(self, suffix: str):
            self.suffix = suffix

        @hookimpl
        def load_target(self, ref: str, options: TargetOptions) -> LinearTarget | None:
            asked.append(self.suffix)
            return LinearTarget(np.eye(2), np.zeros(2)) if ref.endswith(self.suffix) else None

        @hookimpl
        def load_samples(self, ref: str, options: SamplesOptions) -> Samples | None:
            made = Samples(inputs=np.zeros((1, 2), np.float32), labels=np.zeros(1, np.int64), ids=np.arange(1))
            return made if ref.endswith(self.suffix) else None

    host = Host.load(bundled=(), installed=False, extra=(Loader(".a"), Loader(".b")))
    assert host.load_target("model.a", TargetOptions()).name == "linear"
    assert set(asked) == {".a", ".b"}
    assert len(host.load_samples("data.b", SamplesOptions())) == 1
    with pytest.raises(ModelError, match=r"A model is an .onnx, .* got 'model.c'"):
        host.load_target("model.c", TargetOptions())
    with pytest.raises(SamplesError, match=r"Samples are an .npz .* got 'data.c'"):
        host.load_samples("data.c", SamplesOptions())
