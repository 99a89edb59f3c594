"""The record's directory: opened for one plan, journalled while the scan runs, complete or not there at all."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from auditor.entry import read_record
from auditor.errors import RecordError, UsageError
from auditor.journal import JOURNAL, Journal, clear_blocks, write_whole
from auditor.record import AUDIT, EVIDENCE, SCHEMA, Record

if TYPE_CHECKING:
    from auditor.job import Job

WITNESS = "certificates.npz"
REFUSED = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR)
"""What an operating system says when it will not write."""
OURS = (AUDIT, EVIDENCE, WITNESS, JOURNAL)


@dataclass(frozen=True)
class Folder:
    """A directory that a scan writes to, and the journal in it."""

    path: Path
    journal: Journal

    @classmethod
    @contextmanager
    def open(cls, job: Job, plan: dict[str, Any]) -> Iterator[Folder]:
        """The job's directory. Raises UsageError where it is a file or holds a record already, RecordError where a
        journal in it is of another plan or execution, or where the disk refuses."""
        from auditor.job import digest

        claim(job.out, resume=job.resume, overwrite=job.overwrite)
        header = {
            "schema": SCHEMA,
            "plan_digest": digest(plan),
            "execution": msgspec.to_builtins(job.execution),
            "set of plugins": [[plugin.name, plugin.version, plugin.sha256] for plugin in job.plugins],
            "runtime": dict(job.target.runtime),
        }
        try:
            if job.overwrite:
                clear(job.out)
            yield cls(job.out, Journal(job.out, header, resume=job.resume))
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            raise RecordError(
                f"The record in {job.out} can't be written ({error.strerror or error}); free space or give another "
                "--out, then --resume."
            ) from error

    def finish(self, record: Record, evidence: dict[str, np.ndarray], witness: dict[str, np.ndarray]) -> Record:
        """Write the complete record, then take the journal away. What is on disk is whole at every moment."""
        record = msgspec.structs.replace(record, complete=True)
        write_arrays(self.path / EVIDENCE, evidence)
        if witness:
            write_arrays(self.path / WITNESS, witness)
        write_record(self.path, record)
        self.journal.close()
        return record


def finished(job: Job, plan: dict[str, Any]) -> Record | None:
    """The complete record of this very plan, where a resumed scan finds one. Raises RecordError for another's."""
    from auditor.job import digest

    if not job.resume or not (job.out / AUDIT).exists():
        return None
    record = read_record(job.out)
    if record.plan_digest != digest(plan) or not record.complete:
        raise RecordError(
            f"{job.out} holds the complete record of another plan; give its options, another --out, or --overwrite."
        )
    return record


def claim(path: Path, *, resume: bool, overwrite: bool) -> None:
    """Check that a scan may write here. Raises UsageError where it may not."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"--out is a directory for the record, {path} is a file; give another.")
    if resume and overwrite:
        raise UsageError("--resume goes on with a record and --overwrite replaces it; give one of them.")
    if overwrite:
        return
    if (path / AUDIT).exists() and not resume:
        raise UsageError(f"{path} holds a complete record already; give --overwrite to replace it, or another --out.")
    if (path / JOURNAL).exists() and not resume:
        raise UsageError(f"{path} holds a scan that was stopped; give --resume to go on with it, or --overwrite.")


def clear(path: Path) -> None:
    """Take away what an earlier scan wrote, and nothing else."""
    for name in OURS:
        (path / name).unlink(missing_ok=True)
    clear_blocks(path)


def write_record(path: Path, record: Record) -> None:
    """`audit.json`, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(record), indent=1)
    write_whole(path / AUDIT, text + b"\n")


def rewritten(path: Path, record: Record) -> Record:
    """The record, after it was written in place of what is there: as it was judged last, so its directory says."""
    write_record(path, record)
    return record


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An `.npz`, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())
