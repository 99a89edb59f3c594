"""Whether a record's numbers are those of its outcomes, for whoever judges it. Loads no torch."""

from __future__ import annotations

from msgspec import structs

from auditor.errors import RecordError
from auditor.metrics import measure
from auditor.record import Record


def check_numbers(record: Record) -> None:
    """Raise RecordError unless metrics are those of the outcomes, and a sequential scan drew in its seed's order."""
    certified = record.metrics.certified_accuracy is not None
    told = measure(record.outcomes, certified=certified, drawn=record.drawn)
    if structs.replace(record.metrics, median_distance=None) != told:
        raise RecordError("The record's metrics are not those of its outcomes; one of the two was changed.")
    if record.drawn is None:
        return
    from auditor.sequential import random_order  # it brings numpy, which other records are checked without

    ids = [outcome.id for outcome in record.outcomes]
    order = [ids[i] for i in random_order(len(ids), int(record.plan.get("seed", 0)))]
    if record.drawn.size != len(ids) or record.drawn.ids != order[: len(record.drawn.ids)]:
        raise RecordError("The record's samples were not drawn in the order of its seed; it was changed.")
