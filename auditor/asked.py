"""A query as the oracle gets it: points that the deployed input can hold, and what to climb at any of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from auditor.attack import Attack, Query, Rows, Taken
from auditor.oracle import Objective
from auditor.problem import Problem


def deployed(query: Query, problem: Problem) -> Query:
    """The query about points as the deployed input can hold them; probes may lie between its steps."""
    if problem.grid is None or query.view is not None:
        return query
    rows = problem if query.owner is None else problem.take(query.owner)
    points = rows.on_grid(query.points)
    if query.probes is not None:
        points = torch.where(rows.wide(query.probes), query.points, points)
    return replace(query, points=points)


def climbed(attack: Attack, query: Query, problem: Problem, rows: Rows) -> Objective:
    """The attack's own objective; problem and rows are those that the query was made of."""
    owner = query.owner

    def objective(scores: Tensor, index: Tensor) -> Tensor:
        if owner is None and len(index) == len(problem):
            return attack.objective(scores, problem, rows)
        part = index if owner is None else owner[index]
        return attack.objective(scores, problem.take(part), Taken(rows, part))

    return objective


def minus_margin(query: Query, problem: Problem) -> Objective:
    """What a survey climbs, which has no rows yet."""
    owner = query.owner

    def objective(scores: Tensor, index: Tensor) -> Tensor:
        return -problem.take(index if owner is None else owner[index]).margin(scores)

    return objective
