"""The list of mutations fits the code as it is; that each is caught is what `make sabotage` shows."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
MUTATIONS = tomllib.loads((ROOT / "benchmarks" / "mutations.toml").read_text(encoding="utf-8"))["mutation"]


def test_there_are_enough_and_each_has_its_own_name() -> None:
    names = [mutation["name"] for mutation in MUTATIONS]
    assert len(set(names)) == len(names) >= 24


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: str(mutation["name"]))
def test_a_mutation_fits_the_code(mutation: dict[str, Any]) -> None:
    assert set(mutation) == {"name", "file", "old", "new", "tests"}
    assert mutation["old"] != mutation["new"]
    text = (ROOT / mutation["file"]).read_text(encoding="utf-8")
    times = text.count(mutation["old"])
    assert times == 1, (
        f"its text stands {times} times in {mutation['file']}: bring benchmarks/mutations.toml up to date"
    )
    compile(text.replace(mutation["old"], mutation["new"]), mutation["file"], "exec")
    assert mutation["tests"]
    for test in mutation["tests"]:
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), test
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test
