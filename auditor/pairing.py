"""Which records may be compared, sample by sample, and what else differs between them. Loads no torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import fields

from auditor.entry import Entry, check_whole, folder_of, read_record
from auditor.errors import RecordError, UsageError
from auditor.metrics import OPEN, class_name
from auditor.record import Outcome, Record, Status, ThreatInfo

LONGEST = 60
"""Characters that a record's name may take in a sentence."""
CONFUSIONS = 3
"""Protected confusions that a note names at most."""
WORDED = ("name", "epsilon_text")
"""What of a threat is words, not the threat."""
ARRAYS = ("weights", "frozen")
"""What of a threat is an array: the plan holds its digest."""
Pair = tuple[Outcome, Outcome]


def read_entries(paths: Sequence[Path]) -> list[Entry]:
    """The records in these directories, whole. Raises UsageError for fewer than two or the same one twice, RecordError
    for one that can't be read, is incomplete or was changed."""
    if len(paths) < 2:
        raise UsageError(f"A comparison takes two records or more, got {len(paths)}: advaudit compare BASELINE OTHER …")
    entries: list[Entry] = []
    for path in paths:
        folder = folder_of(path)
        if any(folder.resolve() == known.folder.resolve() for known in entries):
            raise UsageError(f"Each record is given once, {path} came twice; a record has no difference from itself.")
        record = read_record(path)
        check_whole(record, folder)
        entries.append(Entry(record, folder))
    return entries


def names(entries: Sequence[Entry]) -> list[str]:
    """What each record is called: by its model, by its directory where models share a name, by both and a number where
    directories do too."""
    models = [short(entry.record.model.name or entry.record.model.path) for entry in entries]
    folders = [short(os.fsencode(entry.folder.resolve().name).decode("utf-8", "replace")) for entry in entries]
    for called in (models, folders, [f"{m} in {f}" for m, f in zip(models, folders, strict=True)]):
        if len(set(called)) == len(called) and all(called):
            return called
    return [f"{model} ({number})" for number, model in enumerate(models, 1)]


def check_comparable(baseline: Record, other: Record, called: tuple[str, str]) -> None:
    """Raise RecordError unless both are complete and say something about the same samples with the same labels."""
    for record, name in zip((baseline, other), called, strict=True):
        if not record.complete:
            raise RecordError(f"A comparison takes complete records, {name} is not; go on with its scan (--resume).")
        if record.drawn is not None and record.drawn.partial:
            raise RecordError(
                f"A comparison takes records of whole scans; that of {name} stopped once its gate was settled, so "
                "what it knows is no fair choice of pairs: scan again with --no-sequential."
            )
    first, second = called
    kinds = baseline.samples.labels, other.samples.labels
    if kinds[0] != kinds[1]:
        raise RecordError(
            f"Records are compared with one kind of labels; those of {first} are {kinds[0]}, those of {second} "
            f"{kinds[1]}: scan both with the same --labels."
        )
    if baseline.samples.digest != other.samples.digest:
        reason = (
            "where labels are predicted, each model has its own: scan with --labels given"
            if kinds[0] == "predicted"
            else "scan both with the same --data, --limit and --seed"
        )
        raise RecordError(
            f"Records are compared on the same samples; those of {first} (n = {baseline.samples.n}) and {second} "
            f"(n = {other.samples.n}) are not the same: {reason}."
        )
    if _labels(baseline) != _labels(other):
        raise RecordError(
            f"Records are compared on the same ids and labels; the outcomes of {first} and {second} have others "
            "though their samples are the same: scan again."
        )


def threat_differences(baseline: Record, other: Record, called: tuple[str, str]) -> list[str]:
    """In what the two threats differ, a phrase each: `epsilon: 0.1 for a, 0.3 for b`. Empty for one threat."""
    mine, theirs = _threat(baseline), _threat(other)
    return [
        f"{name.replace('_', ' ')}: {_shown(mine[name])} for {called[0]}, {_shown(theirs[name])} for {called[1]}"
        for name in mine
        if mine[name] != theirs[name]
    ]


def same_distance(baseline: Record, other: Record) -> bool:
    """Whether distances of the two can be held against each other: one norm, one weighting, one kind of goal."""
    alike = ("norm", "boxes", "goal", "weighted", "weights", "rotation", "translation")
    mine, theirs = _threat(baseline), _threat(other)
    return all(mine[name] == theirs[name] for name in alike)


def pairs(baseline: Record, other: Record) -> tuple[list[Pair], dict[str, int]]:
    """Outcomes side by side, in the order of the samples, and how many are left out by why: `error` with either, else
    `unattacked` with either. Such a sample says nothing about one of the models."""
    found, left = [], Counter[Status]()
    theirs = {outcome.id: outcome for outcome in other.outcomes}
    for mine in baseline.outcomes:
        pair = mine, theirs[mine.id]
        unknown = [outcome.status for outcome in pair if outcome.status in OPEN]
        if unknown:
            left[Status.ERROR if Status.ERROR in unknown else Status.UNATTACKED] += 1
        else:
            found.append(pair)
    return found, {str(status): left[status] for status in OPEN}


