"""`advaudit verify`: replays a record's adversarial examples on the model, with nothing of the search involved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from auditor.chance import CHANCE
from auditor.consistency import check_consistent, columns
from auditor.entry import check_whole, folder_of, read_evidence, read_record
from auditor.errors import RecordError
from auditor.host import Host
from auditor.preprocess import Preprocess
from auditor.record import Record
from auditor.target import Target, TargetOptions
from auditor.threat import Norm, ThreatModel
from auditor.verify import moved_by, reached, size

VOTES, MORE = 5, 60
"""How often a model is asked about an example, and again where its answers differ."""


@dataclass(frozen=True)
class Replay:
    """n examples were replayed, `held` of them still are adversarial; failures: reason to count.

    near, near_held: the same of the nearest examples that distance stages found. pairs, pairs_held: and of those that
    runs towards a class found.
    """

    n: int
    held: int
    failures: dict[str, int]
    near: int = 0
    near_held: int = 0
    pairs: int = 0
    pairs_held: int = 0

    @property
    def whole(self) -> bool:
        """Whether every example holds."""
        return (self.held, self.near_held, self.pairs_held) == (self.n, self.near, self.pairs)

    @property
    def text(self) -> str:
        """The result in a sentence."""
        if self.n == 0 and self.near == 0:
            return "The record holds no adversarial examples, so there is nothing to replay."
        lost = "; ".join(f"{count} {reason}" for reason, count in self.failures.items())
        near = f", {self.near_held} of {self.near} nearest ones" if self.near else ""
        near += f", {self.pairs_held} of {self.pairs} towards a class" if self.pairs else ""
        return f"{self.held} of {self.n} adversarial examples{near} hold on the model{f' ({lost})' if lost else ''}."


def replay(record: Path, *, model: str | None = None, trust: bool = False, plugins_dir: Path | None = None) -> Replay:
    """Replay a record's evidence on its model, or on another file.

    What is checked is read from the record alone: the clean input is classified as its label, the adversarial one is
    inside the stated threat, and the model gives it the label that the record says. Raises RecordError where record or
    evidence can't be read or contradict each other, ModelError where the model can't be run.
    """
    known = read_record(record)
    folder = folder_of(record)
    check_whole(known, folder)
    evidence = read_evidence(folder)
    check_consistent(known, evidence)
    CHANCE.begin(0, "replay")
    host = Host.load(folder=plugins_dir)
    target = _target(known, host, model or known.model.path, trust)
    failures: Counter[str] = Counter()
    if model is None and target.sha256 != known.model.sha256:
        raise RecordError(
            f"The model {known.model.path} has changed since the scan; give --model to replay on another file."
        )
    target.fit(evidence["x"].shape[1:])
    n = len(evidence["id"])
    for row in range(n):
        if (reason := _fails(known, evidence, row, target)) is not None:
            failures[reason] += 1
    held = n - failures.total()
    near, pairs = (columns(evidence, prefix) for prefix in ("near_", "pair_"))
    near_held = _held_at(known, near, [outcome.nearest for outcome in known.outcomes], target, failures)
    pairs_held = _held_at(known, pairs, known.hardness.runs.distances if known.hardness else [], target, failures)
    return Replay(n, held, dict(failures), len(near["id"]), near_held, len(pairs["id"]), pairs_held)


def _held_at(
    record: Record,
    evidence: dict[str, np.ndarray],
    claimed: Sequence[float | None],
    target: Target,
    failures: Counter[str],
) -> int:
    """How many of these examples hold, at any distance, and are as far away as is claimed; the others are counted.
    claimed: in the order of the evidence, None where there is no example."""
    endless = msgspec.structs.replace(record, threat=msgspec.structs.replace(record.threat, epsilon=None))
    held = 0
    for row, distance in enumerate(d for d in claimed if d is not None):
        reason = _fails(endless, evidence, row, target)
        if reason is None and not _as_far(record, evidence, row, distance):
            reason = "another distance than recorded"
        if reason is None:
            held += 1
        else:
            failures[reason] += 1
    return held


def _as_far(record: Record, evidence: dict[str, np.ndarray], row: int, claimed: float | None) -> bool:
    """Whether the example is as far away as the record says."""
    distance = size(Norm(record.threat.norm), _change(record, evidence, row))
    return claimed is not None and bool(np.isclose(distance, claimed, rtol=1e-6, atol=1e-9))


def _target(record: Record, host: Host, model: str, trust: bool) -> Target:
    from auditor.resolve import make_defense

    table = record.model.preprocess
    options = TargetOptions(
        preprocess=Preprocess(
            scale=table["scale"],
            mean=tuple(table["mean"]),
            std=tuple(table["std"]),
            layout=table["layout"],
            channels=table["channels"],
        ),
        output=record.plan["model"]["output"],
        device=record.execution["device"],
        trust=trust,
        operators=host.operators,
        threads=record.execution["threads"],
    )
    target = host.load_target(model, options)
    for defense in record.plan["model"]["defenses"]:
        target = make_defense(defense, host).wrap_target(target)
    return target


def _fails(record: Record, evidence: dict[str, np.ndarray], row: int, target: Target) -> str | None:
    """Why this example does not hold, None where it does."""
    clean, adversarial = evidence["x"][row], evidence["x_adv"][row]
    label, claimed = int(evidence["label"][row]), int(evidence["adversarial_label"][row])
    if not np.isfinite(adversarial).all() or adversarial.shape != clean.shape:
        return "not finite or of another shape"
    if np.array_equal(adversarial, clean):
        return "unchanged"
    if (reason := _outside(record, evidence, row)) is not None:
        return reason
    goal = None if record.threat.goal == "untargeted" else int(record.threat.goal.partition(":")[2])
    answers = [target.scores(adversarial[None], batch=1)[0].astype(np.float64) for _ in range(VOTES)]
    if len({int(scores.argmax()) for scores in answers}) > 1:  # it draws: few votes decide nothing
        answers += [target.scores(adversarial[None], batch=1)[0].astype(np.float64) for _ in range(MORE)]
    if sum(reached(scores, label, goal) for scores in answers) * 2 <= len(answers):
        return "not misclassified"
    if claimed not in {int(scores.argmax()) for scores in answers}:
        return "another label than recorded"
    if int(target.labels(clean[None], batch=1)[0]) != label:
        return "misclassified when clean"
    return None


def _outside(record: Record, evidence: dict[str, np.ndarray], row: int) -> str | None:
    """Where the example lies outside the record's threat, in words. A grid lets float32 noise of its steps pass."""
    threat = record.threat
    y = evidence["x_adv"][row].astype(np.float64)
    if threat.boxes:
        inside = (y >= evidence["lower"][row]).all() and (y <= evidence["upper"][row]).all()
        return None if inside else "outside its box"
    if threat.bounds is not None and (y.min() < threat.bounds[0] or y.max() > threat.bounds[1]):
        return "outside the bounds"
    if threat.grid is not None:
        steps = np.rint(y / threat.grid)
        if not np.array_equal((steps * threat.grid).astype(np.float32), evidence["x_adv"][row]):
            return "off the grid"
    if threat.norm == Norm.SPATIAL:
        points = (evidence[name][row].astype(np.float64) for name in ("x", "x_adv"))
        return None if moved_by(_spatial(record), *points) is not None else "none of the transforms"
    change = _change(record, evidence, row)
    if "frozen" in evidence and change[evidence["frozen"].reshape(change.shape)].any():
        return "changes a frozen feature"
    if threat.epsilon is not None and size(Norm(threat.norm), change) > threat.epsilon * (1 + 1e-12):
        return "outside the ball"
    return None


def _spatial(record: Record) -> ThreatModel:
    threat = record.threat
    low, high = threat.bounds or (0.0, 1.0)
    return ThreatModel(
        norm=Norm.SPATIAL,
        epsilon=threat.epsilon or 0.0,
        bounds=(low, high),
        rotation=threat.rotation,
        translation=threat.translation,
    )


def _change(record: Record, evidence: dict[str, np.ndarray], row: int) -> np.ndarray:
    """The example's change in the units of epsilon: whole steps on a grid, over the weights where there are any."""
    x, y = (evidence[name][row].astype(np.float64) for name in ("x", "x_adv"))
    grid = record.threat.grid
    change: np.ndarray = y - x if grid is None else (np.rint(y / grid) - np.rint(x / grid)) * grid
    if "weights" not in evidence:
        return change
    weights = evidence["weights"]
    scaled: np.ndarray = change / (weights.reshape(change.shape) if weights.size == change.size else weights)
    return scaled
