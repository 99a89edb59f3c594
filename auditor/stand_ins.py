"""The sources of gradients that a scan has besides its twin, each made when an attack first asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from auditor.distillation import distilled
from auditor.ensemble import ensemble
from auditor.errors import ModelError, UsageError
from auditor.expectation import expected
from auditor.job import Job
from auditor.observe import Observation
from auditor.samples import Samples
from auditor.smoothing import smoothed
from auditor.sources import DISTILLATE, ENSEMBLE, EXPECTED, RESERVED, SMOOTH, Sources
from auditor.target import Target
from auditor.twin import Twin

DRAWS = 16
"""Draws of a randomised model's noise that one averaged gradient takes."""


def stand_ins(job: Job, target: Target, twin: Twin | None, samples: Samples, observation: Observation) -> Sources:
    """The sources of a job: what softens or averages its twin, a distillate, the files given to transfer from, and the
    ensemble of those."""
    makers: dict[str, Callable[[], Twin]] = {
        EXPECTED: partial(_expected, twin, observation),
        SMOOTH: partial(smoothed, target, samples.inputs),
        DISTILLATE: partial(_distillate, job, target, samples),
    }
    files = {name: surrogate.twin for name, surrogate in named(job.surrogates).items()}
    sources = Sources(makers | files, target)
    makers[ENSEMBLE] = lambda: ensemble([sources.find(name) for name in (*files, DISTILLATE)], samples.inputs)
    return replace(sources, makers=makers | files)


def named(surrogates: list[Target]) -> dict[str, Target]:
    """The surrogates by the stem of their files. Raises UsageError where two have one, or it is taken."""
    found: dict[str, Target] = {}
    for surrogate in surrogates:
        name = Path(surrogate.path or surrogate.name).stem
        if name in found or name in RESERVED:
            raise UsageError(f"Two sources of gradients are called {name!r}; rename the file given with --surrogate.")
        found[name] = surrogate
    return found


def _expected(twin: Twin | None, observation: Observation) -> Twin:
    if twin is None:
        raise ModelError("the model has no twin")
    if not observation.randomised or not twin.random:
        raise ModelError("the model is not random, so there is nothing to average over")
    return expected(twin, DRAWS)


def _distillate(job: Job, target: Target, samples: Samples) -> Twin:
    found = distilled(
        target,
        samples.inputs,
        seed=job.seed,
        device=job.execution.device,
        access=job.access,
        bounds=job.threat.bounds,
        batch=job.execution.width,
    )
    return found.twin
