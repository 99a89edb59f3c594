"""Listeners: a bar where somebody looks on, plain lines in a log, JSON lines for machines. All go to stderr, except
the last word, which goes to stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from auditor.events import Event, Finished, Listener, Notice, Observed, Progress, StageFinished, StageStarted, silent
from auditor.foreign import harmless, harmless_json

PLAIN_EVERY = 10.0
"""Seconds between two progress lines in a log."""


@contextmanager
def listener(kind: str) -> Iterator[Listener]:
    """The listener for `auto`, `bar`, `plain`, `json` or `none`; auto is a bar on a terminal and plain lines off it."""
    if kind == "auto":
        kind = "bar" if sys.stderr.isatty() else "plain"
    if kind == "none":
        yield silent
    elif kind == "json":
        yield _json
    elif kind == "plain":
        yield Plain()
    else:
        with _bar() as listen:
            yield listen


def _json(event: Event) -> None:
    print(harmless_json(msgspec.json.encode(event).decode()), flush=True)


def sentence(event: Event) -> str | None:
    """An event in words, in one line that can be printed anywhere: it may quote a model, a plugin or a file. None for
    events that only move a bar."""
    words = _words(event)
    return None if words is None else harmless(words)


def _words(event: Event) -> str | None:
    match event:
        case Notice():
            return event.text
        case Observed():
            return f"Clean accuracy {event.accuracy:.1%} on {event.n} samples (chance {event.chance:.1%})."
        case StageFinished(status="skipped"):
            return f"{event.name}: skipped, {event.reason}."
        case StageFinished():
            error = f" It ended with an error: {event.reason}." if event.status == "error" else ""
            return (
                f"{event.name}: broke {event.broken} of {event.entrants}, robust accuracy ≤ "
                f"{event.robust_accuracy:.1%} ({event.seconds:.1f} s).{event.note and ' '}{event.note}{error}"
            )
    return None


class Plain:
    """A line for every event worth one, and a progress line now and then."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, event: Event) -> None:
        text = sentence(event)
        if isinstance(event, Progress) and time.monotonic() - self.last > PLAIN_EVERY:
            text = harmless(f"{event.name}: {event.done} of {event.entrants}, {left(event)}")
        if text is not None:
            self.last = time.monotonic()
            print(text, file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, highlight=False, markup=False)
    name, note = (TextColumn(f"{{task.{what}}}", markup=False) for what in ("description", "fields[note]"))
    columns = (name, BarColumn(), MofNCompleteColumn(), note)
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1, note="", visible=False)

        def listen(event: Event) -> None:
            match event:
                case StageStarted():
                    title = harmless(f"{event.number + 1}/{event.stages} {event.name}")
                    bar.reset(task, total=event.entrants, description=title, note="", visible=True)
                case Progress():
                    bar.update(task, completed=event.done, note=left(event))
                case Finished():
                    bar.update(task, visible=False)
            if (text := sentence(event)) is not None:
                console.print(text, soft_wrap=True)

        yield listen


def left(event: Progress) -> str:
    """`robust ≤ 41.2 %, 12/s, 40 s left`"""
    remaining = (event.entrants - event.done) / event.rate if event.rate > 0 else None
    time_left = f", {remaining:.0f} s left" if remaining is not None and event.done else ""
    return f"robust ≤ {event.robust_accuracy:.1%}, {event.rate:.1f}/s{time_left}"
