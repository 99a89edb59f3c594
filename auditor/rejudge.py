"""`advaudit gate`: old records judged by another policy. Loads neither the model nor torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auditor.entry import Entry, check_whole, read_record
from auditor.gate import judged
from auditor.rule import Policy


def rejudge(paths: Sequence[Path], policy: Policy) -> list[Entry]:
    """The records with this policy's judgement in place of their own.

    Raises RecordError for one that can't be read or was changed, UsageError for a rule that is for none of them.
    """
    entries = []
    for path in paths:
        folder = path if path.is_dir() else path.parent
        record = read_record(path)
        check_whole(record, folder)
        entries.append(Entry(record, folder))
    policy.check_threats([(entry.record.threat.name, entry.record.threat.norm) for entry in entries])
    return [Entry(judged(entry.record, policy), entry.folder) for entry in entries]
