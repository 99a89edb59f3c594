"""Attacks played without the host whose objective depends on a row's age or restart."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from walks import ask

from auditor.attack import Attack, Reply, Rows
from auditor.bench import Bench
from auditor.problem import Problem


def restarted(problem: Problem, restarts: Tensor | int) -> Problem:
    """The same samples in other restarts."""
    return replace(problem, restarts=torch.zeros_like(problem.restarts) + restarts).at(problem.ages, 0)


def phases(bench: Bench, attack: Attack, problem: Problem) -> tuple[list[Rows], list[Reply]]:
    """The rows at each age, and the replies between them."""
    rows, replies = [attack.start(problem)], []
    for age in range(attack.steps):
        ages = torch.full_like(problem.ages, age)
        query = attack.query(problem.at(ages, 1), rows[-1])
        replies.append(ask(bench, attack, query, problem.at(ages, 3), rows[-1]))
        rows.append(attack.step(problem.at(ages, 2), rows[-1], replies[-1]))
    return rows, replies
