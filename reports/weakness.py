"""Where is it weak? Which classes, into what, at what distance, and what must not happen."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.record import Record

from .classes import Classes, classes
from .confusions import Confusions, confusions
from .distances import Distances, distances
from .pairs import Pairs, pairs
from .protected import Harm, protected


@dataclass(frozen=True, kw_only=True)
class Weakness:
    """The parts of the section; pairs and protected are None where the record has none. why_no_pairs: the reason, empty
    where there are pairs or none were asked for."""

    classes: Classes
    pairs: Pairs | None
    why_no_pairs: str
    confusions: Confusions
    distances: Distances
    protected: Harm | None


def weakness(record: Record) -> Weakness:
    """Everything that a record says of where its model is weak."""
    return Weakness(
        classes=classes(record),
        pairs=pairs(record),
        why_no_pairs=_why_no_pairs(record),
        confusions=confusions(record),
        distances=distances(record),
        protected=protected(record),
    )


def _why_no_pairs(record: Record) -> str:
    why = record.hardness.why_no_pairs if record.hardness else None
    return f"No sample was attacked towards single classes: {why.rstrip('.')}." if why else ""
