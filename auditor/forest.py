"""Decision trees that are walked together: all trees, for all rows, take one step at once.

A forward pass costs as many steps as the deepest tree has levels. No gradient passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auditor.operators import Node, check_size

LEVELS = 1000
"""Levels of a tree beyond which a forward pass would take too long."""
BRANCHES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "BRANCH_LEQ": torch.le,
    "BRANCH_LT": torch.lt,
    "BRANCH_GTE": torch.ge,
    "BRANCH_GT": torch.gt,
    "BRANCH_EQ": torch.eq,
    "BRANCH_NEQ": torch.ne,
}
MODES = (*BRANCHES, "BRANCH_MEMBER")
"""In the order in which TreeEnsemble numbers them."""


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Nodes in one list; a leaf leads to itself.

    modes: place in `MODES`, -1 for a leaf. sets: for each node the numbers it tests membership of, None where it tests
    none. missing: whether NaN counts as true. weights: `[nodes, targets]`, those of the leaves. scored: whether a leaf
    has a weight for the target.
    """

    roots: np.ndarray
    features: np.ndarray
    thresholds: np.ndarray
    modes: np.ndarray
    true: np.ndarray
    false: np.ndarray
    missing: np.ndarray
    weights: np.ndarray
    scored: np.ndarray
    sets: np.ndarray | None = None

    def levels(self, node: Node) -> int:
        """Steps from the roots to the deepest leaf. Raises UnsupportedOperator beyond `LEVELS`, as where they cycle."""
        here, levels = np.unique(self.roots), 0
        while len(here := here[self.modes[here] >= 0]):
            levels += 1
            if levels > LEVELS:
                raise node.unsupported(f"trees of more than {LEVELS} levels")
            here = np.unique(np.concatenate([self.true[here], self.false[here]]))
        return levels


class Walk:
    """From rows `[batch, features]` to the leaf that each tree leads to, `[batch, trees]`."""

    def __init__(self, node: Node, forest: Forest) -> None:
        self.levels = forest.levels(node)
        self.forest = forest
        present = np.unique(forest.modes[forest.modes >= 0])
        self.modes = [MODES[mode] for mode in present.tolist()]
        self.tables: dict[torch.device, dict[str, Tensor]] = {}

    def on(self, device: torch.device) -> dict[str, Tensor]:
        """The forest's arrays as tensors there."""
        if device not in self.tables:
            arrays = {name: value for name, value in vars(self.forest).items() if value is not None}
            self.tables[device] = {name: torch.from_numpy(value).to(device) for name, value in arrays.items()}
        return self.tables[device]

    def __call__(self, x: Tensor) -> Tensor:
        table = self.on(x.device)
        check_size((len(x), len(self.forest.roots)), 8)
        x = x.detach().to(table["thresholds"].dtype)
        place = table["roots"].expand(len(x), -1)
        for _ in range(self.levels):
            value = x.gather(1, table["features"][place])
            goes = self._true(table, value, place) | (value.isnan() & table["missing"][place])
            place = torch.where(goes, table["true"][place], table["false"][place])
        return place

    def _true(self, table: dict[str, Tensor], value: Tensor, place: Tensor) -> Tensor:
        threshold, found = table["thresholds"][place], torch.zeros_like(value, dtype=torch.bool)
        for mode in self.modes:
            if mode == "BRANCH_MEMBER":
                check_size((*value.shape, table["sets"].shape[1]))
                true = (value[:, :, None] == table["sets"][place]).any(dim=2)
            else:
                true = BRANCHES[mode](value, threshold)
            if len(self.modes) == 1:
                return true
            found = torch.where(table["modes"][place] == MODES.index(mode), true, found)
        return found


def gathered(walk: Walk, x: Tensor, aggregate: str) -> tuple[Tensor, Tensor]:
    """What the trees say together: values `[batch, targets]`, and which targets any of them has scored.

    Summed tree by tree, as the runtime does it, so that the rounding is the same.
    """
    table, leaves = walk.on(x.device), walk(x)
    check_size((*leaves.shape, table["weights"].shape[1]), 8)
    scored = table["scored"][leaves].any(dim=1)
    if aggregate in ("MIN", "MAX"):
        worst = torch.inf if aggregate == "MIN" else -torch.inf
        weights = torch.where(table["scored"], table["weights"], worst)[leaves]
        best = weights.amin(dim=1) if aggregate == "MIN" else weights.amax(dim=1)
        return torch.where(scored, best, 0), scored
    total = torch.zeros_like(table["weights"][leaves[:, 0]])
    for tree in range(leaves.shape[1]):
        total = total + table["weights"][leaves[:, tree]]
    return total / leaves.shape[1] if aggregate == "AVERAGE" else total, scored
