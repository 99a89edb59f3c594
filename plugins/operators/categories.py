"""Operators of the ML domain on categories: one-hot rows, and tables from one value to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size, straight_through
from auditor.surrogates import FAST_SIGMOID, near
from auditor.transforms import like

ML = "ai.onnx.ml"
TABLE = "none: a table of values is piecewise constant"
KINDS = ("tensor", "strings", "int64s", "floats")
DEFAULTS: dict[str, Any] = {"strings": "_Unused", "int64s": -1, "floats": -0.0}


def one_hot_encoder(node: Node) -> Function:
    """A one in the place of the category, cut towards zero where it is a float; an unknown one has zeros.

    Where the file refuses unknown categories (`zeros = 0`) it gives no scores for them at all; here they have zeros.
    """
    texts, numbers = node.attributes.get("cats_strings", ()), node.attributes.get("cats_int64s", ())
    categories = texts or numbers
    if not categories or len(set(categories)) < len(categories):
        raise node.unsupported("categories that are missing or named twice")
    live, places = any(node.live), like(numbers)

    def run(x: Any) -> Tensor:
        check_size((*x.shape, len(categories)))
        if isinstance(x, np.ndarray) != bool(texts):
            raise ValueError("its categories are of another type than its input")
        if isinstance(x, np.ndarray):
            found: np.ndarray = x[..., None] == np.array(texts, dtype=object)
            return torch.from_numpy(found.astype(np.float32))
        if not x.is_floating_point():
            return torch.eq(x[..., None], torch.tensor(numbers, device=x.device)).to(torch.float32)
        hard = torch.eq(x[..., None].trunc(), places(x)).to(x.dtype)
        return straight_through(near(x[..., None] - places(x)), hard) if live else hard

    return run


class Table:
    """From keys to values, each numbers or text; what is no key has the default."""

    def __init__(self, node: Node, keys: np.ndarray, values: np.ndarray, default: Any) -> None:
        if not len(keys) or len(keys) != len(values) or len({_key(key) for key in keys.tolist()}) < len(keys):
            raise node.unsupported("a table whose keys are missing or named twice")
        self.keys, self.values, self.default = keys, values, default

    def __call__(self, x: Any) -> Any:
        if isinstance(x, np.ndarray):
            if self.keys.dtype != object:
                raise ValueError("its keys are numbers, its input is text")
            places = {key: place for place, key in enumerate(self.keys.tolist())}
            found = torch.tensor([places.get(text, -1) for text in x.reshape(-1).tolist()]).reshape(x.shape)
        else:
            if self.keys.dtype == object:
                raise ValueError("its keys are text, its input is numbers")
            check_size((*x.shape, len(self.keys)))
            found = self._places(x)
        if self.values.dtype == object:
            texts = np.append(self.values, self.default).astype(object)
            return texts[found.cpu().numpy()]
        values = torch.from_numpy(np.append(self.values, np.array(self.default, self.values.dtype)))
        return values.to(found.device)[torch.where(found < 0, len(self.values), found)]

    def _places(self, x: Tensor) -> Tensor:
        """Where each entry is among the keys; -1 where it is none. NaN is a key like any other."""
        keys = torch.from_numpy(self.keys).to(x.device)
        keys = keys.to(x.dtype) if x.is_floating_point() else keys
        hits = x[..., None] == keys
        if keys.is_floating_point():
            hits = hits | (x[..., None].isnan() & keys.isnan())
        return torch.where(hits.any(dim=-1), hits.to(torch.uint8).argmax(dim=-1), -1)


def _key(key: Any) -> Any:
    return "NaN" if key != key else key


def label_encoder(node: Node) -> Function:
    keys, _ = _listed(node, "keys")
    values, kind = _listed(node, "values")
    default: Any
    if kind == "tensor":
        proto = node.attributes.get("default_tensor")
        default = numpy_helper.to_array(proto).reshape(-1)[0] if proto is not None else _usual(values)
    else:
        default = node.attributes.get(f"default_{kind.removesuffix('s')}", DEFAULTS[kind])
    return Table(node, keys, values, default)


def _usual(values: np.ndarray) -> Any:
    return "_Unused" if values.dtype == object else -1 if values.dtype.kind == "i" else -0.0


def _listed(node: Node, role: str) -> tuple[np.ndarray, str]:
    """The keys or the values, and in which attribute they are."""
    given = [kind for kind in KINDS if f"{role}_{kind}" in node.attributes]
    if len(given) != 1:
        raise node.unsupported(f"{len(given)} lists of {role}")
    entries = node.attributes[f"{role}_{given[0]}"]
    if isinstance(entries, TensorProto):
        array = numpy_helper.to_array(entries).reshape(-1)
        if array.dtype.kind in "OSU":
            return _texts([text.decode() if isinstance(text, bytes) else text for text in array.tolist()]), given[0]
        return array.copy(), given[0]
    if given[0] == "strings":
        return _texts(entries), given[0]
    return np.array(entries, np.int64 if given[0] == "int64s" else np.float32), given[0]


def _texts(entries: Sequence[str]) -> np.ndarray:
    return np.array(entries, dtype=object)


def label_encoder_1(node: Node) -> Function:
    """From text to its place in a list, or back."""
    classes = _texts(node.attributes.get("classes_strings", ()))
    return _both_ways(node, classes, np.arange(len(classes)))


def category_mapper(node: Node) -> Function:
    return _both_ways(node, _texts(node.attributes["cats_strings"]), np.array(node.attributes["cats_int64s"], np.int64))


def _both_ways(node: Node, texts: np.ndarray, numbers: np.ndarray) -> Function:
    to_number = Table(node, texts, numbers, node.attributes.get("default_int64", -1))
    to_text = Table(node, numbers, texts, node.attributes.get("default_string", "_Unused"))
    return lambda x: to_number(x) if isinstance(x, np.ndarray) else to_text(x)


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("OneHotEncoder", one_hot_encoder, domain=ML, surrogate=FAST_SIGMOID)
    operators.register("LabelEncoder", label_encoder_1, domain=ML, surrogate=TABLE)
    operators.register("LabelEncoder", label_encoder, domain=ML, since=2, surrogate=TABLE)
    operators.register("CategoryMapper", category_mapper, domain=ML, surrogate=TABLE)
