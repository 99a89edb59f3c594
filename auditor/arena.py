"""One chunk of samples on the device, with the best point found for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auditor.draws import Draws
from auditor.ledger import Ledger
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.threat import Norm, Region, ThreatModel
from auditor.thresholds import Trees


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how a unit of work is computed, for the draws and the tensors."""

    seed: int
    stage: int
    device: str
    dtype: torch.dtype
    classes: int


class Arena:
    """Samples of one unit of work as tensors; rows refer to them by their place in the chunk (`slot`)."""

    def __init__(
        self,
        place: Place,
        samples: Samples,
        threat: ThreatModel,
        region: Region,
        ledger: Ledger,
        index: np.ndarray,
        trees: Trees | None = None,
    ):
        def floats(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(place.device, place.dtype)

        self.place = place
        self.threat = threat
        self.index = index
        self.inputs = floats(samples.inputs[index])
        self.labels = torch.from_numpy(samples.labels[index]).to(place.device)
        self.ids = torch.from_numpy(samples.ids[index]).to(place.device)
        self.lower, self.upper = floats(region.lower[index]), floats(region.upper[index])
        self.weights = None if region.weights is None else floats(region.weights[index])
        goal = -1 if threat.goal.target is None else threat.goal.target
        self.targets = torch.full_like(self.labels, goal)
        epsilon = 1.0 if threat.boxes else threat.epsilon
        self.epsilon = torch.full((len(index),), epsilon, dtype=place.dtype, device=place.device)
        self.margin = np.full(len(index), np.inf)
        self.best = floats(ledger.best[index])
        shape = samples.inputs.shape[1:]
        moves = threat.transforms(shape) if threat.norm is Norm.SPATIAL else None
        self.transforms = None if moves is None else torch.from_numpy(moves).to(place.device)
        self.trees = None if trees is None else trees.on(place.device, place.dtype)
        self.notes: Tensor | None = None  # what the attack's survey says of each sample

    def problem(self, slots: Tensor, restarts: Tensor) -> Problem:
        """The problem of rows that sit at these slots, at age 0, with the draws of the start."""
        place = self.place
        ages = torch.zeros_like(slots)
        ids = self.ids[slots]
        return Problem(
            norm=self.threat.norm,
            grid=self.threat.grid,
            classes=place.classes,
            limits=self.threat.limits,
            transforms=self.transforms,
            trees=self.trees,
            inputs=self.inputs[slots],
            labels=self.labels[slots],
            targets=self.targets[slots],
            epsilon=self.epsilon[slots],
            lower=self.lower[slots],
            upper=self.upper[slots],
            weights=None if self.weights is None else self.weights[slots],
            found=self.best,
            slots=slots,
            ids=ids,
            restarts=restarts,
            ages=ages,
            draws=Draws(place.seed, place.stage, ids, restarts, ages),
            notes=None if self.notes is None else self.notes[slots],
        )

    def keep_best(self, slots: np.ndarray, margins: np.ndarray, points: Tensor) -> None:
        """Enter points of smaller margin than any before, of several for one slot the smallest."""
        enter(slots, margins, points, self.margin, self.best)


def enter(slots: np.ndarray, values: np.ndarray, points: Tensor, least: np.ndarray, table: Tensor) -> None:
    """Put each point whose value is below the least of its slot into the table, of several the one of least value.

    slots, values: `[m]` of points `[m, *shape]`. least, table: `[k]` and `[k, *shape]`, changed in place.
    """
    rows = np.flatnonzero(values < least[slots])
    if len(rows) and np.bincount(slots[rows]).max() > 1:
        order = rows[np.lexsort((rows, values[rows]))]
        rows = order[np.unique(slots[order], return_index=True)[1]]
    if len(rows):
        chosen = slots[rows]
        least[chosen] = values[rows]
        better = points if len(rows) == len(points) else points[torch.from_numpy(rows).to(table.device)]
        table.index_copy_(0, torch.from_numpy(chosen).to(table.device), better)
