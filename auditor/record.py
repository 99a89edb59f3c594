"""The record: one directory that holds everything a scan found, and all that a report may read.

`audit.json` is this file's `Record`; `evidence.npz` holds the adversarial examples, so that anyone can replay them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from auditor.hardness import CurvePoint, Hardness
from auditor.judgement import Drawn, Gate, Verdict
from auditor.protocols import TransferCounts

SCHEMA = 1
FLAT = "has no gradient"
"""How the reason for want of a twin says that there is none to be had."""
AUDIT = "audit.json"
EVIDENCE = "evidence.npz"


class Status(StrEnum):
    """What is known of one sample. Only `withstood` and `certified` say something good about the model."""

    MISCLASSIFIED = "misclassified"
    """The model is already wrong on the clean input: a robust error without any attack."""
    BROKEN = "broken"
    """An adversarial example was found, and the deployed model confirmed it."""
    WITHSTOOD = "withstood"
    """At least one attack ran its full budget on it, and nothing that was tried broke it: not a proof."""
    CERTIFIED = "certified"
    """A certifier proved that no adversarial example exists inside the threat model."""
    UNATTACKED = "unattacked"
    """No attack ran on it, or, in a sequential scan, not its full budget."""
    ERROR = "error"
    """The target or every attack failed on it: nothing is known."""


class FindingStatus(StrEnum):
    CLEAR = "clear"
    RAISED = "raised"
    INCONCLUSIVE = "inconclusive"


class Severity(StrEnum):
    INFO = "info"
    """Worth knowing; doubts nothing."""
    WARNING = "warning"
    """Doubts the reported number until something answers it."""
    CRITICAL = "critical"
    """The reported number can't be believed as it stands."""


class Plugin(Struct, frozen=True, kw_only=True):
    """A plugin that was loaded: its name, the version and digest of what was loaded, and its error if it had one."""

    name: str
    version: str
    sha256: str
    error: str | None = None


class Tool(Struct, frozen=True, kw_only=True):
    version: str
    plugins: list[Plugin]


class ModelInfo(Struct, frozen=True, kw_only=True):
    """The file under audit. preprocess: what was put before it. twin: None, or why there is none."""

    path: str
    sha256: str
    name: str
    classes: int
    output: str
    runtime: dict[str, str]
    preprocess: dict[str, Any]
    twin: str
    """`exact`, `surrogate` (some backward passes are stand-ins) or `none`."""
    twin_reason: str | None = None
    surrogates: list[str] = field(default_factory=list)
    defenses: list[str] = field(default_factory=list)

    @property
    def flat(self) -> bool:
        """Whether it is flat by nature, as a forest is: no twin would have a gradient."""
        return self.twin == "none" and FLAT in (self.twin_reason or "")


class Fidelity(Struct, frozen=True, kw_only=True):
    """How well the twin agrees with the target: label agreement (fraction) and largest score difference.

    scale: largest absolute score seen, so that the difference can be read. On clean samples, then on the verified
    adversarial examples (None where there are none).
    """

    n: int
    label_agreement: float
    max_difference: float
    scale: float
    floor: float
    adversarial_n: int | None = None
    adversarial_label_agreement: float | None = None
    adversarial_max_difference: float | None = None
    relative_difference: float = 0.0
    """The largest difference of one class's scores as a share of that class's largest."""

    @property
    def low(self) -> bool:
        """Whether the twin is too far from the target for white-box results to be believed."""
        return self.label_agreement < self.floor


class ThreatInfo(Struct, frozen=True, kw_only=True):
    name: str
    norm: str
    epsilon: float | None
    epsilon_text: str
    bounds: list[float] | None
    boxes: bool
    goal: str
    access: str
    grid: float | None = None
    weighted: bool = False
    frozen_features: int = 0
    rotation: float = 0.0
    translation: float | None = None


class SamplesInfo(Struct, frozen=True, kw_only=True):
    """skipped: reason to count. labels: `given` or `predicted`."""

    n: int
    digest: str
    labels: str
    skipped: dict[str, int]
    source: str
    shape: list[int]
    pixels: bool


class Metrics(Struct, frozen=True, kw_only=True):
    """Fractions of all n samples, except the success rate: broken of those attacked and clean-correct."""

    clean_accuracy: float | None
    robust_accuracy: float | None
    robust_accuracy_interval: tuple[float, float] | None
    certified_accuracy: float | None
    attack_success_rate: float | None
    statuses: dict[str, int]
    median_distance: float | None = None
    """Within which half of the correctly classified samples are broken, where a stage looked for distances."""


class ClassRow(Struct, frozen=True, kw_only=True):
    label: int
    name: str
    n: int
    clean_accuracy: float | None
    robust_accuracy: float | None
    interval: tuple[float, float] | None
    turns_into: int | None = None
    """The label that most of this class's adversarial examples get."""
    misclassified: int = 0
    """Natural errors: wrong without an attack."""
    broken: int = 0
    """Boundary errors: right at the sample, wrong inside the threat. Both together are the robust errors found."""
    certified: int = 0


class Spent(Struct, frozen=True, kw_only=True):
    """Passes spent on one sample: through the twin (forwards, backwards) and through the target (queries)."""

    forwards: int = 0
    backwards: int = 0
    queries: int = 0


