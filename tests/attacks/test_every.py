"""What holds for every bundled attack: stopped anywhere and resumed, or played twice, it ends with the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from forests import forest_bench

from auditor.access import Access
from auditor.attack import Attack
from auditor.bench import Bench, linear_bench
from auditor.errors import Interrupted
from auditor.events import Event, Progress, silent
from auditor.execution import Execution
from auditor.host import Host
from auditor.journal import Journal
from auditor.ledger import Ledger
from auditor.suite import Stage
from auditor.threat import Norm, ThreatModel

ATTACKS = {name: kind for name, kind in Host.load(installed=False).attacks.items() if issubclass(kind, Attack)}
CASES = [(name, norm) for name, kind in ATTACKS.items() for norm in sorted(kind.norms)]
EPSILON = {Norm.LINF: 0.1, Norm.L2: 0.4, Norm.L1: 0.8, Norm.L0: 2.0, Norm.SPATIAL: 1.0}
FEW = {
    "spatial": {"steps": 5},
    "cw": {"steps": 15},
    "jsma": {"steps": 3},
    "bsr": {"steps": 2, "copies": 2, "scales": 2},
    "si": {"steps": 3, "scales": 2},
    "spsa": {"steps": 3, "n": 3},
    "nes": {"steps": 3, "n": 3},
}
"""Options with which an attack takes no longer than the others."""
EXECUTION = Execution(device="cpu", threads=1, width=16)


def bench(norm: Norm, name: str = "") -> Bench:
    """70 pictures in chunks of 64: two units a stage, the second a short one. name: of the attack it is for."""
    threat = ThreatModel(norm=norm, epsilon=EPSILON[norm], bounds=(0.0, 1.0))
    if name and ATTACKS[name].needs_trees:
        return replace(forest_bench(shape=(1, 4, 4), n=70, seed=3, threat=threat), execution=EXECUTION)
    return replace(linear_bench(classes=4, shape=(1, 4, 4), n=70, seed=3, threat=threat), execution=EXECUTION)


def stages(name: str) -> list[Stage]:
    """The attack with few steps; looking for distances too where it can."""
    kind = ATTACKS[name]
    few: dict[str, Any] = {"steps": 1 if name in ("fgsm", "rfgsm", "step-ll") else 6}
    attack: Any = replace(kind(), **few | FEW.get(name, {}))
    suite = [Stage(attack=attack, restarts=2, rounds=2, title=name)]
    return [*suite, Stage(attack=attack, distance=True, title="distance")] if kind.minimum_norm else suite


def play(
    made: Bench, suite: list[Stage], folder: Path, *, resume: bool = False, listen: Any = silent
) -> dict[str, Any]:
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    search = replace(made.search(folder / "scratch"), journal=Journal(folder, {}, resume=resume), listen=listen)
    ledger = Ledger.of(made.samples, np.ones(len(made.samples), bool))
    rows = [msgspec.structs.replace(row, seconds=0.0) for row in search.play(suite, ledger)]
    assert {row.status for row in rows} == {"ran"}, [row.reason for row in rows]
    columns = {f.name: getattr(ledger, f.name) for f in fields(ledger)}
    bits = {name: value.tobytes() for name, value in columns.items() if isinstance(value, np.ndarray)}
    bits |= {f"point {i}": x.tobytes() for i, x in ledger.adversarial.items()}
    return bits | {f"near {i}": x.tobytes() for i, x in ledger.nearest_point.items()} | {"rows": rows}


def stop_after(steps: int) -> Any:
    """A listener that stops the search after so many steps of attacks, in the middle of whatever it does."""
    heard: Iterator[int] = iter(range(10**6))

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and next(heard) >= steps:
            raise Interrupted("stopped")

    return listen


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_stopped_in_the_middle_and_resumed(
    name: str, norm: Norm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.search.TICK", -1.0)  # an event a step
    made, suite = bench(norm, name), stages(name)
    steps = iter(range(10**6))

    def count(event: Event) -> None:
        if isinstance(event, Progress):
            next(steps)

    whole = play(made, suite, tmp_path / "whole", listen=count)
    total = next(steps)
    assert total > 1
    for place in sorted({1, total // 2, total - 1}):
        folder = tmp_path / str(place)
        with pytest.raises(Interrupted):
            play(made, suite, folder, listen=stop_after(place))
        assert play(made, suite, folder, resume=True) == whole


@pytest.mark.parametrize("name", ATTACKS)
def test_a_row_costs_what_the_attack_says(name: str, tmp_path: Path) -> None:
    """At an epsilon where nothing falls: never more than the stated cost, and exactly that but for who ends early."""
    kind = ATTACKS[name]
    norm = sorted(kind.norms)[0]
    if norm in (Norm.L0, Norm.SPATIAL):
        pytest.skip("no epsilon of this norm leaves everybody standing")
    made = bench(norm, name).at(1e-5)
    suite = [replace(stage, rounds=1) for stage in stages(name)[:1]]
    search = replace(made.search(tmp_path), doubt=-1.0)
    ledger = Ledger.of(made.samples, np.ones(len(made.samples), bool))
    (row,) = search.play(suite, ledger)
    forwards, backwards, queries = suite[0].budget(4)
    standing = ~ledger.broken
    spent = ledger.spent[standing]
    most = np.array([forwards, backwards, queries])
    if kind.access is Access.GRADIENT:
        assert (spent[:, :2] <= most[:2]).all(), (spent.max(axis=0), most)
    else:
        assert (spent[:, 2] <= most[2]).all(), (spent.max(axis=0), most)
    assert spent.sum() > 0.5 * most.sum() * len(spent)
    assert row.budget.forwards == forwards
