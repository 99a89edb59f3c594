import ml_dtypes
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from auditor.constants import read_constant, read_tensor
from auditor.errors import ModelError


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (np.float32, torch.float32),
        (np.float64, torch.float32),
        (np.float16, torch.float32),
        (ml_dtypes.bfloat16, torch.float32),
        (np.int64, torch.int64),
        (np.int8, torch.int8),
        (np.uint8, torch.uint8),
        (np.uint16, torch.int32),
        (np.bool_, torch.bool),
    ],
)
def test_constants_have_a_type_that_torch_computes_with(source, expected):
    value = read_tensor(numpy_helper.from_array(np.array([0, 1, 1]).astype(source), "c"))
    assert value.dtype == expected
    assert value.tolist() == [0, 1, 1]


def test_strings_and_data_elsewhere_are_refused():
    with pytest.raises(ModelError, match="'names' holds none"):
        read_tensor(helper.make_tensor("names", TensorProto.STRING, [1], [b"cat"]))
    elsewhere = TensorProto(name="w", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    with pytest.raises(ModelError, match="external data"):
        read_tensor(elsewhere)


def test_text_is_an_array_of_str():
    names = read_constant(helper.make_tensor("names", TensorProto.STRING, [2], [b"cat", "chât".encode()]))
    assert names.tolist() == ["cat", "chât"]


@pytest.mark.parametrize("flat", [True, False])
def test_sparse_constants_are_written_out(flat):
    values = numpy_helper.from_array(np.array([2.5, -1], np.float32), "w")
    places = np.array([1, 5]) if flat else np.array([[0, 1], [1, 2]])
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(places, "i"), [2, 3])
    assert read_constant(sparse).tolist() == [[0, 2.5, 0], [0, 0, -1]]


def test_a_sparse_bomb_is_refused_before_it_goes_off():
    values = numpy_helper.from_array(np.array([1], np.float32), "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([0]), "i"), [1 << 20, 1 << 20])
    with pytest.raises(ModelError, match="1024 MiB"):
        read_constant(sparse)


def test_an_integer_beyond_63_bits_is_refused():
    assert read_tensor(numpy_helper.from_array(np.array([1 << 62], np.uint64), "c")).tolist() == [1 << 62]
    with pytest.raises(ModelError, match="64-bit integers with a sign"):
        read_tensor(numpy_helper.from_array(np.array([1 << 63], np.uint64), "c"))
