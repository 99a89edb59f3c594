"""What to do next, the most urgent first."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.record import Record


@dataclass(frozen=True, kw_only=True)
class StepLine:
    """What to do and why. command: to run, empty where there is none."""

    what: str
    why: str
    command: str


def next_steps(record: Record) -> list[StepLine]:
    """The record's own steps, in its order."""
    return [StepLine(what=step.what, why=step.why, command=step.command) for step in record.next_steps]
