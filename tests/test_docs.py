"""The documents say what the tool does: options, keys, members and exit codes are all there, and examples parse."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import msgspec
import pytest

from auditor import cli, config, hardness, record
from auditor.cli import EXIT_CODES
from auditor.rule import Rule
from auditor.suite import bundled_suites

DOCS = Path(__file__).resolve().parents[1] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_every_scan_option_is_documented() -> None:
    scan = cli.main.commands["scan"]
    text = page("usage.md") + page("config.md") + page("plugins.md")
    for parameter in scan.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in text, f"{parameter.opts[0]} is not in docs/usage.md"


def test_every_command_is_documented() -> None:
    text = "".join(page(path.name) for path in DOCS.glob("*.md"))
    for name in cli.main.commands:
        assert f"advaudit {name}" in text, name


def test_the_config_page_parses_and_names_every_key() -> None:
    block = re.search(r"```toml\n(.*?)```", page("config.md"), re.S)
    assert block is not None
    tables = tomllib.loads(block.group(1))
    msgspec.convert(tables, config.Config)
    for field in msgspec.structs.fields(config.Config):
        assert field.name in tables, f"[{field.name}] is not in docs/config.md"
        kind = {"model": config.ModelTable, "samples": config.SamplesTable, "threat": config.ThreatTable}
        kind |= {"search": config.SearchTable, "run": config.RunTable, "gate": Rule}
        if field.name in kind:
            given = tables[field.name] if isinstance(tables[field.name], list) else [tables[field.name]]
            shown = set().union(*given)
            for key in msgspec.structs.fields(kind[field.name]):
                assert key.name in shown, f"{field.name}.{key.name} is not in docs/config.md"


def test_every_member_of_the_record_is_documented() -> None:
    text = page("record.md")
    for field in msgspec.structs.fields(record.Record):
        assert f"`{field.name}" in text, field.name
    for kind in (record.Outcome, record.AttackRow, record.Finding, record.ClassRow, record.Metrics, record.ThreatInfo):
        for field in msgspec.structs.fields(kind):
            assert field.name in text, f"{kind.__name__}.{field.name} is not in docs/record.md"
    (steps,) = (line for line in text.splitlines() if line.startswith("| `next_steps[]`"))
    (curve,) = (line for line in text.splitlines() if line.startswith("| `curve[]`"))
    for line, kind in ((steps, record.Step), (curve, hardness.CurvePoint)):
        for field in msgspec.structs.fields(kind):
            assert field.name in line, f"{kind.__name__}.{field.name} is not in docs/record.md"


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("`hardness`", hardness.Hardness),
        ("`pairs[]`", hardness.Pair),
        ("`classes[]`", hardness.ClassHardness),
        ("`protected[]`", hardness.Protected),
        ("`risk`", hardness.Risk),
    ],
)
def test_every_member_of_hardness_has_its_line(heading: str, kind: type[msgspec.Struct]) -> None:
    table = page("record.md").split(f"| member of {heading} | what |\n|---|---|\n")[1].split("\n\n")[0]
    told = {name for line in table.splitlines() for name in re.findall(r"`(\w+)(?:\[\])?`", line.split("|")[1])}
    assert told == {field.name for field in msgspec.structs.fields(kind)}


def test_the_columns_of_runs_are_documented() -> None:
    text = page("record.md").split("`runs` holds")[1]
    for field in msgspec.structs.fields(hardness.Runs):
        assert f"`{field.name}`" in text


def test_statuses_and_exit_codes_are_documented() -> None:
    text = page("usage.md")
    for status in record.Status:
        assert f"`{status}`" in text
    for code in re.findall(r"^  (\d+) ", EXIT_CODES, re.M):
        assert re.search(rf"\b{code}\b", text), code


def test_readme_snippet_of_gate_parses() -> None:
    block = re.search(r"```toml\n(.*?)```", page("usage.md"), re.S)
    assert block is not None
    assert len(msgspec.convert(tomllib.loads(block.group(1)), config.Config).gate) == 5


def test_links_lead_somewhere() -> None:
    pages = [DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md", *DOCS.glob("*.md")]
    for path in pages:
        for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_suite_is_documented() -> None:
    for name in bundled_suites():
        assert name in page("usage.md")


@pytest.mark.parametrize("command", ["scan", "report", "gate", "verify", "init", "doctor", "plugins"])
def test_help_is_there(command: str) -> None:
    with click.Context(cli.main.commands[command], info_name=command) as context:
        assert len(context.get_help()) > 100
