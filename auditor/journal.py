"""The journal: every finished unit of work on disk before the next begins, so that a kill loses one unit at most."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from auditor.entry import read_arrays
from auditor.errors import RecordError
from auditor.ledger import UnitResult

JOURNAL = "journal.jsonl"
BLOCKS = "journal.blocks"
OWN = "[0-9][0-9][0-9]-[0-9][0-9][0-9][0-9][0-9].npz"
"""Names of our blocks: nothing else is ever taken away."""
Key = tuple[int, int]
ARRAYS = (
    *("index", "broken", "lost", "full", "margin", "best", "spent", "adversarial", "label", "distance"),
    *("nearest", "nearest_label", "nearest_point"),
    *("right", "fooled"),
)
TOLD = ("rejected", "error", "seconds", "width")


class Journal:
    """`journal.jsonl` and numbered blocks in a record's directory while the scan runs.

    The first line is the header (plan digest, execution); each further line names a finished unit (stage, chunk) and
    its block. A torn last line, or a line whose block is torn, is dropped together with all that follows.
    """

    def __init__(self, folder: Path, header: dict[str, Any], *, resume: bool):
        self.folder = folder
        self.path = folder / JOURNAL
        self.done: dict[Key, UnitResult] = {}
        kept: list[str] = []
        if resume and self.path.exists():
            kept = self._read(header)
        (folder / BLOCKS).mkdir(parents=True, exist_ok=True)
        lines = kept or [json.dumps(header, sort_keys=True)]
        write_whole(self.path, "".join(line + "\n" for line in lines).encode())

    def _read(self, header: dict[str, Any]) -> list[str]:
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        try:
            found = json.loads(lines[0])
        except ValueError:
            return []
        if not isinstance(found, dict):
            return []
        for name, wanted in json.loads(json.dumps(header)).items():
            if found.get(name) != wanted:
                raise RecordError(
                    f"{self.folder} holds the journal of another {name.replace('_', ' ')} and can't be resumed with "
                    "this one; give the same options, another --out, or --overwrite."
                )
        kept = [lines[0]]
        for line in lines[1:]:
            try:
                entry = json.loads(line)
                result, key = self._load(entry), (int(entry["stage"]), int(entry["chunk"]))
            except Exception:  # a torn block fails in a dozen ways, by numpy's errors and those of zip and zlib
                break
            self.done[key] = result
            kept.append(line)
        return kept

    def _load(self, entry: dict[str, Any]) -> UnitResult:
        path = self.folder / BLOCKS / Path(entry["block"]).name
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise ValueError(f"{path} is not the block that was written")
        arrays = read_arrays(path)
        columns = {name: arrays[name] for name in ARRAYS}
        return UnitResult(**columns | {name: entry[name] for name in TOLD})

    def write(self, key: Key, result: UnitResult) -> None:
        """Put a finished unit on disk: first its block, then the line that names it, each synced."""
        block = f"{key[0]:03d}-{key[1]:05d}.npz"
        columns = {f.name: getattr(result, f.name) for f in fields(UnitResult) if f.name in ARRAYS}
        path = self.folder / BLOCKS / block
        with path.open("wb") as file:
            np.savez(file, **columns)
            file.flush()
            os.fsync(file.fileno())
        entry = {
            "stage": key[0],
            "chunk": key[1],
            "block": block,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        } | {name: getattr(result, name) for name in TOLD}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Take journal and blocks away once the record is complete."""
        self.path.unlink()
        clear_blocks(self.folder)


def recorded_execution(folder: Path) -> dict[str, Any]:
    """How the journal in a folder says that its scan was computed; empty where there is none that can be read."""
    try:
        with (folder / JOURNAL).open(encoding="utf-8") as file:
            header = json.loads(file.readline())
        return dict(header["execution"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def clear_blocks(folder: Path) -> None:
    """Take our blocks away, and their folder unless something else lies in it. A link is not followed."""
    blocks = folder / BLOCKS
    if blocks.is_symlink() or not blocks.is_dir():
        return
    for block in blocks.glob(OWN):
        block.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        blocks.rmdir()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, even if the process is killed or the disk is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
