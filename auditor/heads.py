"""What a model's last layer returns, brought into one shape: a score for each class, one row a sample.

Pure functions for numpy arrays and torch tensors alike, so that the target and its twin can't differ.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from auditor.access import OutputKind
from auditor.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    Array = TypeVar("Array", np.ndarray, Tensor)


def flat_columns(scores: Array) -> Array:
    """`[N, K, 1, 1]`, `[N, 1, K]` or `[N]` to `[N, K]`.

    Raises ModelError where more than one axis besides the batch is longer than 1: such scores are not one a class.
    """
    if scores.ndim == 2:
        return scores
    rest = tuple(scores.shape[1:])
    if scores.ndim == 0 or sum(length > 1 for length in rest) > 1:
        raise ModelError(
            f"A classifier should return scores of shape [N, classes], this output has shape {list(scores.shape)}; "
            "name another output of the file."
        )
    return scores.reshape((scores.shape[0], prod(rest)))


def two_columns(scores: Array, kind: OutputKind) -> Array:
    """Scores of a binary classifier that returns one number, as one column a class; others stay as they are.

    scores: `[N]`, `[N, K]` or anything that `flat_columns` takes; `[N, K]` comes out, with K at least 2. A logit z
    becomes (0, z), a probability p becomes (1 - p, p), its logarithm l becomes (log(1 - exp l), l): the second class is
    the one that a large number speaks for, and the softmax of the logits is the pair of probabilities.
    Raises ModelError for a shape that is not one row a sample, or a single column of labels.
    """
    scores = flat_columns(scores)
    if scores.shape[1] != 1:
        return scores
    if kind is OutputKind.LABELS:
        raise ModelError("One column of labels holds no scores; read it as labels instead.")
    if isinstance(scores, np.ndarray):
        return np.concatenate([_other_numpy(scores, kind), scores], axis=1)
    import torch

    if kind is OutputKind.LOGITS:
        other = torch.zeros_like(scores)
    elif kind is OutputKind.PROBABILITIES:
        other = 1 - scores
    else:
        other = (-scores.expm1()).log()
    return torch.cat([other, scores], dim=1)


def _other_numpy(scores: np.ndarray, kind: OutputKind) -> np.ndarray:
    if kind is OutputKind.LOGITS:
        return np.zeros_like(scores)
    if kind is OutputKind.PROBABILITIES:
        return 1 - scores
    with np.errstate(divide="ignore"):  # a certain class leaves the other at minus infinity, as it should
        other: np.ndarray = np.log(-np.expm1(scores))
    return other
