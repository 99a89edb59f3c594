"""From a verdict to an exit code and to lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.record import Record, Verdict

CODES = {None: 0, Verdict.PASSED: 0, Verdict.FAILED: 1, Verdict.INCONCLUSIVE: 3}


def exit_code(verdict: Verdict | None) -> int:
    """0 passed or no rule, 1 failed, 3 inconclusive."""
    return CODES[verdict]


def worst(verdicts: list[Verdict | None]) -> Verdict | None:
    """Of several records: failed before inconclusive before passed before none."""
    for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED):
        if verdict in verdicts:
            return verdict
    return None


def unjudged(record: Record) -> str:
    """Why there is no verdict, in a sentence."""
    asked = f"No rule is for the threat {record.threat.name}" if record.gate.elsewhere else "No rule was given"
    return f"{asked}, so there is no verdict."


def tell(record: Record) -> Iterator[str]:
    """The rules with their values, then the sentence."""
    for row in record.gate.rules:
        yield f"{row.status.upper():12} {row.rule}: {row.reason}"
    if record.verdict is None:
        yield unjudged(record)
    yield record.summary
