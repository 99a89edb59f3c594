"""From a verdict to an exit code and to lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from auditor.errors import UsageError
from auditor.foreign import harmless
from auditor.judgement import RuleRow, Verdict
from auditor.record import Record

if TYPE_CHECKING:
    from auditor.rule import Policy

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


def require_rules(policy: Policy, threats: Sequence[tuple[str, str]]) -> None:
    """Raise UsageError where no rule would judge one of these threats, given by name and norm: without a verdict the
    exit code is 0, and whoever deletes the rules must not be told that all is well."""
    if not policy.rules and not policy.also:
        raise UsageError(
            "No rule was given, so it could neither pass nor fail: give a config with [[gate]] tables, or --fail-under "
            "0.4 (fail_under=0.4)."
        )
    for name, norm in threats:
        if not policy.for_threat(name, norm):
            raise UsageError(
                f"No rule is for the threat {name}, so it could neither pass nor fail: give it a [[gate]] table, or "
                "--fail-under 0.4 (fail_under=0.4), which is for all."
            )


def unjudged(record: Record) -> str:
    """Why there is no verdict, in a sentence."""
    asked = f"No rule is for the threat {record.threat.name}" if record.gate.elsewhere else "No rule was given"
    return f"{asked}, so there is no verdict."


def rule_line(row: RuleRow) -> str:
    """A rule as it was judged, in one line that can be printed anywhere: names of classes and threats are a stranger's
    words."""
    return f"{row.status.upper():12} {harmless(f'{row.rule}: {row.reason}')}"


def tell(record: Record) -> Iterator[str]:
    """The rules with their values, then the sentence, each in one line that can be printed anywhere."""
    for row in record.gate.rules:
        yield rule_line(row)
    if record.verdict is None:
        yield harmless(unjudged(record))
    yield harmless(record.summary)
