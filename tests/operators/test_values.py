import numpy as np
import pytest
import torch
from onnx import TensorProto, numpy_helper

from auditor.errors import ModelError
from auditor.operators import Node

X = np.array([-2.7, -0.4, 0.0, 0.6, 3.9], np.float32)


def test_identity_and_dropout(check):
    check("Identity", X, gradient=True)
    check("Dropout", X, opset=7, ratio=0.5, gradient=True)
    check("Dropout", X, np.array(0.5, np.float32), opset=13, outputs=2)


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.INT64, TensorProto.INT8])
def test_floats_become_integers_by_a_cut_and_keep_their_gradient(check, to):
    graph = check("Cast", X, to=to)
    assert graph.surrogates == ("Cast: straight-through",)
    x = torch.from_numpy(X).requires_grad_(True)
    assert torch.autograd.grad(graph(x).sum(), x)[0].tolist() == [1] * 5


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


def test_cast_like(check):
    check("CastLike", X, np.zeros(1, np.float64), opset=19)
    check("CastLike", X, np.zeros(1, np.int32), opset=19)


def test_eye_like(check):
    x = np.zeros((3, 4), np.float32)
    check("EyeLike", x, mapped=False)
    check("EyeLike", x, k=1, dtype=TensorProto.INT64, mapped=False)


@pytest.mark.parametrize("value", [None, np.array([2.5], np.float32), np.array([-3], np.int64)])
def test_constant_of_shape(check, value):
    given = {} if value is None else {"value": numpy_helper.from_array(value)}
    check("ConstantOfShape", np.array([2, 3], np.int64), mapped=False, **given)


def test_range(check):
    for start, limit, delta in [(0, 5, 1), (2, 9, 3), (5, 0, -2), (0, 0, 1)]:
        check("Range", *(np.array(v, np.int64) for v in (start, limit, delta)), mapped=False)
    check("Range", *(np.array(v, np.float32) for v in (0.5, 2.0, 0.25)), mapped=False)


def test_a_hostile_constant_is_refused_before_it_is_made(operators):
    builders = {name: operators.table["", name][-1].build for name in ("ConstantOfShape", "Range")}
    node = Node(op_type="", domain="", opset=17, name="n", inputs=(), outputs=(), attributes={})
    with pytest.raises(ModelError, match="1024 MiB"):
        builders["ConstantOfShape"](node)(torch.tensor([2**20, 2**18]))
    with pytest.raises(ModelError, match="1024 MiB"):
        builders["Range"](node)(torch.tensor(0), torch.tensor(2**40), torch.tensor(1))
