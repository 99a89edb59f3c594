import numpy as np
import pytest
import torch

from auditor.operators import Node

X = np.arange(48, dtype=np.float32).reshape(2, 4, 2, 3) ** 0.5


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize(("start", "end"), [(None, None), (1, None), (1, 3), (-2, None), (0, -1)])
def test_shape(check, start, end):
    given = {key: value for key, value in (("start", start), ("end", end)) if value is not None}
    check("Shape", X, opset=15, mapped=False, **given)


def test_size(check):
    check("Size", X, mapped=False)


@pytest.mark.parametrize("target", [(2, 24), (-1, 3), (0, -1), (0, 0, 6), (4, -1), (48,), (1, 2, 24)])
@pytest.mark.parametrize("opset", [5, 13, 19])
def test_reshape(check, target, opset):
    check("Reshape", X, ints(*target), opset=opset, gradient=True)


def test_reshape_to_an_empty_shape_keeps_zeros_on_request(check):
    check("Reshape", np.zeros((0, 3), np.float32), ints(3, 0), opset=14, allowzero=1)


@pytest.mark.parametrize("axis", [None, 0, 1, 2, 4, -1])
def test_flatten(check, axis):
    check("Flatten", X, opset=13, gradient=True, **({} if axis is None else {"axis": axis}))


@pytest.mark.parametrize("order", [None, [0, 2, 3, 1], [3, 0, 1, 2]])
def test_transpose(check, order):
    check("Transpose", X, gradient=True, **({} if order is None else {"perm": order}))


ONES = X[:, :1, :, :1]


@pytest.mark.parametrize("axes", [(1,), (1, 3), (-1,), (-3, 3)])
def test_squeeze(check, axes):
    check("Squeeze", ONES, opset=11, axes=list(axes))
    check("Squeeze", ONES, ints(*axes), opset=13, gradient=True)


def test_squeeze_everything(check):
    check("Squeeze", ONES, opset=11)
    check("Squeeze", ONES, opset=13)


@pytest.mark.parametrize("axes", [(0,), (1, 3), (-1,), (0, -1), (4, 0)])
def test_unsqueeze(check, axes):
    check("Unsqueeze", X, opset=11, axes=list(axes))
    check("Unsqueeze", X, ints(*axes), opset=13, gradient=True)


@pytest.mark.parametrize("target", [(2, 4, 2, 3), (1, 1), (5, 2, 4, 2, 3)])
def test_expand(check, target):
    check("Expand", X, ints(*target), gradient=True)
    check("Expand", ONES, ints(2, 4, 2, 1), gradient=True)


def test_tile(check):
    check("Tile", X, ints(1, 2, 1, 3), gradient=True)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(check, mode):
    check("DepthToSpace", X, blocksize=2, mode=mode, gradient=True)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_space_to_depth_undoes_depth_to_space(operators, mode):
    def run(op_type):
        node = Node(
            op_type=op_type,
            domain="",
            opset=28,
            name="blocks",
            inputs=("x",),
            outputs=("y",),
            attributes={"blocksize": 2, "mode": mode},
        )
        return operators.find(node).build(node)

    x = torch.from_numpy(X)
    assert torch.equal(run("SpaceToDepth")(run("DepthToSpace")(x)), x)


def test_space_to_depth(check):
    check("SpaceToDepth", np.arange(96, dtype=np.float32).reshape(2, 2, 4, 6), blocksize=2, gradient=True)
