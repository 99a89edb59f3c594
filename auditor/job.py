"""A job: everything that one scan was asked to do, resolved and checked before anything runs."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import astuple, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from auditor.access import Access
from auditor.execution import Execution
from auditor.record import Plugin
from auditor.risk import Confusion
from auditor.rule import Policy
from auditor.samples import Samples
from auditor.suite import Stage, for_norm
from auditor.target import Target
from auditor.threat import ThreatModel

if TYPE_CHECKING:
    from auditor.defense import Defense


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model, one set of samples, one threat.

    model, data: the references, for the record. target, samples: what plugins loaded for them. output: the file's
    output that was asked for. suite: the stages. access: the most that attacks may use. leak: share of a gradient that
    passes where a quantised value saturates. labels: `given` or `predicted`. limit: a seeded subset of the samples.
    memory: bytes that one batch of the twin may take. certify: whether certifiers run. escalate: whether doubts are
    answered with further attacks. sequential: draw samples until the policy is settled. deep: whether checks that cost
    much run. hardness: whether distances are looked for, with the attack `distances`, or the one that fits; asked: the
    user said so. confusions: that the user protects. suite_name: of the stages, empty for the user's own. config: the
    audit.toml that was read, empty for none. surrogates: stand-ins to transfer from. go_on: scan even where the clean
    accuracy is near chance. out: the record's directory. resume, overwrite: what may happen to one that is there.
    command: how to repeat it. plugins: those that were loaded, which a resumed scan must share.
    """

    model: str
    data: str
    target: Target
    samples: Samples
    threat: ThreatModel
    suite: list[Stage]
    execution: Execution
    out: Path
    output: str | None = None
    seed: int = 0
    access: Access = Access.GRADIENT
    leak: float = 0.0
    labels: str = "given"
    limit: int | None = None
    memory: int = 8 << 30
    certify: bool = True
    escalate: bool = True
    deep: bool = False
    sequential: bool = False
    hardness: bool = True
    asked: bool = False
    distances: str = ""
    confusions: list[Confusion] = field(default_factory=list)
    suite_name: str = ""
    config: str = ""
    surrogates: list[Target] = field(default_factory=list)
    go_on: bool = False
    resume: bool = False
    overwrite: bool = False
    defenses: list[Defense] = field(default_factory=list)
    policy: Policy = field(default_factory=Policy)
    command: str = ""
    plugins: list[Plugin] = field(default_factory=list)

    def plan(self, target: Target, samples: Samples) -> dict[str, Any]:
        """What decides the result: model, samples, threat, suite, seed, access and versions; nothing about paths."""
        threat = self.threat
        return {
            "model": {
                "sha256": target.sha256,
                "preprocess": preprocess_table(target),
                "output": self.output,
                "batch": target.deployed_batch,
                "defenses": [defense.table() for defense in self.defenses],
            },
            "samples": {"digest": samples.digest, "n": len(samples), "labels": self.labels},
            "threat": {
                "norm": str(threat.norm),
                "epsilon": threat.epsilon,
                "bounds": None if threat.bounds is None else list(threat.bounds),
                "goal": str(threat.goal),
                "boxes": threat.boxes,
                "grid": threat.grid,
                "weights": _array_digest(threat.weights),
                "frozen": _array_digest(threat.frozen),
                "rotation": threat.rotation,
                "translation": threat.translation,
            },
            "suite": [stage.table() for stage in self.suite],
            "seed": self.seed,
            "access": str(self.access),
            "leak": self.leak,
            "certify": self.certify,
            "escalate": self.escalate,
            "hardness": [self.hardness, self.asked, self.distances, [astuple(one) for one in self.confusions]],
            "deep": self.deep,
            "surrogates": [surrogate.sha256 for surrogate in self.surrogates],
            "versions": versions(),
        } | ({"sequential": msgspec.to_builtins(self.policy)} if self.sequential else {})  # it decides when to stop

    def for_threat(self, threat: ThreatModel, out: Path) -> Job:
        """The same job for another threat, in its own directory, with the stages that are meant for its norm."""
        return replace(self, threat=threat, out=out, suite=for_norm(self.suite, threat.norm))


def preprocess_table(target: Target) -> dict[str, Any]:
    """What stands before the file, as plain data."""
    p = target.preprocess
    return {
        "scale": p.scale,
        "mean": list(p.mean),
        "std": list(p.std),
        "layout": p.layout,
        "channels": p.channels,
    }


def versions() -> dict[str, str]:
    """The versions that may change a result."""
    return {name: version(name) for name in ("advaudit", "torch", "numpy", "onnx")}


def digest(plan: dict[str, Any]) -> str:
    """SHA-256 of a plan, the same however its tables are ordered."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True, allow_nan=False).encode()).hexdigest()


def slug(text: str) -> str:
    """A name that can be a directory."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.") or "threat"


def _array_digest(array: Any) -> str | None:
    return None if array is None else hashlib.sha256(array.astype("float64").tobytes()).hexdigest()
