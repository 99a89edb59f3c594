"""What the classifiers and regressors of the ML domain do with their scores last, as onnxruntime does it.

Its rules for a single score are others than those for several, and than the standard's (onnxruntime 1.31).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import pi, sqrt

import numpy as np
import torch
from torch import Tensor

from auditor.operators import Node

NEARLY_ZERO = 1e-7
"""Scores up to which SOFTMAX_ZERO leaves an entry out."""
WINITZKI = 0.147
"""The constant of the approximation of the inverse error function (Winitzki 2008)."""


def probit(p: Tensor) -> Tensor:
    """The quantile of the normal distribution, by the runtime's approximation."""
    x = 2 * p - 1
    log = ((1 - x) * (1 + x)).log()
    half = 2 / (pi * WINITZKI) + log / 2
    size = ((half * half - log / WINITZKI).sqrt() - half).sqrt()
    return sqrt(2) * torch.where(x < 0, -size, size)


def softmax_zero(scores: Tensor) -> Tensor:
    """Softmax of the scores that are not zero; the others stay near zero."""
    shift = scores.detach().amax(dim=1, keepdim=True)
    counted = scores.abs() > NEARLY_ZERO
    powers = torch.where(counted, (scores - shift).exp(), scores * (-shift).exp())
    return powers / torch.where(counted, powers, torch.zeros_like(powers)).sum(dim=1, keepdim=True)


TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "NONE": lambda scores: scores,
    "LOGISTIC": torch.sigmoid,
    "SOFTMAX": lambda scores: scores.softmax(dim=1),
    "SOFTMAX_ZERO": softmax_zero,
    "PROBIT": probit,
}
"""In the order in which the runtime numbers them."""


def transform_of(node: Node) -> str:
    """The node's post_transform. Raises UnsupportedOperator for an unknown one."""
    name = str(node.attributes.get("post_transform", "NONE"))
    if name not in TRANSFORMS:
        raise node.unsupported(f"post_transform {name!r}")
    return name


def transformed(scores: Tensor, transform: str) -> Tensor:
    """Scores `[batch, columns]` after the transform; of the transforms only PROBIT touches a single column."""
    return scores if scores.shape[1] == 1 and transform != "PROBIT" else TRANSFORMS[transform](scores)


def paired(score: Tensor, transform: str, *, signed: bool) -> Tensor:
    """One score `[batch, 1]` for two classes, completed to a pair: `(-score, score)` where it is signed, else
    `(1 - score, score)`. Of the transforms only LOGISTIC counts.
    """
    if transform == "LOGISTIC":
        return torch.cat([-score, score], dim=1).sigmoid()
    return torch.cat([-score if signed else 1 - score, score], dim=1)


def rows(x: Tensor) -> Tensor:
    """The input of these operators as floats `[batch, features]`; a vector is one row."""
    if x.ndim not in (1, 2):
        raise ValueError(f"it should take rows of features, its input has the shape {list(x.shape)}")
    x = x if x.is_floating_point() else x.to(torch.float32)
    return x if x.ndim == 2 else x[None]


def like(values: np.ndarray | Sequence[float]) -> Callable[[Tensor], Tensor]:
    """Numbers of an attribute, for use beside a tensor: in its precision, where it lies."""
    exact = torch.from_numpy(np.array(values, dtype=np.float64))

    @lru_cache(maxsize=2)
    def placed(dtype: torch.dtype, device: torch.device) -> Tensor:
        return exact.to(device, dtype)

    return lambda x: placed(x.dtype, x.device)


class Labels:
    """The labels of a classifier, numbers or text. Raises UnsupportedOperator where it has none."""

    def __init__(self, node: Node, numbers: str) -> None:
        self.texts: tuple[str, ...] = tuple(node.attributes.get("classlabels_strings", ()))
        self.numbers: tuple[int, ...] = tuple(node.attributes.get(numbers, ()))
        if not self.texts and not self.numbers:
            raise node.unsupported("classes without labels")

    def __len__(self) -> int:
        return len(self.texts or self.numbers)

    def of(self, index: Tensor) -> Tensor | np.ndarray:
        """The label for each place `[batch]`; text comes as an array on the host."""
        if self.texts:
            texts: np.ndarray = np.array(self.texts, dtype=object)[index.detach().cpu().numpy()]
            return texts
        return torch.tensor(self.numbers, device=index.device)[index]
