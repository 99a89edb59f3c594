import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

INTEGERS = {"int8": torch.int8, "int16": torch.int16, "int32": torch.int32, "int64": torch.int64, "uint8": torch.uint8}
WIDER = {"uint16": torch.int32, "uint32": torch.int64}


def function(operators, op_type, kind, opset=26, **attributes):
    node = Node(
        op_type=op_type,
        domain="",
        opset=opset,
        name="bits",
        inputs=("a", "b"),
        outputs=("y",),
        attributes=attributes,
        types=(kind, kind),
    )
    return operators.find(node).build(node)


@pytest.mark.parametrize("op_type", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_bitwise(check, op_type, dtype):
    a, b = np.array([[12, 7], [100, 0]], dtype), np.array([10, 3], dtype)
    check(op_type, a, b, opset=18)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64])
def test_bitwise_not(check, dtype):
    check("BitwiseNot", np.array([0, 1, 100], dtype), opset=18)


@pytest.mark.parametrize("kind", WIDER)
def test_bitwise_not_of_what_torch_lacks(operators, kind):
    x = np.array([0, 1, 100, np.iinfo(kind).max], kind)
    found = function(operators, "BitwiseNot", kind)(torch.from_numpy(x.astype(np.int64)).to(WIDER[kind]))
    assert found.tolist() == (~x).tolist()


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bit_shift(check, direction):
    x = np.array([[200, 7], [1, 0]], np.uint8)
    check("BitShift", x, np.array([1, 3], np.uint8), opset=11, direction=direction)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("kind", [*INTEGERS, *WIDER])
def test_bit_shift_of_every_type(operators, kind, direction):
    width = np.iinfo(kind).bits
    values = np.array([0, 1, 5, 100, np.iinfo(kind).max, np.iinfo(kind).min], kind)
    run = function(operators, "BitShift", kind, direction=direction)
    dtype = {**INTEGERS, **WIDER}[kind]
    for by in range(width):
        shift = np.full(1, by, kind)
        expected = np.left_shift(values, shift) if direction == "LEFT" else np.right_shift(values, shift)
        found = run(torch.from_numpy(values.astype(np.int64)).to(dtype), torch.full((1,), by, dtype=dtype))
        assert found.dtype == dtype
        assert found.tolist() == expected.tolist()


def test_what_is_shifted_beyond_either_end_is_gone(operators):
    x, by = torch.tensor([-8, 4], dtype=torch.int8), torch.tensor([9, -1], dtype=torch.int8)
    assert function(operators, "BitShift", "int8", direction="RIGHT")(x, by).tolist() == [-1, 0]
    assert function(operators, "BitShift", "int8", direction="LEFT")(x, by).tolist() == [0, 0]


def test_the_highest_bit_of_uint64_is_never_guessed(operators):
    shift = function(operators, "BitShift", "uint64", direction="LEFT")
    assert shift(torch.tensor([3]), torch.tensor([61])).tolist() == [3 << 61]
    with pytest.raises(ValueError, match="highest bit"):
        shift(torch.tensor([3]), torch.tensor([62]))
    with pytest.raises(UnsupportedOperator, match="uint64"):
        function(operators, "BitwiseNot", "uint64")


def test_carried_integers(operators):
    run = function(operators, "BitwiseAnd", "int32")
    assert run(torch.tensor([12.0, 7.0]), torch.tensor([10, 3])).tolist() == [8, 3]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("float32", "int32"),
        ("int32", "float32"),
        ("float32", "uint32"),
        ("float16", "int16"),
        ("uint16", "float16"),
        ("int8", "uint8"),
        ("uint32", "int32"),
        ("uint8", "int8"),
    ],
)
def test_bit_cast(operators, source, target):
    values = np.array([0, 1, -2.5, 77], source) if "float" in source else np.array([0, 1, 77, 200]).astype(source)
    carried = values.astype(np.float32 if "float" in source else np.int64)
    run = function(operators, "BitCast", source, to=helper.np_dtype_to_tensor_dtype(np.dtype(target)))
    found = run(torch.from_numpy(carried)).numpy()
    np.testing.assert_array_equal(found, values.view(target).astype(found.dtype))


def test_bits_that_the_twin_lacks_are_refused(operators):
    run = function(operators, "BitCast", "float64", to=TensorProto.INT64)
    assert run(torch.tensor([1.0], dtype=torch.float64)).tolist() == [np.float64(1).view(np.int64)]
    with pytest.raises(ValueError, match="float64"):
        run(torch.tensor([1.0]))
    with pytest.raises(UnsupportedOperator, match="uint64"):
        function(operators, "BitCast", "int64", to=TensorProto.UINT64)
