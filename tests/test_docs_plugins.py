"""docs/plugins.md keeps its word: every hook, name and reason is in it, and its code runs."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
import torch
from click import Group
from click.testing import CliRunner
from records import outcomes, record

import auditor
from auditor import Entry, Node, Problem, Query, Reply, SamplesOptions, TargetOptions, hookspecs, testing
from auditor.cli import main
from auditor.conformance import check_module
from auditor.host import Host
from auditor.scaffold import scaffold
from auditor.testing import linear_bench
from auditor.verify import Reason

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "my-attack" / "advaudit_momentum.py"
HOOKS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith(("register_", "load_"))}


@dataclass(frozen=True)
class Block:
    """A piece of code on the page: the heading it stands under, its marker if it has one, and the code."""

    heading: str
    marker: str
    code: str


def blocks() -> list[Block]:
    found, heading, marker = [], "", ""
    for part in re.split(r"(?m)^(#+ .*|<!-- block: \w+ -->|```\w*\n(?:.*\n)*?```)$", PAGE):
        if part.startswith("#"):
            heading = part.lstrip("# ").strip("`")
        elif part.startswith("<!--"):
            marker = part.removeprefix("<!-- block: ").removesuffix(" -->")
        elif part.startswith("```python"):
            found.append(Block(heading, marker, part.removeprefix("```python\n").removesuffix("```")))
            marker = ""
    return found


def block(start: str) -> str:
    """The code under the one heading, or behind the one marker, that starts like this."""
    (code,) = (b.code for b in blocks() if b.marker == start or (not b.marker and b.heading.startswith(start)))
    return code


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table(text: str) -> set[str]:
    """The names in code type in the first column of the tables of a text."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall(r"`([A-Za-z_.]+)", cell)}


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_there_with_its_signature_and_its_sentence(name: str) -> None:
    parameters = ", ".join(inspect.signature(HOOKS[name]).parameters)
    heading = f"### `{name}({parameters})`\n"
    assert heading in PAGE
    assert inspect.getdoc(HOOKS[name]) == PAGE.split(heading)[1].strip().split("\n\n")[0]


def test_no_hook_is_there_that_does_not_exist() -> None:
    assert set(re.findall(r"(?m)^### `(\w+)\(", PAGE)) == set(HOOKS)


def test_the_names_are_those_of_the_api() -> None:
    assert table(section("The names")) == set(auditor.__all__)


def test_the_kit_is_there() -> None:
    assert set(testing.__all__) <= table(section("Testing"))


def test_every_member_of_the_protocol_is_there() -> None:
    protocol = table(section("The rows protocol"))
    assert {f.name for f in fields(Query)} <= protocol
    assert {f.name for f in fields(Reply)} <= protocol
    hidden = {"found", "slots", "projected", "radius"}
    members = {f.name for f in fields(Problem)} | {
        m for m in vars(Problem) if m[0] != "_" and callable(getattr(Problem, m))
    }
    assert members - hidden <= protocol


def test_every_reason_is_there() -> None:
    for reason in Reason:
        assert f"| `{reason}` |" in PAGE


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
    anchors = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in PAGE.splitlines()
        if line[:1] == "#"
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= anchors


def test_the_first_code_is_what_plugins_new_writes(tmp_path: Path) -> None:
    written = scaffold("momentum", tmp_path)
    assert block("scaffold") == (tmp_path / "momentum" / "advaudit_momentum.py").read_text(encoding="utf-8")
    listed = [path.relative_to(tmp_path).as_posix() for path in written]
    assert "\n".join(listed) in PAGE


def test_the_second_code_is_the_example() -> None:
    assert block("example") == EXAMPLE.read_text(encoding="utf-8")


def test_what_plugins_check_says_is_quoted_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scaffold("momentum", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "momentum"))
    said = CliRunner().invoke(main, ["plugins", "check", "advaudit_momentum"]).output
    assert f"advaudit_momentum\n{said}```" in PAGE


def module(code: str, tmp_path: Path) -> Path:
    path = tmp_path / f"page_{abs(hash(code)) % 10**8}.py"
    path.write_text(code, encoding="utf-8")
    return path


@pytest.mark.parametrize("number", range(len(blocks())))
def test_every_code_is_a_plugin_that_passes_the_checks(number: int, tmp_path: Path) -> None:
    path = module(blocks()[number].code, tmp_path)
    lines = list(check_module(str(path)))
    assert [line.text for line in lines if not line.ok] == []
    assert len(lines) >= 1


def loaded(start: str, tmp_path: Path) -> Host:
    module(block(start), tmp_path)
    return Host.load(bundled=(), installed=False, folder=tmp_path)


def test_the_reporter_renders(tmp_path: Path) -> None:
    reporter = loaded("register_reporters", tmp_path).reporters["csv"]
    text = reporter.render([Entry(record(outcomes("wb")), tmp_path)])
    lines = str(text).splitlines()
    assert lines[0] == "threat,id,label,status,attack"
    assert [line.split(",")[3] for line in lines[1:]] == ["withstood", "broken"]


def test_the_target_and_the_samples_load(tmp_path: Path) -> None:
    weight = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32)
    np.save(tmp_path / "model.npy", weight)
    (tmp_path / "data.txt").write_text("0.5 0.25 2\n-1 2 1\n", encoding="utf-8")
    host = loaded("load_target", tmp_path)
    target = host.load_target(str(tmp_path / "model.npy"), TargetOptions())
    samples = loaded("load_samples", tmp_path).load_samples(str(tmp_path / "data.txt"), SamplesOptions())
    target.fit(samples.shape)
    assert np.array_equal(target.scores(samples.inputs), samples.inputs @ weight.T)
    assert target.labels(samples.inputs).tolist() == samples.labels.tolist() == [2, 1]


def test_the_operator_computes_what_its_name_says(tmp_path: Path) -> None:
    """QuickGelu is x σ(αx)."""
    operators = loaded("register_operators", tmp_path).operators
    assert operators is not None
    node = Node(
        op_type="QuickGelu",
        domain="com.microsoft",
        opset=1,
        name="",
        inputs=("x",),
        outputs=("y",),
        attributes={"alpha": 2.0},
    )
    x = torch.tensor([-1.0, 0.0, 3.0])
    assert torch.allclose(operators.find(node).build(node)(x), x / (1 + (-2 * x).exp()))


def test_the_certifier_certifies_what_can_not_change(tmp_path: Path) -> None:
    kind = loaded("register_certifiers", tmp_path).certifiers["no_room"]
    bench = linear_bench(n=3)
    for epsilon, expected in ((0.0, True), (0.1, False)):
        threat = bench.at(epsilon).threat
        found = kind().certify(bench.target.twin(), bench.samples, threat, threat.region(bench.samples))
        assert found is not None
        assert found.certified.tolist() == [expected] * 3


def test_commands_on_the_page_exist() -> None:
    group = main.commands["plugins"]
    assert isinstance(group, Group)
    known = {*main.commands, *(f"plugins {name}" for name in group.commands)} - {"plugins"}
    for line in re.findall(r"(?m)^\$ advaudit (.*)$", PAGE):
        assert any(line == name or line.startswith(f"{name} ") for name in known), line
