"""What the scans of the zoo say: the matrix of members and indicators, detections, and the bound on false alarms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scipy.stats import beta

from auditor.record import FindingStatus
from benchmarks.zoo import known, percent
from benchmarks.zoo_members import Member

STORE = Path(__file__).resolve().parents[1] / ".benchmarks" / "obscurity"
MODES = {"off": False, "on": True}
"""Escalation: doubts are noted, or answered too."""
NAMED_BY = {
    "underflow": ("saturation", "gradients"),
    "gradients": ("gradients", "vanishing", "saturation"),
    "stand-ins": ("steps", "gradients", "differences", "vanishing"),
    "shattered": ("shattered", "differences"),
    "randomised": ("randomised",),
    "one-step": ("label_leaking", "one_step", "random_step"),
}
"""By which findings a cause (`zoo_members.CAUSES`) is named."""
CELLS = {"raised": "●", "clear": "·", "inconclusive": "?"}


def stored(name: str) -> dict[str, Any]:
    """A member's kept scans by mode; empty where there is none."""
    path = STORE / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def matrix(members: list[Member], mode: str) -> Iterator[str]:
    """Member × indicator as they stand in one mode, with what is believed before and after."""
    scans = {member.name: stored(member.name) for member in members}
    ids: dict[str, bool] = {}
    for kept in scans.values():
        ids |= {key: f["masks"] for key, f in kept.get(mode, {}).get("findings", {}).items()}
    spoken = {
        key
        for kept in scans.values()
        for key, f in kept.get(mode, {}).get("findings", {}).items()
        if f["status"] != FindingStatus.CLEAR
    }
    columns = sorted(spoken, key=lambda key: (not ids[key], key))
    yield f"Clear on all: {', '.join(sorted(ids.keys() - spoken)) or 'none'}\n"
    heads = [f"**{key}**" if ids[key] else key for key in columns]
    yield f"| member | cause | {' | '.join(heads)} | masking | trust | robust | base |"
    yield "|---" * (len(columns) + 6) + "|"
    for member in members:
        kept = scans[member.name]
        findings = kept.get(mode, {}).get("findings", {})
        cells = [CELLS[findings[key]["status"]] if key in findings else " " for key in columns]
        masking, trust, robust = (change(kept, key) for key in ("masking", "trust", "robust"))
        yield f"| {' | '.join([member.name, member.cause or '', *cells, masking, trust, robust, base_of(member)])} |"


def change(kept: dict[str, Any], key: str) -> str:
    """A value without escalation, and with it where that differs."""
    values = []
    for mode in MODES:
        seen = kept.get(mode, {})
        value = "error" if "error" in seen else seen.get(key, "–")
        values.append(percent(value) if isinstance(value, float) or value is None else str(value))
    return values[0] if values[0] == values[1] else " → ".join(values)


def base_of(member: Member) -> str:
    """What the base withstands under margin PGD; of an honest member, what it does itself."""
    seen = known(member)
    if seen is None:
        return "–"
    return percent(seen.margin if member.kind == "honest" else seen.base)


def verdicts(members: list[Member], mode: str) -> Iterator[str]:
    """Detections and false alarms of some members in one mode."""
    kept = {m.name: stored(m.name).get(mode, {}) for m in members}
    seen = {name: scan for name, scan in kept.items() if "masking" in scan}
    deceivers = [m for m in members if m.name in seen and m.kind == "deceiver"]
    present = [m for m in deceivers if seen[m.name]["masking"] == "present"]
    named = [m for m in present if names_cause(m, seen[m.name])]
    yield f"{len(deceivers)} deceivers: masking present on {len(present)}, by what names the cause on {len(named)}"
    missed, elsewhere = ([m for m in some if m not in part] for some, part in ((deceivers, present), (present, named)))
    for text, some in (("missed", missed), ("for another cause", elsewhere)):
        if some:
            yield f"  {text}: {', '.join(m.name for m in some)}"
    honest = [m for m in members if m.name in seen and m.kind == "honest"]
    alarms = [m for m in honest if seen[m.name]["masking"] == "present"]
    yield f"{len(honest)} honest: masking present on {len(alarms)}{bound(len(alarms), len(honest))}"
    for m in alarms:
        raised = [key for key, f in seen[m.name]["findings"].items() if f["masks"] and f["status"] == "raised"]
        yield f"  {m.name}: {', '.join(raised)}"
    if failed := [name for name, scan in kept.items() if "error" in scan]:
        yield f"failed: {', '.join(failed)}"


def names_cause(member: Member, seen: dict[str, Any]) -> bool:
    """Whether a masking finding that names the member's cause is raised."""
    raised = {key for key, f in seen["findings"].items() if f["masks"] and f["status"] == FindingStatus.RAISED}
    return bool(raised & set(NAMED_BY[member.cause or ""]))


def bound(count: int, n: int) -> str:
    """The upper 95 % bound of a rate by Clopper and Pearson, in words; after no count in n it is about 3/n."""
    if not n:
        return ""
    most = 1.0 if count == n else float(beta.ppf(0.95, count + 1, n - count))
    return f" ({count / n:.1%}; with 95 % confidence at most {most:.1%})"
