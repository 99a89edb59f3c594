"""The wheel holds what the tree holds, and works where the tree is not."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def configuration() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        loaded: dict[str, object] = tomllib.load(file)["tool"]["setuptools"]
        return loaded


def test_packages_are_those_of_the_tree() -> None:
    listed = set(configuration()["packages"])  # type: ignore[call-overload]
    found = {"auditor"}
    for folder in ("plugins", "reports"):
        for path in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join(("auditor", *path.parent.relative_to(ROOT).parts)))
    assert listed == found


def test_bundled_modules_exist() -> None:
    from auditor.host import BUNDLED

    for name in BUNDLED:
        parts = name.split(".")[1:]
        assert (ROOT.joinpath(*parts).with_suffix(".py")).is_file(), name


def test_the_host_never_imports_plugins_or_reports() -> None:
    for path in (ROOT / "auditor").glob("*.py"):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"]):
                assert not words[1].startswith(("auditor.plugins", "auditor.reports", "plugins", "reports")), path.name


def test_constraints_pin_every_dependency() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    pinned = {
        line.split("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {item.split(";")[0].split("[")[0].split(">")[0].split("<")[0].split("=")[0].strip() for item in wanted}
    assert names - {"onnxruntime"} <= pinned


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_scans_in_a_fresh_environment(tmp_path: Path) -> None:
    built = tmp_path / "dist"
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built), str(ROOT)],
        check=True,
        capture_output=True,
    )
    wheel = next(built.glob("*.whl"))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    constraints = str(ROOT / "constraints.txt")
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", constraints, str(wheel)], check=True)
    example = ROOT / "examples" / "mnist"
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [
            tmp_path / "venv" / "bin" / "advaudit", "scan", str(example / "natural.onnx"),
            "--config", str(example / "natural.toml"), "--limit", "60", "--suite", "quick",
            "--format", "html", "--format", "markdown", "--out", "out",
        ],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "can't be used" not in done.stderr
    page = (tmp_path / "elsewhere" / "out" / "report.html").read_text()
    assert "Robust accuracy" in page
    assert (tmp_path / "elsewhere" / "out" / "report.md").is_file()
