"""The twin: what attacks searched on in place of the file, and how far the two agree."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.rates import MISSING
from auditor.record import Fidelity, Record

from . import words
from .numbers import amount, count, percent


@dataclass(frozen=True, kw_only=True)
class FidelityLine:
    """The twin against the file on one set of inputs."""

    inputs: str
    n: str
    agreement: str
    difference: str


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """An operator whose backward pass in the twin is not its derivative."""

    operator: str
    name: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Twin:
    """source: what attacks searched on; advice: what to do where that was nothing. agreement: in a few words. note:
    how to read the fidelity."""

    source: str
    advice: str
    stand_ins: list[StandIn]
    fidelity: list[FidelityLine]
    agreement: str
    note: str


def twin(record: Record) -> Twin:
    """What stood in for the model where gradients were needed."""
    return Twin(
        source=_source(record),
        advice=words.NO_TWIN if _lacks_a_twin(record) else "",
        stand_ins=[_stand_in(text) for text in record.model.surrogates],
        fidelity=_fidelity(record.fidelity),
        agreement=_agreement(record.fidelity),
        note=_note(record),
    )


def _lacks_a_twin(record: Record) -> bool:
    """Whether gradients were wanted, there were none, and a plugin could change that."""
    return record.model.twin == "none" and not record.model.flat and record.threat.access == "gradient"


def _source(record: Record) -> str:
    model = record.model
    text = f"Attacks searched on {words.TWINS.get(model.twin, model.twin)}; the file itself judged every candidate."
    if record.threat.access != "gradient":
        return f"The audit grants {record.threat.access} access only, so attacks got no gradients of the file."
    if model.twin == "none":
        text = f"The file has {words.TWINS['none']}"
        text += f": {model.twin_reason.rstrip('.')}." if model.twin_reason else "."
    if model.surrogates:
        text += " Where a derivative is zero or does not exist, attacks followed these stand-ins, backwards only:"
    return text


def _stand_in(text: str) -> StandIn:
    operator, _, name = text.partition(": ")
    return StandIn(operator=operator, name=name, meaning=words.surrogate(name))


def _fidelity(measured: Fidelity | None) -> list[FidelityLine]:
    if measured is None:
        return []
    lines = [_line("Clean samples", measured.n, measured.label_agreement, measured.max_difference)]
    if measured.adversarial_n:
        lines.append(
            _line(
                "Verified adversarial examples",
                measured.adversarial_n,
                measured.adversarial_label_agreement,
                measured.adversarial_max_difference,
            )
        )
    return lines


def _agreement(measured: Fidelity | None) -> str:
    if measured is None:
        return ""
    return (
        f"Twin and file agree on {percent(measured.label_agreement, measured.n)} of {count(measured.n)} clean samples"
    )


def _line(inputs: str, n: int, agreement: float | None, difference: float | None) -> FidelityLine:
    return FidelityLine(inputs=inputs, n=count(n), agreement=percent(agreement, n), difference=amount(difference))


def _note(record: Record) -> str:
    measured = record.fidelity
    if measured is None:
        return f"Fidelity is {MISSING}: there is no twin to compare."
    where = "below it" if measured.low else "not below it"
    text = (
        f"The largest score seen is {amount(measured.scale)}. Under {percent(measured.floor, 1)} agreement on clean "
        f"samples white-box results are doubtful; this twin is {where}."
    )
    if measured.adversarial_n and (measured.adversarial_label_agreement or 0) < 1:
        text += " Adversarial examples lie close to a decision boundary, where small differences turn labels."
    return text
