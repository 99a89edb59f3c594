"""Workflow commands for GitHub Actions: a line for each rule, which GitHub shows at its `[[gate]]` table in the policy.

Takes milliseconds. To be printed by a step: `cat annotations.txt`. GitHub shows ten errors, ten warnings and ten
notices of a step, so the most important come first and the last of a kind says how many more there are. Form and
escapes are those of `@actions/core` (actions/toolkit, packages/core/src/command.ts).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from auditor.entry import Entry
from auditor.foreign import unbracketed
from auditor.hookspecs import hookimpl
from auditor.judgement import RuleRow, Verdict

from .judgements import NO_RULE, URGENCY, judgements, line, rank, titles
from .names import capital
from .policy_lines import places
from .text import shorten

FILENAME = "annotations.txt"
MOST = 10
"""Annotations of a kind that GitHub shows of one step."""
TITLE, MESSAGE = 200, 1000
"""Characters that a title and a message may take here; GitHub takes more, but shows them in a narrow column."""
COMMANDS = {Verdict.FAILED: "error", Verdict.INCONCLUSIVE: "warning", Verdict.PASSED: "notice"}
DATA: dict[str, str | int | None] = {"%": "%25", "\r": "%0D", "\n": "%0A"}
PROPERTY = DATA | {":": "%3A", ",": "%2C"}


@dataclass(frozen=True)
class Note:
    """A rule as it was judged in one record, and where it stands."""

    whose: str
    row: RuleRow
    path: str
    start: int


def render(entries: list[Entry]) -> str:
    """The records' rules as workflow commands. The same records and policies give the same text."""
    notes = [note for title, entry in zip(titles(entries), entries, strict=True) for note in _notes(title, entry)]
    lines = [told for status in URGENCY for told in _commands(status, [n for n in notes if n.row.status is status])]
    return "".join(f"{told}\n" for told in lines or [command("notice", f"advaudit: {NO_RULE}", title=capital(NO_RULE))])


def command(name: str, message: str, **properties: str) -> str:
    """`::error file=audit.toml,line=12::message`; properties without a value are left out."""
    told = ",".join(f"{key}={_escaped(value, PROPERTY)}" for key, value in properties.items() if value)
    return f"::{name}{f' {told}' if told else ''}::{_escaped(message, DATA)}"


def _notes(title: str, entry: Entry) -> Iterator[Note]:
    place = places(entry.record)
    for row in judgements(entry.record):
        path, start = place(row)
        yield Note(title, row, path, start)


def _commands(status: Verdict, notes: list[Note]) -> Iterator[str]:
    """Those of one kind: as many as GitHub shows, the last of them for those that it would not."""
    ordered = sorted(notes, key=lambda note: rank(note.row))
    shown = ordered if len(ordered) <= MOST else ordered[: MOST - 1]
    for note in shown:
        yield command(
            COMMANDS[status],
            shorten(f"{note.whose}: {line(note.row.reason)}", MESSAGE),
            file=_file(note.path),
            line=str(note.start),
            title=shorten(f"{capital(status.value)}: {line(note.row.rule)}", TITLE),
        )
    if more := len(ordered) - len(shown):
        told = f"{more} more rules {'are ' if status is Verdict.INCONCLUSIVE else ''}{status.value}"
        yield command(COMMANDS[status], f"{told}; the report has them all.", title=capital(told))


def _file(path: str) -> str:
    """A path as the runner takes it: one within the workspace it makes relative itself."""
    return posixpath.normpath(line(path)) if path else ""


def _escaped(text: str, table: dict[str, str | int | None]) -> str:
    """One value of a command. `##[` is how older commands begin, which a runner obeys anywhere in a line."""
    return unbracketed(text).translate(str.maketrans(table))


@hookimpl
def register_reporters(register: Any) -> None:
    register("annotations", render, FILENAME)
