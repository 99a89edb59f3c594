"""The certifier protocol: proofs that no adversarial example exists, with a witness that can be checked again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.samples import Samples
from auditor.threat import Norm, Region, ThreatModel
from auditor.twin import Twin


@dataclass(frozen=True)
class Certificates:
    """certified: bool `[n]`, samples proven unbreakable. witness: arrays that let anyone repeat the proof. radii: float
    `[n]`, distances in the threat's norm within which there is no adversarial example, None where only epsilon was
    asked about."""

    certified: np.ndarray
    witness: dict[str, np.ndarray]
    radii: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Certifier(ABC):
    """Proves samples robust on the twin. A proof speaks of exact arithmetic: leave room for the target's rounding."""

    name: ClassVar[str]
    norms: ClassVar[frozenset[Norm]]

    @abstractmethod
    def certify(self, twin: Twin, samples: Samples, threat: ThreatModel, region: Region) -> Certificates | None:
        """Certificates for the samples, or None where this certifier does not apply to the model or the threat."""
