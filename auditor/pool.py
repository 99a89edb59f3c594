"""The loop: plays one attack on one chunk of samples, rows in slots that are refilled as samples are solved."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auditor import contract
from auditor.access import Access
from auditor.arena import Arena
from auditor.asked import climbed, deployed, minus_margin
from auditor.attack import Attack, Query, Reply, Rows, join, take
from auditor.claims import Claims
from auditor.errors import AdvauditError, OutOfMemory, TargetUnavailable, out_of_memory
from auditor.ledger import UnitResult
from auditor.oracle import Oracle
from auditor.problem import Problem
from auditor.verify import Reason

QUERY, STEP, OBJECTIVE = 1, 2, 3  # phases of the draws; 0 is the start and the survey
NEAR = 2.0
"""Times the doubt: rows whose sample has come so close are computed in full precision, where rounding would decide."""
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
    threat model leaves at once. restarts: their numbers. doubt: margin up to which the target is asked about a
    sample's best point, and full precision is used on its rows.
    """

    def __init__(
        self,
        attack: Attack,
        restarts: range,
        width: int,
        arena: Arena,
        oracle: Oracle,
        claims: Claims,
        doubt: float = np.inf,
    ):
        self.attack = attack
        self.doubt = doubt
        self.arena = arena
        self.oracle = oracle
        self.width = width
        k = len(arena.index)
        self.queue = deque((slot, restart) for restart in restarts for slot in range(k))
        self.restarts_each = len(restarts)
        self.pending = np.full(k, len(restarts))
        self.claims = claims
        self.rows: Rows | None = None
        self.gathered: Problem | None = None
        self.slots = self.restarts = self.ages = torch.zeros(0, dtype=torch.int64, device=arena.labels.device)
        self.places = np.zeros(0, np.int64)
        self.idle = np.zeros(0, bool)
        self.ended: list[Ended] = []

    def run(self, tick: Tick) -> UnitResult:
        """Play the attack until every row is done. An attack that raises ends here, with what it found so far.

        What `tick` raises is not the attack's doing and passes through. Raises OutOfMemory where fewer rows side by
        side may help.
        """
        began = time.perf_counter()
        error = self.attempt(self.play(), tick)
        last = self.attempt(self.end())
        if self.attack.access is Access.GRADIENT or self.claims.at_the_end:
            self.claims.hand_in_best(self.doubt)  # where the target was not asked, every point has been judged by it
        return self.claims.result(time.perf_counter() - began, error or last, self.width)

    def attempt(self, steps: Iterator[None], tick: Tick | None = None) -> str | None:
        """Take the steps; what stopped them, in words, None where they came to their end. Raises OutOfMemory."""
        while True:
            try:
                next(steps)
            except StopIteration:
                return None
            except AdvauditError as failure:
                return str(failure)
            except (Exception, SystemExit) as failure:  # a plugin must not end the audit, by exit() either
                if out_of_memory(failure) and self.width > 1:
                    raise OutOfMemory(f"{self.width} rows side by side do not fit into memory.") from failure
                return f"{type(failure).__name__}: {failure}"
            if tick is not None:
                tick(self.progress(), int(self.claims.solved.sum()))

    def end(self) -> Iterator[None]:
        """Judge what has ended and was not judged yet."""
        self.judge_ended()
        yield

    def play(self) -> Iterator[None]:
        """The loop: survey, then query, judge, step, let go."""
        self.survey()
        while self.refill() and self.rows is not None:
            query, owners = contract.query(self.attack, self.problem(QUERY), self.rows)
            try:
                reply, dead = self.ask(query, owners, self.rows)
            except TargetUnavailable:
                self.claims.lost[self.places] = True
                self.leave(np.zeros(len(self.places), bool))
                continue
            problem = self.problem(STEP)
            self.rows = contract.step(self.attack, problem, self.rows, reply)
            self.ages = (self.ages + 1).clamp_max(self.attack.replies)
            if contract.fits(self.rows, problem):
                self.retire(dead)
            else:
                self.claims.rejected[Reason.SHAPE] += len(self.places)
                self.leave(np.zeros(len(self.places), bool))
            yield

    def survey(self) -> None:
        """Ask what all rows of a sample share, once a sample. Lost samples stay as they are, and are not attacked."""
        device = self.slots.device
        notes: list[Tensor] = []
        for slots in torch.split(torch.arange(len(self.arena.index), device=device), self.width):
            problem = self.arena.problem(slots, torch.zeros_like(slots))
            query, owners = contract.survey(self.attack, problem)
            if query is None:
                return

            try:
                reply = self.oracle.ask(query, minus_margin(query, problem))
            except TargetUnavailable:
                self.claims.lost[:] = True
                return
            self.claims.charge(slots.cpu().numpy()[owners], self.oracle.spend)
            notes.append(contract.learn(self.attack, problem, reply))
        self.arena.notes = torch.cat(notes)

    def progress(self) -> float:
        """How much of the unit is done, in samples: solved ones count whole, others by the steps of their rows."""
        left = np.where(self.claims.settled, 0, self.pending).astype(np.float64)
        under_way = (self.ages.cpu().numpy() / self.attack.replies)[~self.claims.settled[self.places]].sum()
        return float(len(left) - (left.sum() - under_way) / self.restarts_each)

    def problem(self, phase: int) -> Problem:
        """The rows' problem; what does not change from step to step is gathered once."""
        if self.gathered is None:
            self.gathered = self.arena.problem(self.slots, self.restarts)
        return self.gathered.at(self.ages.clamp_max(self.attack.replies - 1), phase)  # an idle row grows no older

    def refill(self) -> bool:
        """Fill free slots from the queue; False when nothing is left to do."""
        newcomers: list[tuple[int, int]] = []
        while self.queue and len(self.places) + len(newcomers) < self.width:
            slot, restart = self.queue.popleft()
            if not self.claims.settled[slot]:
                newcomers.append((slot, restart))
        if newcomers:
            device = self.slots.device
            fresh = torch.tensor(newcomers, dtype=torch.int64, device=device)
            problem = self.arena.problem(fresh[:, 0], fresh[:, 1])
            started = contract.start(self.attack, problem)
            if not contract.fits(started, problem):
                self.claims.rejected[Reason.SHAPE] += len(newcomers)
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
        query = deployed(query, problem)
        near = self.arena.margin[self.places[owners]] <= NEAR * self.doubt if np.isfinite(self.doubt) else None
        reply = self.oracle.ask(query, climbed(self.attack, query, problem, rows), near)
        busy = ~self.idle[owners]
        self.claims.charge(self.places[owners[busy]], self.oracle.spend[busy])
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
        broke = self.claims.examine(proposed, self.places[owners], ~self.idle[owners], problem)
        dead[owners[broke]] = True
        return reply, dead

    def retire(self, dead: np.ndarray) -> None:
        """Put rows that are done aside, and let go of them once they are worth the move.

        An idle row costs its share of a step, letting go of it costs gathering all others anew: so a few wait. Not
        where a step asks the target, whose every query counts.
        """
        rows = self.rows
        if rows is None:
            return
        gone = dead | self.claims.settled[self.places]
        claims, over = (
            np.zeros(len(gone), bool) if flags is None else flags.cpu().numpy() for flags in (rows.done, rows.over)
        )
        ending = ~gone & ~self.idle & (claims | over | (self.ages.cpu().numpy() >= self.attack.replies))
        if ending.any():
            index = torch.from_numpy(np.flatnonzero(ending)).to(self.slots.device)
            self.ended.append(Ended(self.slots[index], self.restarts[index], rows.x[index], claims[ending]))
        self.idle |= gone | ending
        bearable = len(self.idle) // IDLE if self.attack.access is Access.GRADIENT else 0
        if self.idle.sum() > bearable:
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
        asserted = np.concatenate([part.claims for part in parts])
        problem = self.arena.problem(slots, torch.cat([part.restarts for part in parts]))
        points = problem.on_grid(points)
        places = slots.cpu().numpy()
        try:
            query = Query(points=points, gradient=False)
            reply = self.oracle.ask(query, lambda scores, index: problem.take(index).margin(scores))
        except TargetUnavailable:
            self.claims.lost[places] = True
            return
        self.claims.charge(places, self.oracle.spend)
        self.claims.judge_last(reply, places, asserted, problem)

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
