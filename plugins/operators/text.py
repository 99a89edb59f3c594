"""Strings, which are numpy arrays of str on the host. No gradient passes through them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators


def concatenate(node: Node) -> Function:
    return lambda a, b: np.asarray(np.char.add(a.astype(str), b.astype(str)), dtype=object)


def split(node: Node) -> Function:
    delimiter, most = node.attributes.get("delimiter", ""), node.attributes.get("maxsplit")

    def run(texts: np.ndarray) -> tuple[np.ndarray, Tensor]:
        parts = [text.split(delimiter or None, -1 if most is None else most) for text in texts.reshape(-1)]
        counts = [len(part) for part in parts]
        longest = max(counts, default=0)
        table = np.array([part + [""] * (longest - len(part)) for part in parts], dtype=object)
        return table.reshape((*texts.shape, longest)), torch.tensor(counts, dtype=torch.int64).reshape(texts.shape)

    return run


def normalize(node: Node) -> Function:
    """Upper or lower case, without stop words; where nothing is left, one empty string is."""
    get = node.attributes.get
    action, sensitive = get("case_change_action", "NONE"), bool(get("is_case_sensitive", 0))
    stops = set(get("stopwords", ()))
    stops = stops if sensitive else {word.lower() for word in stops}

    def run(texts: np.ndarray) -> np.ndarray:
        flat = [text for text in texts.reshape(-1) if (text if sensitive else text.lower()) not in stops]
        if action != "NONE":
            flat = [text.upper() if action == "UPPER" else text.lower() for text in flat]
        kept = np.array(flat or [""], dtype=object)
        return kept.reshape((1, -1)) if texts.ndim == 2 else kept

    return run


def full_match(node: Node) -> Function:
    raise node.unsupported("regular expressions, which a file could make run for ever")


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("StringConcat", concatenate, since=20)
    operators.register("StringSplit", split, since=20)
    operators.register("StringNormalizer", normalize, since=10)
    operators.register("RegexFullMatch", full_match, since=20)
