"""`advaudit plugins new NAME`: an installable package with a small attack that works, and a test of it."""

from __future__ import annotations

import keyword
import re
import shutil
from pathlib import Path
from string import Template

from auditor.errors import UsageError
from auditor.host import BUNDLED

NAME = re.compile(r"[a-z][a-z0-9_]*")
ATTACKS = "auditor.plugins.attacks."

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$distribution"
version = "0.1.0"
description = "The attack `$name` for advaudit"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["advaudit"]

[project.entry-points.advaudit]
$name = "$module"

[tool.setuptools]
py-modules = ["$module"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
"""

MODULE = '''\
"""The attack `$name`. Name its paper here, with a link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auditor import Access, Attack, Norm, Problem, Register, Reply, Rows, hookimpl


@dataclass(frozen=True, kw_only=True)
class $cls(Attack):
    """Climb the loss from the clean input in equal steps of steepest ascent, projecting after each.

    Say here when to choose it. Costs `steps` gradients and one forward per restart.

    rel_step: fraction of epsilon moved a step.
    """

    name: ClassVar[str] = "$name"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    steps: int = 10
    rel_step: float = 0.2

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.project(problem.inputs))

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        length = self.rel_step * problem.wide(problem.epsilon)
        return Rows(x=problem.project(rows.x + length * problem.steepest(reply.need_gradient())))


@hookimpl
def register_attacks(register: Register) -> None:
    register($cls)
'''

TEST = """\
from $module import $cls

from auditor.testing import check_attack


def test_it_breaks_what_can_be_broken_and_nothing_else() -> None:
    check_attack($cls())
"""

README = """\
# $distribution

The attack `$name` for [advaudit](https://pypi.org/project/advaudit/).

    pip install .
    advaudit plugins list
    advaudit scan model.onnx --data samples.npz --epsilon 8/255 --attack $name

Its tests play it on models whose answer is known:

    python -m pytest
    advaudit plugins check $module
"""


def scaffold(name: str, into: Path) -> list[Path]:
    """Make the folder `into/name` and return the files in it.

    The folder is there whole or not at all. Raises UsageError for a name that can't be one of Python's, is that of an
    attack that comes with advaudit, or is a folder's or file's already.
    """
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        hint = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        better = f", such as {hint}" if NAME.fullmatch(hint) and not keyword.iskeyword(hint) else ""
        raise UsageError(f"A plugin's name is a Python identifier in lower case{better}; got {name!r}.")
    if ATTACKS + name in BUNDLED:
        raise UsageError(f"There is an attack {name} already, it comes with advaudit; choose another name.")
    folder = into / name
    if folder.exists():
        raise UsageError(f"{folder} exists already; choose another name, or another place with --into.")
    words = {
        "name": name,
        "module": f"advaudit_{name}",
        "distribution": f"advaudit-{name.replace('_', '-').strip('-')}",
        "cls": "".join(part.capitalize() for part in name.split("_")),
    }
    files = {
        "README.md": README,
        f"{words['module']}.py": MODULE,
        "pyproject.toml": PYPROJECT,
        f"tests/test_{name}.py": TEST,
    }
    part = into / f".{name}.part"
    try:
        for path, text in files.items():
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            (part / path).write_text(Template(text).substitute(words), encoding="utf-8")
        part.rename(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise UsageError(
            f"{folder} can't be written ({error.strerror or error}); give another place with --into."
        ) from error
    return [folder / path for path in files]
