"""The verdict as plain text, a line for each rule: what `advaudit gate` prints, as a file for a log.

Takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditor.entry import Entry
from auditor.foreign import harmless
from auditor.hookspecs import hookimpl
from auditor.verdict import tell

from .judgements import titles

FILENAME = "gate.txt"


def render(entries: list[Entry]) -> str:
    """The records one after another, under their names where there are several."""
    return "\n".join(_block(entry, title) for entry, title in zip(entries, _heads(entries), strict=True))


def _heads(entries: list[Entry]) -> list[str]:
    return titles(entries) if len(entries) > 1 else ["" for _ in entries]


def _block(entry: Entry, title: str) -> str:
    return "".join(f"{told}\n" for told in _lines(entry, title))


def _lines(entry: Entry, title: str) -> Iterator[str]:
    """Each in one line, whatever words of the model are in it, and nothing in it that a terminal obeys."""
    if title:
        yield harmless(title)
    yield from tell(entry.record)
    if not entry.record.complete:
        yield "The record is not complete: the scan did not end."


@hookimpl
def register_reporters(register: Any) -> None:
    register("text", render, FILENAME)
