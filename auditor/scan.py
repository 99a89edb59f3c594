"""`advaudit scan`: one job for each threat, a record for each job, one report for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auditor.entry import Entry
from auditor.errors import UsageError
from auditor.events import Listener, Notice
from auditor.flow import audit
from auditor.folder import claim
from auditor.host import Host
from auditor.record import AUDIT
from auditor.rendering import check_formats, render
from auditor.resolve import resolve
from auditor.verdict import exit_code, worst

FORMATS = ("html", "csv")
"""What a scan writes unless it is told otherwise: for people, and for a spreadsheet."""


def run_scan(model: str, options: dict[str, Any], plugins_dir: Path | None, listen: Listener) -> int:
    """Scan, report, and return the exit code. Raises AdvauditError where the scan can't be run."""
    host = Host.load(folder=plugins_dir)
    for plugin in host.errors:
        listen(Notice(text=f"The plugin {plugin.name} can't be used: {plugin.error}"))
    jobs, out = resolve(model, options, host)
    if jobs[0].config:
        threats = ", ".join(job.threat.title for job in jobs)
        rules = f", {len(jobs[0].rules)} rules of the gate" if jobs[0].rules else ""
        listen(Notice(text=f"Plan: {jobs[0].config} ({threats}{rules})."))
    formats = options["formats"] or FORMATS
    check_formats(host, formats)
    if len(jobs) > 1 and (out / AUDIT).exists():
        raise UsageError(f"{out} holds the record of a scan with one threat; give another --out for several.")
    for job in jobs:
        claim(job.out, resume=job.resume, overwrite=job.overwrite)
    entries = [Entry(audit(job, host, listen), job.out) for job in jobs]
    paths = render(host, entries, formats, out)
    for entry in entries:
        for row in entry.record.gate.rules:
            listen(Notice(text=f"{row.status.upper()}: {row.rule}; {row.reason}"))
    for path in paths:
        listen(Notice(text=f"{'Tables' if path.is_dir() else 'Report'}: {path}"))
    for entry in entries:
        listen(Notice(text=entry.record.summary))
    return exit_code(worst([entry.record.verdict for entry in entries]))
