"""What was audited, with what, where, and how to do it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditor.rates import MISSING
from auditor.record import Record

from . import words
from .numbers import amount, count, plain, seconds


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A name with its value. code: whether it is to be copied letter by letter."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A table of facts under one title."""

    title: str
    facts: list[Fact]


@dataclass(frozen=True, kw_only=True)
class PluginLine:
    """A plugin as it was loaded."""

    name: str
    version: str
    sha256: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """command: what to type to get this record again, empty where it was not recorded. config: the audit.toml that it
    read, empty for none. plan, outcomes: the digests that
    say whether it is the same."""

    command: str
    config: str
    plan: str
    outcomes: str
    tables: list[Facts]
    plugins: list[PluginLine]
    plugins_note: str


def provenance(record: Record) -> Provenance:
    """Everything that a second person needs to get the same numbers, or to say why theirs differ."""
    failed = sum(plugin.error is not None for plugin in record.tool.plugins)
    note = f"{len(record.tool.plugins)} plugins were loaded"
    return Provenance(
        command=record.command,
        config=record.config,
        plan=record.plan_digest,
        outcomes=record.outcomes_digest,
        tables=[_model(record), _threat(record), _samples(record), _run(record), _environment(record)],
        plugins=[
            PluginLine(name=p.name, version=p.version, sha256=p.sha256 or MISSING, error=p.error or "")
            for p in record.tool.plugins
        ],
        plugins_note=f"{note}, {failed} of them with an error." if failed else f"{note}.",
    )


def _model(record: Record) -> Facts:
    model = record.model
    twin = words.TWINS.get(model.twin, model.twin)
    facts = [
        Fact(name="File", value=model.path, code=True),
        Fact(name="SHA-256", value=model.sha256, code=True),
        Fact(name="Name", value=model.name),
        Fact(name="Classes", value=count(model.classes)),
        Fact(name="Output", value=model.output),
        Fact(name="Before the file", value=plain(model.preprocess)),
        Fact(name="Runtime", value=plain(model.runtime)),
        Fact(name="Twin", value=f"{model.twin}: {twin}" if model.twin in words.TWINS else model.twin),
    ]
    if model.twin_reason:
        facts.append(Fact(name="Why no twin", value=model.twin_reason))
    if model.surrogates:
        facts.append(Fact(name="Stand-in derivatives", value=", ".join(model.surrogates)))
    facts.append(Fact(name="Defences", value=", ".join(model.defenses) or "none"))
    return Facts(title="Model", facts=facts)


def _threat(record: Record) -> Facts:
    threat = record.threat
    epsilon = "each sample's own box" if threat.boxes else threat.epsilon_text or amount(threat.epsilon)
    if threat.epsilon is not None and not threat.boxes and "/" in epsilon:
        epsilon += f" = {amount(threat.epsilon)}"
    return Facts(
        title="Threat model",
        facts=[
            Fact(name="Name", value=threat.name),
            Fact(name="In words", value=f"{words.describe(threat, blind=record.blind)}."),
            Fact(name="Norm", value=threat.norm),
            Fact(name="Epsilon", value=epsilon),
            Fact(name="Bounds", value=" to ".join(amount(b) for b in threat.bounds) if threat.bounds else "none"),
            Fact(name="Goal", value=threat.goal),
            Fact(name="Access", value=threat.access),
            Fact(name="Grid", value=amount(threat.grid) if threat.grid is not None else "none"),
            Fact(name="Weights", value="by feature" if threat.weighted else "none"),
            Fact(name="Frozen features", value=count(threat.frozen_features)),
        ],
    )


def _samples(record: Record) -> Facts:
    samples = record.samples
    skipped = "; ".join(f"{count(n)} {reason}" for reason, n in samples.skipped.items())
    return Facts(
        title="Samples",
        facts=[
            Fact(name="Source", value=samples.source, code=True),
            Fact(name="Number", value=count(samples.n)),
            Fact(name="Skipped", value=skipped or "none"),
            Fact(name="Labels", value=samples.labels),
            Fact(name="Shape", value=" × ".join(str(size) for size in samples.shape)),
            Fact(name="8-bit pixels", value=plain(samples.pixels)),
            Fact(name="Digest", value=samples.digest, code=True),
        ],
    )


def _run(record: Record) -> Facts:
    facts = [
        Fact(name="In one line", value=record.summary),
        Fact(name="advaudit", value=record.tool.version),
        Fact(name="Time in attacks", value=seconds(record.seconds)),
        Fact(name="Seed", value=plain(record.plan["seed"]) if "seed" in record.plan else "not recorded"),
    ]
    facts += _mapping(record.execution)
    facts += [
        Fact(name="Plan digest", value=record.plan_digest, code=True),
        Fact(name="Outcomes digest", value=record.outcomes_digest, code=True),
        Fact(name="Record schema", value=str(record.schema)),
    ]
    return Facts(title="Run", facts=facts)


def _environment(record: Record) -> Facts:
    return Facts(title="Environment", facts=_mapping(record.environment))


def _mapping(values: Mapping[str, Any]) -> list[Fact]:
    return [Fact(name=str(key).replace("_", " "), value=plain(value)) for key, value in values.items()]
