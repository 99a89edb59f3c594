"""`plugins new` writes a package that works, and the example in the repository is one."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner

from auditor.cli import main
from auditor.conformance import check_module
from auditor.errors import UsageError
from auditor.host import Host
from auditor.scaffold import scaffold

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "my-attack"


def test_it_writes_a_package_and_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["plugins", "new", "two_words", "--into", str(tmp_path)])
    assert result.exit_code == 0
    written = [Path(line).relative_to(tmp_path).as_posix() for line in result.output.splitlines()]
    assert written == [
        "two_words/README.md", "two_words/advaudit_two_words.py", "two_words/pyproject.toml",
        "two_words/tests/test_two_words.py",
    ]  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["two_words"]
    project = tomllib.loads((tmp_path / "two_words" / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["name"] == "advaudit-two-words"
    assert project["project"]["entry-points"]["advaudit"] == {"two_words": "advaudit_two_words"}
    assert project["tool"]["setuptools"]["py-modules"] == ["advaudit_two_words"]


def test_what_it_writes_is_a_plugin_that_passes_every_check(tmp_path: Path) -> None:
    scaffold("two_words", tmp_path)
    folder = tmp_path / "two_words"
    assert Host.load(bundled=(), installed=False, folder=folder).attacks["two_words"].__name__ == "TwoWords"
    assert all(line.text.startswith("ok ") for line in check_module(str(folder / "advaudit_two_words.py")))


@pytest.mark.slow
def test_its_test_passes_before_it_is_installed(tmp_path: Path) -> None:
    scaffold("two_words", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "two_words", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my-attack", "A plugin's name is a Python identifier in lower case, such as my_attack; got 'my-attack'."),
        ("Mine", "such as mine; got 'Mine'."),
        ("class", "A plugin's name is a Python identifier in lower case; got 'class'."),
        ("2fast", "A plugin's name is a Python identifier in lower case; got '2fast'."),
        ("", "A plugin's name is a Python identifier in lower case; got ''."),
        ("../up", "such as up; got '../up'."),
        ("naïve", "got 'naïve'."),
        ("pgd", "There is an attack pgd already, it comes with advaudit; choose another name."),
        ("taken", "exists already; choose another name, or another place with --into."),
    ],
)
def test_a_name_that_can_not_be_is_refused(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError) as caught:
        scaffold(name, tmp_path)
    assert says in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken"]


def test_a_place_that_can_not_be_written_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't be written"):
        scaffold("mine", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_example_is_what_plugins_new_writes_with_another_attack_in_it(tmp_path: Path) -> None:
    written = scaffold("momentum", tmp_path)
    names = {path.relative_to(tmp_path / "momentum").as_posix() for path in written}
    ignored = {"__pycache__", "build", ".pytest_cache"}
    there = {
        path.relative_to(EXAMPLE).as_posix()
        for path in EXAMPLE.rglob("*")
        if path.is_file() and not any(part in ignored or part.endswith(".egg-info") for part in path.parts)
    }
    assert there == names
    for name in ("README.md", "pyproject.toml"):
        assert (EXAMPLE / name).read_text() == (tmp_path / "momentum" / name).read_text(), name


def test_the_example_works_without_being_installed() -> None:
    host = Host.load(installed=False, folder=EXAMPLE)
    assert host.errors == []
    assert "momentum" in host.attacks
    assert all(line.text.startswith("ok ") for line in check_module(str(EXAMPLE / "advaudit_momentum.py")))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=EXAMPLE, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("source", ["scaffold", "example"])
def test_it_can_be_installed_and_is_found(source: str, tmp_path: Path) -> None:
    """Into an environment of its own, which sees this one's packages and the checkout."""
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "ours.pth").write_text("\n".join(f"import site; site.addsitedir({path!r})" for path in ours) + "\n")
    folder = EXAMPLE if source == "example" else tmp_path / "momentum"
    if source == "scaffold":
        scaffold("momentum", tmp_path)
    python = home / "bin" / "python"
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in (".py", ".toml", ".md"):
            (copy / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(folder)).write_bytes(path.read_bytes())

    def run(*command: str, cwd: Path) -> str:
        done = subprocess.run([str(python), "-m", *command], cwd=cwd, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", ".", cwd=copy)
    listed = run("auditor", "plugins", "list", cwd=tmp_path)
    assert "\n  momentum      gradient access; l2 linf\n" in listed
    assert "\n  momentum      0.1.0\n" in listed
    assert "attack momentum: it breaks everything" in run(
        "auditor", "plugins", "check", "advaudit_momentum", cwd=tmp_path
    )
    run("pytest", "-q", "-p", "no:cacheprovider", cwd=copy)
