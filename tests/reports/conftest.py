"""Synthetic records: what a scan could have found, with pictures drawn by a rule, and nothing attacked by anyone."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from auditor.entry import Entry
from auditor.gate import judged
from auditor.hardness import ClassHardness, CurvePoint, Hardness, Pair, Runs
from auditor.judgement import Gate
from auditor.metrics import by_class, measure, wilson
from auditor.record import (
    SCHEMA,
    AttackRow,
    Fidelity,
    Finding,
    FindingStatus,
    ModelInfo,
    Outcome,
    Plugin,
    Record,
    SamplesInfo,
    Severity,
    Spent,
    Status,
    Step,
    ThreatInfo,
    Tool,
)
from auditor.rule import Policy, Rule

VOID = {"meta", "link", "img", "br"}
BROKEN, WITHSTOOD, WRONG = Status.BROKEN, Status.WITHSTOOD, Status.MISCLASSIFIED
Make = Callable[..., Entry]


class Document(HTMLParser):
    """A page taken apart by the standard library's parser; it raises where tags are not closed in their order.

    tags: of every element, in order. attributes: of every element, as (tag, name, value). text: all of it, one line.
    tables: by the start of their caption, rows of cells. figures: by their names, the values and notes of the first
    description list. style: what stands in the style element.
    """

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.figures: dict[str, list[str]] = {}
        self.style = ""
        self._table: list[list[str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def values(self, name: str) -> list[str]:
        """All values of this attribute."""
        return [value for _, attribute, value in self.attributes if attribute == name]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "dt":
            self._figure = ""
        elif tag == "dd":
            self.figures.setdefault(self._figure, []).append("")
        if tag == "table":
            self._table = []
        elif tag == "caption":
            self._caption = ""
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            rows = [[" ".join(cell.split()) for cell in row] for row in self._table]
            self.tables[self._caption] = rows

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
            return
        if "title" in self.open and "svg" in self.open:
            return
        self.words.append(data)
        if "dt" in self.open:
            self._figure += data
        elif "dd" in self.open:
            self.figures[self._figure][-1] += data
        if "caption" in self.open:
            self._caption += data
        elif self.open and self.open[-1] != "tr" and {"td", "th"} & set(self.open):
            self._table[-1][-1] += data

    def heads(self, caption: str) -> list[str]:
        """The heads of the first table whose caption starts so."""
        return next(rows[0] for name, rows in self.tables.items() if name.startswith(caption))

    def table(self, caption: str) -> list[list[str]]:
        """The rows, without the head, of the first table whose caption starts so."""
        return next(rows[1:] for name, rows in self.tables.items() if name.startswith(caption))


def outcomes_of(n: int, classes: int, seed: int) -> list[Outcome]:
    """Outcomes of n samples: low classes fall more often than high ones, most of them into the next class."""
    draw = np.random.default_rng(seed)
    outcomes = []
    for id in range(n):
        label = id % classes
        p = draw.random()
        status = WRONG if p < 0.07 else BROKEN if p < 0.9 - 0.7 * label / classes else WITHSTOOD
        into = (label + (1 if draw.random() < 0.7 else 2)) % classes
        outcomes.append(
            Outcome(
                id=id,
                label=label,
                clean_label=into if status is WRONG else label,
                status=status,
                attack=str(draw.choice(["fgsm", "pgd margin", "apgd dlr ×3"])) if status is BROKEN else None,
                distance=round(float(draw.uniform(0.02, 8 / 255)), 5) if status is BROKEN else None,
                adversarial_label=into if status is BROKEN else None,
                spent=Spent(forwards=41, backwards=40, queries=2),
            )
        )
    return outcomes


def stage(name: str, **changes: Any) -> AttackRow:
    """A stage that ran on ten samples and broke none."""
    row = AttackRow(
        name=name, attack=name.split()[0], status="ran", reason=None, entered=10, broken=0, forwards=410,
        backwards=400, queries=12, seconds=1.5, rejected={}, access="gradient", restarts=1,
        parameters={"steps": 40, "rel_step": 0.075},
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def finding(id: str, status: FindingStatus, severity: Severity = Severity.WARNING, **changes: Any) -> Finding:
    """A finding in the words of its status."""
    row = Finding(
        id=id, status=status, severity=severity, title=f"Title of {id}", value=0.031, threshold=0.002,
        source=f"Source of {id}", explanation=f"Explanation of {id}.", advice=f"Advice of {id}.",
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def record_of(
    n: int = 120, classes: int = 3, *, names: list[str] | None = None, seed: int = 0, **changes: Any
) -> Record:
    """A record of n samples in this many classes; `changes` replace its fields."""
    outcomes = changes.pop("outcomes", outcomes_of(n, classes, seed))
    rules = changes.pop("rules", [Rule(metric="robust_accuracy", at_least=0.5)])
    named = tuple(names) if names else None
    broken = sum(outcome.status is BROKEN for outcome in outcomes)
    record = Record(
        schema=SCHEMA,
        complete=True,
        plan={"seed": 7},
        plan_digest="plan" + "0" * 60,
        execution={"device": "cpu", "threads": 2, "width": 64, "precision": "float32"},
        environment={"python": "3.11.9", "platform": "Linux-6.1", "torch": "2.13.0"},
        tool=Tool(
            version="0.1.0",
            plugins=[
                Plugin(name="auditor.plugins.attacks.pgd", version="0.1.0", sha256="aa" * 32),
                Plugin(name="broken_plugin", version="9.9", sha256="", error="ImportError: no module named oracle"),
            ],
        ),
        model=ModelInfo(
            path="models/robust.onnx",
            sha256="bb" * 32,
            name="robust.onnx",
            classes=classes,
            output="logits",
            runtime={"name": "onnxruntime", "version": "1.31.1", "provider": "CPUExecutionProvider"},
            preprocess={"scale": 1.0, "mean": [0.485], "std": [], "layout": None, "channels": "rgb"},
            twin="surrogate",
            surrogates=["QuantizeLinear"],
            defenses=["BitDepth(bits=4)"],
        ),
        fidelity=Fidelity(
            n=120,
            label_agreement=0.992,
            max_difference=0.00213,
            scale=17.4,
            floor=0.95,
            adversarial_n=40,
            adversarial_label_agreement=0.9,
            adversarial_max_difference=0.0457,
        ),
        threat=ThreatInfo(
            name="linf 8/255",
            norm="linf",
            epsilon=8 / 255,
            epsilon_text="8/255",
            bounds=[0.0, 1.0],
            boxes=False,
            goal="untargeted",
            access="gradient",
        ),
        samples=SamplesInfo(
            n=len(outcomes),
            digest="cc" * 32,
            labels="given",
            skipped={"unreadable picture": 2},
            source="samples.npz",
            shape=[1, 12, 12],
            pixels=True,
        ),
        metrics=measure(outcomes, certified=False),
        by_class=by_class(outcomes, named),
        outcomes=outcomes,
        outcomes_digest="dd" * 32,
        attacks=[
            stage("fgsm", entered=n, broken=broken),
            stage("apgd dlr ×3", broken=0, rejected={"outside the ball": 13, "not misclassified": 4}, restarts=3),
            stage("square", status="skipped", reason="the audit grants no scores", entered=0, access="score"),
            stage("strange", status="error", reason="ValueError: lost", access="decision"),
        ],
        findings=[
            finding("gradients", FindingStatus.CLEAR, value=0.0, threshold=0.0),
            finding("gradient_free", FindingStatus.RAISED),
            finding("randomised", FindingStatus.INCONCLUSIVE, value=None),
        ],
        masking="present",
        trust="doubtful",
        gate=Gate(rules=[]),
        verdict=None,
        curve=[],
        seconds=83.2,
        command="advaudit scan models/robust.onnx --norm linf --epsilon 8/255 --data samples.npz",
        class_names=names,
    )
    return judged(msgspec.structs.replace(record, **changes), Policy(rules=rules))


def hardness_of(record: Record, *, targets: str = "all", each: int = 0, seed: int = 0, **changes: Any) -> Record:
    """The record with a hardness that fits its outcomes: a sample's nearest example is the nearest over its targets.

    Whoever is broken lies within epsilon, whoever withstood beyond; each class is farther from those that have a number
    unlike its own. Every tenth class or so is certified up to a part of its distance.
    """
    draw = np.random.default_rng(seed)
    epsilon, classes = record.threat.epsilon or 1.0, record.model.classes
    outcomes, runs = [], Runs()
    for outcome in record.outcomes:
        if outcome.clean_label != outcome.label:
            outcomes.append(outcome)
            continue
        inside = outcome.status is BROKEN and outcome.distance is not None
        nearest = outcome.distance if inside else round(epsilon * (1.05 + 1.5 * float(draw.random())), 6)
        assert nearest is not None
        radius = round(nearest * 0.4, 6) if outcome.label % 2 else 0.0
        outcomes.append(msgspec.structs.replace(outcome, nearest=nearest, ranged=True, radius=radius))
        into = outcome.adversarial_label if inside else (outcome.label + 1) % classes
        others = [label for label in range(classes) if label != outcome.label]
        for target in others if targets == "all" else sorted({into, *others[:each]}):  # type: ignore[type-var]
            far = nearest * (1 if target == into else 1.1 + abs(target - outcome.label) * float(draw.random()))
            runs.ids.append(outcome.id)
            runs.targets.append(target)  # type: ignore[arg-type]
            runs.distances.append(far if draw.random() < 0.95 or target == into else None)
            runs.saliency.append(float(draw.uniform(0.2, 0.9)))
    correct = [outcome for outcome in outcomes if outcome.ranged]
    by_distance = sorted(correct, key=lambda outcome: outcome.nearest or 0.0)
    found = Hardness(
        correct=len(correct),
        ranged=len(correct),
        attack="fmn",
        parameters={"steps": 200},
        n=len(correct),
        each=classes - 1 if targets == "all" else each,
        targets=targets,
        budgets=[epsilon / 2, epsilon, 2 * epsilon],
        pairs=_pairs(record, runs),
        classes=[_class(record, label, outcomes) for label in sorted({o.label for o in correct})],
        robustness=0.2,
        correlation=0.63,
        correlation_distance=0.41,
        over=len({(record.outcomes[id].label, target) for id, target in zip(runs.ids, runs.targets, strict=True)}),
        easiest=[outcome.id for outcome in by_distance[:10]],
        hardest=[outcome.id for outcome in by_distance[::-1][:10]],
        share=0.37,
        runs=runs,
    )
    distances = sorted(o.nearest for o in correct if o.nearest is not None)
    return msgspec.structs.replace(
        record,
        outcomes=outcomes,
        curve=_curve(outcomes, epsilon),
        metrics=msgspec.structs.replace(record.metrics, median_distance=float(np.median(distances))),
        hardness=msgspec.structs.replace(found, **changes),
        next_steps=[
            Step(
                what="Harden the weakest class first.", why="It loses the most.", command="advaudit harden robust.onnx"
            ),
            Step(what="Audit more samples.", why="The interval is wide."),
        ],
    )


def _curve(outcomes: list[Outcome], epsilon: float) -> list[CurvePoint]:
    """Both ends at every distance of the outcomes, at most 40."""
    near = np.array([o.nearest if o.ranged else 0.0 for o in outcomes], float)
    radius = np.array([o.radius for o in outcomes])
    at = np.unique(np.concatenate([[0.0, epsilon], np.quantile(near, np.linspace(0, 1, 38)).round(6)]))
    return [
        CurvePoint(epsilon=float(e), robust_accuracy=float((near > e).mean()), certified=float((radius > e).mean()))
        for e in at
    ]


def _class(record: Record, label: int, outcomes: list[Outcome]) -> ClassHardness:
    own = [outcome for outcome in outcomes if outcome.label == label and outcome.ranged]
    near = [outcome.nearest for outcome in own if outcome.nearest is not None]
    return ClassHardness(
        label=label, n=len(own), distance=float(np.median(near)), nearest=min(near),
        curve=_curve(own, record.threat.epsilon or 1.0), measured=len(own), margin=3.2, jacobian=11.0, radius=0.021,
    )  # fmt: skip


def _pairs(record: Record, runs: Runs) -> list[Pair]:
    """The runs, counted by the class of their sample and the class they went for."""
    epsilon = record.threat.epsilon or 1.0
    own: dict[tuple[int, int], list[float]] = {}
    for id, target, far in zip(runs.ids, runs.targets, runs.distances, strict=True):
        own.setdefault((record.outcomes[id].label, target), []).append(np.inf if far is None else far)
    pairs = []
    for (source, target), far in sorted(own.items()):
        reached, middle = [d for d in far if np.isfinite(d)], float(np.median(far))
        broken = sum(d <= epsilon for d in far)
        pairs.append(
            Pair(
                source=source,
                target=target,
                n=len(far),
                broken=broken,
                interval=wilson(broken, len(far)),
                reached=len(reached),
                distance=middle if np.isfinite(middle) else None,
                mean_distance=float(np.mean(reached)) if reached else None,
                hardness=middle * 0.8 if reached else None,
                adversarial_distance=0.5,
            )
        )
    return pairs


def evidence_of(record: Record, shape: tuple[int, ...] = (1, 12, 12), seed: int = 0) -> dict[str, np.ndarray]:
    """Evidence for every broken sample: a disc for each class, and a change of 8/255 up or down at every place."""
    draw = np.random.default_rng(seed)
    found = [outcome for outcome in record.outcomes if outcome.adversarial_label is not None]
    x = np.zeros((len(found), *shape), np.float32)
    for row, outcome in enumerate(found):
        grid = np.linspace(-1, 1, x[row].size).reshape(shape) * (1 + outcome.label)
        x[row] = (0.5 + 0.4 * np.cos(3 * grid)).astype(np.float32)
    change = (draw.integers(0, 2, x.shape) * 2 - 1) * np.float32(8 / 255)
    evidence = {
        "id": np.array([outcome.id for outcome in found], np.int64),
        "x": x,
        "x_adv": np.clip(x + change, 0, 1).astype(np.float32),
        "label": np.array([outcome.label for outcome in found], np.int64),
        "adversarial_label": np.array([outcome.adversarial_label for outcome in found], np.int64),
    }
    near = [outcome for outcome in record.outcomes if outcome.nearest is not None]
    if near:
        x = np.full((len(near), *shape), 0.5, np.float32)
        away = np.array([outcome.nearest for outcome in near], np.float32).reshape(-1, *[1] * len(shape))
        into = [
            (o.label + 1) % record.model.classes if o.adversarial_label is None else o.adversarial_label for o in near
        ]
        evidence |= {
            "near_id": np.array([outcome.id for outcome in near], np.int64),
            "near_x": x,
            "near_x_adv": np.clip(x + away, 0, 1),
            "near_label": np.array([outcome.label for outcome in near], np.int64),
            "near_adversarial_label": np.array(into, np.int64),
        }
    return evidence


@pytest.fixture
def entry(tmp_path: Path) -> Make:
    """entry(shape=…, evidence=…, hardness=…, **record_of's arguments) -> Entry whose evidence lies in a folder.

    hardness: arguments of hardness_of, None for a record without one.
    """
    made = []

    def make(
        *,
        shape: tuple[int, ...] = (1, 12, 12),
        evidence: bool = True,
        hardness: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Entry:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(folder)
        record = record_of(**changes)
        if hardness is not None:
            record = hardness_of(record, **hardness)
        if evidence:
            np.savez(folder / "evidence.npz", **evidence_of(record, shape))  # type: ignore[arg-type]
        return Entry(record, folder)

    return make


@pytest.fixture
def parse() -> Callable[[str], Document]:
    """parse(html) -> Document."""
    return Document
