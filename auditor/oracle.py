"""Who answers an attack's queries: the twin where gradients are wanted, the deployed target where they are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, cast

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from auditor.access import Access, OutputKind
from auditor.attack import Query, Reply
from auditor.errors import PluginError
from auditor.execution import Execution
from auditor.mixed import searched
from auditor.target import Target
from auditor.twin import Twin

Objective = Callable[[Tensor, Tensor], Tensor]
"""Scores `[k, classes]` of k points of a query, and their places in it, to the number that each climbs, `[k]`."""

Columns = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""Scores, loss, gradient and gradients of a piece."""

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


class Oracle(Protocol):
    """Answers queries. spend: forwards, backwards and target queries that each point of the last one cost, `[m, 3]`."""

    spend: np.ndarray

    def ask(self, query: Query, objective: Objective, near: np.ndarray | None = None) -> Reply:
        """The reply to a query, no more than the access covers. near: points that full precision is wanted at, bool
        `[m]`."""
        ...


class TwinOracle:
    """The twin, at constant padded widths, in the precision of the execution.

    Where that rounds, points near the boundary are computed by the twin as it is, which is `full`. A twin that draws
    random numbers is not compiled, which might take one draw for a constant; where one call takes several passes, so
    many fewer points go into it, and the memory stays the same.
    """

    def __init__(self, twin: Twin, execution: Execution):
        if twin.random:
            width = max(execution.width // twin.passes, 1)
            execution = msgspec.structs.replace(execution, width=width, compile=False)
        self.execution = execution
        self.dtype = DTYPES[execution.precision]
        twin.module.to(device=execution.device, dtype=self.dtype)
        self.full = twin
        self.twin = searched(twin, execution)
        if execution.compile:
            module = cast(nn.Module, torch.compile(self.twin.module, dynamic=False))
            self.twin = replace(self.twin, module=module)
        if execution.precision != "bfloat16":
            self.full = self.twin
        self.spend = np.zeros((0, 3), np.int64)

    def logits(self, points: Tensor) -> Tensor:
        """Logits `[m, classes]` in the search's dtype, differentiable in points."""
        return self.twin.logits(points)

    def right(self, inputs: Tensor, labels: Tensor) -> np.ndarray:
        """Which inputs it classifies as they are labelled, bool `[k]`."""
        with torch.no_grad():
            parts = [self.logits(part).argmax(dim=1) for part in torch.split(inputs, self.execution.width)]
        found: np.ndarray = (torch.cat(parts) == labels).cpu().numpy()
        return found

    def ask(self, query: Query, objective: Objective, near: np.ndarray | None = None) -> Reply:
        """Queries wider than the execution are answered in pieces; fewer points are padded.

        A view is taken of all points at once, so that it may hold something for each of them.
        """
        width, m = self.execution.width, len(query.points)
        wanted = wanted_of(query)
        wants = bool(wanted.any())
        backwards = wanted if query.cotangents is None else wanted * query.cotangents.shape[1]
        self.spend = np.stack([np.ones(m, np.int64), backwards.astype(np.int64), np.zeros(m, np.int64)], axis=1)
        self.spend *= self.twin.passes
        points = seen = query.points.detach()
        if query.view is not None:
            points = points.clone().requires_grad_(wants)
            with torch.set_grad_enabled(wants):
                seen = _viewed(query.view, points)
        close = np.zeros(m, bool) if near is None or self.twin is self.full else near
        kinds = 2 * close + wanted
        groups = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
        pieces = [part[start : start + width] for part in groups for start in range(0, len(part), width)]
        answers = [
            self._piece(query, seen.detach(), objective, piece, bool(wanted[piece[0]]), full=bool(close[piece[0]]))
            for piece in pieces
        ]
        scores, loss, gradient, gradients = (_joined(column, pieces, m) for column in zip(*answers, strict=True))
        if query.view is not None:
            gradient = None if gradient is None else _gradient(seen, points, gradient)
            gradients = None if gradients is None else _pulled(seen, points, gradients)
        return Reply(
            points=query.points,
            owner=_owner(query),
            scores=scores,
            labels=scores.argmax(dim=1),  # type: ignore[union-attr]
            loss=loss,
            gradient=gradient,
            gradients=gradients,
        )

    def _piece(
        self, query: Query, seen: Tensor, objective: Objective, piece: np.ndarray, wants: bool, *, full: bool
    ) -> Columns:
        m = len(piece)
        index = torch.from_numpy(piece).to(seen.device)
        part = seen if m == len(seen) else seen[index]
        padding = self.execution.padded(m) - m
        if padding:
            part = torch.cat([part, part[-1:].expand(padding, *part.shape[1:])])
        part.requires_grad_(wants)
        with torch.set_grad_enabled(wants):
            scores = (self.full.logits(part) if full else self.logits(part))[:m]
            loss = _loss(objective, scores, index)
        gradient = gradients = None
        if wants and query.cotangents is not None:
            gradients = _vjps(scores, part, query.cotangents[index])[:, :m].transpose(0, 1)
        elif wants:
            gradient = _gradient(loss.sum(), part)[:m]
        return scores.detach(), loss.detach(), gradient, gradients


class TargetOracle:
    """The deployed model itself, for attacks that see scores or labels only. Every point is metered."""

    def __init__(self, target: Target, execution: Execution, access: Access):
        self.target = target
        self.execution = execution
        self.access = access
        self.dtype = DTYPES[execution.precision]
        self.spend = np.zeros((0, 3), np.int64)

    def ask(self, query: Query, objective: Objective, near: np.ndarray | None = None) -> Reply:
        """Scores as logits or log-probabilities; none at decision access. Raises TargetUnavailable."""
        points = query.points if query.view is None else _viewed(query.view, query.points)
        self.spend = np.tile(np.array([0, 0, 1]), (len(points), 1))
        array = points.detach().to("cpu", torch.float32).numpy()
        scores = torch.from_numpy(np.ascontiguousarray(self.target.scores(array, batch=self.execution.width))).to(
            self.execution.device, self.dtype
        )
        labels = scores.argmax(dim=1)
        if self.access is Access.DECISION:
            return Reply(points=query.points, owner=_owner(query), labels=labels)
        scores = attacked(scores, self.target.output)
        index = torch.arange(len(scores), device=scores.device)
        loss = torch.cat([_loss(objective, scores[part], part) for part in torch.split(index, self.execution.width)])
        return Reply(points=query.points, owner=_owner(query), labels=labels, scores=scores, loss=loss)


def attacked(scores: Tensor, output: OutputKind) -> Tensor:
    """Scores as attacks see them: logits, or the logarithm of probabilities, which is finite for 0 too."""
    return scores.clamp_min(torch.finfo(torch.float32).tiny).log() if output is OutputKind.PROBABILITIES else scores


def wanted_of(query: Query) -> np.ndarray:
    """At which points of a query gradients are wanted, bool `[m]`."""
    if isinstance(query.gradient, Tensor):
        return query.gradient.cpu().numpy()
    return np.full(len(query.points), query.gradient or query.cotangents is not None)


def _owner(query: Query) -> Tensor:
    return torch.arange(len(query.points), device=query.points.device) if query.owner is None else query.owner


def _viewed(view: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    seen = view(points)
    if len(seen) != len(points):
        raise PluginError(f"A view should map {len(points)} points to as many, it returned {len(seen)}.")
    return seen


def _gradient(value: Tensor, points: Tensor, direction: Tensor | None = None, *, retain_graph: bool = False) -> Tensor:
    """The gradient, zero where no path leads from the points to the value: a finding, not a crash."""
    if not value.requires_grad:
        return torch.zeros_like(points)
    (gradient,) = torch.autograd.grad(value, points, direction, retain_graph=retain_graph, allow_unused=True)
    return torch.zeros_like(points) if gradient is None else gradient


def _vjps(scores: Tensor, points: Tensor, cotangents: Tensor) -> Tensor:
    """Gradients of each combination of scores: one backward each over the one forward, `[c, padded, *shape]`."""
    columns = range(cotangents.shape[1])
    return torch.stack(
        [_gradient((scores * cotangents[:, c]).sum(), points, retain_graph=c < len(columns) - 1) for c in columns]
    )


def _pulled(seen: Tensor, points: Tensor, gradients: Tensor) -> Tensor:
    """Gradients `[m, c, *]` of what the model saw, brought back through the view to the points."""
    return torch.stack([_gradient(seen, points, g, retain_graph=True) for g in gradients.unbind(1)], dim=1)


def _loss(objective: Objective, scores: Tensor, index: Tensor) -> Tensor:
    loss = objective(scores, index)
    if loss.shape != scores.shape[:1]:
        shape = list(loss.shape)
        raise PluginError(f"An objective should be one number a point, [{len(scores)}], it has the shape {shape}.")
    return loss


def _joined(parts: tuple[Tensor | None, ...], pieces: list[np.ndarray], m: int) -> Tensor | None:
    """A column of the reply from its pieces, in the order of the points; 0 for those that were not asked for it."""
    given = [(part, piece) for part, piece in zip(parts, pieces, strict=True) if part is not None]
    if not given:
        return None
    if len(given) == 1 and len(given[0][1]) == m:
        return given[0][0]
    first = given[0][0]
    whole = first.new_zeros(m, *first.shape[1:])
    for part, piece in given:
        whole[torch.from_numpy(piece).to(first.device)] = part
    return whole
