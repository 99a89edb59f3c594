"""What the doctor says of the machine; tests/test_diagnosis.py has what it says of a file."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from auditor.cli import main
from auditor.doctor import Fact, examine


def test_versions_devices_and_plugins_are_named() -> None:
    facts = {fact.name: fact for fact in examine()}
    for name in ("torch", "processor", "cuda devices", "onnxruntime providers", "bfloat16", "plugins"):
        assert facts[name].value, name


def test_a_plugin_that_can_not_be_used_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n", encoding="utf-8")
    result = CliRunner().invoke(main, ["doctor", "--plugins-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "! plugin broken" in result.output


def test_a_line_holds_nothing_that_a_terminal_obeys() -> None:
    """A file's own names: a title, a cleared screen, an 8-bit escape, a turned direction, a line of its own."""
    hostile = "n\x1b]0;title\x07\x1b[2J\x9b31m\u202e\r\n  forged"
    text = Fact(hostile, hostile, "problem").line
    assert text.startswith("! n")
    assert text.isprintable()
    assert text.endswith("forged")


def test_options_about_a_model_need_one() -> None:
    result = CliRunner().invoke(main, ["doctor", "--bisect"])
    assert result.exit_code == 2
    assert "advaudit doctor MODEL --bisect" in result.output
