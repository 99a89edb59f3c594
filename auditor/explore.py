"""Where the model is weak: each sample's nearest adversarial example, and its nearest of other classes.

Played after the suite and before the doubts: whatever breaks here within epsilon is broken.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from auditor.access import Access
from auditor.allowance import Allowance, equivalents
from auditor.chance import CHANCE
from auditor.hardness import Runs
from auditor.ledger import Ledger
from auditor.record import AttackRow
from auditor.risk import Confusion
from auditor.samples import ranked
from auditor.search import Search
from auditor.slopes import Slopes, slopes
from auditor.suite import Attacks, Stage, make_stage, parse_attack
from auditor.threat import Norm
from auditor.towards import Reached, Towards

if TYPE_CHECKING:
    from auditor.job import Job

ATTACKS: dict[Norm, dict[str, int | str]] = {
    Norm.LINF: {"name": "bisection", "steps": 30, "inner": 6},
    Norm.L2: {"name": "bisection", "steps": 48},
    Norm.L1: {"name": "fmn", "steps": 60},
    Norm.L0: {"name": "sigma-zero", "steps": 100},
}
"""What looks for distances where there are gradients: the best of those that were measured at this cost, see
`benchmarks/RESULTS.md`."""
BLIND: dict[Norm, dict[str, int | str]] = {
    Norm.LINF: {"name": "rays", "steps": 300},
    Norm.L2: {"name": "hopskipjump", "steps": 1000},
}
"""The same where there are none."""
ALL = 12
"""Classes up to which every sample goes towards every other one; where there are more, towards the `NEAREST` by its own
scores and the `CONFUSED` that its class has become most often so far."""
NEAREST, CONFUSED = 4, 2
BYTES = 1 << 27
"""What the examples of all runs may take in memory, and again in the record."""
EACH, MOST = 50, 1000
"""Samples that go towards classes, at most, of one class and of all together: more would make intervals little
narrower."""


@dataclass
class Explored:
    """What was found. rows: stages. why_not: why nothing was looked for beyond epsilon. ranged: positions of the
    samples whose nearest example was looked for. chosen: of those, the ones that went towards classes, `each` of them,
    which are `all` or the `nearest` targets. reached: those runs. share: of the suite's forward equivalents."""

    rows: list[AttackRow] = field(default_factory=list)
    why_not: str | None = None
    why_no_pairs: str | None = None
    ranged: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    chosen: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    each: int = 0
    targets: str = "all"
    reached: Reached = field(default_factory=Reached)
    slopes: Slopes | None = None
    share: float | None = None


