"""Sections of other people: registered through the hook, named with what is wrong with them, and shown in the page."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from records import outcomes, record

from auditor.cli import main
from auditor.conformance import check_module
from auditor.folder import write_arrays, write_record
from auditor.host import Host
from auditor.listing import lines
from auditor.record import EVIDENCE
from auditor.section import Section, fault

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "my-section"
PLUGIN = """
from pathlib import Path
from auditor import hookimpl

@hookimpl
def register_sections(register):
    here = Path(__file__).parent
    register({arguments})
"""
GOOD = '"mine", "My title", here, "mine.html", lambda entry: {"word": entry.record.trust}'


def folder(tmp_path: Path, **arguments: str) -> Host:
    """A host with a plugin for each of these calls of register, and a template beside them."""
    (tmp_path / "mine.html").write_text("<p>{{ section.word }}</p>\n", encoding="utf-8")
    for name, text in arguments.items():
        (tmp_path / f"{name}.py").write_text(PLUGIN.replace("{arguments}", text), encoding="utf-8")
    return Host.load(bundled=(), installed=False, folder=tmp_path)


def test_a_section_is_registered_as_it_was_given(tmp_path: Path) -> None:
    host = folder(tmp_path, mine=GOOD)
    assert host.errors == []
    (section,) = host.sections.values()
    assert (section.name, section.title, section.template) == ("mine", "My title", "mine.html")
    assert section.templates == tmp_path
    assert "\n".join(lines(host)).count("\nReport sections\n  mine          My title\n") == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            '"My section", "t", here, "mine.html", print',
            "A section's name is of small letters, digits and `-`, as an id",
        ),
        ("None, 't', here, 'mine.html', print", "A section's name is of small letters"),
        ('"mine", " ", here, "mine.html", print', "The section mine takes its heading as `title`, in words; got ' '."),
        ('"mine", "t", here / "no", "mine.html", print', "The section mine takes `templates`, the absolute Path of a"),
        ('"mine", "t", Path("."), "mine.html", print', "The section mine takes `templates`, the absolute Path of a"),
        ('"mine", "t", str(here), "mine.html", print', "The section mine takes `templates`, the absolute Path of a"),
        ('"mine", "t", here, "other.html", print', "The section mine takes `template`, a file in "),
        ('"mine", "t", here, "", print', "The section mine takes `template`, a file in "),
        ('"mine", "t", here / "mine.html", "", print', "The section mine takes `templates`, the absolute Path of a"),
        ('"mine", "t", here, None, print', "The section mine takes `template`, a file in "),
        ('"mine", "t", here, "../elsewhere.html", print', "The section mine takes `template`, a file in "),
        ('"mine", "t", here, "mine.html", {}', "The section mine takes `build`, a function of an Entry; got {}."),
        ('"mine", "t", here, "mine.html"', "TypeError: Section.__init__() missing 1 required positional argument"),
        (GOOD.replace("mine", "good", 1), "The section 'good' is registered twice; rename one."),
    ],
)
def test_a_bad_section_is_named_and_the_rest_goes_on(arguments: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.html").write_text("", encoding="utf-8")
    inside = tmp_path / "inside"
    inside.mkdir()
    host = folder(inside, aaa=GOOD.replace("mine", "good", 1), bad=arguments, zzz=GOOD.replace("mine", "late", 1))
    (plugin,) = host.errors
    assert plugin.name == "bad"
    assert str(plugin.error).startswith(error)
    assert list(host.sections) == ["good", "late"]


def test_a_section_by_itself_is_judged(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("", encoding="utf-8")
    assert fault(Section("a-1", "A", tmp_path, "a.html", lambda entry: None)) is None


def test_a_plugin_that_brings_a_section_alone_brings_something(tmp_path: Path) -> None:
    folder(tmp_path, mine=GOOD, nothing="*()")
    assert [line.ok for line in check_module(str(tmp_path / "mine.py"))] == [True]
    assert not all(line.ok for line in check_module(str(tmp_path / "nothing.py")))


def reported(tmp_path: Path, *options: str, **changes: Any) -> str:
    """The page that `advaudit report` makes of a record with these changes."""
    write_record(tmp_path / "record", record(outcomes("wb" * 20), **changes))
    write_arrays(tmp_path / "record" / EVIDENCE, {})
    result = CliRunner().invoke(main, ["report", str(tmp_path / "record"), *options])
    assert result.exit_code == 0, result.output
    return (tmp_path / "record" / "report.html").read_text(encoding="utf-8")


def test_it_is_in_the_page_under_its_heading_and_escaped(tmp_path: Path) -> None:
    (tmp_path / "plugin").mkdir()
    folder(tmp_path / "plugin", mine=GOOD)
    page = reported(tmp_path, "--plugins-dir", str(tmp_path / "plugin"), trust="<b>so & so</b>")
    assert "My title" in page
    assert 'id="a1-section-mine"' in page
    assert "<p>&lt;b&gt;so &amp; so&lt;/b&gt;</p>" in page
    assert "My title" not in reported(tmp_path)


@pytest.mark.parametrize(
    ("build", "shown"),
    [
        ("lambda entry: None", ""),
        (
            "lambda entry: 1 / 0",
            "The section mine of a plugin could not be made (ZeroDivisionError); what it said is on stderr.",
        ),
        ("lambda entry: {}", "The section mine of a plugin could not be made (UndefinedError); "),
        ("lambda entry: 3", "The section mine of a plugin could not be made (TypeError); "),
        ("lambda entry: exit(0)", "The section mine of a plugin could not be made (SystemExit); "),
    ],
)
def test_a_section_with_nothing_or_an_error_costs_nothing_else(build: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "plugin").mkdir()
    arguments = f'"mine", "My title", here, "mine.html", {build}'
    folder(tmp_path / "plugin", mine=arguments, other=GOOD.replace("mine", "other", 1).replace("My", "Other"))
    page = reported(tmp_path, "--plugins-dir", str(tmp_path / "plugin"))
    assert "Other title" in page
    assert ("My title" in page) is bool(shown)
    assert shown in page


def test_a_section_can_neither_end_a_scan_nor_write_where_its_progress_is_read(tmp_path: Path) -> None:
    """A scan whose gate fails goes out with 1, whatever a section does, and its stdout holds JSON lines alone."""
    (tmp_path / "plugin").mkdir()
    folder(tmp_path / "plugin", mine='"mine", "My title", here, "mine.html", lambda entry: (print("hello"), exit(0))')
    command = [
        *(sys.executable, "-m", "auditor", "scan", str(ROOT / "examples/mnist/natural.onnx")),
        *("--config", str(ROOT / "examples/mnist/natural.toml"), "--limit", "20", "--attack", "fgsm", "--no-hardness"),
        *("--fail-under", "0.99", "--progress", "json", "--format", "html", "--out", str(tmp_path / "out")),
        *("--plugins-dir", str(tmp_path / "plugin")),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert all(isinstance(json.loads(line), dict) for line in done.stdout.splitlines())
    assert "hello" in done.stderr
    assert "The section mine of a plugin could not be made (SystemExit: 0)." in done.stderr


def test_a_build_need_not_be_a_function(tmp_path: Path) -> None:
    """An object that can be called, and that can't be hashed since it can be compared."""
    (tmp_path / "plugin").mkdir()
    build = '{"__call__": lambda self, entry: {"word": "so it is"}, "__eq__": lambda self, other: True}'
    folder(tmp_path / "plugin", mine=f'"mine", "My title", here, "mine.html", type("Build", (), {build})()')
    assert "<p>so it is</p>" in reported(tmp_path, "--plugins-dir", str(tmp_path / "plugin"))


