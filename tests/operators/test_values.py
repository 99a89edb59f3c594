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