def explore(search: Search, ledger: Ledger, rows: list[AttackRow], attacks: Attacks, job: Job) -> Explored:
    """Look for distances on as many samples as the suite's cost allows (`auditor.allowance`), and on some of those
    towards classes. rows: what was played so far. job: says with which attack, where it is not the one that fits the
    norm, and whether the user asked for it, so that it may cost more."""
    found = Explored()
    stage = _stage(search, attacks, job.distances)
    if isinstance(stage, str):
        found.why_not = stage
        return found
    correct = np.flatnonzero(ledger.correct)
    if not len(correct):
        found.why_not = "the model has no sample right"
        return found
    CHANCE.begin(search.seed, "allowance")
    allowance = Allowance.of(search, ledger, rows, asked=job.asked)
    cost = equivalents(*stage.budget(search.target.classes))
    enough = min(allowance.less(allowance.most / 2).samples(cost), len(correct))
    if not enough:
        found.why_not = "one sample's distance would cost more than half of what the suite has cost"
        return found
    found.rows = search.play(
        [replace(stage, sample=enough, title=f"distances by {stage.attack.name}")], ledger, len(rows)
    )
    found.ranged = correct[ledger.ranged[correct]]
    left = allowance.less(sum(_cost(row) for row in found.rows))
    wanted = _wanted(search, ledger, found, int(left.most // cost), job.confusions)
    if wanted:
        number = len(rows) + len(found.rows)
        titled = replace(stage, title=f"{stage.attack.name} towards each class")
        row, found.reached = Towards(search, ledger, titled, number).play(wanted)
        found.rows.append(row)
    elif found.each == 1:
        found.reached = _as_runs(search, ledger, found.ranged)
        found.chosen = found.ranged
    CHANCE.begin(search.seed, "slopes")
    found.slopes = slopes(search, found.chosen if len(found.chosen) else found.ranged, found.reached)
    found.rows = [structs.replace(row, phase="hardness") for row in found.rows]
    found.share = sum(_cost(row) for row in found.rows) / allowance.spent if allowance.spent else None
    return found


def left_out(job: Job) -> Explored | None:
    """In its place: nothing, unless the user protects confusions, which the suite counts too."""
    if not job.confusions:
        return None
    return Explored(why_not="the search for distances was left out", why_no_pairs="it was left out")


def _stage(search: Search, attacks: Attacks, attack: str) -> Stage | str:
    """The stage that looks for distances, or why there is none."""
    norm = search.threat.norm
    blind = search.twin is None or not search.access.covers(Access.GRADIENT)
    table = (BLIND if blind else ATTACKS).get(norm)
    if attack:
        table = parse_attack(attack)
    if table is None or table["name"] not in attacks:
        what = "without gradients" if blind else "here"
        return f"no attack that is loaded looks for {norm} distances {what}"
    stage = make_stage(table | {"distance": True}, attacks)
    return search.unfit(stage) or stage


def _wanted(
    search: Search, ledger: Ledger, found: Explored, runs: int, confusions: list[Confusion]
) -> dict[int, np.ndarray]:
    """Which samples are to get to which class, for so many runs at most; fills in whom and how many."""
    labels, ids, classes = search.samples.labels, search.samples.ids, search.target.classes
    goal = search.threat.goal.target
    if goal is not None or classes == 2:
        found.each = 1  # the goal is the only target: the distances are those of the pairs
        return {}
    if search.twin is None or not search.access.covers(Access.GRADIENT):
        found.why_no_pairs = "an attack without gradients can't be sent towards a class"
        return {}
    found.targets = "all" if classes <= ALL else "nearest"
    found.each = classes - 1 if classes <= ALL else NEAREST + CONFUSED
    held = BYTES // (found.each * search.samples.inputs[0].nbytes)
    found.chosen = in_turn(labels[found.ranged], ids[found.ranged], min(runs // found.each, held), search.seed)
    found.chosen = found.ranged[found.chosen]
    if not len(found.chosen):
        found.why_no_pairs = "one sample's runs towards all classes would cost more than the suite allows"
        return {}
    aims = _aims(search, ledger, found, confusions)
    return {k: found.chosen[(aims == k).any(axis=1)] for k in range(classes) if (aims == k).any()}


def _aims(search: Search, ledger: Ledger, found: Explored, confusions: list[Confusion]) -> np.ndarray:
    """The classes that each chosen sample goes towards, `[m, each]`: first those that it is protected from."""
    CHANCE.begin(search.seed, "aims")
    own = search.samples.labels[found.chosen]
    scores = search.target.scores(search.samples.inputs[found.chosen], batch=1).astype(np.float64)
    scores[np.arange(len(own)), own] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :-1]
    if found.targets == "all":
        return order
    broken = np.flatnonzero(ledger.broken)
    became: dict[int, Counter[int]] = {}
    for i in broken:
        became.setdefault(int(search.samples.labels[i]), Counter())[int(ledger.label[i])] += 1
    rows = []
    for row, label in zip(order, own, strict=True):
        named = [one.into for one in sorted(confusions, key=lambda one: -one.cost) if one.label == label]
        turned = [k for k, _ in became.get(int(label), Counter()).most_common() if k != label]
        confused = [k for k in turned if k not in row[:NEAREST]][:CONFUSED]
        first = list(dict.fromkeys([k for k in named if k is not None] + row[:NEAREST].tolist() + confused))
        rows.append((first + [k for k in row.tolist() if k not in first])[: found.each])
    return np.array(rows)


def in_turn(labels: np.ndarray, ids: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Places of at most so many samples, about as many of each class, drawn by the seed: sorted. A smaller draw is part
    of a larger one. labels, ids: `[n]`."""
    turns = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        own = labels == label
        turns[own] = ranked(ids[own], seed)
    order = np.lexsort((ranked(ids, seed), turns))
    found: np.ndarray = np.sort(order[turns[order] < EACH][: min(most, MOST)])
    return found


def _as_runs(search: Search, ledger: Ledger, ranged: np.ndarray) -> Reached:
    """Distances as runs towards the only class that there is to get to."""
    reached, goal = Reached(), search.threat.goal.target
    for i in map(int, ranged):
        target = goal if goal is not None else 1 - int(search.samples.labels[i])
        point = ledger.nearest_point.get(i)
        reached.add(i, target, float(ledger.nearest[i]), search.samples.inputs[i] if point is None else point)
    return reached


def as_record(reached: Reached, ids: np.ndarray, saliency: list[float | None]) -> Runs:
    """The runs as the record has them."""
    return Runs(
        ids=[int(ids[i]) for i in reached.index],
        targets=list(reached.target),
        distances=[d if np.isfinite(d) else None for d in reached.distance],
        saliency=saliency,
    )


def _cost(row: AttackRow) -> float:
    return equivalents(row.forwards, row.backwards, row.queries)
