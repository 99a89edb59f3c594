"""What the words of a record mean, each in a sentence that a reader who meets it first can use."""

from __future__ import annotations

from auditor.judgement import Verdict
from auditor.record import FindingStatus, Severity, Status, ThreatInfo

from .numbers import amount

STATUSES = {
    Status.CERTIFIED: "Proved: no adversarial example exists inside the threat model.",
    Status.WITHSTOOD: "At least one attack ran its full budget, and nothing that was tried succeeded. Not a proof.",
    Status.UNATTACKED: "No attack ran on it, or none to its full budget. This says nothing about the model.",
    Status.ERROR: "The model or every attack failed on it. Nothing is known.",
    Status.BROKEN: "An adversarial example was found, and the deployed model confirmed it.",
    Status.MISCLASSIFIED: "The model is wrong on the clean input already; no attack was needed.",
}
"""In the order of the bar: what is or may be robust from the left, what is not from the right."""

VERDICTS = {
    Verdict.PASSED: "Every rule of the gate is met.",
    Verdict.FAILED: "At least one rule of the gate is not met.",
    Verdict.INCONCLUSIVE: "At least one rule of the gate can't be decided on this evidence.",
}
NO_VERDICT = "No rule was given, so there is nothing to pass or fail."

MASKING = {
    "none": "The checks that would notice hidden or misleading gradients ran, and are clear.",
    "present": "The model hides from gradient-based attacks: a failed attack on it proves little.",
    "unknown": "The evidence does not rule out that gradients are hidden.",
}
TRUST = {
    "sound": "Nothing found here speaks against the reported number.",
    "doubtful": "Something found here speaks against the reported number: the true value may lie well below it.",
    "unknown": "The evidence is too thin to say whether the number can be believed.",
}
ANSWERED = (
    "Doubts were raised, and all were answered: a last try by attacks of other kinds broke no more than one sample."
)
FINDINGS = {
    FindingStatus.RAISED: "raised",
    FindingStatus.INCONCLUSIVE: "inconclusive",
    FindingStatus.CLEAR: "clear",
}
SEVERITIES = {
    Severity.CRITICAL: "The number can't be believed as it stands.",
    Severity.WARNING: "Doubts the number until something answers it.",
    Severity.INFO: "Worth knowing; doubts nothing.",
}
TWINS = {
    "exact": "a differentiable copy that has every operator's own derivative",
    "surrogate": "a differentiable copy in which some operators have stand-in derivatives",
    "none": "no differentiable copy, so attacks had no gradients",
}
SURROGATES = {
    "straight-through": "Forwards the step is taken; backwards the gradient passes as if it had not been.",
    "fast sigmoid": "Forwards a comparison; backwards a smooth step, so that a gradient shows which way it would turn.",
    "soft arg-": "Forwards a position; backwards the mean position, weighted by a softmax of the entries.",
    "softmax": "Forwards the largest entry is marked; backwards a softmax stands in.",
    "triangular": "Forwards one entry is 1; backwards its neighbours share it by their distance from the index.",
    "central difference": "Forwards an entry is picked; backwards the difference of its neighbours stands in.",
    "none": "No gradient passes: attacks that climb gradients are blind here, and only the others say something.",
}
"""What stands in for a derivative, by how its name begins."""
OTHER_SURROGATE = "Forwards the operator itself; backwards the gradient of what the name says."
NO_TWIN = (
    "White-box attacks were skipped, so the number is what an attacker without gradients achieved. `advaudit doctor` "
    "with this file lists every operator that its twin lacks; a plugin can supply one with register_operators."
)
ACCESS = {
    "gradient": "the attacker knows the model and its gradients",
    "score": "the attacker sees scores, not gradients",
    "decision": "the attacker sees labels only",
}
BLIND = "the attacker may know the model and its gradients, but here attacks had none to follow"
NORMS = {
    "linf": "every feature may change by up to epsilon = {epsilon} (linf)",
    "l2": "the change may have a Euclidean length of up to epsilon = {epsilon} (l2)",
    "l1": "the changes may add up to epsilon = {epsilon} (l1)",
    "l0": "up to epsilon = {epsilon} features may change (l0)",
    "spatial": "pictures may be turned by up to {rotation}° and shifted by up to {translation} pixels along each axis, "
    "on a grid of 31 × 5 × 5",
}

DISTANCES = {
    "linf": "the largest change of any feature",
    "l2": "the Euclidean length of the change",
    "l1": "the changes of all features added up",
    "l0": "how many features change",
    "spatial": "the epsilon that the turn and shift need",
}
BOX = "the largest change as a share of the half-width of the sample's box"


def distance(threat: ThreatInfo) -> str:
    """What a distance under this threat is, in words."""
    return BOX if threat.boxes else DISTANCES.get(threat.norm, f"{threat.norm} of the change")


def surrogate(name: str) -> str:
    """What a surrogate of this name does, in a sentence."""
    return next((text for start, text in SURROGATES.items() if name.startswith(start)), OTHER_SURROGATE)


def describe(threat: ThreatInfo, *, blind: bool = False) -> str:
    """The threat model in a sentence, without its full stop. blind: no gradients were to be had."""
    epsilon = threat.epsilon_text or amount(threat.epsilon)
    if threat.boxes:
        parts = ["Every sample has its own box of allowed inputs"]
    else:
        size = NORMS.get(threat.norm, f"{threat.norm} of the change up to {{epsilon}}")
        for name, value in (("rotation", threat.rotation), ("translation", threat.translation)):
            size = size.replace(f"{{{name}}}", amount((value or 0.0) * (threat.epsilon or 0.0)))
        parts = [size.replace("{epsilon}", epsilon)]
        parts[0] = parts[0][:1].upper() + parts[0][1:]
    if threat.weighted:
        parts.append("weighted by feature")
    if threat.frozen_features:
        parts.append(f"{threat.frozen_features} features may not change")
    if threat.bounds is not None:
        parts.append(f"inputs stay between {amount(threat.bounds[0])} and {amount(threat.bounds[1])}")
    if threat.grid is not None:
        parts.append(f"on a grid of {amount(threat.grid)}")
    goal = threat.goal.partition(":")[2]
    parts.append(f"the attacker wants class {goal}" if goal else "any wrong label counts")
    parts.append(BLIND if blind else ACCESS.get(threat.access, f"access: {threat.access}"))
    return "; ".join(parts)
