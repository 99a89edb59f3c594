"""Counting the n-grams of a text that is given as words or as numbers. Counts have no gradient."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size

MODES = ("TF", "IDF", "TFIDF")
"""Counts, weights of what is there, or their product."""


def tf_idf(node: Node) -> Function:
    """The words of an n-gram may lie apart, all by the same gap; every gap up to the longest is counted."""
    attributes, mode = node.attributes, node.attributes["mode"]
    if mode not in MODES:
        raise node.unsupported(f"mode {mode!r}")
    shortest, longest = attributes["min_gram_length"], attributes["max_gram_length"]
    gaps = attributes["max_skip_count"]
    columns = attributes["ngram_indexes"]
    width = max(columns) + 1
    known = _pool(node, attributes["ngram_counts"], columns)
    weights = torch.ones(width)
    if mode != "TF" and "weights" in attributes:
        weights[list(columns)] = torch.tensor(attributes["weights"])

    def counted(words: Sequence[Hashable]) -> Tensor:
        counts = torch.zeros(width)
        for length in range(shortest, longest + 1):
            for distance in range(1, 2 if length == 1 else gaps + 2):
                for start in range(len(words) - (length - 1) * distance):
                    column = known.get(tuple(words[start : start + (length - 1) * distance + 1 : distance]))
                    if column is not None:
                        counts[column] += 1
        return counts

    def run(x: Any) -> Tensor:
        texts = x if isinstance(x, np.ndarray) else x.long().numpy()
        check_size((*texts.shape[:-1], width))
        rows = [counted(words.tolist()) for words in texts.reshape((-1, texts.shape[-1]))]
        counts = torch.stack(rows) if rows else torch.zeros((0, width))
        counts = counts.clamp(max=1) if mode == "IDF" else counts
        return (counts * weights).reshape((*texts.shape[:-1], width))

    return run


def _pool(node: Node, starts: Sequence[int], columns: Sequence[int]) -> dict[tuple[Hashable, ...], int]:
    """The column of each n-gram: the pool holds all of one word, then all of two, and so on."""
    words = list(node.attributes.get("pool_strings", node.attributes.get("pool_int64s", ())))
    known: dict[tuple[Hashable, ...], int] = {}
    ends = [*starts[1:], len(words)]
    for length, (start, end) in enumerate(zip(starts, ends, strict=True), start=1):
        for first in range(start, end, length):
            known[tuple(words[first : first + length])] = columns[len(known)]
    return known


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("TfIdfVectorizer", tf_idf, since=9, host=[0])
