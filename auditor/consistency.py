"""Whether a record agrees with itself: outcomes with their evidence, numbers with the outcomes that they count."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import TYPE_CHECKING

import msgspec

from auditor.curve import curve, median_distance
from auditor.errors import RecordError
from auditor.hardness import Runs
from auditor.metrics import by_class, measure
from auditor.record import Record, Status
from auditor.risk import Confusion

if TYPE_CHECKING:
    import numpy as np

COLUMNS = ("id", "x", "x_adv", "label", "adversarial_label")


def columns(evidence: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """What stands behind a prefix, in the columns of the evidence: `near_` what distance stages found, `pair_` what
    runs towards a class did."""
    near = {name: evidence.get(f"{prefix}{name}", evidence[name][:0]) for name in COLUMNS}
    return near | {name: evidence[name] for name in ("weights", "frozen") if name in evidence}


def check_consistent(record: Record, evidence: dict[str, np.ndarray]) -> None:
    """Raise RecordError unless evidence, outcomes and what was counted of them agree."""
    broken = [outcome.id for outcome in record.outcomes if outcome.status == "broken"]
    if missing := set(COLUMNS) - set(evidence):
        raise RecordError(f"The evidence lacks {', '.join(sorted(missing))}; scan again.")
    _check_columns(evidence)
    near = [outcome.id for outcome in record.outcomes if outcome.nearest is not None]
    if near != columns(evidence, "near_")["id"].tolist():
        raise RecordError("The record's nearest examples and those of the evidence differ; one of the two was changed.")
    _check_pairs(record, columns(evidence, "pair_"))
    rows = by_class(record.outcomes, record.names, record.drawn)
    if not any(row.misclassified or row.broken or row.certified for row in record.by_class):  # an older record
        rows = [msgspec.structs.replace(row, misclassified=0, broken=0, certified=0) for row in rows]
    if rows != record.by_class or record.samples.n != len(record.outcomes):
        raise RecordError("The record's classes are not those of its outcomes; one of the two was changed.")
    _check_threat(record)
    epsilon = record.threat.epsilon
    certified = record.metrics.certified_accuracy is not None
    measured = measure(record.outcomes, certified=certified, drawn=record.drawn)
    told = msgspec.structs.replace(measured, median_distance=median_distance(record.outcomes, epsilon))
    if told != record.metrics or curve(record.outcomes, epsilon) != record.curve:
        raise RecordError("The record's metrics or curve are not those of its outcomes; one of the two was changed.")
    for outcome in record.outcomes:
        good = outcome.status in (Status.WITHSTOOD, Status.CERTIFIED, Status.UNATTACKED)
        if good and epsilon is not None and outcome.nearest is not None and outcome.nearest <= epsilon:
            raise RecordError(
                f"The record calls sample {outcome.id} {outcome.status}, with an example at {outcome.nearest:g} within "
                f"epsilon {epsilon:g}; one of the two was changed."
            )
    if broken != evidence["id"].tolist():
        raise RecordError(
            f"The record says that {len(broken)} samples are broken, the evidence holds {len(evidence['id'])} others; "
            "one of the two was changed."
        )


def _check_threat(record: Record) -> None:
    """Raise RecordError where the threat is not the one that was planned."""
    planned, threat = record.plan["threat"], record.threat
    told = {
        "norm": threat.norm,
        "bounds": threat.bounds,
        "goal": threat.goal,
        "boxes": threat.boxes,
        "grid": threat.grid,
    }
    if not threat.boxes:
        told["epsilon"] = threat.epsilon
    if changed := [name for name, value in told.items() if planned.get(name) != value]:
        raise RecordError(f"The record's threat is not the one that was planned ({changed[0]}); one was changed.")


def _check_pairs(record: Record, evidence: dict[str, np.ndarray]) -> None:
    """Raise RecordError unless runs, their examples, and the pairs that they make agree."""
    known = record.hardness
    runs = known.runs if known else Runs()
    found = [(i, t) for i, t, d in zip(runs.ids, runs.targets, runs.distances, strict=False) if d is not None]
    there = list(zip(evidence["id"].tolist(), evidence["adversarial_label"].tolist(), strict=True))
    if found != there or len({len(runs.ids), len(runs.targets), len(runs.distances), len(runs.saliency)}) > 1:
        raise RecordError("The record's runs towards a class and their evidence differ; one of the two was changed.")
    if known is None:
        return
    labels = {o.id: o.label for o in record.outcomes if o.ranged and o.clean_label == o.label}
    sound = all(
        i in labels and 0 <= t < record.model.classes and t != labels[i]
        for i, t in zip(runs.ids, runs.targets, strict=True)
    )
    most = max(Counter(runs.ids).values(), default=0)
    if not sound or most > known.each or len(set(zip(runs.ids, runs.targets, strict=True))) < len(runs.ids):
        raise RecordError("The record's runs towards a class can't have been played; they were changed.")
    from auditor.derived import derived  # it brings scipy, which records without runs are checked without

    again = derived(
        known,
        record.outcomes,
        norm=record.threat.norm,
        epsilon=None if record.threat.boxes else record.threat.epsilon,
        features=prod(record.samples.shape),
        confusions=[Confusion(label=one.label, into=one.into, cost=one.cost) for one in known.protected],
    )
    for name in known.__struct_fields__:
        if getattr(known, name) != getattr(again, name):
            raise RecordError(f"`hardness.{name}` is not what outcomes and runs come to; one of them was changed.")


def _check_columns(evidence: dict[str, np.ndarray]) -> None:
    """Raise RecordError where columns that belong together differ in length or kind."""
    for prefix in ("", "near_", "pair_"):
        names = [f"{prefix}{name}" for name in COLUMNS]
        there = [name for name in names if name in evidence]
        if there and there != names:
            raise RecordError(f"The evidence has {there[0]}, but lacks {(set(names) - set(there)).pop()}; scan again.")
        if not there:
            continue
        n, shape = len(evidence[names[0]]), evidence[names[1]].shape
        whole = all(evidence[names[i]].shape == (n,) and evidence[names[i]].dtype.kind in "iu" for i in (0, 3, 4))
        if not whole or shape[:1] != (n,) or evidence[names[2]].shape != shape:
            raise RecordError(f"The columns {', '.join(names)} of the evidence do not fit together; scan again.")