def test_the_example_shows_what_fewer_samples_would_have_said(tmp_path: Path) -> None:
    page = reported(tmp_path, "--plugins-dir", str(EXAMPLE / "advaudit_sizes"))
    assert "Would fewer samples have done?" in page
    row = [">40</th>", ">≤ 50.0%</td>", ">35.2% to 64.8%</td>", ">30 points</td></tr>"]
    assert all(cell in page for cell in row)


def test_the_example_s_own_tests_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=EXAMPLE, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_example_can_be_installed_with_its_template(tmp_path: Path) -> None:
    """Into an environment of its own, which sees this one's packages and the checkout."""
    home, copy = tmp_path / "env", tmp_path / "copy"
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "ours.pth").write_text("\n".join(f"import site; site.addsitedir({path!r})" for path in ours) + "\n")
    for path in EXAMPLE.rglob("*.*"):
        if path.is_file() and "__pycache__" not in path.parts:
            (copy / path.relative_to(EXAMPLE)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(EXAMPLE)).write_bytes(path.read_bytes())

    def run(*command: str, cwd: Path) -> str:
        done = subprocess.run([home / "bin" / "python", "-m", *command], cwd=cwd, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", ".", cwd=copy)
    assert "\n  sizes         Would fewer samples have done?\n" in run("auditor", "plugins", "list", cwd=tmp_path)
