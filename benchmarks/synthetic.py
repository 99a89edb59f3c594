"""Large records that nobody scanned: every table has as many rows as a scan of that size would leave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.folder import write_arrays, write_record
from auditor.hardness import ClassHardness, CurvePoint, Hardness, Pair, Protected, Risk, Runs
from auditor.judgement import Gate, RuleRow, Verdict
from auditor.metrics import by_class, measure, wilson
from auditor.record import (
    EVIDENCE,
    SCHEMA,
    AttackRow,
    Chapter,
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

SHAPE = (3, 32, 32)
EPSILON = 8 / 255
STAGES, FINDINGS, POINTS, TARGETS, RUNS = 15, 30, 60, 9, 1000
"""Stages, findings, points of a curve, targets a class, and samples that were attacked towards their targets."""


@dataclass(frozen=True)
class Case:
    """pictures: adversarial examples in the evidence, at most; None for every broken sample."""

    samples: int
    classes: int
    pictures: int | None


def write(case: Case, folder: Path) -> None:
    """The record of a case, with its evidence."""
    record = synthetic(case)
    write_record(folder, record)
    write_arrays(folder / EVIDENCE, evidence(record, case.pictures))


def synthetic(case: Case, seed: int = 0) -> Record:
    """A record of this size, with something in every table."""
    draw = np.random.default_rng(seed)
    names = [f"class {label}" for label in range(case.classes)]
    outcomes = [_outcome(id, case.classes, draw) for id in range(case.samples)]
    return Record(
        schema=SCHEMA,
        complete=True,
        plan={"seed": seed},
        plan_digest="0" * 64,
        execution={"device": "cpu", "threads": 2},
        environment={"python": "3"},
        tool=Tool(version="0", plugins=[Plugin(name=f"p{i}", version="0", sha256="0" * 64) for i in range(100)]),
        model=ModelInfo(
            path="model.onnx", sha256="0" * 64, name="model.onnx", classes=case.classes, output="logits", runtime={},
            preprocess={}, twin="exact",
        ),
        fidelity=Fidelity(n=100, label_agreement=1.0, max_difference=1e-5, scale=20.0, floor=0.95),
        threat=ThreatInfo(
            name="linf 8/255", norm="linf", epsilon=EPSILON, epsilon_text="8/255", bounds=[0.0, 1.0], boxes=False,
            goal="untargeted", access="gradient",
        ),
        samples=SamplesInfo(
            n=case.samples, digest="0" * 64, labels="given", skipped={}, source="samples.npz", shape=list(SHAPE),
            pixels=True,
        ),
        metrics=measure(outcomes, certified=True),
        by_class=by_class(outcomes, tuple(names)),
        outcomes=outcomes,
        outcomes_digest="0" * 64,
        attacks=[_stage(i) for i in range(STAGES)],
        findings=[_finding(i) for i in range(FINDINGS)],
        masking="none",
        trust="sound",
        gate=Gate(
            rules=[
                RuleRow(rule="robust_accuracy ≥ 0.4", value=0.5, threshold=0.4, status=Verdict.PASSED, reason="is met")
            ]
        ),
        verdict=Verdict.PASSED,
        curve=_curve(draw),
        seconds=1000.0,
        command="advaudit scan model.onnx",
        class_names=names,
        summary="Synthetic.",
        story=[Chapter(kind="claimed", text="The suite left half.", robust_accuracy=0.5)],
        hardness=_hardness(case, draw),
        next_steps=[Step(what=f"Step {i}", why="To see.", command="advaudit scan model.onnx") for i in range(4)],
    )  # fmt: skip


def _outcome(id: int, classes: int, draw: np.random.Generator) -> Outcome:
    label, luck = id % classes, draw.random()
    status = (
        Status.MISCLASSIFIED if luck < 0.1 else Status.BROKEN if luck < 0.5 else
        Status.WITHSTOOD if luck < 0.9 else Status.CERTIFIED
    )  # fmt: skip
    into = (label + int(draw.integers(1, 10))) % classes
    broken, nearest = status is Status.BROKEN, float(draw.uniform(0.005, 0.1))
    return Outcome(
        id=id,
        label=label,
        clean_label=into if status is Status.MISCLASSIFIED else label,
        status=status,
        attack=f"stage {id % STAGES}" if broken else None,
        distance=min(nearest, EPSILON) if broken else None,
        adversarial_label=into if broken else None,
        spent=Spent(forwards=400, backwards=400, queries=3),
        nearest=nearest,
        ranged=True,
        radius=0.001,
    )


def _stage(number: int) -> AttackRow:
    return AttackRow(
        name=f"stage {number}", attack="pgd", status="ran", reason=None, entered=9000 - 300 * number, broken=300,
        forwards=360_000, backwards=360_000, queries=900, seconds=60.0, rejected={"outside the ball": 3},
        access="gradient", restarts=1, parameters={"steps": 40, "loss": "margin"}, distance=number == STAGES - 1,
    )  # fmt: skip


def _finding(number: int) -> Finding:
    return Finding(
        id=f"check_{number}", status=list(FindingStatus)[number % 3], severity=list(Severity)[number % 2],
        title=f"Check {number}", value=0.01 * number, threshold=0.1, source="A paper, 2020.",
        explanation="What was seen, in a sentence or two. " * 3, advice="What to do about it.",
    )  # fmt: skip


def _curve(draw: np.random.Generator) -> list[CurvePoint]:
    falls = np.sort(draw.uniform(0, 0.9, POINTS))[::-1]
    return [
        CurvePoint(epsilon=0.1 * i / POINTS, robust_accuracy=float(falls[i]), certified=float(falls[i] / 10))
        for i in range(POINTS)
    ]


def _hardness(case: Case, draw: np.random.Generator) -> Hardness:
    """Pairs of every class with its TARGETS neighbours, and the runs behind them."""
    runs = [(id, (id % case.classes + step) % case.classes) for id in range(RUNS) for step in range(1, TARGETS + 1)]
    found = draw.uniform(0.005, 0.3, len(runs))
    n = max(1, RUNS // case.classes)
    pairs = [
        Pair(
            source=source, target=(source + step) % case.classes, n=n, broken=n // 3, interval=wilson(n // 3, n),
            reached=n, distance=float(draw.uniform(0.01, 0.1)), mean_distance=float(draw.uniform(0.01, 0.1)),
            hardness=float(draw.random()), adversarial_distance=float(draw.random()),
        )
        for source in range(case.classes) for step in range(1, TARGETS + 1)
    ]  # fmt: skip
    classes = [
        ClassHardness(
            label=label, n=case.samples // case.classes, distance=float(draw.uniform(0.01, 0.1)), nearest=0.005,
            curve=_curve(draw), measured=n, margin=2.0, jacobian=5.0, radius=float(draw.uniform(0.01, 0.1)),
        )
        for label in range(case.classes)
    ]  # fmt: skip
    protected = [
        Protected(label=i, into=i + 1, cost=10, n=9, clean=0, broken=2, tried=9, got_there=2, precision=0.9)
        for i in range(5)
    ]
    return Hardness(
        correct=9 * case.samples // 10, ranged=case.samples, attack="fmn", parameters={"steps": 100}, n=RUNS,
        each=TARGETS, targets="nearest", budgets=[0.01 * i for i in range(1, 11)], pairs=pairs, classes=classes,
        robustness=0.1, correlation=0.6, correlation_distance=0.5, over=len(pairs), easiest=[1, 2, 3], hardest=[4, 5],
        protected=protected, risk=Risk(clean=0.1, found=0.5, costliest=0.9, n=RUNS), share=0.4,
        runs=Runs(
            ids=[id for id, _ in runs], targets=[target for _, target in runs], distances=found.tolist(),
            saliency=draw.random(len(runs)).tolist(),
        ),
    )  # fmt: skip


def evidence(record: Record, pictures: int | None, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise for pictures, which no compression makes smaller."""
    broken = [outcome for outcome in record.outcomes if outcome.status is Status.BROKEN][:pictures]
    draw = np.random.default_rng(seed)
    x = draw.random((len(broken), *SHAPE), np.float32)
    change = np.float32(EPSILON) * draw.choice(np.array([-1, 1], np.float32), x.shape)
    return {
        "id": np.array([outcome.id for outcome in broken]),
        "x": x,
        "x_adv": np.clip(x + change, 0, 1),
        "label": np.array([outcome.label for outcome in broken]),
        "adversarial_label": np.array([outcome.adversarial_label for outcome in broken]),
    }
