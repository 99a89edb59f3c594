"""What must not happen: confusions that the user named, and what errors cost."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.hardness import Protected, Risk
from auditor.record import Record

from .names import naming
from .numbers import amount, count, percent


@dataclass(frozen=True, kw_only=True)
class ProtectedLine:
    """One confusion. clean, broken: how many of n samples suffer it without and with an attack. reached: of the runs
    that went for it, within epsilon. precision: of the model's answer on clean samples."""

    name: str
    into: str
    cost: str
    n: str
    clean: str
    broken: str
    reached: str
    precision: str


@dataclass(frozen=True, kw_only=True)
class Harm:
    """rows: what was named. risk: what errors cost on average, empty where no cost was given."""

    rows: list[ProtectedLine]
    risk: str


def protected(record: Record) -> Harm | None:
    """The confusions that must not happen, None where none was named."""
    hardness = record.hardness
    if hardness is None or not hardness.protected:
        return None
    return Harm(rows=[_line(record, row) for row in hardness.protected], risk=_risk(hardness.risk))


def _line(record: Record, row: Protected) -> ProtectedLine:
    name = naming(record)
    return ProtectedLine(
        name=name(row.label),
        into="any other" if row.into is None else name(row.into),
        cost=amount(row.cost),
        n=count(row.n),
        clean=count(row.clean),
        broken=count(row.broken),
        reached=f"{count(row.got_there)} of {count(row.tried)}" if row.tried else "not tried",
        precision=percent(row.precision, row.n),
    )


def _risk(risk: Risk | None) -> str:
    if risk is None:
        return ""
    text = (
        f"Risk, the mean cost of a sample (errors that are not named cost 1): {amount(risk.clean)} without an attack, "
        f"at least {amount(risk.found)} with the adversarial examples that were found"
    )
    if risk.costliest is None:
        return f"{text}."
    return (
        f"{text}, about {amount(risk.costliest)} for an attacker who picks the costliest class within reach (estimated "
        f"from {count(risk.n)} samples)."
    )
