"""The verdict in one sentence; the terminal, the report and the record all say it in these words."""

from __future__ import annotations

from auditor.judgement import Verdict
from auditor.metrics import OPEN, class_name, weakest
from auditor.rates import interval, percent, plural
from auditor.record import Record

FELL = 0.005
"""By how much a number has to fall after the suite for the sentence to say so."""


def summarise(record: Record, names: tuple[str, ...] | None, verdict: Verdict | None) -> str:
    """`Robust accuracy ≤ 41.2 % (linf 8/255, n = 500, 37–46); clean 93.0 %; weakest: cat → dog`."""
    metrics, threat = record.metrics, record.threat
    n = sum(metrics.statuses.values())
    clean = f"clean {percent(metrics.clean_accuracy, n)}"
    if metrics.robust_accuracy is None:
        head = f"Robust accuracy not computed ({threat.name}, n = {n}): no attack judged any sample"
    else:
        span = interval(metrics.robust_accuracy_interval)
        bound = percent(metrics.robust_accuracy, n, bound=True)
        part = f" drawn of {record.samples.n}" if record.n < record.samples.n else ""
        head = f"Robust accuracy ≤ {bound} ({threat.name}, n = {n}{part}, {span})"
    parts = [head, clean]
    unknown = sum(metrics.statuses.get(status, 0) for status in OPEN)
    if unknown and metrics.robust_accuracy is not None:
        full = "without the full budget" if record.drawn else "not attacked or errored"
        parts.append(f"{plural(unknown, 'sample')} {full}")
    if (row := weakest(record)) is not None and row.turns_into is not None:
        parts.append(f"weakest: {row.name} → {class_name(row.turns_into, names)}")
    if record.blind:
        parts.append("attacked without gradients")
    claim = record.story[0].robust_accuracy if record.story else None
    if claim is not None and metrics.robust_accuracy is not None and claim - metrics.robust_accuracy > FELL:
        parts.append(f"the suite alone claimed {percent(claim, n)}")
    if record.masking == "present":
        parts.append("masking present" + (", trust sound" if record.trust == "sound" else ""))
    if record.trust == "doubtful":
        parts.append("in doubt")
    if verdict is not None:
        parts.append(f"gate: {verdict}")
    return "; ".join(parts)
