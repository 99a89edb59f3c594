"""A graph for batches of any size, also where the file insists on one: found by trying, checked row by row.

What decides is what a sample's scores are when it is run as it is deployed. A faster way of running many is taken only
where it gives the same scores.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor, nn

from auditor.errors import ModelError, UnsupportedOperator
from auditor.graph import Graph
from auditor.heads import flat_columns

TOLERANCE = 1e-4
"""Largest difference between two ways of running a sample, as a share of the largest score."""


class Batching(StrEnum):
    """How many samples go through the graph, fastest first."""

    PLAIN = "plain"
    """All at once, as the file has it."""
    FREED = "freed"
    """All at once, with the batch that the file's Reshape constants state taken as a placeholder."""
    MAPPED = "mapped"
    """`torch.vmap` over samples: each is a batch of 1."""
    LOOPED = "looped"
    """One batch of the file's size after the other."""


class Batched(nn.Module):
    """From `[batch, *shape]` of any batch to scores `[batch, columns]`.

    size: the batch that the file insists on, 1 where it takes any. The last block of a loop is filled up with copies
    of its last sample.
    """

    def __init__(self, graph: Graph, batching: Batching, size: int = 1) -> None:
        super().__init__()
        self.graph, self.batching, self.size = graph, batching, size
        self._mapped: Callable[[Tensor], Tensor] = torch.vmap(self._one)

    def forward(self, x: Tensor) -> Tensor:
        if not len(x):
            raise ModelError("A batch needs at least one sample, this one is empty.")
        if self.batching is Batching.MAPPED:
            return self._mapped(x)
        if self.batching is Batching.LOOPED:
            return torch.cat([self._block(block) for block in torch.split(x, self.size)])
        return self._columns(x)

    def _columns(self, x: Tensor) -> Tensor:
        scores = self.graph(x)
        if not isinstance(scores, Tensor):
            raise UnsupportedOperator("The output holds text or a sequence, which has no gradient; name one of scores.")
        return flat_columns(scores)

    def _one(self, x: Tensor) -> Tensor:
        return self._columns(x[None])[0]

    def _block(self, x: Tensor) -> Tensor:
        missing = self.size - len(x)
        padded = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x
        return self._columns(padded)[: len(x)]


def batched(make: Callable[[int | None], Graph], size: int, probes: Tensor) -> Batched:
    """The fastest way to run the graph that gives each sample the scores it has when deployed.

    Where the probes' scores can't be told apart, samples are kept apart, since nothing would show that they mix; so are
    they where the file decides by its input what to compute.

    make: builds the graph; takes None, or the batch to treat as a placeholder. size: the batch that the file insists
    on, 1 where it takes any. probes: at least three different inputs, `[probes, *shape]` in the file's units.
    Raises ModelError where the graph does not run at all.
    """
    graph = make(None)
    truth = Batched(graph, Batching.LOOPED, size)
    if graph.branching:
        return truth  # what three probes don't decide, a fourth might
    with torch.no_grad():
        scores = truth(probes)
        told_apart = _spread(scores) > 10 * TOLERANCE * _scale(scores)
        for batching in Batching:
            together = batching in (Batching.PLAIN, Batching.FREED)
            if (together and not told_apart) or (batching is Batching.MAPPED and size != 1):
                continue
            if batching is Batching.FREED:
                graph = make(size)
            elif batching is Batching.MAPPED:
                graph = truth.graph
            candidate = Batched(graph, batching, size)
            if _agrees(candidate, probes, scores):
                return candidate
    return truth


def _agrees(candidate: Batched, probes: Tensor, scores: Tensor) -> bool:
    """Whether it gives these scores, for a whole batch and for a smaller one in another order."""
    order = torch.arange(len(probes) - 2, -1, -1, device=probes.device)
    return close(candidate, probes, scores) and close(candidate, probes[order], scores[order])


def close(module: Callable[[Tensor], Tensor], x: Tensor, scores: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Whether a module runs and gives these scores up to rounding, or a share of the largest."""
    try:
        found = module(x)
    except (ModelError, RuntimeError):
        return False
    if found.shape != scores.shape:
        return False
    same = found == scores  # infinities included
    small = (found - scores).abs() <= tolerance * _scale(scores)
    return bool((same | small).all())


def _scale(scores: Tensor) -> float:
    return float(scores.nan_to_num(0.0, 0.0, 0.0).abs().max())


def _spread(scores: Tensor) -> float:
    """The smallest over pairs of rows of their largest difference."""
    apart = (scores[:, None] - scores[None]).nan_to_num(0.0).abs().amax(dim=2)
    return float(apart[~torch.eye(len(scores), dtype=torch.bool, device=scores.device)].min())
