from __future__ import annotations

import msgspec
import pytest

from auditor.events import Event, Finished, Notice, Observed, Progress, StageFinished, StageStarted, silent

ALL: list[Event] = [
    Notice(text="x"),
    Observed(n=10, accuracy=0.9, chance=0.1),
    StageStarted(name="pgd", number=0, stages=2, entrants=9),
    Progress(name="pgd", done=3, entrants=9, broken=1, robust_accuracy=0.8, rate=2.0),
    StageFinished(name="pgd", status="ran", reason=None, entrants=9, broken=4, robust_accuracy=0.5, seconds=1.0),
    Finished(summary="Robust accuracy ≤ 50 %", verdict="passed", folder="out"),
]


@pytest.mark.parametrize("event", ALL, ids=lambda event: type(event).__name__)
def test_an_event_survives_as_json(event: Event) -> None:
    kinds = msgspec.json.decode(msgspec.json.encode(event))
    assert kinds["type"] == type(event).__name__
    assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event


def test_every_event_is_tested_here() -> None:
    assert {type(event) for event in ALL} == set(Event.__subclasses__())


def test_silence() -> None:
    assert silent(ALL[0]) is None
