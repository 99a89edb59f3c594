"""The public names are what they say they are, and asking for them loads no more than they need."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from records import outcomes, record

import auditor
from auditor.folder import write_record

SOURCE = Path(auditor.__file__)


def test_names_are_sorted_and_complete() -> None:
    homes = [name for names in auditor.HOMES.values() for name in names]
    assert auditor.__all__ == sorted(auditor.__all__)
    assert sorted(auditor.__all__) == sorted([*homes, "API"])
    assert dir(auditor) == auditor.__all__


@pytest.mark.parametrize("name", auditor.__all__)
def test_every_name_can_be_imported(name: str) -> None:
    value = getattr(auditor, name)
    assert value is getattr(auditor, name)
    assert not isinstance(value, type) or value.__name__ == name


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {n.module: tuple(sorted(a.name for a in n.names)) for n in block.body if isinstance(n, ast.ImportFrom)}
    assert seen == {f"auditor.{home}": tuple(sorted(names)) for home, names in auditor.HOMES.items()}


def test_the_version_of_the_api_is_a_number() -> None:
    assert auditor.API == 1


def test_another_name_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(AttributeError, match="'Atack'; the plugin API is API, Access, "):
        auditor.Atack  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import auditor",
        "import auditor; auditor.Access, auditor.hookimpl, auditor.UsageError, auditor.read_record, auditor.Norm",
        "from auditor.cli import main\ntry: main(['--help'])\nexcept SystemExit as stop: assert not stop.code",
        "from auditor.cli import main\ntry: main(['scan', '--help'])\nexcept SystemExit as stop: assert not stop.code",
        "from auditor.cli import main\ntry: main(['gate', sys.argv[1], '--fail-under', '0.1'])"
        "\nexcept SystemExit as stop: assert stop.code == 3, stop.code",
    ],
    ids=["import", "light names", "help", "help of scan", "gate"],
)
def test_torch_is_not_loaded(code: str, tmp_path: Path) -> None:
    write_record(tmp_path, record(outcomes("w" * 20)))
    heavy = "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules), sorted(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{heavy}", str(tmp_path / "audit.json")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
