"""Which adversarial examples are shown: the nearest, the farthest, and one of every class in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditor.entry import Entry
from auditor.record import Outcome, Record

from .classes import order
from .names import naming
from .numbers import amount, times
from .text import shorten

NEEDED = ("id", "x", "x_adv", "label", "adversarial_label")
NEAR = "near_"
"""Before the names of arrays that hold what distance stages found, within epsilon or beyond."""
ENDS = 4
"""Most samples of either end that are shown."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One verified adversarial example. id: of its sample. change: its largest change, `0.3`. x, x_adv: the inputs."""

    id: str
    source: str
    into: str
    attack: str
    distance: str
    change: str
    x: np.ndarray
    x_adv: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A group of examples under one heading."""

    title: str
    note: str
    examples: list[Example]


def choose(entry: Entry, evidence: dict[str, np.ndarray], most: int) -> list[Chosen]:
    """At most so many examples: the easiest and the hardest where the record names them, then one of every class."""
    record = entry.record
    outcomes = {outcome.id: outcome for outcome in record.outcomes}
    near, within = _places(evidence, NEAR), _places(evidence, "")
    hardness, groups, taken = record.hardness, [], set[int]()
    if hardness is not None and near:
        classes = len(set(evidence["label"].tolist()))
        ends = min(ENDS, max((most - classes) // 2, 2))
        for title, note, ids in (
            ("The easiest samples", "Their nearest adversarial examples are the nearest of all.", hardness.easiest),
            ("The hardest samples", "Their nearest adversarial examples are the farthest of all.", hardness.hardest),
        ):
            own = [id for id in ids if id in near and id not in taken][:ends]
            taken.update(own)
            if own:
                examples = [_example(record, outcomes.get(id), evidence, NEAR, near[id]) for id in own]
                groups.append(Chosen(title=title, note=note, examples=examples))
    free = np.flatnonzero(~np.isin(evidence["id"], list(taken)))
    rows = [int(free[place]) for place in turns(evidence["label"][free], order(record))][: most - len(taken)]
    if rows:
        examples = [_example(record, outcomes.get(int(evidence["id"][row])), evidence, "", row) for row in rows]
        title = "Of every class in turn" if groups else ""
        note = _which(len(rows), len(within), others=bool(groups))
        groups.append(Chosen(title=title, note=note, examples=examples))
    return groups


def turns(labels: np.ndarray, classes: Sequence[int]) -> list[int]:
    """Rows of the evidence: the first of each class in the order of `classes`, then the second of each, and so on."""
    rows: dict[int, list[int]] = {label: [] for label in classes}
    for row, label in enumerate(labels.tolist()):
        rows.setdefault(label, []).append(row)
    longest = max((len(own) for own in rows.values()), default=0)
    return [own[turn] for turn in range(longest) for own in rows.values() if turn < len(own)]


def fault(evidence: dict[str, np.ndarray]) -> str:
    """What is wrong with these arrays, empty where nothing is."""
    missing = [name for name in NEEDED if name not in evidence]
    if missing:
        return f"the evidence lacks {', '.join(missing)}"
    for prefix in ("", NEAR):
        arrays = [evidence[prefix + name] for name in NEEDED if prefix + name in evidence]
        if len({len(array) for array in arrays}) > 1:
            return "the evidence's arrays don't fit together"
        if prefix + "x" in evidence and evidence[prefix + "x"].shape != evidence[prefix + "x_adv"].shape:
            return "the evidence's arrays don't fit together"
    return "" if len(evidence["id"]) or len(evidence.get(f"{NEAR}id", ())) else "the evidence is empty"


def _places(evidence: dict[str, np.ndarray], prefix: str) -> dict[int, int]:
    """Where each sample stands in these arrays; empty where they are not whole."""
    if any(prefix + name not in evidence for name in NEEDED):
        return {}
    return {int(id): row for row, id in enumerate(evidence[f"{prefix}id"].tolist())}


def _which(shown: int, total: int, *, others: bool) -> str:
    if others:
        return "The weakest class first, within epsilon."
    if shown == total:
        return (
            "All that were found within epsilon; the deployed model confirmed each." if total > 1 else "The only one."
        )
    return (
        f"{shown} of {total:,} adversarial examples, each confirmed by the deployed model: one of every class in turn, "
        "the weakest class first."
    )


def _example(
    record: Record, outcome: Outcome | None, evidence: dict[str, np.ndarray], prefix: str, row: int
) -> Example:
    name = naming(record)
    x, x_adv = evidence[f"{prefix}x"][row], evidence[f"{prefix}x_adv"][row]
    change = np.abs(x_adv.astype(np.float64) - x).max(initial=0.0)
    attack = record.hardness.attack if prefix and record.hardness else outcome.attack if outcome else None
    distance = (outcome.nearest if prefix else outcome.distance) if outcome else None
    multiple = times(distance, record.threat.epsilon) if prefix else ""
    return Example(
        id=str(int(evidence[f"{prefix}id"][row])),
        source=name(int(evidence[f"{prefix}label"][row])),
        into=name(int(evidence[f"{prefix}adversarial_label"][row])),
        attack=shorten(attack or "not recorded"),
        distance=amount(distance) + (f" ({multiple})" if multiple else ""),
        change=amount(float(change)),
        x=x,
        x_adv=x_adv,
    )
