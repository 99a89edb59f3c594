"""A part of the corpus of hostile files: each is audited, or refused in one sentence."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import onnx
import pytest
from onnx_files import make, value, write

from auditor.errors import ModelError
from auditor.onnx_probe import Question, inspect
from benchmarks.corpus import MUTATIONS, Hostile, corpus, mutated
from benchmarks.hostile import Worker, judged, scan_all
from benchmarks.specimens import SPECIMENS
from benchmarks.traps import TRAPS

QUICK = (
    "all the same",
    "bottomless",
    "depends on the batch",
    "names that write on terminals",
    "no outputs",
    "not a number for some",
    "number of classes changes",
    "recursion",
    "small Tile",
    "text as output",
)
"""Traps that cost little."""


def built(name: str) -> Hostile:
    trap = TRAPS[name]()
    return Hostile(name, f"trap: {name}", trap if isinstance(trap, bytes) else trap.SerializeToString())


def test_hostile_files_are_audited_or_refused_in_one_sentence() -> None:
    files = [*corpus(30, seed=1, traps=False), *map(built, QUICK)]
    verdicts = list(scan_all(files, jobs=2))
    assert len(verdicts) == len(files)
    assert [(v.file.name, v.file.kind, v.outcome, v.said) for v in verdicts if v.failed] == []
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    assert outcomes["audited"] >= 5
    assert outcomes["refused"] >= 10


def test_an_input_that_is_too_large_is_refused(tmp_path: Path) -> None:
    shape = ["N", 1 << 40, 1 << 20]
    nodes = [onnx.helper.make_node("Identity", ["x"], ["y"])]
    path = write(tmp_path / "m.onnx", make(nodes, [value("x", shape)], [value("y", shape)]))
    with pytest.raises(ModelError, match="of a size that can be computed with"):
        inspect(Question(path=str(path), name="m.onnx"))


def test_a_seed_makes_the_same_corpus_and_the_first_files_do_not_hang_on_the_count() -> None:
    few, many = list(corpus(12, seed=3)), list(corpus(20, seed=3))
    assert few == many[:12]
    assert few != list(corpus(12, seed=4))


@pytest.mark.parametrize("base", sorted(SPECIMENS))
def test_every_mutation_applies_to_every_specimen(base: str) -> None:
    for kind in MUTATIONS:
        assert isinstance(mutated("name", kind, base, random.Random(0)).data, bytes)


ANSWER = {"code": 2, "said": "Error: No.\n", "error": "", "replayed": ""}


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "refused"),
        ({"code": 3, "said": '{"event": "finished"}\n'}, "audited"),
        ({"code": 0, "replayed": "a sample is right"}, "verdict not shared"),
        ({"error": "ValueError: x"}, "traceback"),
        ({"said": "Traceback (most recent call last)\n"}, "traceback"),
        ({"said": "Error: advaudit failed unexpectedly (x)\n"}, "unexpected error"),
        ({"said": "Error: one.\nand more\n"}, "not one sentence"),
        ({"said": "Error: " + "long " * 400}, "not one sentence"),
        ({"said": "Error: \x1b[31mred\n"}, "not printable"),
        ({"code": -1}, "odd exit code"),
    ],
)
def test_what_counts_as_a_failure(change: dict[str, object], outcome: str) -> None:
    assert judged({**ANSWER, **change})[0] == outcome


def test_a_worker_that_dies_or_stands_still_is_replaced(tmp_path: Path) -> None:
    worker, empty = Worker(tmp_path), Hostile("empty", "", b"")
    try:
        assert worker.scan(empty).outcome == "refused"
        assert worker.scan(empty, seconds=0.01).outcome == "slow"
        worker.process.kill()
        assert worker.scan(empty).outcome == "died"
        assert worker.scan(empty).outcome == "refused"
    finally:
        worker.stop()
