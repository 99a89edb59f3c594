"""`advaudit gate`: old records judged by another policy. Loads neither the model nor torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auditor.entry import Entry, check_whole, folder_of, read_record
from auditor.errors import RecordError
from auditor.gate import judged
from auditor.record import EVIDENCE
from auditor.regression import check_other
from auditor.rule import Policy
from auditor.verdict import require_rules


def rejudge(paths: Sequence[Path], policy: Policy, *, require: bool = False) -> list[Entry]:
    """The records with this policy's judgement in place of their own.

    Raises RecordError for one that can't be read, lacks its evidence or was changed, UsageError for a rule that is for
    none of them, and where `require` is set for one of them without a rule.
    """
    entries = []
    for path in paths:
        record = read_record(path)
        if path.is_dir() and not (path / EVIDENCE).exists():
            raise RecordError(f"A verdict takes a whole record; {path} lacks its {EVIDENCE}: scan again.")
        check_whole(record, folder_of(path))
        entries.append(Entry(record, folder_of(path)))
        check_other(policy, entries[-1].folder)
    threats = [(entry.record.threat.name, entry.record.threat.norm) for entry in entries]
    policy.check_threats(threats)
    if require:
        require_rules(policy, threats)
    return [Entry(judged(entry.record, policy), entry.folder) for entry in entries]
