"""The loop: plays one attack on one chunk of samples, rows in slots that are refilled as samples are solved."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auditor import contract
from auditor.access import Access
from auditor.arena import Arena
from auditor.attack import Attack, Query, Reply, Rows, Taken, join, take
from auditor.errors import AdvauditError, TargetUnavailable
from auditor.ledger import UnitResult
from auditor.oracle import Oracle
from auditor.problem import Problem
from auditor.verify import Reason, Ruling, Verifier

QUERY, STEP, OBJECTIVE = 1, 2, 3  # phases of the draws; 0 is the start
IDLE = 16
"""One row in so many may idle before the others are gathered anew."""
Tick = Callable[[float, int], None]
"""Called with (samples finished, in parts too; broken) of this unit as it goes on."""


@dataclass(frozen=True)
class Ended:
    """Rows at their end, waiting to be judged: their slots and restarts, last points, and who claims success."""

    slots: Tensor
    restarts: Tensor
    points: Tensor
    claims: np.ndarray


class Pool:
    """One unit of work. `run` plays it to the end.

    A row is one restart of one sample. All rows of a sample leave when it is solved; a row whose claim breaks the
    threat model leaves at once, and the claim is counted under its reason. `full` are the samples of which a row got
    to its end within the rules. doubt: margin up to which the target is asked about a sample's best point.
    """

    def __init__(
        self,
        attack: Attack,
        restarts: int,
        width: int,
        arena: Arena,
        oracle: Oracle,
        verifier: Verifier,
        doubt: float = np.inf,
    ):
        self.attack = attack
        self.doubt = doubt
        self.arena = arena
        self.oracle = oracle
        self.verifier = verifier
        self.width = width
        k = len(arena.index)
        self.queue = deque((slot, restart) for restart in range(restarts) for slot in range(k))
        self.restarts_each = restarts
        self.pending = np.full(k, restarts)
        self.solved = np.zeros(k, bool)
        self.lost = np.zeros(k, bool)
        self.full = np.zeros(k, bool)
        self.demand = np.zeros(k)
        self.spent = np.zeros((k, 3), np.int64)
        self.rejected: Counter[str] = Counter()
        self.found: dict[int, tuple[np.ndarray, Ruling]] = {}
        self.rows: Rows | None = None
        self.gathered: Problem | None = None
        self.slots = self.restarts = self.ages = torch.zeros(0, dtype=torch.int64, device=arena.labels.device)
        self.places = np.zeros(0, np.int64)
        self.idle = np.zeros(0, bool)
        self.ended: list[Ended] = []

    def run(self, tick: Tick) -> UnitResult:
        """Play the attack until every row is done. An attack that raises ends here, with what it found so far.

        What `tick` raises is not the attack's doing and passes through.
        """
        began = time.perf_counter()
        error = None
        steps = self.play()
        while error is None:
            try:
                next(steps)
            except StopIteration:
                break
            except AdvauditError as failure:
                error = str(failure)
            except (Exception, SystemExit) as failure:  # a plugin must not end the audit, by exit() either
                error = f"{type(failure).__name__}: {failure}"
            else:
                tick(self.progress(), int(self.solved.sum()))
        self.judge_ended()
        self.hand_in_best()
        return self.result(time.perf_counter() - began, error)

    def play(self) -> Iterator[None]:
        """The loop: query, judge, step, let go."""
        while self.refill() and self.rows is not None:
            query, owners = contract.query(self.attack, self.problem(QUERY), self.rows)
            try:
                reply, dead = self.ask(query, owners, self.rows)
            except TargetUnavailable:
                self.lost[self.places] = True
                self.leave(np.zeros(len(self.places), bool))
                continue
            problem = self.problem(STEP)
            self.rows = contract.step(self.attack, problem, self.rows, reply)
            self.ages = (self.ages + 1).clamp_max(self.attack.steps)
            if contract.fits(self.rows, problem):
                self.retire(dead)
            else:
                self.rejected[Reason.SHAPE] += len(self.places)
                self.leave(np.zeros(len(self.places), bool))
            yield

    def progress(self) -> float:
        """How much of the unit is done, in samples: solved ones count whole, others by the steps of their rows."""
        left = np.where(self.solved | self.lost, 0, self.pending).astype(np.float64)
        under_way = (self.ages.cpu().numpy() / self.attack.steps)[~self.solved[self.places]].sum()
        return float(len(left) - (left.sum() - under_way) / self.restarts_each)

    def problem(self, phase: int) -> Problem:
        """The rows' problem; what does not change from step to step is gathered once."""
        if self.gathered is None:
            self.gathered = self.arena.problem(self.slots, self.restarts)
        return self.gathered.at(self.ages.clamp_max(self.attack.steps - 1), phase)  # an idle row grows no older

    def refill(self) -> bool:
        """Fill free slots from the queue; False when nothing is left to do."""
        newcomers: list[tuple[int, int]] = []
        while self.queue and len(self.places) + len(newcomers) < self.width:
            slot, restart = self.queue.popleft()
            if not self.solved[slot] and not self.lost[slot]:
                newcomers.append((slot, restart))
        if newcomers:
            device = self.slots.device
            fresh = torch.tensor(newcomers, dtype=torch.int64, device=device)
            problem = self.arena.problem(fresh[:, 0], fresh[:, 1])
            started = contract.start(self.attack, problem)
            if not contract.fits(started, problem):
                self.rejected[Reason.SHAPE] += len(newcomers)
                np.subtract.at(self.pending, fresh[:, 0].cpu().numpy(), 1)
                return self.refill()
            self.rows = started if self.rows is None or not len(self.places) else join([self.rows, started])
            self.slots = torch.cat([self.slots, fresh[:, 0]])
            self.restarts = torch.cat([self.restarts, fresh[:, 1]])
            self.ages = torch.cat([self.ages, problem.ages])
            self.places = self.slots.cpu().numpy()
            self.idle = np.concatenate([self.idle, np.zeros(len(newcomers), bool)])
            self.gathered = None
        return bool(len(self.places))

    def ask(self, query: Query, owners: np.ndarray, rows: Rows) -> tuple[Reply, np.ndarray]:
        """The reply, and which rows are dead: their claim broke the threat model."""
        problem, owner = self.problem(OBJECTIVE), query.owner

        def objective(scores: Tensor, start: int) -> Tensor:
            if owner is None:
                return self.attack.objective(scores, problem, rows)
            part = owner[start : start + len(scores)]
            return self.attack.objective(scores, problem.take(part), Taken(rows, part))

        reply = self.oracle.ask(query, objective)
        np.add.at(self.spent, self.places[owners[~self.idle[owners]]], np.asarray(self.oracle.spend, np.int64))
        if query.view is not None:
            return reply, np.zeros(len(self.places), bool)
        if query.probes is not None or owner is not None:
            everything = torch.arange(len(owners), device=reply.owner.device)
            proposed = take(reply, everything if query.probes is None else everything[~query.probes])
            owners = proposed.owner.cpu().numpy()
            problem = problem.take(proposed.owner)
        else:
            proposed = reply
        dead = np.zeros(len(self.places), bool)
        broke = self.examine(proposed, self.places[owners], ~self.idle[owners], problem)
        dead[owners[broke]] = True
        return reply, dead

    def examine(self, reply: Reply, slots: np.ndarray, active: np.ndarray, problem: Problem) -> np.ndarray:
        """Keep best points and send claims to the verifier; bool per point, True where its claim broke the rules.

        reply, slots and problem are those of the points that are proposed; what is not active is passed over.
        """
        margins = self.margins(problem, reply)
        inside = problem.contains(reply.points).cpu().numpy()
        self.arena.keep_best(slots, np.where(inside & active, margins, np.inf), reply.points)
        claims = np.flatnonzero(active & ~(margins >= -self.demand[slots]))
        broke = np.zeros(len(slots), bool)
        for claim in claims[np.argsort(margins[claims], kind="stable")]:
            broke[claim] = self.claim(int(slots[claim]), reply.points[claim], float(margins[claim]))
        return broke

    def margins(self, problem: Problem, reply: Reply) -> np.ndarray:
        """Distance to the goal of each point in scores.

        Labels alone have none: NaN where the goal is reached, which is a claim but no best point, infinite where not.
        """
        if reply.scores is not None:
            values: np.ndarray = problem.margin(reply.scores).double().cpu().numpy()
            return values
        goal = problem.targets
        reached = torch.where(goal >= 0, reply.labels == goal, reply.labels != problem.labels)
        return np.where(reached.cpu().numpy(), np.nan, np.inf)

    def claim(self, slot: int, point: Tensor, margin: float) -> bool:
        """Have the verifier judge a point; True where it breaks the threat model, so that its row has to leave."""
        if self.solved[slot] or self.lost[slot]:
            return False
        ruling = self.judge(slot, point)
        if ruling is None or ruling.broken:
            return False
        self.rejected[str(ruling.reason)] += 1
        if ruling.reason not in (Reason.NOT_MISCLASSIFIED, Reason.UNCHANGED):
            return True
        if np.isfinite(margin):  # twin and target disagree here: the next claim has to be clearer
            self.demand[slot] = max(-2 * margin, self.demand[slot])
        return False

    def judge(self, slot: int, point: Tensor) -> Ruling | None:
        """The verifier's ruling on a point, entered if it is a break; None where the target was lost."""
        candidate = point.detach().to("cpu", torch.float32).numpy()
        try:
            ruling = self.verifier.judge(int(self.arena.index[slot]), candidate)
        except TargetUnavailable:
            self.lost[slot] = True
            return None
        if ruling.label is not None:
            self.spent[slot, 2] += self.verifier.votes
        if ruling.broken:
            self.solved[slot] = True
            self.found[slot] = (candidate, ruling)
        return ruling

    def retire(self, dead: np.ndarray) -> None:
        """Put rows that are done aside, and let go of them once they are worth the move.

        An idle row costs its share of a step, letting go of it costs gathering all others anew: so a few wait.
        """
        rows = self.rows
        if rows is None:
            return
        gone = dead | self.solved[self.places] | self.lost[self.places]
        claims = np.zeros(len(gone), bool) if rows.done is None else rows.done.cpu().numpy()
        ending = ~gone & ~self.idle & (claims | (self.ages.cpu().numpy() >= self.attack.steps))
        if ending.any():
            index = torch.from_numpy(np.flatnonzero(ending)).to(self.slots.device)
            self.ended.append(Ended(self.slots[index], self.restarts[index], rows.x[index], claims[ending]))
        self.idle |= gone | ending
        if self.idle.sum() > len(self.idle) // IDLE:
            self.leave(~self.idle)
        if sum(len(part.claims) for part in self.ended) >= self.width // 2:
            self.judge_ended()

    def judge_ended(self) -> None:
        """Judge the last points of ended rows: forward only, and whatever breaks the rules is counted."""
        parts, self.ended = self.ended, []
        if not parts:
            return
        slots = torch.cat([part.slots for part in parts])
        points = torch.cat([part.points for part in parts])
        claims = np.concatenate([part.claims for part in parts])
        problem = self.arena.problem(slots, torch.cat([part.restarts for part in parts]))
        places = slots.cpu().numpy()
        try:
            reply = self.oracle.ask(Query(points=points, gradient=False), lambda scores, _: problem.margin(scores))
        except TargetUnavailable:
            self.lost[places] = True
            return
        np.add.at(self.spent, places, np.asarray(self.oracle.spend, np.int64))
        margins = self.margins(problem, reply)
        judged = ~(margins >= -self.demand[places])
        dead = self.examine(reply, places, np.ones(len(places), bool), problem)
        inside = problem.contains(points).cpu().numpy()
        still = (points == problem.inputs).flatten(1).all(dim=1).cpu().numpy()
        for row in np.flatnonzero(~judged & (claims | still | ~inside)):
            dead[row] |= self.claim(int(places[row]), points[row], float(margins[row]))
        self.full[places[~dead | still]] = True

    def leave(self, stay: np.ndarray) -> None:
        """Keep the rows that stay; the others free their slots."""
        if stay.all():
            return
        np.subtract.at(self.pending, self.places[~stay], 1)
        index = torch.from_numpy(np.flatnonzero(stay)).to(self.slots.device)
        self.slots, self.restarts, self.ages = self.slots[index], self.restarts[index], self.ages[index]
        self.places, self.idle = self.places[stay], self.idle[stay]
        self.gathered = None
        if self.rows is not None:
            self.rows = take(self.rows, index) if len(self.places) else None

    def hand_in_best(self) -> None:
        """The target has the last word on best points that the twin, wrong by `doubt`, could take for none."""
        if self.attack.access is not Access.GRADIENT:
            return  # its every point has been judged by the target already
        margin = self.arena.margin
        for slot in np.flatnonzero(~self.solved & ~self.lost & np.isfinite(margin) & (margin <= self.doubt)):
            if margin[slot] >= -self.demand[slot]:
                self.judge(int(slot), self.arena.best[slot])

    def result(self, seconds: float, error: str | None) -> UnitResult:
        """What this unit did, as data."""
        order = sorted(self.found)
        shape = self.arena.inputs.shape[1:]
        rulings = [self.found[slot][1] for slot in order]
        adversarial = [self.found[slot][0] for slot in order]
        return UnitResult(
            index=self.arena.index,
            broken=self.solved,
            lost=self.lost,
            full=self.full,
            margin=self.arena.margin,
            best=self.arena.best.to("cpu", torch.float32).numpy(),
            spent=self.spent,
            adversarial=np.stack(adversarial) if order else np.zeros((0, *shape), np.float32),
            label=np.array([ruling.label for ruling in rulings], np.int64),
            distance=np.array([ruling.distance for ruling in rulings], np.float64),
            rejected=dict(sorted(self.rejected.items())),
            error=error,
            seconds=seconds,
        )