class Outcome(Struct, frozen=True, kw_only=True):
    """One sample's result. distance is in the threat's norm, in sample units; None where nothing was found.

    nearest: distance of the nearest adversarial example that a distance stage found, which may lie beyond epsilon.
    ranged: a distance stage ran its full budget on it. radius: a certifier proved that none is nearer; 0 where none
    says anything. Its true distance lies between the two.
    """

    id: int
    label: int
    clean_label: int
    status: Status
    attack: str | None = None
    distance: float | None = None
    adversarial_label: int | None = None
    target: int | None = None
    spent: Spent = Spent()
    nearest: float | None = None
    ranged: bool = False
    radius: float = 0.0


class AttackRow(Struct, frozen=True, kw_only=True):
    """What one stage of the suite did. status: `ran`, `skipped` or `error`, with the reason in words.

    entered: samples it met. broken: verified breaks. rejected: candidates that verification refused, by reason.
    parameters: the attack's fields as they were used. share: of the survivors, that it met. near: of its clean margin,
    to which that of a sample had to have come down for the stage to meet it. rounds: played, of at most most_rounds.
    distance: whether it looked for each sample's nearest adversarial example. budget: what a sample costs
    that enters and withstands all its rounds. source: whose gradients it followed. transfer: what became of its
    examples on the stand-in and on the model, where that is not the twin. sample: how many it met at most,
    drawn uniformly; 0 for all. phase: `suite`, `check` for an
    experiment of a check, `answer` to a doubt, `confirmation` after the answers, or `hardness` for the search for
    distances. because: the findings that it answered.
    """

    name: str
    attack: str
    status: str
    reason: str | None
    entered: int
    broken: int
    forwards: int
    backwards: int
    queries: int
    seconds: float
    rejected: dict[str, int]
    access: str
    restarts: int
    parameters: dict[str, Any]
    share: float = 1.0
    near: float = 1.0
    rounds: int = 1
    most_rounds: int = 1
    distance: bool = False
    budget: Spent = Spent()
    source: str = "twin"
    sample: int = 0
    transfer: TransferCounts | None = None
    phase: str = "suite"
    because: list[str] = field(default_factory=list)

    @property
    def climbed(self) -> bool:
        """Whether it followed gradients to break samples: not where it only looked for distances afterwards."""
        return self.status == "ran" and self.access == "gradient" and self.phase != "hardness"


class Finding(Struct, frozen=True, kw_only=True):
    """What one check saw. value against threshold where the check is a number; missing evidence is inconclusive.

    technique: of MITRE ATLAS. masks: whether it says, where raised, that the model hides from attacks. answers: what
    was tried because of it, by the names of `auditor/answers.toml`. spent: passes of its own experiments.
    """

    id: str
    status: FindingStatus
    severity: Severity
    title: str
    value: float | None
    threshold: float | None
    source: str
    explanation: str
    advice: str
    technique: str = ""
    masks: bool = False
    answers: list[str] = field(default_factory=list)
    spent: Spent = Spent()


class Chapter(Struct, frozen=True, kw_only=True):
    """A piece of how the number came about, in order. kind: `claimed` (by the suite), `doubted`, `tried` (an answer
    that broke nothing) or `fell` (one that did). robust_accuracy: as it stood afterwards, None where nothing had been
    played. findings, stages: the ids and names of those it is about."""

    kind: str
    text: str
    robust_accuracy: float | None
    findings: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)


class Step(Struct, frozen=True, kw_only=True):
    """What to do next, and why. command: to run, empty where it is nothing that advaudit does."""

    what: str
    why: str
    command: str = ""


class Record(Struct, frozen=True, kw_only=True):
    """One model × samples × threat. Fractions for rates, None for what was not computed, never NaN."""

    schema: int
    complete: bool
    plan: dict[str, Any]
    plan_digest: str
    execution: dict[str, Any]
    environment: dict[str, Any]
    tool: Tool
    model: ModelInfo
    fidelity: Fidelity | None
    threat: ThreatInfo
    samples: SamplesInfo
    metrics: Metrics
    by_class: list[ClassRow]
    outcomes: list[Outcome]
    outcomes_digest: str
    attacks: list[AttackRow]
    findings: list[Finding]
    masking: str
    trust: str
    gate: Gate
    verdict: Verdict | None
    curve: list[CurvePoint]
    seconds: float
    command: str
    class_names: list[str] | None = None
    summary: str = ""
    story: list[Chapter] = field(default_factory=list)
    checks: Spent = Spent()
    """Passes of the checks' own experiments."""
    hardness: Hardness | None = None
    """Where it is weak; None where that was not asked for."""
    config: str = ""
    """The audit.toml that was read, empty for none."""
    suite: str = ""
    """The name of the suite that was played, empty for stages of one's own."""
    next_steps: list[Step] = field(default_factory=list)
    """What to do next, the most urgent first."""
    drawn: Drawn | None = None
    """Of a sequential scan: the samples that it drew; None where all were attacked."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """The classes' names in the order of the labels, None where they have none."""
        return tuple(self.class_names) if self.class_names else None

    @property
    def n(self) -> int:
        """Samples that the numbers are of: all, or those that a sequential scan drew where it attacked no others."""
        return self.samples.n if self.drawn is None or self.drawn.swept else len(self.drawn.ids)

    @property
    def blind(self) -> bool:
        """Whether the attacker was to have gradients, and none was followed: for lack of a twin, or of an attack."""
        if self.threat.access != "gradient" or self.threat.norm == "spatial":
            return False
        return self.model.twin == "none" or not any(row.climbed for row in self.attacks)
