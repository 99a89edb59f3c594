"""What every side-by-side run shares: our twin as other libraries want it, a suite as a scan plays it, one verifier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import Tensor, nn

from auditor.access import Access
from auditor.events import silent
from auditor.execution import Execution
from auditor.fidelity import PROBED, agree, doubt
from auditor.journal import Journal
from auditor.ledger import Ledger
from auditor.mixed import searched
from auditor.record import AttackRow
from auditor.search import Search
from auditor.suite import Stage
from auditor.threat import Region
from auditor.twin import Twin
from auditor.verify import Verifier
from benchmarks.shared import Case


class Net(nn.Module):
    """The twin as the other libraries want it: a module from [0, 1] inputs to logits. It counts samples that pass.

    forwards: of samples, backwards: of samples whose pass a gradient went back through.
    """

    def __init__(self, case: Case):
        super().__init__()
        self.twin = case.target.twin()
        self.inner = self.twin.module
        self.shape = case.samples.shape
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits = self.twin.logits(x.reshape(len(x), *self.shape))  # some insist on [n, c, h, w]
        if logits.requires_grad:
            logits.register_hook(self._went_back)
        return logits

    def _went_back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


@dataclass(frozen=True)
class Prepared:
    """What a scan prepares once, before any attack: twin, region, verifier, how far the twin may be wrong."""

    case: Case
    twin: Twin
    region: Region
    verifier: Verifier
    doubt: float

    @classmethod
    def of(cls, case: Case, execution: Execution) -> Prepared:
        twin = case.target.twin()
        region = case.threat.region(case.samples)
        error = doubt(agree(case.target, searched(twin, execution), case.samples.inputs[:PROBED], execution))
        return cls(case, twin, region, Verifier(case.target, case.samples, case.threat, region), error)


def play(prepared: Prepared, execution: Execution, suite: list[Stage], seed: int) -> tuple[Ledger, list[AttackRow]]:
    """A suite as a scan plays it: search, journal, and verification of every break."""
    case = prepared.case
    ledger = Ledger.of(case.samples, np.ones(len(case.samples), bool))
    with TemporaryDirectory() as folder:
        search = Search(
            target=case.target,
            twin=prepared.twin,
            samples=case.samples,
            threat=case.threat,
            region=prepared.region,
            verifier=prepared.verifier,
            access=Access.GRADIENT,
            execution=execution,
            seed=seed,
            journal=Journal(Path(folder), {}, resume=False),
            listen=silent,
            doubt=prepared.doubt,
        )
        rows = search.play(suite, ledger)
    return ledger, rows


def verified(prepared: Prepared, candidates: np.ndarray) -> np.ndarray:
    """Which candidates our verifier lets pass, after moving them inside by float32 rounding: none is lost to an ulp."""
    inside = np.clip(candidates.astype(np.float32), prepared.region.lower, prepared.region.upper)
    return np.array([prepared.verifier.judge(i, x).broken for i, x in enumerate(inside)])
