"""What happens during a scan, as data. Progress bars, plain lines and JSON lines listen; nothing else depends on it."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct


class Event(Struct, frozen=True, kw_only=True, tag=True):
    """Something that happened."""


class Notice(Event, frozen=True, kw_only=True):
    """A sentence that the user should read: a plugin that failed, what the scan will take."""

    text: str


class Observed(Event, frozen=True, kw_only=True):
    """The target was run on the clean samples. accuracy: fraction; chance: what guessing would get."""

    n: int
    accuracy: float
    chance: float


class StageStarted(Event, frozen=True, kw_only=True):
    """A stage of the suite begins with this many samples still standing."""

    name: str
    number: int
    stages: int
    entrants: int


class Progress(Event, frozen=True, kw_only=True):
    """Inside a stage. done of entrants are finished; robust_accuracy: the bound so far over all n samples."""

    name: str
    done: int
    entrants: int
    broken: int
    robust_accuracy: float
    rate: float
    """Samples finished a second in this stage."""


class StageFinished(Event, frozen=True, kw_only=True):
    """A stage is over. status: `ran`, `skipped` or `error`."""

    name: str
    status: str
    reason: str | None
    entrants: int
    broken: int
    robust_accuracy: float
    seconds: float
    note: str = ""
    """What a stage that looks for distances found."""


class Finished(Event, frozen=True, kw_only=True):
    """The record is written."""

    summary: str
    verdict: str | None
    folder: str


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """A listener that hears nothing."""
