"""Two or more records of the same samples, paired: what changed overall and by class, and which samples flipped.

The first record is the baseline, each other one is compared with it. Whatever a reporter prints of a comparison is
computed here, from the records alone, in milliseconds; no torch is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from math import inf, isfinite, isinf, isnan, nan
from pathlib import Path

from msgspec.structs import replace

from auditor.comparison import (
    BEYOND,
    EITHER,
    INTO,
    SCHEMA,
    ClassChange,
    Comparison,
    Contrast,
    Distances,
    Flip,
    Side,
)
from auditor.curve import correct, smallest_found
from auditor.entry import Entry
from auditor.errors import RecordError, UsageError
from auditor.journal import write_whole
from auditor.metrics import GOOD, class_name
from auditor.paired import Change, change, holm, median_interval, middle
from auditor.pairing import (
    Pair,
    check_comparable,
    names,
    notes,
    pairs,
    read_entries,
    same_distance,
    threat_differences,
)
from auditor.record import Outcome, Record, Status, ThreatInfo
from auditor.told import by_class, sentence

RENDERER = "auditor.reports.comparison"
"""Who renders it; like every report it is known by its name alone."""


def compare(entries: Sequence[Entry], *, across_threats: bool = False) -> Comparison:
    """Compare each record with the first.

    across_threats: also where the threats differ, which then is in the result. Raises UsageError for fewer than two
    records, RecordError where two can't be compared, with the reason.
    """
    if len(entries) < 2:
        raise UsageError(f"A comparison takes two records or more, got {len(entries)}.")
    called = names(entries)
    baseline = entries[0].record
    contrasts = [
        contrast(baseline, entry.record, (called[0], name), across_threats=across_threats)
        for entry, name in zip(entries[1:], called[1:], strict=True)
    ]
    return Comparison(
        schema=SCHEMA,
        version=max(entry.record.tool.version for entry in entries),
        across_threats=any(found.threats for found in contrasts),
        threat=baseline.threat,
        blind=baseline.blind,
        sides=[_side(entry, name) for entry, name in zip(entries, called, strict=True)],
        contrasts=contrasts,
    )


def present(paths: Sequence[Path], forms: Sequence[str], out: Path | None, *, across_threats: bool) -> Iterator[str]:
    """Compare the records in these directories: the text itself, and the path of each other form that was written.

    out: default the last record's directory. Raises as `read_entries` and `compare` do, and RecordError where a file
    can't be written.
    """
    entries = read_entries(paths)
    found = compare(entries, across_threats=across_threats)
    renderer = import_module(RENDERER)
    for form in dict.fromkeys(forms):
        content: str = renderer.render(found, form)
        if form == "text":
            yield content.rstrip("\n")
            continue
        path = (out or entries[-1].folder) / renderer.FILENAMES[form]
        try:
            write_whole(path, content.encode())
        except OSError as error:
            raise RecordError(f"{path} can't be written ({error.strerror or error}); give another --out.") from error
        yield str(path)


def contrast(baseline: Record, other: Record, called: tuple[str, str], *, across_threats: bool = False) -> Contrast:
    """One record against the baseline, by these names. Raises RecordError where they can't be compared."""
    check_comparable(baseline, other, called)
    threats = threat_differences(baseline, other, called)
    if threats and not across_threats:
        raise RecordError(
            f"Records are compared under one threat, these differ in {'; '.join(threats)}: scan both under one, or "
            "give --across-threats."
        )
    found, left_out = pairs(baseline, other)
    class_names = baseline.names
    lost = [_flip(mine, theirs, theirs, class_names) for mine, theirs in found if _robust(mine) > _robust(theirs)]
    gained = [_flip(mine, theirs, mine, class_names) for mine, theirs in found if _robust(mine) < _robust(theirs)]
    robust = _change(found, _robust)
    classes = _classes(found, class_names)
    proved = all(record.metrics.certified_accuracy is not None for record in (baseline, other))
    return Contrast(
        baseline=called[0],
        other=called[1],
        sentence=sentence(robust, lost, gained, called),
        n=len(found),
        left_out=left_out,
        robust=robust,
        clean=_change(found, _right),
        certified=_change(found, _certified) if proved else None,
        classes=classes,
        by_class=by_class(classes),
        distances=_distances(found, baseline.threat, other.threat) if same_distance(baseline, other) else None,
        lost=lost,
        gained=gained,
        threats=threats,
        notes=notes(baseline, other, called),
    )


