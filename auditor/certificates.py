"""Runs the certifiers, and draws the certified samples that are attacked all the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from auditor.host import Host
from auditor.job import Job
from auditor.samples import Samples
from auditor.target import Target
from auditor.threat import Norm, Region, ThreatModel
from auditor.twin import Twin

PROBED, WHOLE = 16, 1e-3
"""Samples at which it is looked whether the steps of a grid come to whole numbers, and how near."""
ATTACKED = 0.1
"""Share of the certified samples that are attacked, so that a wrong proof can be found out."""


@dataclass(frozen=True)
class Certified:
    """certified, spared: bool `[n]`. radii: within which each sample is proved to have no adversarial example, `[n]`, 0
    where nothing says so. names: certifiers that applied. witness: their arrays, by `name.array`."""

    certified: np.ndarray
    spared: np.ndarray
    radii: np.ndarray
    names: list[str] = field(default_factory=list)
    witness: dict[str, np.ndarray] = field(default_factory=dict)


def certify(job: Job, host: Host, twin: Twin | None, samples: Samples, region: Region) -> Certified:
    """The union of what all fitting certifiers prove; nothing without a twin, with `--no-certify`, or where the model
    rounds inputs that the twin takes as they are."""
    n = len(samples)
    certified, radii = np.zeros(n, bool), np.zeros(n)
    names: list[str] = []
    witness: dict[str, np.ndarray] = {}
    if twin is not None and job.certify and not rounds(job.target, samples, job.threat):
        for name, kind in sorted(host.certifiers.items()):
            if job.threat.norm not in kind.norms:
                continue
            found = kind().certify(twin, samples, job.threat, region)
            if found is not None:
                certified |= found.certified
                if found.radii is not None:
                    radii = np.maximum(radii, found.radii)
                names.append(name)
                witness |= {f"{name}.{key}": value for key, value in found.witness.items()}
    draw = np.random.Generator(np.random.Philox(key=job.seed)).random(n)
    if not job.threat.boxes and job.threat.norm is not Norm.SPATIAL:
        radii = np.where(certified, np.maximum(radii, job.threat.epsilon), radii)
    return Certified(certified, certified & (draw >= ATTACKED), radii, names, witness)


def rounds(target: Target, samples: Samples, threat: ThreatModel) -> bool:
    """Whether the file takes whole numbers and not every input of the threat comes to one: a proof for the inputs as
    they are says nothing of the rounded ones."""
    if not target.integral:
        return False
    if threat.grid is None:
        return True
    some = samples.inputs[:PROBED]
    step = np.float32(threat.grid)
    fed = np.concatenate([target.preprocess(part) for part in (some, some + step, some - step)]).astype(np.float64)
    return bool(np.abs(fed - np.rint(fed)).max() > WHOLE)
