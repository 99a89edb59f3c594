"""A record on disk: read, held against its digest, and handed to reporters with its evidence."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from auditor.errors import RecordError
from auditor.record import AUDIT, EVIDENCE, SCHEMA, Outcome, Record
from auditor.recount import check_numbers

if TYPE_CHECKING:
    import numpy as np


class Stamp(msgspec.Struct):
    """What a file has to say before it is read as a record; all else in it is skipped, which takes a third as long."""

    schema: Any = None


NPY = b"\x93NUMPY"
"""What an .npy begins with; then version, length and text of a header, and the array's bytes."""


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
    return digest_bytes(outcomes, {name: array.tobytes() for name, array in evidence.items()})


def digest_bytes(outcomes: list[Outcome], evidence: dict[str, bytes]) -> str:
    """The same of evidence as the bytes of its arrays, in C order."""
    told = [msgspec.to_builtins(outcome) for outcome in outcomes]
    for outcome in told:
        if not outcome["radius"]:  # older records have none
            del outcome["radius"]
    digest = hashlib.sha256(msgspec.json.encode(told))
    for name in sorted(evidence):
        digest.update(name.encode())
        digest.update(evidence[name])
    return digest.hexdigest()


def folder_of(path: Path) -> Path:
    """Where a record lies that is given by its directory or its `audit.json`."""
    return path if path.is_dir() else path.parent


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
        schema = msgspec.json.decode(raw, type=Stamp).schema
        if schema != SCHEMA:
            raise RecordError(
                f"{path} has schema {schema!r}, this advaudit reads {SCHEMA}; scan again, or use its version."
            )
        return msgspec.json.decode(raw, type=Record)
    except msgspec.DecodeError as error:
        raise RecordError(f"{path} is not a record that advaudit wrote ({error}); scan again.") from error


def check_whole(record: Record, folder: Path) -> None:
    """Raise RecordError unless the scan ended, outcomes and evidence are those that it wrote, and the numbers theirs.

    An `audit.json` without evidence can't be held against anything. This finds accidents and careless hands: who
    changes everything alike, digests too, is not found out.
    """
    if not record.complete:
        raise RecordError(f"The record in {folder} is not complete; go on with the scan (--resume).")
    there = (folder / EVIDENCE).exists()
    if there and digest_bytes(record.outcomes, read_bytes(folder)) != record.outcomes_digest:
        raise RecordError(f"Outcomes or evidence in {folder} are not those that were written; scan again.")
    check_numbers(record)


def read_evidence(folder: Path) -> dict[str, np.ndarray]:
    """Arrays `id, x, x_adv, label, adversarial_label` of a record's adversarial examples. Raises RecordError."""
    path = folder / EVIDENCE
    try:
        return read_arrays(path)
    except Exception as error:  # a torn archive fails in a dozen ways, by its own errors and those of zip and zlib
        raise RecordError(f"The evidence {path} can't be read ({error}); scan again.") from error


def read_bytes(folder: Path) -> dict[str, bytes]:
    """The bytes of each array of a record's evidence, in C order. Raises RecordError.

    Without numpy where the arrays lie as they are written here, since a gate takes no longer than what it loads.
    """
    found = {}
    try:
        with zipfile.ZipFile(folder / EVIDENCE) as archive:
            for name in archive.namelist():
                data = archive.read(name)
                start, header = (10, data[8:10]) if data[6:7] == b"\x01" else (12, data[8:12])
                end = start + int.from_bytes(header, "little")
                if data[:6] != NPY or b"'fortran_order': False" not in data[start:end]:
                    break
                found[name.removesuffix(".npy")] = data[end:]
            else:
                return found
    except Exception as error:  # as below
        raise RecordError(f"The evidence {folder / EVIDENCE} can't be read ({error}); scan again.") from error
    return {name: array.tobytes() for name, array in read_evidence(folder).items()}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`, none of which may carry code. Raises whatever numpy, zip and zlib raise."""
    import numpy as np  # a gate on an audit.json by itself starts without it

    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
