"""An attack's three calls as the host makes them: what comes back is checked, and a breach told to its author."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from auditor.attack import Attack, Query, Reply, Rows
from auditor.errors import PluginError
from auditor.problem import PER_ROW, Problem

WATCHED = (*PER_ROW, "weights", "found")
"""The host's own: were a call to change them, rows would be projected onto, and judged by, something else."""


def start(attack: Attack, problem: Problem) -> Rows:
    """The rows of a batch that begins. Raises PluginError where they, or what became of the problem, break the rules.

    Whether their points have the right shape is for the caller to see (`fits`), who counts those that have not.
    """
    before = _versions(problem)
    rows = attack.start(problem)
    _check_untouched(attack, "start", problem, before)
    return _received(attack, "start", rows, problem)


def query(attack: Attack, problem: Problem, rows: Rows) -> tuple[Query, np.ndarray]:
    """What the attack asks, and the row that each point belongs to, `[m]`. Raises PluginError as `start` does."""
    if type(attack).query is Attack.query:  # the host's own
        return attack.query(problem, rows), np.arange(len(problem))
    before = _versions(problem)
    asked = attack.query(problem, rows)
    _check_untouched(attack, "query", problem, before)
    return asked, _owners(attack, "query", asked, problem)


def survey(attack: Attack, problem: Problem) -> tuple[Query | None, np.ndarray]:
    """What the attack asks once a sample, and the sample of each point. Raises PluginError as `start` does."""
    before = _versions(problem)
    asked = attack.survey(problem)
    _check_untouched(attack, "survey", problem, before)
    return asked, np.zeros(0, np.int64) if asked is None else _owners(attack, "survey", asked, problem)


def learn(attack: Attack, problem: Problem, reply: Reply) -> Tensor:
    """What the attack keeps of its survey. Raises PluginError as `start` does."""
    before = _versions(problem)
    notes = attack.learn(problem, reply)
    _check_untouched(attack, "learn", problem, before)
    if not isinstance(notes, Tensor) or notes.ndim == 0 or len(notes) != len(problem):
        raise PluginError(
            f"{attack.name}.learn should return a tensor with the batch of {len(problem)} first, "
            f"it returned one {_described(notes)}."
        )
    return notes.detach()


def step(attack: Attack, problem: Problem, rows: Rows, reply: Reply) -> Rows:
    """The rows after a reply. Raises PluginError as `start` does."""
    before = _versions(problem)
    moved = attack.step(problem, rows, reply)
    _check_untouched(attack, "step", problem, before)
    if isinstance(moved, Rows) and type(moved) is not type(rows):
        raise PluginError(
            f"{attack.name}.step should return {type(rows).__name__} as before, it returned {type(moved).__name__}."
        )
    return _received(attack, "step", moved, problem)


def fits(rows: Rows, problem: Problem) -> bool:
    """Whether the rows' points have the shape and dtype of the inputs."""
    return isinstance(rows.x, Tensor) and rows.x.shape == problem.inputs.shape and rows.x.dtype == problem.inputs.dtype


def _received(attack: Attack, method: str, rows: Rows, problem: Problem) -> Rows:
    """Rows as the host keeps them: every column but x a tensor with the batch first or None, no graph behind it."""
    where = f"{attack.name}.{method}"
    if not isinstance(rows, Rows):
        raise PluginError(f"{where} should return Rows, it returned {type(rows).__name__}.")
    columns = {field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)}
    for name, column in columns.items():
        if column is None or (name == "x" and isinstance(column, Tensor)):
            continue
        if not isinstance(column, Tensor) or column.ndim == 0 or len(column) != len(problem):
            raise PluginError(
                f"{where} should return tensors with the batch of {len(problem)} first, {name} is {_described(column)}."
            )
    for name, flags in (("done", rows.done), ("over", rows.over)):
        if flags is not None and (flags.dtype is not torch.bool or flags.ndim != 1):
            raise PluginError(f"{where} should return {name} as bool [{len(problem)}], it is {_described(flags)}.")
    attached = {name: column.detach() for name, column in columns.items() if _attached(column)}
    return dataclasses.replace(rows, **attached) if attached else rows


def _owners(attack: Attack, method: str, query: Query, problem: Problem) -> np.ndarray:
    """The row of each point of a query whose tensors fit the rows, where each row asks about at least one point."""
    where, shape, dtype = f"{attack.name}.{method}", tuple(problem.inputs.shape[1:]), problem.inputs.dtype
    if not isinstance(query, Query):
        raise PluginError(f"{where} should return a Query, it returned {type(query).__name__}.")
    points, m = query.points, len(query.points)
    if tuple(points.shape[1:]) != shape or points.dtype != dtype:
        raise PluginError(f"{where} should ask about points [m, {_listed(shape)}], points is {_described(points)}.")
    if query.owner is None:
        owners = np.arange(len(problem))
    else:
        if query.owner.shape != (m,) or query.owner.dtype is not torch.int64:
            raise PluginError(f"{where} should give owner as int64 [{m}], it is {_described(query.owner)}.")
        owners = query.owner.cpu().numpy()
        if m and (owners.min() < 0 or owners.max() >= len(problem)):
            raise PluginError(f"{where} should name owners from 0 to {len(problem) - 1}, it names others.")
    if len(owners) != m or not np.bincount(owners, minlength=len(problem)).all():
        raise PluginError(f"{where} should ask about at least one point for each of {len(problem)} rows; give `owner`.")
    if query.probes is not None and (query.probes.shape != (m,) or query.probes.dtype is not torch.bool):
        raise PluginError(f"{where} should give probes as bool [{m}], it is {_described(query.probes)}.")
    if isinstance(query.gradient, Tensor) and (query.gradient.shape != (m,) or query.gradient.dtype is not torch.bool):
        raise PluginError(
            f"{where} should give gradient as a bool or as bool [{m}], it is {_described(query.gradient)}."
        )
    vectors = query.cotangents
    if vectors is not None and (vectors.ndim != 3 or len(vectors) != m or vectors.shape[2] != problem.classes):
        raise PluginError(
            f"{where} should give cotangents as [{m}, c, {problem.classes}], it is {_described(vectors)}."
        )
    return owners


def _versions(problem: Problem) -> tuple[int, ...]:
    """How often each tensor of the problem has been changed in place."""
    own = problem.__dict__
    return tuple([0 if own[name] is None else own[name]._version for name in WATCHED])


def _check_untouched(attack: Attack, method: str, problem: Problem, before: tuple[int, ...]) -> None:
    for name, old, new in zip(WATCHED, before, _versions(problem), strict=True):
        if old != new:
            raise PluginError(f"{attack.name}.{method} changes problem.{name} in place; clone it first.")


def _attached(column: object) -> bool:
    return isinstance(column, Tensor) and column.requires_grad


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} [{_listed(tuple(value.shape))}]"
    return f"of type {type(value).__name__}"


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(str(length) for length in shape)
