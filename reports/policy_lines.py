"""Where the rules of a gate stand: the file of the policy, and the line of each `[[gate]]` table in it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

from auditor.judgement import RuleRow
from auditor.record import Record

GATE = re.compile(r"^[ \t]*\[\[[ \t]*(?:gate|\"gate\"|'gate')[ \t]*\]\]", re.MULTILINE)
LARGEST = 1 << 20
"""Bytes of a policy that is looked into; a larger one is none of ours."""


def places(record: Record) -> Callable[[RuleRow], tuple[str, int]]:
    """A function that says at which file and line a rule of this record stands.

    The file is the policy's, without one the plan's, without either the model's, as of a rule of the command line. The
    line is 1 where the policy can't be read here, or the record is an older one.
    """
    path = record.gate.policy or record.config or record.model.path
    starts = gate_lines(record.gate.policy)

    def place(row: RuleRow) -> tuple[str, int]:
        if row.table is None and row.metric:  # of the command line
            return record.model.path, 1
        known = row.table is not None and 0 < row.table <= len(starts)
        return path, starts[row.table - 1] if known and row.table is not None else 1

    return place


def gate_lines(policy: str) -> list[int]:
    """The line of each `[[gate]]` table, in their order; none where that can't be said."""
    path = Path(policy)
    try:
        # a record from elsewhere may name anything: no device, no pipe, nothing large
        if not policy or not path.is_file() or path.stat().st_size > LARGEST:
            return []
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text).get("gate", [])
    except (OSError, ValueError, RecursionError):  # not UTF-8 and no TOML are ValueErrors
        return []
    starts = [text.count("\n", 0, found.start()) + 1 for found in GATE.finditer(text)]
    # a head inside a text, or tables written in another way, would put every rule after it at a wrong line
    return starts if isinstance(tables, list) and len(tables) == len(starts) else []
