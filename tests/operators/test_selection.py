import numpy as np
import pytest
import torch

from auditor.operators import Node

X = np.cos(np.arange(60, dtype=np.float32)).reshape(3, 4, 5)


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(check, axis):
    check("Concat", X, -X, X + 1, axis=axis, gradient=True)


@pytest.mark.parametrize("axis", [1, -2])
def test_split_by_lengths(check, axis):
    check("Split", X, opset=11, axis=axis, split=[1, 3], outputs=2)
    check("Split", X, ints(1, 3), opset=13, axis=axis, outputs=2, gradient=True)


def test_split_in_equal_parts(check):
    check("Split", X, opset=11, axis=1, outputs=2)
    check("Split", X, opset=13, axis=0, outputs=3)
    check("Split", X, opset=18, axis=2, num_outputs=3, outputs=3, gradient=True)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((1,), (3,), None, None),
        ((0, 1), (2, -1), None, None),
        ((1,), (1000,), (2,), None),
        ((-3,), (-1,), (-1,), None),
        ((0,), (2**63 - 1,), (1,), (2,)),
        ((-1,), (-(2**63),), (2,), (-1,)),
        ((3,), (0,), (2,), (-2,)),
        ((4, 0), (1, 3), (2, 1), (-1, 2)),
        ((3,), (1,), (1,), None),
    ],
)
def test_slice(check, starts, ends, axes, steps):
    optional = [None if axes is None else ints(*axes), *([ints(*steps)] if steps else [])]
    given = optional if any(value is not None for value in optional) else []
    check("Slice", X, ints(*starts), ints(*ends), *given, opset=13, gradient=True)
    if steps is None:
        attributes = {"starts": list(starts), "ends": list(ends)} | ({"axes": list(axes)} if axes else {})
        check("Slice", X, opset=7, **attributes)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [np.array(1), np.array(-1), ints(0, 2, 2, -3), np.array([[0, 1], [-1, 0]])])
def test_gather(check, axis, indices):
    check("Gather", X, indices.astype(np.int64), axis=axis, gradient=True)
    check("Gather", X, indices.astype(np.int32), axis=axis, dynamic=1)


def test_gather_elements(check):
    check("GatherElements", X, np.array([[[0, 1], [-1, 3]]], np.int64), axis=1, gradient=True)


def test_gather_nd(check):
    check("GatherND", X, np.array([[0, 1], [2, -1]], np.int64), gradient=True)
    check("GatherND", X, np.array([[0, 1, 4], [2, -1, 0]], np.int64), gradient=True)


@pytest.mark.parametrize("batch_dims", [1, 2])
@pytest.mark.parametrize("depth", [1, 2])
def test_gather_nd_of_each_sample(check, batch_dims, depth):
    x = np.cos(np.arange(120, dtype=np.float32)).reshape(2, 3, 4, 5)
    indices = np.resize([0, 2, -1, 1, -2], (*x.shape[:batch_dims], 3, depth)).astype(np.int64)
    if batch_dims + depth <= x.ndim:
        check("GatherND", x, indices, opset=13, batch_dims=batch_dims, mapped=False, gradient=True)


def test_a_carried_position_has_the_slope_between_its_neighbours(operators):
    node = Node(
        op_type="Gather",
        domain="",
        opset=13,
        name="table",
        inputs=("x", "i"),
        outputs=("y",),
        attributes={"axis": 1},
        live=(False, True),
    )
    operator = operators.find(node)
    run, x = operator.build(node), torch.from_numpy(X)
    places = torch.tensor([1.0, 0.0, -1.0], requires_grad=True)
    found = run(x, places)
    assert torch.equal(found, x[:, [1, 0, 3]])
    (gradient,) = torch.autograd.grad(found.sum(), places)
    slopes = [x[:, 2] - x[:, 0], x[:, 1] - x[:, 0], x[:, 3] - x[:, 2]]
    assert torch.allclose(gradient, torch.stack([slope.sum() / 2 for slope in slopes]), atol=1e-6)
    assert operator.surrogate_for(node) == "central difference"


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("diagonal", [(), (np.array(1, np.int64),), (np.array(-1, np.int64),)])
def test_trilu(check, upper, diagonal):
    check("Trilu", X, *diagonal, upper=upper, gradient=True)


@pytest.mark.parametrize(("time_axis", "batch_axis"), [(0, 1), (1, 0)])
def test_reverse_sequence(check, time_axis, batch_axis):
    lengths = np.resize([2, 1, 3, 3], X.shape[batch_axis]).astype(np.int64)
    given = {"time_axis": time_axis, "batch_axis": batch_axis, "mapped": False}
    check("ReverseSequence", X, lengths, opset=10, gradient=True, **given)


@pytest.mark.parametrize("end", [2**63 - 1, 2**31 - 1, 2**62, -(2**63)])
@pytest.mark.parametrize("start", [-1, 2, 2**63 - 1])
def test_a_slice_goes_backwards_to_the_beginning(check, start, end):
    check("Slice", X, ints(start), ints(end), ints(1), ints(-1), opset=13)
    check("Slice", X, ints(start), ints(end), ints(2), ints(-2), opset=13)