def _side(entry: Entry, name: str) -> Side:
    record = entry.record
    return Side(
        name=name,
        folder=os.fsencode(entry.folder).decode("utf-8", "replace"),
        model=record.model.path,
        sha256=record.model.sha256,
        threat=record.threat.name,
        n=record.samples.n,
        robust_accuracy=record.metrics.robust_accuracy,
        clean_accuracy=record.metrics.clean_accuracy,
        trust=record.trust,
        version=record.tool.version,
    )


def _robust(outcome: Outcome) -> bool:
    return outcome.status in GOOD


def _right(outcome: Outcome) -> bool:
    return outcome.clean_label == outcome.label


def _certified(outcome: Outcome) -> bool:
    return outcome.status is Status.CERTIFIED


def _change(found: Sequence[Pair], has: Callable[[Outcome], bool]) -> Change:
    return change((has(mine), has(theirs)) for mine, theirs in found)


def _classes(found: Sequence[Pair], class_names: tuple[str, ...] | None) -> list[ClassChange]:
    by_label: dict[int, list[Pair]] = {}
    for pair in found:
        by_label.setdefault(pair[0].label, []).append(pair)
    robust = _adjusted([_change(own, _robust) for own in by_label.values()])
    clean = _adjusted([_change(own, _right) for own in by_label.values()])
    rows = [
        ClassChange(label=label, name=class_name(label, class_names), robust=r, clean=c)
        for label, r, c in zip(by_label, robust, clean, strict=True)
    ]
    return sorted(rows, key=lambda row: (row.robust.difference or 0.0, row.label))


def _adjusted(changes: Sequence[Change]) -> list[Change]:
    adjusted = holm([1.0 if one.p is None else one.p for one in changes])
    return [replace(one, p_holm=p) for one, p in zip(changes, adjusted, strict=True)]


def _distances(found: Sequence[Pair], baseline: ThreatInfo, other: ThreatInfo) -> Distances | None:
    """None where neither record looked for distances. What was not found is infinitely far while it is computed with:
    left out it would make the model the weaker that holds out on the hard samples."""
    right = [pair for pair in found if all(map(correct, pair))]
    looked = [pair for pair in right if all(outcome.ranged for outcome in pair)]
    if not any(outcome.ranged for pair in right for outcome in pair):
        return None
    mine = _nearest([before for before, _ in looked], baseline)
    theirs = _nearest([after for _, after in looked], other)
    near = list(zip(mine, theirs, strict=True))
    moved = [after - before for before, after in near if isfinite(before) or isfinite(after)]
    low, high = median_interval(moved) or (nan, nan)
    numbers = {"baseline": middle(mine), "other": middle(theirs), "difference": middle(moved), "low": low, "high": high}
    beyond = {name: INTO if value < 0 else BEYOND for name, value in numbers.items() if isinf(value)}
    if moved and isnan(numbers["difference"]):
        beyond["difference"] = EITHER
    told = {name: value if isfinite(value) else None for name, value in numbers.items()}
    return Distances(
        norm=baseline.norm,
        n=len(looked),
        not_looked=len(right) - len(looked),
        both=sum(isfinite(before) and isfinite(after) for before, after in near),
        only_baseline=sum(isfinite(before) and isinf(after) for before, after in near),
        only_other=sum(isinf(before) and isfinite(after) for before, after in near),
        neither=len(looked) - len(moved),
        baseline=told["baseline"],
        other=told["other"],
        difference=told["difference"],
        interval=None if isnan(low) else (told["low"], told["high"]),
        beyond=beyond,
    )


def _nearest(outcomes: list[Outcome], threat: ThreatInfo) -> list[float]:
    """Each sample's distance, infinite where no stage found an example."""
    found: list[float] = smallest_found(outcomes, inf if threat.epsilon is None else threat.epsilon).tolist()
    return found


def _flip(before: Outcome, after: Outcome, broken: Outcome, class_names: tuple[str, ...] | None) -> Flip:
    wrong = broken.clean_label if broken.adversarial_label is None else broken.adversarial_label
    return Flip(
        id=broken.id,
        label=broken.label,
        name=class_name(broken.label, class_names),
        before=before.status,
        after=after.status,
        adversarial_label=broken.adversarial_label,
        wrong_label=wrong,
        wrong_name=class_name(wrong, class_names),
        attack=broken.attack,
        distance=broken.distance,
    )
