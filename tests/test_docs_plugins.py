"""docs/plugins.md keeps its word: every hook, name and reason is in it, and its code runs."""

from __future__ import annotations

import inspect
import re
import shutil
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click import Group
from click.testing import CliRunner
from onnx import helper
from onnx_files import make, value, write
from records import outcomes, record

import auditor
from auditor import Entry, Problem, Query, Reply, SamplesOptions, TargetOptions, Twin, hookspecs, testing
from auditor.access import OutputKind
from auditor.build import build_twin
from auditor.cli import main
from auditor.conformance import check_module
from auditor.errors import UnsupportedOperator
from auditor.graph import Graph
from auditor.host import Host
from auditor.preprocess import Preprocess
from auditor.program import read_program
from auditor.scaffold import scaffold
from auditor.testing import linear_bench
from auditor.verify import Reason

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "my-attack" / "advaudit_momentum.py"
SECTION = ROOT / "examples" / "my-section" / "advaudit_sizes"
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


def test_the_section_is_the_example() -> None:
    assert block("section") == (SECTION / "sizes.py").read_text(encoding="utf-8")
    template = (SECTION / "templates" / "sizes.html").read_text(encoding="utf-8")
    assert f"```html\n{template}```\n" in PAGE


def module(code: str, tmp_path: Path) -> Path:
    """The code as a file, with the example's templates beside it."""
    shutil.copytree(SECTION / "templates", tmp_path / "templates", dirs_exist_ok=True)
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
    reporter = loaded("register_reporters", tmp_path).reporters["outcomes"]
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


def acme(opset: int, **attributes: object) -> onnx.ModelProto:
    """A file of the domain com.acme, which no runtime knows: a product, a SteppedRelu, a sum over pairs."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["z"]),
        helper.make_node("SteppedRelu", ["z"], ["y"], name="steps", domain="com.acme", **attributes),
    ]
    model = make(nodes, [value("x", ["N", 4])], [value("y", ["N", 4])], {"two": np.array(2, np.float32)})
    model.opset_import.append(helper.make_opsetid("com.acme", opset))
    return model


def acme_twin(tmp_path: Path, opset: int, **attributes: object) -> Twin:
    module(block("register_operators"), tmp_path)
    host = Host.load(installed=False, folder=tmp_path)
    assert host.operators is not None
    return build_twin(
        acme(opset, **attributes),
        output="y",
        kind=OutputKind.LOGITS,
        preprocess=Preprocess().fit((4,), (4,)),
        operators=host.operators,
        fixed_batch=False,
    )


@pytest.mark.parametrize("opset", [1, 2, 3])
def test_the_operator_makes_a_twin_of_a_file_with_a_foreign_domain(opset: int, tmp_path: Path) -> None:
    x = torch.tensor([[-1.0, 0.1, 0.3, 3.0], [0.26, -0.2, 0.0, 0.5]], requires_grad=True)
    z = 2 * x.detach()
    below = torch.where(z < 0, 0.1 * z, 0.0) if opset > 1 else torch.zeros_like(z)
    plain = acme_twin(tmp_path, opset)
    assert torch.allclose(plain.logits(x), z.clamp(0, 1) + below)
    assert plain.surrogates == ()

    stepped = acme_twin(tmp_path, opset, step=0.25)
    scores = stepped.logits(x)
    assert torch.allclose(scores, (z.clamp(0, 1) * 4).round() / 4 + below)
    (gradient,) = torch.autograd.grad(scores.sum(), x)
    inside = (z >= 0) & (z <= 1)
    assert torch.equal(gradient[z != 0], (2.0 * inside + (0.2 * (z < 0) if opset > 1 else 0.0))[z != 0])
    assert stepped.surrogates == ("SteppedRelu: straight-through",)


def test_the_operator_refuses_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperator, match=r"com\.acme::SteppedRelu \(opset 1, node 'steps'\).*mode 'up'"):
        acme_twin(tmp_path, 1, mode="up")


def test_a_later_entry_takes_over_from_ours(tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text(
        "import torch\nfrom auditor import hookimpl\n\n\n@hookimpl\ndef register_operators(operators):\n"
        "    operators.register('Relu', lambda node: torch.abs, since=18)\n",
        encoding="utf-8",
    )
    operators = Host.load(installed=False, folder=tmp_path).operators
    assert operators is not None
    x = torch.tensor([[-1.0, 2.0]])
    for opset, expected in ((17, [[0.0, 2.0]]), (18, [[1.0, 2.0]])):
        model = make([helper.make_node("Relu", ["x"], ["y"])], [value("x", ["N", 2])], [value("y", ["N", 2])])
        model.opset_import[0].version = opset
        assert Graph(read_program(model, operators), "y", operators)(x).tolist() == expected


def test_the_runtime_has_to_know_the_operator_too(tmp_path: Path) -> None:
    module(block("register_operators"), tmp_path)
    path = write(tmp_path / "acme.onnx", acme(1))
    result = CliRunner().invoke(main, ["doctor", str(path), "--plugins-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "SteppedRelu" in result.output


def test_a_third_party_file_with_a_foreign_operator_could_not_be_run(shared: Path) -> None:
    path = shared / "models" / "custom_op_noisy_relu_unloadable.onnx"
    samples = shared / "data" / "cifar10_exact_first100.npz"
    for command in (["doctor", str(path)], ["scan", str(path), "--data", str(samples), "--epsilon", "8/255"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2
        assert "NoisyRelu" in result.output


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
