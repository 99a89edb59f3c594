"""Whether a record agrees with itself: outcomes with their evidence, numbers with the outcomes that they count."""

from __future__ import annotations

import msgspec
import numpy as np

from auditor.curve import curve, median_distance
from auditor.errors import RecordError
from auditor.hardness import Runs
from auditor.metrics import measure
from auditor.pairs import pairs_of
from auditor.record import Record, Status

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
    epsilon = record.threat.epsilon
    measured = measure(record.outcomes, certified=record.metrics.certified_accuracy is not None)
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


def _check_pairs(record: Record, evidence: dict[str, np.ndarray]) -> None:
    """Raise RecordError unless runs, their examples, and the pairs that they make agree."""
    known = record.hardness
    runs = known.runs if known else Runs()
    found = [(i, t) for i, t, d in zip(runs.ids, runs.targets, runs.distances, strict=False) if d is not None]
    there = list(zip(evidence["id"].tolist(), evidence["adversarial_label"].tolist(), strict=True))
    if found != there or len({len(runs.ids), len(runs.targets), len(runs.distances), len(runs.saliency)}) > 1:
        raise RecordError("The record's runs towards a class and their evidence differ; one of the two was changed.")
    if known is not None and known.pairs != pairs_of(record, runs):
        raise RecordError("The record's pairs are not those of its runs; one of the two was changed.")


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