def notes(baseline: Record, other: Record, called: tuple[str, str]) -> list[str]:
    """What else than the model differs or speaks against a number, a sentence each."""
    first, second = called
    told = []
    if baseline.plan.get("suite") != other.plan.get("suite"):
        told.append(f"{second} was attacked with another suite than {first}, so a difference may be the attacks'.")
    elif only := _only(called, _after(baseline), _after(other)):
        told.append(
            "After the same suite, doubts called for other attacks ("
            + "; ".join(f"{', '.join(sorted(map(short, found)))} only on {name}" for name, found in only)
            + "), so a part of a difference may be theirs."
        )
    for key in sorted((baseline.plan.keys() | other.plan.keys()) - ELSEWHERE):
        mine, theirs = baseline.plan.get(key), other.plan.get(key)
        if key == "hardness":
            told += _searches(mine, theirs, called, tuple(baseline.class_names or ()))
        elif mine != theirs:
            words = OPTIONS.get(key, f"Another {short(key)} in the plan")
            told.append(f"{words}: {_shown(mine)} for {first}, {_shown(theirs)} for {second}.")
    versions = baseline.tool.version, other.tool.version
    if versions[0] != versions[1]:
        told.append(
            f"{first} was scanned by advaudit {short(versions[0])}, {second} by {short(versions[1])}, so a "
            "difference may be the tool's."
        )
    for record, name in zip((baseline, other), called, strict=True):
        if record.trust == "doubtful":
            told.append(f"The number of {name} is doubtful: its true robust accuracy may lie well below.")
        if record.trust == "unknown":
            told.append(f"Whether the number of {name} can be believed is unknown: the evidence is too thin.")
        if record.blind:
            told.append(f"{name} was attacked without gradients, so its number is what an outsider achieved.")
        failed = [short(row.name) for row in record.attacks if row.status == "error"]
        if failed:
            told.append(f"On {name} attacks ended with an error: {', '.join(failed)}.")
    if (baseline.class_names or None) != (other.class_names or None):
        told.append(f"The records name classes differently; the names are those of {first}.")
    return told


def short(text: str) -> str:
    """A name from elsewhere in one line that leaves room for a sentence."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1].rstrip() + "…"


OPTIONS = {
    "seed": "Other draws, which may flip a few samples; seed",
    "certify": "Certifiers ran",
    "escalate": "Doubts were answered with more attacks",
    "deep": "Checks that cost much ran",
    "surrogates": "Stand-ins to transfer from",
    "hardness": "The search for distances",
    "leak": "Share of certified samples that were attacked all the same",
}
"""What of a plan, beyond model, samples, threat and suite, can move a number, in words."""
ELSEWHERE = {"model", "samples", "threat", "suite", "access", "versions"}
"""What of a plan is compared, refused or told elsewhere."""


def _labels(record: Record) -> dict[int, int]:
    return {outcome.id: outcome.label for outcome in record.outcomes}


def _threat(record: Record) -> dict[str, Any]:
    told = {field.name: getattr(record.threat, field.name) for field in fields(ThreatInfo) if field.name not in WORDED}
    planned = record.plan.get("threat") or {}
    return told | {name: planned.get(name) for name in ARRAYS}


def _after(record: Record) -> set[str]:
    return {row.name for row in record.attacks if row.phase not in ("suite", "hardness") and row.status == "ran"}


def _only(called: tuple[str, str], mine: set[str], theirs: set[str]) -> list[tuple[str, set[str]]]:
    sides = zip(called, (mine - theirs, theirs - mine), strict=True)
    return [(name, found) for name, found in sides if found]


def _searched(planned: Any) -> bool:
    """Whether this is what a plan holds of the search for distances (auditor/job.py): whether it is played, whether it
    was asked for, its attack, and the protected confusions, each a label, another one or None, and a cost."""
    if not isinstance(planned, (list, tuple)) or len(planned) != 4 or not isinstance(planned[3], (list, tuple)):
        return False
    return all(map(_confusion, planned[3]))


def _confusion(one: Any) -> bool:
    if not isinstance(one, (list, tuple)) or len(one) != 3:
        return False
    label, into, cost = one
    return isinstance(label, int) and isinstance(into, int | None) and isinstance(cost, int | float)


def _searches(mine: Any, theirs: Any, called: tuple[str, str], class_names: tuple[str, ...]) -> list[str]:
    """In what two searches for distances differ, a sentence each. That one was asked for is no difference."""
    first, second = called
    told = []
    words = [("played" if plan[0] else "left out") if _searched(plan) else "unknown" for plan in (mine, theirs)]
    if words[0] != words[1]:
        told.append(f"{OPTIONS['hardness']}: {words[0]} for {first}, {words[1]} for {second}.")
    if "unknown" in words:
        return told
    if mine[0] and theirs[0] and mine[2] != theirs[2]:
        words = [short(str(plan[2])) if plan[2] else "the one that fits the norm" for plan in (mine, theirs)]
        told.append(f"Distances were looked for by another attack: {words[0]} for {first}, {words[1]} for {second}.")
    if list(map(list, mine[3])) != list(map(list, theirs[3])):
        words = [_confusions(plan[3], class_names) for plan in (mine, theirs)]
        told.append(f"Other confusions are protected: {words[0]} for {first}, {words[1]} for {second}.")
    return told


def _confusions(planned: Sequence[Any], class_names: tuple[str, ...]) -> str:
    """`cat taken for dog at cost 10, fox taken for any other at cost 5`."""

    def name(label: int | None) -> str:
        return "any other" if label is None else short(class_name(label, class_names))

    told = [f"{name(label)} taken for {name(into)} at cost {cost:g}" for label, into, cost in planned[:CONFUSIONS]]
    more = f" and {len(planned) - CONFUSIONS} more" if len(planned) > CONFUSIONS else ""
    return ", ".join(told) + more or "none"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(entry) for entry in value) or "none"
    return "none" if value is None else short(str(value))
