import ml_dtypes
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

X = np.array([-2.7, -0.4, 0.0, 0.6, 3.9], np.float32)


def cast(operators, kind, x, source="float32", **attributes):
    node = Node(
        op_type="Cast",
        domain="",
        opset=25,
        name="n",
        inputs=("x",),
        outputs=("y",),
        attributes={"to": kind, **attributes},
        types=(source,),
        live=(True,),
    )
    return operators.find(node).build(node)(x)


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.INT64, TensorProto.INT8])
def test_floats_become_integers_by_a_cut_and_keep_their_gradient(check, to):
    graph = check("Cast", X, to=to)
    assert graph.surrogates == ("Cast: straight-through",)
    x = torch.from_numpy(X).requires_grad_(True)
    assert torch.autograd.grad(graph(x).sum(), x)[0].tolist() == [1] * 5


@pytest.mark.parametrize("to", [TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16])
def test_what_a_small_integer_cannot_hold_wraps_around_as_in_the_runtime(check, to):
    check("Cast", np.array([300, -5, 127.6, -200, 65540, 1e10, -1e10], np.float32), to=to)


@pytest.mark.parametrize(("kind", "low", "count"), [(TensorProto.INT4, -8, 16), (TensorProto.UINT2, 0, 4)])
def test_so_do_integers_of_less_than_a_byte(operators, kind, low, count):
    whole = torch.arange(-20.0, 20)
    assert cast(operators, kind, whole).tolist() == ((whole - low) % count + low).tolist()


FEW_BITS = {
    TensorProto.FLOAT8E4M3FN: (ml_dtypes.float8_e4m3fn, 448),
    TensorProto.FLOAT8E4M3FNUZ: (ml_dtypes.float8_e4m3fnuz, 240),
    TensorProto.FLOAT8E5M2: (ml_dtypes.float8_e5m2, 57344),
    TensorProto.FLOAT8E5M2FNUZ: (ml_dtypes.float8_e5m2fnuz, 57344),
    TensorProto.FLOAT4E2M1: (ml_dtypes.float4_e2m1fn, 6),
}


@pytest.mark.parametrize("kind", FEW_BITS)
def test_floats_of_few_bits_are_rounded_to(operators, kind):
    dtype, largest = FEW_BITS[kind]
    inside = np.linspace(-largest, largest, 1001, dtype=np.float32)
    found = cast(operators, kind, torch.from_numpy(inside))
    assert np.array_equal(found.numpy(), inside.astype(dtype).astype(np.float32))
    assert cast(operators, kind, torch.tensor([1e9, -1e9])).tolist() == [largest, -largest]
    x = torch.from_numpy(inside).requires_grad_(True)
    assert torch.autograd.grad(cast(operators, kind, x).sum(), x)[0].unique().tolist() == [1]


def test_without_saturation_what_lies_beyond_is_no_number(operators):
    x = torch.tensor([460.0, 470.0])
    found = cast(operators, TensorProto.FLOAT8E4M3FN, x, saturate=0)
    assert found[0] == 448
    assert found[1].isnan()
    wide = cast(operators, TensorProto.FLOAT8E5M2, torch.tensor([61000.0, -62000.0]), saturate=0)
    assert wide.tolist() == [57344, -torch.inf]


@pytest.mark.parametrize(("rounding", "expected"), [("up", [1, 2, 2]), ("down", [1, 1, 1]), ("nearest", [1, 1, 2])])
def test_powers_of_two(operators, rounding, expected):
    found = cast(operators, TensorProto.FLOAT8E8M0, torch.tensor([1.0, 1.2, 1.6]), round_mode=rounding)
    assert found.tolist() == expected


def test_casts_and_what_stands_in_for_their_gradient(check):
    assert check("Cast", X, to=TensorProto.DOUBLE).surrogates == ()
    assert check("Cast", X > 0, to=TensorProto.FLOAT).surrogates == ("Cast: fast sigmoid",)
    assert check("Cast", np.array([1, -2], np.int64), to=TensorProto.FLOAT).surrogates == ()
    assert check("Cast", np.array([1, -2], np.int64), to=TensorProto.INT32).surrogates == ()


def test_a_float_that_becomes_a_truth_value_keeps_its_gradient(check):
    graph = check("Cast", X, to=TensorProto.BOOL)
    assert graph.surrogates == ("Cast: straight-through",)
    x = torch.from_numpy(X).requires_grad_(True)
    assert torch.autograd.grad(graph(x).sum(), x)[0].tolist() == [1] * 5


def test_floats_made_of_others_have_the_precision_of_the_module(check):
    graph = check("Cast", X > 0, to=TensorProto.FLOAT)
    sees_bools = graph(torch.from_numpy(X > 0))
    assert sees_bools.tolist() == [0, 0, 0, 1, 1]


def test_text_becomes_numbers_and_back(operators):
    text = cast(operators, TensorProto.STRING, torch.tensor([1.5, -2.0]))
    assert text.tolist() == ["1.5", "-2.0"]
    assert cast(operators, TensorProto.FLOAT, text).tolist() == [1.5, -2]


def test_a_type_that_torch_lacks_is_refused(operators):
    with pytest.raises(UnsupportedOperator, match="element type COMPLEX64"):
        cast(operators, TensorProto.COMPLEX64, torch.zeros(1))


def test_cast_like(check):
    check("CastLike", X, np.zeros(1, np.float64), opset=19)
    check("CastLike", X, np.zeros(1, np.int32), opset=19)
    check("CastLike", X, np.zeros(1, np.uint8), opset=19)
    assert check("CastLike", X, np.zeros(1, np.int8), opset=19).surrogates == ("CastLike: straight-through",)


@pytest.mark.parametrize("to", ["int32", "int64", "uint8", "int16"])
def test_floats_without_a_counterpart(check, to):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(to))
    check("Cast", np.array([np.nan, np.inf, -np.inf, 1e20, -1e20, 3.7, 0.0], np.float32), to=kind, opset=19)


@pytest.mark.parametrize("source", ["int8", "int32", "int64"])
@pytest.mark.parametrize("to", ["uint16", "uint32", "uint8", "int8"])
def test_integers_beyond_a_type_wrap_around(check, source, to):
    x = np.array([-7, -1, 0, 5, 100, 70000, 2**31 - 1]).astype(source)
    check("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)), opset=19)


def test_negative_floats_as_unsigned_integers(check):
    for to in (TensorProto.UINT32, TensorProto.UINT64, TensorProto.UINT16):
        check("Cast", np.array([-7.6, -0.4, 3.2], np.float32), to=to, opset=19)


def test_what_floats_and_int64_cannot_hold_is_refused(check, operators):
    with pytest.raises(UnsupportedOperator, match="uint64, whose highest bit"):
        check("Cast", np.array([-7], np.int32), to=TensorProto.UINT64, opset=19)
    with pytest.raises(UnsupportedOperator, match="lowest bits"):
        cast(operators, TensorProto.INT32, torch.tensor([4294967296.0]), "uint32")
