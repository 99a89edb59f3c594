"""A record on disk: read, held against its digest, and handed to reporters with its evidence."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from auditor.errors import RecordError
from auditor.record import AUDIT, EVIDENCE, SCHEMA, Outcome, Record


@dataclass(frozen=True)
class Entry:
    """A record and the folder it lies in: what a reporter renders."""

    record: Record
    folder: Path

    def evidence(self) -> dict[str, np.ndarray]:
        """Arrays `id, x, x_adv, label, adversarial_label`, one row an adversarial example, and the same behind `near_`
        of what distance stages found. Raises RecordError."""
        return read_evidence(self.folder)


def digest_outcomes(outcomes: list[Outcome], evidence: dict[str, np.ndarray]) -> str:
    """SHA-256 over every outcome and every byte of evidence: equal for two runs of the same execution."""
    told = [msgspec.to_builtins(outcome) for outcome in outcomes]
    for outcome in told:
        if not outcome["radius"]:  # older records have none
            del outcome["radius"]
    digest = hashlib.sha256(msgspec.json.encode(told))
    for name in sorted(evidence):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(evidence[name]).tobytes())
    return digest.hexdigest()


def read_record(folder: Path) -> Record:
    """The record in this directory (or the `audit.json` itself).

    Raises RecordError where there is none, it is torn, or of another schema.
    """
    path = folder / AUDIT if folder.is_dir() else folder
    try:
        raw = path.read_bytes()
    except OSError as error:
        inside = sorted(found.parent.name for found in folder.glob(f"*/{AUDIT}")) if folder.is_dir() else []
        hint = f"; it holds {', '.join(inside)}, name one of them" if inside else ""
        raise RecordError(
            f"A record is a directory with {AUDIT} in it; {folder} has none that can be read{hint}."
        ) from error
    try:
        schema = msgspec.json.decode(raw, type=dict[str, Any]).get("schema")
        if schema != SCHEMA:
            raise RecordError(
                f"{path} has schema {schema!r}, this advaudit reads {SCHEMA}; scan again, or use its version."
            )
        return msgspec.json.decode(raw, type=Record)
    except msgspec.DecodeError as error:
        raise RecordError(f"{path} is not a record that advaudit wrote ({error}); scan again.") from error


def check_whole(record: Record, folder: Path) -> None:
    """Raise RecordError unless the scan ended, and outcomes and evidence are those that it wrote."""
    if not record.complete:
        raise RecordError(f"The record in {folder} is not complete; go on with the scan (--resume).")
    if not (folder / EVIDENCE).exists():
        return  # an audit.json by itself can't be held against anything
    if digest_outcomes(record.outcomes, read_evidence(folder)) != record.outcomes_digest:
        raise RecordError(f"Outcomes or evidence in {folder} are not those that were written; scan again.")


def read_evidence(folder: Path) -> dict[str, np.ndarray]:
    """Arrays `id, x, x_adv, label, adversarial_label` of a record's adversarial examples. Raises RecordError."""
    path = folder / EVIDENCE
    try:
        return read_arrays(path)
    except Exception as error:  # a torn archive fails in a dozen ways, by its own errors and those of zip and zlib
        raise RecordError(f"The evidence {path} can't be read ({error}); scan again.") from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`, none of which may carry code. Raises whatever numpy, zip and zlib raise."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
