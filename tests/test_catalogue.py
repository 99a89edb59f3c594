"""docs/operators.md is what the registry says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from auditor.catalogue import SOMETIMES, page
from auditor.cli import main
from auditor.host import Host

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"
PLUGIN = '''"""Operators of Acme: what its cameras do."""
from auditor import hookimpl
from auditor.operators import always


def steps(node):
    """Straight-through, where it is quantised."""
    return "straight-through" if node.attributes.get("quantised") else None


@hookimpl
def register_operators(operators):
    operators.register("Debayer", always(lambda x: x), domain="com.acme")
    operators.register("Debayer", always(lambda x: x), domain="com.acme", since=3, surrogate=steps)
    operators.register("LeakyRelu", always(lambda x: x), since=16)
'''


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.load(installed=False)


@pytest.fixture(scope="module")
def generated(host: Host) -> str:
    return page(host)


def test_the_page_is_up_to_date(generated: str) -> None:
    assert PAGE.read_text(encoding="utf-8") == generated, (
        "docs/operators.md is not what the registry says; run `python -m auditor.catalogue > docs/operators.md`"
    )


def test_every_operator_is_there_in_its_domain(host: Host, generated: str) -> None:
    assert host.operators is not None
    for part in generated.split("\n## ")[1:]:
        domain = part.split("\n")[0].split(":")[0]
        names = re.findall(r"(?m)^\| `(\w+)`", part)
        expected = {name for where, name in host.operators.table if (where or "ai.onnx") == domain}
        assert set(names) == expected, domain


def test_the_first_opset_is_never_before_onnx_has_the_operator(generated: str) -> None:
    assert "| `Mish` | 18 |" in generated
    assert "| `Clip` | 6, 11 |" in generated
    assert "| `Softmax` | 1, 13 |" in generated


def test_surrogates_are_named(generated: str) -> None:
    assert re.search(r"\| `Round` \| 11 \| straight-through \|", generated)
    assert re.search(r"\| `Relu` \| 1 \|  \|", generated)


def test_what_a_surrogate_depends_on_is_said(generated: str) -> None:
    assert SOMETIMES not in generated, "a surrogate that is a function of the node says in its docstring when it is one"


def test_it_is_readable_in_an_editor(generated: str) -> None:
    assert max(map(len, generated.splitlines())) <= 160


def test_what_plugins_add_is_listed_too(tmp_path: Path) -> None:
    (tmp_path / "acme.py").write_text(PLUGIN, encoding="utf-8")
    result = CliRunner().invoke(main, ["plugins", "operators", "--plugins-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    acme = result.output.split("\n## com.acme\n")[1].split("\n## ")[0]
    assert "### Operators of Acme\n\nWhat its cameras do.\n" in acme
    assert "| `Debayer` | 1, 3 | straight-through, where it is quantised |" in acme
    ours = result.output.split("### Operators of Acme")[1]
    assert "| `LeakyRelu` | 16 |" in ours
