"""Constants of an ONNX file, as the twin computes with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from onnx import SparseTensorProto, TensorProto, numpy_helper
from torch import Tensor

from auditor.errors import ModelError
from auditor.operators import check_size

WIDER = {"uint16": "int32", "uint32": "int64", "uint64": "int64", "int4": "int8", "uint4": "uint8"}
"""Integers that torch can't compute with, and those that stand in for them."""


def read_constant(proto: TensorProto | SparseTensorProto) -> Any:
    """A constant as the twin computes with it: a tensor, also of a sparse one; text as a numpy array of str.

    Raises ModelError for complex numbers, for data that lie in another file, and for a sparse tensor that would be too
    large when written out.
    """
    if isinstance(proto, TensorProto):
        return read_text(proto) if proto.data_type == TensorProto.STRING else read_tensor(proto)
    check_size(proto.dims)
    values, indices = read_tensor(proto.values), read_tensor(proto.indices).long()
    dense = torch.zeros(tuple(proto.dims), dtype=values.dtype)
    if indices.ndim == 2:
        return dense.index_put(tuple(indices.unbind(1)), values)
    return dense.reshape(-1).index_put((indices,), values).reshape(dense.shape)


def read_text(proto: TensorProto) -> np.ndarray:
    """A constant of strings as a numpy array of str."""
    texts = [text.decode(errors="replace") for text in proto.string_data]
    return np.array(texts, dtype=object).reshape(tuple(proto.dims))


def read_tensor(proto: TensorProto) -> Tensor:
    """A constant of numbers as torch computes with it: floats as float32, integers as near as there is, booleans.

    Raises ModelError for strings, complex numbers, and data that lie in another file.
    """
    if proto.data_location == TensorProto.EXTERNAL:
        raise ModelError(f"The constant {proto.name!r} lies in another file; load the model with its external data.")
    if proto.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        raise ModelError(f"The twin computes with numbers, the constant {proto.name!r} holds none.")
    array = numpy_helper.to_array(proto)
    if array.dtype.kind == "c":
        raise ModelError(f"The twin computes with real numbers, the constant {proto.name!r} is complex.")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ModelError(
            f"The twin computes with 64-bit integers with a sign, the constant {proto.name!r} holds larger."
        )
    wide = WIDER.get(array.dtype.name)
    if wide is None and array.dtype.kind not in "iub":
        wide = "float32"
    return torch.from_numpy(np.array(array, dtype=wide or array.dtype, order="C"))
