"""Runs towards a class: what they find counts, and only for the class that they went for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auditor.bench import linear_bench
from auditor.events import StageFinished
from auditor.host import Host
from auditor.journal import Journal
from auditor.ledger import Ledger
from auditor.suite import make_stage
from auditor.threat import ThreatModel
from auditor.towards import Reached, Towards

STAGE = make_stage({"name": "bisection", "distance": True, "title": "towards"}, Host.load().attacks)


def test_what_lies_within_epsilon_is_broken_and_nearest_examples_are_kept(tmp_path: Path) -> None:
    made = linear_bench(classes=3, n=20, threat=ThreatModel(epsilon=0.1))
    heard: list[StageFinished] = []
    search = made.search(tmp_path)
    object.__setattr__(
        search, "listen", lambda event: heard.append(event) if isinstance(event, StageFinished) else None
    )
    ledger = Ledger.of(made.samples, np.ones(20, bool))
    labels = made.samples.labels
    wanted = {k: np.flatnonzero(labels != k) for k in range(3)}
    row, reached = Towards(search, ledger, STAGE, 0).play(wanted)
    assert len(reached.index) == 40
    least = np.full(20, np.inf)
    np.minimum.at(least, reached.index, reached.distance)
    assert ledger.nearest.tolist() == least.tolist()
    assert 0 < ledger.broken.sum() < 20
    assert ledger.broken.tolist() == (least <= 0.1).tolist()
    assert row.broken == ledger.broken.sum() == heard[0].broken
    assert (ledger.label[ledger.broken] != labels[ledger.broken]).all()
    answers = made.target.labels(np.stack([reached.points[run] for run in range(40)]), batch=1)
    assert answers.tolist() == reached.target


def test_a_sample_that_is_broken_is_not_broken_twice(tmp_path: Path) -> None:
    made = linear_bench(classes=3, n=8, threat=ThreatModel(epsilon=5.0))
    ledger = Ledger.of(made.samples, np.ones(8, bool))
    ledger.broken[:4], ledger.stage[:4], ledger.distance[:4] = True, 7, 0.0
    wanted = {k: np.flatnonzero(made.samples.labels != k) for k in range(3)}
    row, _ = Towards(made.search(tmp_path), ledger, STAGE, 9).play(wanted)
    assert row.broken == 4
    assert ledger.stage.tolist() == [7] * 4 + [9] * 4


def test_a_run_without_an_example_has_no_point() -> None:
    reached = Reached()
    reached.add(3, 1, float("inf"), np.zeros(2))
    reached.add(3, 2, 0.5, np.ones(2))
    assert reached.distance == [pytest.approx(np.inf), 0.5]
    assert list(reached.points) == [1]


def test_a_resumed_search_knows_how_many_rows_fitted_into_memory(tmp_path: Path) -> None:
    made = linear_bench(classes=3, n=8, threat=ThreatModel(epsilon=0.1))
    search = made.search(tmp_path)
    search.narrowings.append(search.width)
    half = search.width
    wanted = {0: np.flatnonzero(made.samples.labels != 0)}
    Towards(search, Ledger.of(made.samples, np.ones(8, bool)), STAGE, 0).play(wanted)
    again = made.search(tmp_path / "other")
    again.journal.done.update(Journal(tmp_path, {}, resume=True).done)
    assert again.width == 2 * half
    Towards(again, Ledger.of(made.samples, np.ones(8, bool)), STAGE, 0).play(wanted)
    assert again.width == half
