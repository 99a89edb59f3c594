"""Who answers an attack's queries: the twin where gradients are wanted, the deployed target where they are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from auditor.access import Access, OutputKind
from auditor.attack import Query, Reply
from auditor.execution import Execution
from auditor.target import Target
from auditor.twin import Twin

Objective = Callable[[Tensor], Tensor]
"""Scores `[m, classes]` to the number that each point climbs, `[m]`."""

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


class Oracle(Protocol):
    """Answers queries. spend: forwards, backwards and target queries that one point of the last query cost."""

    spend: tuple[int, int, int]

    def ask(self, query: Query, objective: Objective) -> Reply:
        """The reply to a query, no more than the access covers."""
        ...


class TwinOracle:
    """The twin, at constant padded widths, in the precision of the execution."""

    def __init__(self, twin: Twin, execution: Execution):
        self.execution = execution
        self.twin = twin
        self.dtype = DTYPES[execution.precision]
        twin.module.to(device=execution.device, dtype=self.dtype)
        self.spend = (1, 1, 0)

    def logits(self, points: Tensor) -> Tensor:
        """Logits `[m, classes]` in the search's dtype, differentiable in points."""
        if self.execution.precision == "bfloat16":
            with torch.autocast(self.execution.device, dtype=torch.bfloat16):
                return self.twin.logits(points).to(self.dtype)
        return self.twin.logits(points)

    def ask(self, query: Query, objective: Objective) -> Reply:
        """Queries wider than the execution are answered in pieces; fewer points are padded."""
        width = self.execution.width
        m = len(query.points)
        wants = int(query.gradient) if query.cotangents is None else query.cotangents.shape[1]
        self.spend = (1, wants, 0)
        if m <= width:
            return self._piece(query, objective, 0, m)
        pieces = [self._piece(query, objective, start, min(start + width, m)) for start in range(0, m, width)]
        return _join(pieces)

    def _piece(self, query: Query, objective: Objective, start: int, stop: int) -> Reply:
        m = stop - start
        points = query.points[start:stop].detach()
        padding = self.execution.padded(m) - m
        if padding:
            points = torch.cat([points, points[-1:].expand(padding, *points.shape[1:])])
        wants = query.gradient or query.cotangents is not None
        points.requires_grad_(wants)
        with torch.set_grad_enabled(wants):
            seen = points if query.view is None else query.view(points)
            scores = self.logits(seen)[:m]
            loss = _part(objective, scores, start, stop, len(query.points))
        gradient = gradients = None
        if query.cotangents is not None:
            gradients = self._vjps(scores, points, query.cotangents[start:stop])[:, :m].transpose(0, 1)
        elif query.gradient:
            gradient = _gradient(loss.sum(), points)[:m]
        scores, loss = scores.detach(), loss.detach()
        return Reply(scores=scores, labels=scores.argmax(dim=1), loss=loss, gradient=gradient, gradients=gradients)

    def _vjps(self, scores: Tensor, points: Tensor, cotangents: Tensor) -> Tensor:
        """Gradients of each combination of scores: one backward each over the one forward, `[c, padded, *shape]`."""
        columns = range(cotangents.shape[1])
        return torch.stack(
            [_gradient((scores * cotangents[:, c]).sum(), points, retain_graph=c < len(columns) - 1) for c in columns]
        )


class TargetOracle:
    """The deployed model itself, for attacks that see scores or labels only. Every point is metered."""

    def __init__(self, target: Target, execution: Execution, access: Access):
        self.target = target
        self.execution = execution
        self.access = access
        self.dtype = DTYPES[execution.precision]
        self.spend = (0, 0, 1)

    def ask(self, query: Query, objective: Objective) -> Reply:
        """Scores as logits or log-probabilities; none at decision access. Raises TargetUnavailable."""
        points = query.points if query.view is None else query.view(query.points)
        array = points.detach().to("cpu", torch.float32).numpy()
        scores = torch.from_numpy(np.ascontiguousarray(self.target.scores(array, batch=self.execution.width))).to(
            self.execution.device, self.dtype
        )
        labels = scores.argmax(dim=1)
        if self.access is Access.DECISION:
            return Reply(labels=labels)
        if self.target.output is OutputKind.PROBABILITIES:
            scores = scores.clamp_min(torch.finfo(torch.float32).tiny).log()
        return Reply(scores=scores, labels=labels, loss=objective(scores))


def _gradient(value: Tensor, points: Tensor, *, retain_graph: bool = False) -> Tensor:
    """The gradient, zero where no path leads from the points to the value: a finding, not a crash."""
    if not value.requires_grad:
        return torch.zeros_like(points)
    (gradient,) = torch.autograd.grad(value, points, retain_graph=retain_graph, allow_unused=True)
    return torch.zeros_like(points) if gradient is None else gradient


def _part(objective: Objective, scores: Tensor, start: int, stop: int, m: int) -> Tensor:
    """The objective of a slice of the query's points: objectives are written for all of them."""
    if stop - start == m:
        return objective(scores)
    filler = scores.new_zeros(m, scores.shape[1])
    return objective(torch.cat([filler[:start], scores, filler[stop:]]))[start:stop]


def _join(pieces: list[Reply]) -> Reply:
    columns = {
        name: None if getattr(pieces[0], name) is None else torch.cat([getattr(piece, name) for piece in pieces])
        for name in ("labels", "scores", "loss", "gradient", "gradients")
    }
    return Reply(**columns)  # type: ignore[arg-type]
