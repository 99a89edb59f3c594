"""A scan: one job for each threat, a record for each job, one report for all; for the command and for Python alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auditor.entry import Entry
from auditor.errors import UsageError
from auditor.events import Listener, Notice
from auditor.flow import audit
from auditor.folder import claim
from auditor.host import Host
from auditor.judgement import Verdict
from auditor.rates import plural
from auditor.record import AUDIT
from auditor.rendering import check_formats, render
from auditor.resolve import legible, resolve
from auditor.verdict import exit_code, require_rules, unjudged, worst

FORMATS = ("html", "csv")
"""What a scan writes unless it is told otherwise: for people, and for a spreadsheet."""


@dataclass(frozen=True)
class Scanned:
    """What a scan left: its records with their folders, and the paths of the reports."""

    entries: list[Entry]
    reports: list[Path]

    @property
    def verdict(self) -> Verdict | None:
        """The worst of the records' verdicts, None where no rule was given."""
        return worst([entry.record.verdict for entry in self.entries])

    @property
    def code(self) -> int:
        """The exit code."""
        return exit_code(self.verdict)


def scan(
    model: str,
    options: Mapping[str, Any],
    plugins_dir: Path | None,
    listen: Listener,
    *,
    command: str = "",
) -> Scanned:
    """Scan the model, judge it and write the reports.

    options: all of them, see `auditor.options`. command: how to repeat it, where that is not the command that runs.
    Raises AdvauditError where it can't be run.
    """
    host = Host.load(folder=plugins_dir)
    for plugin in host.errors:
        listen(Notice(text=f"The plugin {plugin.name} can't be used: {plugin.error}"))
    jobs, out = resolve(model, dict(options), host)
    if command:
        jobs = [replace(job, command=legible(command)) for job in jobs]
    if jobs[0].config:
        threats = ", ".join(job.threat.title for job in jobs)
        rules = f", {plural(len(jobs[0].policy.rules), 'rule')} of the gate" if jobs[0].policy.rules else ""
        listen(Notice(text=f"Plan: {jobs[0].config} ({threats}{rules})."))
    if options["require_gate"]:
        require_rules(jobs[0].policy, [(job.threat.title, str(job.threat.norm)) for job in jobs])
    formats = options["formats"] or FORMATS
    check_formats(host, formats)
    if len(jobs) > 1 and (out / AUDIT).exists():
        raise UsageError(f"{out} holds the record of a scan with one threat; give another --out for several.")
    for job in jobs:
        claim(job.out, resume=job.resume, overwrite=job.overwrite)
    entries = [Entry(audit(job, host, listen), job.out) for job in jobs]
    return Scanned(entries, render(host, entries, formats, out))


def run_scan(model: str, options: Mapping[str, Any], plugins_dir: Path | None, listen: Listener) -> int:
    """Scan, say what came of it, and return the exit code. Raises AdvauditError where the scan can't be run."""
    done = scan(model, options, plugins_dir, listen)
    for entry in done.entries:
        if entry.record.verdict is None:
            listen(Notice(text=unjudged(entry.record)))
        for row in entry.record.gate.rules:
            listen(Notice(text=f"{row.status.upper()}: {row.rule}; {row.reason}"))
    for path in done.reports:
        listen(Notice(text=f"{'Tables' if path.is_dir() else 'Report'}: {path}"))
    for entry in done.entries:
        listen(Notice(text=entry.record.summary))
    return done.code
