"""Runs the certifiers, and draws the certified samples that are attacked all the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from auditor.host import Host
from auditor.job import Job
from auditor.samples import Samples
from auditor.threat import Norm, Region
from auditor.twin import Twin

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
    """The union of what all fitting certifiers prove; nothing without a twin, or with `--no-certify`."""
    n = len(samples)
    certified, radii = np.zeros(n, bool), np.zeros(n)
    names: list[str] = []
    witness: dict[str, np.ndarray] = {}
    if twin is not None and job.certify:
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
