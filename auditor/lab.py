"""The lab: small experiments of the checks, on some of the samples, whose every pass is counted.

What an experiment breaks inside the threat model is an adversarial example like any other and is handed in at the end;
what it does under another threat says something about the model, and counts for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from auditor.answers import fitting
from auditor.arena import Arena, Place
from auditor.errors import ModelError
from auditor.ledger import Ledger, UnitResult
from auditor.losses import Loss, find_loss, margin
from auditor.oracle import DTYPES, attacked
from auditor.readings import TINY, flat
from auditor.sources import DISTILLATE, ENSEMBLE, FAITHFUL
from auditor.suite import Attacks, Stage, make_stage
from auditor.threat import Norm
from auditor.verify import Verifier

if TYPE_CHECKING:
    from auditor.attack import AnyAttack
    from auditor.problem import Problem
    from auditor.search import Search

FIRST, STAGES = 2048, 2048
"""Numbers of the stages that experiments draw their random numbers as; a suite's are below."""
LEVELS = 255
"""Steps between the bounds of an input of eight bits."""
FAR = 1e4
"""Times epsilon: from so far away the nearest point of a ball is the one furthest that way."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Played:
    """What an attack did to some samples, each entry `[k]` in the order of `index`.

    broken: an adversarial example was verified. margin, best: the smallest margin that it found and its point `[k,
    *shape]`, on the deployed model where the attack asks it. why_not: why it could not be played, or why it stopped;
    None where it came to its end.
    """

    index: Array
    broken: Array
    margin: Array
    best: Array
    why_not: str | None = None


@dataclass(frozen=True)
class Slopes:
    """Loss `[n]` and its gradient `[n, *shape]` at n points, of the twin. path: whether one leads from the loss back to
    the points at all; where none does the gradient is 0."""

    loss: Array
    gradient: Array
    path: bool = True


@dataclass(kw_only=True)
class Lab:
    """Experiments for the checks. spent: forwards, backwards and queries so far. deep: whether the user asked for
    checks that cost much. attacks: those that are loaded, by name. handed: what attacks did inside the threat model, to
    be entered when the checks are done."""

    search: Search
    ledger: Ledger
    attacks: Attacks
    deep: bool = False
    spent: Array = field(default_factory=lambda: np.zeros(3, np.int64))
    handed: list[tuple[Stage, UnitResult]] = field(default_factory=list)
    _before: dict[str, Played] = field(default_factory=dict)

    # which samples

    def some(self, most: int = 128) -> Array:
        """So many correctly classified samples at most, drawn uniformly by the seed; their positions, in order. Of a
        sequential scan, of those that it drew."""
        return self.draw(np.flatnonzero(self.ledger.worth_a_look), most)

    def standing(self, most: int = 128) -> Array:
        """The same of those that nothing has broken so far."""
        return self.draw(self.ledger.standing, most)

    def draw(self, rows: Array, most: int) -> Array:
        """At most so many of these positions, drawn uniformly by the seed, in their order."""
        return seeded(rows, most, self.search.seed)

    # attacks

    def attack(self, name: str, **options: Any) -> AnyAttack:
        """An attack by its name, with options. Raises UsageError for one that is not loaded."""
        return make_stage({"name": name} | options, self.attacks).attack

    def stand_ins(self) -> list[str]:
        """The stand-ins that attacks may follow here: a softened copy where there is one, the files given to transfer
        from, and, where the user asked for what costs much, a distillate and the ensemble of all."""
        sources = self.search.sources
        costly = {DISTILLATE, ENSEMBLE}
        names = [name for name in sources.makers if name not in FAITHFUL and (self.deep or name not in costly)]
        found = [name for name in names if sources.has(name)]
        self.spent[2] += sources.book()
        return found

    def answer(self, name: str) -> list[Stage]:
        """The stages of an answer of `auditor/answers.toml` that can be played here."""
        return fitting(name, self.attacks, self.search)

    @property
    def stretches(self) -> bool:
        """Whether the threat has an epsilon that an experiment may change: boxes and transforms have none."""
        return not self.search.threat.boxes and self.search.threat.norm is not Norm.SPATIAL

    def play(
        self,
        attack: AnyAttack,
        index: Array,
        *,
        epsilon: float | None = None,
        restarts: int = 1,
        source: str = "twin",
    ) -> Played:
        """Play an attack on these samples, from nothing: what the suite found does not help it.

        epsilon: in place of the threat's, infinite for no limit but the bounds (an attack with a fixed budget needs a
        finite one). The same experiment is played once, whoever asks. Costs what the attack costs.
        """
        search = self.search
        if epsilon is not None and epsilon != search.threat.epsilon:
            threat = replace(search.threat, epsilon=epsilon)
            region = threat.region(search.samples)
            verifier = Verifier(search.target, search.samples, threat, region, votes=search.verifier.votes)
            search = replace(search, threat=threat, region=region, verifier=verifier)
        stage = Stage(attack=attack, restarts=restarts, source=source, title=attack.name)
        key = repr((stage.table(), search.threat.epsilon, index.tolist()))
        if key not in self._before:
            self._before[key] = self._play(search, stage, index, FIRST + crc32(key.encode()) % STAGES)
        return self._before[key]

    def _play(self, search: Search, stage: Stage, index: Array, number: int) -> Played:
        samples = search.samples
        ledger = Ledger.of(samples, self.ledger.correct)
        error = search.unfit(stage)
        size = search.execution.chunk(samples.inputs[0].size)
        for start in range(0, len(index) if error is None else 0, size):
            result = search.unit(number, stage, index[start : start + size], ledger)
            ledger.apply(number, result)
            self.spent += result.spent.sum(axis=0)
            error = error or result.error
            if search.threat == self.search.threat:
                self.handed.append((stage, result))
        return Played(index, ledger.broken[index], ledger.margin[index], ledger.best[index], error)

    # the threat

    def problem(self, index: Array, who: str, turn: int | Array = 0) -> Problem:
        """The threat around these samples as an attack sees it, in float64: one row each, with draws of a check's own.

        who: the check's name. turn: another number, other draws; one for all, or `[n]` where samples repeat.
        """
        search = self.search
        place = Place(
            seed=search.seed,
            stage=FIRST + crc32(who.encode()) % STAGES,
            device=search.execution.device,
            dtype=torch.float64,
            classes=search.target.classes,
        )
        arena = Arena(place, search.samples, search.threat, search.region, self.ledger, index)
        slots = torch.arange(len(index), device=place.device)
        turns = torch.from_numpy(np.broadcast_to(np.asarray(turn, np.int64), len(index)).copy())
        return arena.problem(slots, turns.to(slots.device))

    def furthest(self, index: Array, gradient: Array) -> Array:
        """Where in the threat a linear loss with this gradient `[n, *shape]` is largest, `[n, *shape]`; a feature
        without a finite one stays. For linf, l2 and l1."""
        problem = self.problem(index, "furthest")
        slope = torch.from_numpy(gradient).to(problem.inputs).nan_to_num(0.0, 0.0, 0.0)
        if problem.norm is Norm.LINF:
            away = problem.steepest(slope) * problem.wide(problem.epsilon)
        else:  # the nearest point to one that is very far along the gradient
            steep = slope if problem.weights is None else slope * problem.weights
            tiny = torch.finfo(steep.dtype).tiny
            away = steep / problem.wide(steep.flatten(1).abs().amax(dim=1).clamp_min(tiny))
            away = FAR * problem.wide(problem.epsilon) * (away if problem.weights is None else away * problem.weights)
        found: Array = problem.project(problem.inputs + away).cpu().numpy()
        return found

    def stride(self, change: Array, gradient: Array) -> Array:
        """The share of a change `[n, *shape]` by which what counts in it moves two steps of eight bits, or of the
        threat's grid, `[n]`: below it a file that takes pictures may well round the change away, and honestly.

        gradient: by which features count. Infinite where nothing does, 0 where no bounds tell how fine eight bits are.
        """
        bounds, grid = self.search.threat.bounds, self.search.threat.grid or 0.0
        finest = 2 * max(grid, (bounds[1] - bounds[0]) / LEVELS if bounds else 0.0)
        weight = np.abs(flat(gradient * change))
        moved = (weight * np.abs(flat(change))).sum(axis=1) / np.maximum(weight.sum(axis=1), TINY)
        with np.errstate(divide="ignore", invalid="ignore"):
            share: Array = np.where(weight.any(axis=1), finest / moved, np.inf)
        return share

    # the models

    def scores(self, x: Array) -> Array:
        """What the deployed model answers, `[n, classes]`, for points `[n, *shape]`; a query each."""
        self.spent[2] += len(x)
        return self.search.target.scores(x.astype(np.float32, copy=False), batch=self.search.execution.width)

    def margins(self, x: Array, index: Array) -> Array:
        """How far the deployed model is from the goal at points of these samples, `[n]`, as logits or logarithms of
        probabilities; negative once it is reached. A query each."""
        scores = attacked(torch.from_numpy(self.scores(x)).double(), self.search.target.output)
        values: Array = margin(scores, *self._goal(index)).numpy()
        return values

    def _goal(self, index: Array) -> tuple[Tensor, Tensor]:
        """Labels and target labels of these samples, -1 where any other will do."""
        labels = torch.from_numpy(self.search.samples.labels[index])
        goal = self.search.threat.goal.target
        return labels, torch.full_like(labels, -1 if goal is None else goal)

    def slopes(self, x: Array, index: Array, loss: str | Loss = "margin", labels: Array | None = None) -> Slopes:
        """A loss of the twin, by its name in `auditor.losses` or as a function like those, and its gradient, at points
        `[n, *shape]` of these samples, to be maximised by an attacker; in the search's precision. A forward and a
        backward each.

        labels: other ones than the samples' own. Raises ModelError where there is no twin.
        """
        twin = self.search.twin
        if twin is None:
            raise ModelError("There is no twin to take gradients from.")
        device, dtype = self.search.execution.device, DTYPES[self.search.execution.precision]
        twin.module.to(device=device, dtype=dtype)
        own, targets = (part.to(device) for part in self._goal(index))
        own = own if labels is None else torch.from_numpy(labels).to(device)
        climbed = find_loss(loss) if isinstance(loss, str) else loss
        losses, gradients, path = [], [], True
        width = self.search.width
        for part in np.split(np.arange(len(x)), range(width, len(x), width)):
            points = torch.from_numpy(np.ascontiguousarray(x[part])).to(device, dtype).requires_grad_()
            rows = torch.from_numpy(part).to(device)
            value = climbed(twin.logits(points), own[rows], targets[rows])
            found = None
            if value.requires_grad:
                (found,) = torch.autograd.grad(value.sum(), points, allow_unused=True)
            path = path and found is not None
            gradient = torch.zeros_like(points) if found is None else found
            losses.append(value.detach().double().cpu().numpy())
            gradients.append(gradient.double().cpu().numpy())
        self.spent[:2] += len(x)
        return Slopes(np.concatenate(losses), np.concatenate(gradients), path)

    def rng(self, who: str) -> np.random.Generator:
        """A generator of random numbers for a check, by the seed and the check's name."""
        return np.random.default_rng([self.search.seed, crc32(who.encode())])


def seeded(rows: Array, most: int, seed: int) -> Array:
    """At most so many of the rows, drawn uniformly by the seed, in their order."""
    if len(rows) <= most:
        return rows
    chosen: Array = np.sort(np.random.default_rng([seed, len(rows)]).choice(rows, most, replace=False))
    return chosen
