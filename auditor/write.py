"""Composes the record from what the flow has found."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np

from auditor.advice import next_steps
from auditor.certificates import Certified
from auditor.curve import curve, median_distance
from auditor.entry import digest_outcomes
from auditor.environment import environment
from auditor.hardness import Hardness
from auditor.host import Host
from auditor.job import Job, digest, preprocess_table
from auditor.judgement import Drawn, Gate
from auditor.metrics import by_class, measure
from auditor.obscurity import Belief
from auditor.record import SCHEMA, AttackRow, ModelInfo, Outcome, Record, SamplesInfo, ThreatInfo, Tool
from auditor.samples import Samples
from auditor.search import Search
from auditor.target import Target
from auditor.threat import Norm, ThreatModel
from auditor.twin import Twin


def compose(
    job: Job,
    host: Host,
    search: Search,
    plan: dict[str, Any],
    outcomes: list[Outcome],
    evidence: dict[str, np.ndarray],
    attacks: list[AttackRow],
    belief: Belief,
    certificates: Certified,
    why_no_twin: str | None,
    hardness: Hardness | None = None,
    drawn: Drawn | None = None,
) -> Record:
    """The record, all but the gate's judgement: `complete` is false until the gate has been asked."""
    names = class_names(search.samples, search.target)
    epsilon = None if job.threat.boxes else job.threat.epsilon
    record = Record(
        schema=SCHEMA,
        complete=False,
        plan=plan,
        plan_digest=digest(plan),
        execution=msgspec.to_builtins(job.execution) | {"narrowed": list(search.narrowings)},
        environment=environment(),
        tool=Tool(version=version("advaudit"), plugins=host.plugins),
        model=model_info(job, search.target, search.twin, why_no_twin),
        fidelity=belief.fidelity,
        threat=threat_info(job.threat, search.samples, str(job.access)),
        samples=samples_info(job, search.samples),
        metrics=msgspec.structs.replace(
            measure(outcomes, certified=bool(certificates.names), drawn=drawn),
            median_distance=median_distance(outcomes, epsilon),
        ),
        by_class=by_class(outcomes, names, drawn),
        outcomes=outcomes,
        outcomes_digest=digest_outcomes(outcomes, evidence),
        attacks=attacks,
        findings=belief.findings,
        masking=belief.masking,
        trust=belief.trust,
        story=belief.story,
        checks=belief.spent,
        gate=Gate(rules=[]),
        verdict=None,
        curve=curve(outcomes, epsilon),
        seconds=round(sum(row.seconds for row in attacks), 3),
        command=job.command,
        class_names=list(names) if names else None,
        config=job.config,
        suite=job.suite_name,
        hardness=hardness,
        drawn=drawn,
    )
    return msgspec.structs.replace(record, next_steps=next_steps(record))


def class_names(samples: Samples, target: Target) -> tuple[str, ...] | None:
    """The classes' names: those that came with the samples, else the model's own."""
    return samples.class_names or target.class_names


def model_info(job: Job, target: Target, twin: Twin | None, reason: str | None) -> ModelInfo:
    """What was audited, by what runtime, behind what."""
    kind = "none" if twin is None else "surrogate" if twin.surrogates else "exact"
    return ModelInfo(
        path=job.model,
        sha256=target.sha256,
        name=target.name,
        classes=target.classes,
        output=str(target.output),
        runtime=dict(target.runtime),
        preprocess=preprocess_table(target),
        twin=kind,
        twin_reason=reason,
        surrogates=list(twin.surrogates) if twin else [],
        defenses=[repr(defense) for defense in job.defenses],
    )


def threat_info(threat: ThreatModel, samples: Samples, access: str) -> ThreatInfo:
    """The threat as the report names it."""
    return ThreatInfo(
        name=threat.title,
        norm=str(threat.norm),
        epsilon=None if threat.boxes else threat.epsilon,
        epsilon_text=threat.epsilon_text,
        bounds=None if threat.bounds is None else list(threat.bounds),
        boxes=threat.boxes,
        goal=str(threat.goal),
        access=access,
        grid=threat.grid,
        weighted=threat.weights is not None,
        frozen_features=0 if threat.frozen is None else int(np.count_nonzero(threat.frozen)),
        rotation=threat.rotation if threat.norm is Norm.SPATIAL else 0.0,
        translation=threat.translation,
    )


def samples_info(job: Job, samples: Samples) -> SamplesInfo:
    """The data as the record names it."""
    return SamplesInfo(
        n=len(samples),
        digest=samples.digest,
        labels=job.labels,
        skipped=dict(samples.skipped),
        source=job.data,
        shape=list(samples.inputs.shape[1:]),
        pixels=samples.pixels,
    )
