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


def tell(record: Record) -> Iterator[str]:
    """The rules with their values, then the sentence."""
    for row in record.gate.rules:
        yield f"{row.status.upper():12} {row.rule}: {row.reason}"
    if not record.gate.rules:
        yield "No rule was given, so there is no verdict."
    yield record.summary
