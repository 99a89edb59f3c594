"""Are there gradients at all, and are they the model's own?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.losses import negative_margin
from auditor.record import Finding, FindingStatus, Severity

PROBED = 128


@dataclass(frozen=True, kw_only=True)
class Gradients(Check):
    """Gradient of the margin at clean inputs: zero, infinite or missing ones leave white-box attacks blind."""

    name: ClassVar[str] = "gradients"
    title: ClassVar[str] = "Zero, missing or non-finite gradients"
    source: ClassVar[str] = "Croce and Hein 2020 (AutoAttack's check); Pintor et al. 2022, indicator 1"
    severity: ClassVar[Severity] = Severity.CRITICAL
    masks: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        if evidence.twin is None:
            return self.finding(
                FindingStatus.INCONCLUSIVE,
                f"There is no twin to take gradients from: {evidence.why_no_twin}",
                "Read the number as what a gradient-free attacker achieved; nothing is known about a stronger one.",
            )
        rows = np.flatnonzero(evidence.ledger.correct)[:PROBED]
        if not len(rows):
            return self.finding(FindingStatus.INCONCLUSIVE, "No sample is classified correctly.")
        parameter = next(evidence.twin.module.parameters(), None)
        dtype = torch.float64 if parameter is not None and parameter.dtype == torch.float64 else torch.float32
        dead = 0
        for part in np.array_split(rows, max(len(rows) // 32, 1)):
            x = torch.from_numpy(evidence.samples.inputs[part]).to(evidence.device, dtype).requires_grad_()
            labels = torch.from_numpy(evidence.samples.labels[part]).to(evidence.device)
            loss = negative_margin(evidence.twin.logits(x), labels, torch.full_like(labels, -1)).sum()
            if loss.requires_grad:
                (gradient,) = torch.autograd.grad(loss, x)
                size = gradient.flatten(1).abs().sum(dim=1)
                dead += int(((size == 0) | ~size.isfinite()).sum())
            else:
                dead += len(part)
        share = dead / len(rows)
        raised = dead > 0
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"The gradient of the margin is zero or not finite on {dead} of {len(rows)} correctly classified samples."
            + (" Attacks that follow it go nowhere there, which says nothing about robustness." if raised else ""),
            "Trust the gradient-free attacks only; look for rounding, saturation or thresholds in the model."
            if raised
            else "",
            value=share,
            threshold=0.0,
        )


@dataclass(frozen=True, kw_only=True)
class Surrogates(Check):
    """Names the operators whose backward pass in the twin is a stand-in."""

    name: ClassVar[str] = "surrogates"
    title: ClassVar[str] = "Stand-in gradients used"
    source: ClassVar[str] = "Athalye et al. 2018 (BPDA)"
    severity: ClassVar[Severity] = Severity.INFO

    def look(self, evidence: Evidence) -> Finding:
        if evidence.twin is None:
            return self.finding(FindingStatus.INCONCLUSIVE, "There is no twin.")
        names = evidence.twin.surrogates
        if not names:
            return self.finding(FindingStatus.CLEAR, "Every operator on the path has its own derivative.", value=0.0)
        return self.finding(
            FindingStatus.RAISED,
            f"These operators have no useful derivative and got a stand-in: {', '.join(names)}. "
            "Attacks follow an approximation; every example was still judged by the file itself.",
            "Read the gradient-free results beside the white-box ones.",
            value=float(len(names)),
            threshold=0.0,
        )


@hookimpl
def register_checks(register: Register) -> None:
    register(Gradients)
    register(Surrogates)
