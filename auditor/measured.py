"""The twin as measured: whether there is one, how well it agrees with the file, and how it will be computed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np
import torch

from auditor.access import Access
from auditor.errors import ModelError, TargetUnavailable, UsageError, first_line
from auditor.execution import PRECISIONS, Execution
from auditor.fidelity import PROBED, Agreement, agree, doubt, fidelity
from auditor.footprint import narrowed
from auditor.job import Job
from auditor.journal import recorded_execution
from auditor.mixed import AUTO, searched, settled
from auditor.oracle import DTYPES, TwinOracle
from auditor.record import Fidelity
from auditor.samples import Samples
from auditor.target import Target
from auditor.twin import Twin


@dataclass(frozen=True)
class Measured:
    """The twin, or why there is none; its agreement on clean samples; by how much it may be wrong as it is searched."""

    twin: Twin | None
    why_none: str | None
    agreement: Agreement | None = None
    doubt: float = float("inf")


def measured(job: Job, target: Target, samples: Samples) -> tuple[Job, Measured]:
    """The twin of the target, measured, and the job as it will be computed.

    There is none, and the audit goes on gradient-free, where the audit does not grant gradients, where an operator is
    lacking, and where the twin fails for whatever reason: the file itself has been found to run.
    """
    if not job.access.covers(Access.GRADIENT):
        return settle_execution(job, None, samples), Measured(None, f"the audit grants {job.access} access only")
    try:
        twin = target.twin()
        job = settle_execution(job, twin, samples)
        if job.execution.compile:
            compiled(twin, samples.inputs, job.execution)
        clean = agree(target, searched(twin, job.execution), samples.inputs[:PROBED], job.execution)
    except TargetUnavailable:
        raise
    except ModelError as error:
        return settle_execution(job, None, samples), Measured(None, str(error))
    return job, Measured(twin, None, clean, doubt(clean))


def compiled(twin: Twin, inputs: np.ndarray, execution: Execution) -> None:
    """Raise UsageError where torch.compile, which was asked for, can't compile the twin here."""
    batch = torch.from_numpy(np.resize(inputs, (execution.width, *inputs.shape[1:])))
    try:
        TwinOracle(twin, execution).logits(batch.to(execution.device, DTYPES[execution.precision]))
    except Exception as error:  # a compiler fails in its own ways
        raise UsageError(
            f"`[run] compile` was asked for, torch.compile fails on this twin ({first_line(error)}); leave it out."
        ) from error


def settle_execution(job: Job, twin: Twin | None, samples: Samples) -> Job:
    """The job with a batch that fits into memory, and its precision measured where it was left open.

    A resumed scan keeps what it began with. Raises ModelError where the twin can't run a single sample.
    """
    execution = narrowed(job.execution, twin, samples.inputs, job.memory)
    recorded = recorded_execution(job.out) if job.resume else {}
    if execution.precision == AUTO and recorded.get("precision") in PRECISIONS:
        return replace(job, execution=msgspec.structs.replace(execution, precision=recorded["precision"]))
    return replace(job, execution=settled(execution, twin, samples.inputs))


def measured_again(target: Target, seen: Measured, found: np.ndarray, execution: Execution) -> Fidelity | None:
    """The twin's agreement on clean samples and on verified adversarial examples `[n, *shape]`."""
    if seen.twin is None or seen.agreement is None:
        return None
    found = found[:PROBED]
    return fidelity(
        seen.agreement, agree(target, searched(seen.twin, execution), found, execution) if len(found) else None
    )
