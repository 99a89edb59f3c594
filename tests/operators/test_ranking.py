import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from auditor.errors import UnsupportedOperator
from auditor.graph import Graph
from auditor.operators import Node
from auditor.program import read_program

TIED = np.array([[1, 5, 5, 0], [5, 0, 0, 5], [1, 5, 5, 0]], np.float32)
X = np.cos(np.arange(60, dtype=np.float32)).reshape(3, 4, 5)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("attributes", [{}, {"keepdims": 0}, {"select_last_index": 1}])
def test_ties_fall_as_the_file_says(check, op_type, axis, attributes):
    check(op_type, TIED, opset=13, axis=axis, **attributes)


@pytest.mark.parametrize(("op_type", "sign"), [("ArgMax", 1), ("ArgMin", -1)])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_position_has_the_gradient_of_the_mean_position(check, op_type, sign, keepdims):
    graph = check(op_type, X, opset=13, axis=1, keepdims=keepdims)
    x = torch.from_numpy(X).requires_grad_(True)
    found = graph(x)
    with torch.no_grad():
        assert torch.equal(found, graph(x).to(x.dtype))
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    mean = ((sign * x).softmax(1) * torch.arange(4.0)[:, None]).sum(1, keepdim=bool(keepdims))
    (expected,) = torch.autograd.grad((2 * found.detach() * mean).sum(), x)
    assert torch.allclose(gradient, expected)
    assert graph.surrogates == (f"{op_type}: soft arg-{op_type[3:].lower()}",)


def test_integers_have_positions_without_a_gradient(check):
    graph = check("ArgMax", np.array([[3, 1], [0, 7]], np.int32), opset=13, axis=1)
    assert graph(torch.tensor([[3, 1], [0, 7]], dtype=torch.int32)).dtype == torch.int64
    assert graph.surrogates == ()


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_hardmax(check, axis):
    for x in (TIED, X):
        check("Hardmax", x, opset=13, axis=axis)
        check("Hardmax", x, opset=11, axis=axis)


def test_hardmax_has_the_gradient_of_softmax(check):
    graph = check("Hardmax", X, opset=13)
    x, weight = torch.from_numpy(X).requires_grad_(True), torch.from_numpy(RNG.standard_normal(X.shape))
    (gradient,) = torch.autograd.grad((graph(x) * weight).sum(), x)
    (expected,) = torch.autograd.grad((x.softmax(-1) * weight).sum(), x)
    assert torch.allclose(gradient, expected)
    assert graph.surrogates == ("Hardmax: softmax",)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [-1, 1, 0])
@pytest.mark.parametrize("x", [X, TIED])
def test_top_k(check, largest, axis, x):
    check("TopK", x, np.array([2], np.int64), opset=11, outputs=2, largest=largest, axis=axis)
    check("TopK", x, np.array([2], np.int64), opset=10, axis=axis, outputs=2)
    check("TopK", x, opset=9, k=2, axis=axis, outputs=2)


def test_only_the_runtime_knows_an_order_that_the_file_does_not_ask_for(check):
    check("TopK", X, np.array([1], np.int64), opset=11, outputs=2, sorted=0)
    with pytest.raises(UnsupportedOperator, match="order"):
        check("TopK", X, np.array([2], np.int64), opset=11, outputs=2, sorted=0)


def test_top_k_passes_the_gradient_of_its_values(operators):
    node = Node(
        op_type="TopK",
        domain="",
        opset=11,
        name="top",
        inputs=("x", "k"),
        outputs=("values", "indices"),
        attributes={"axis": 1},
    )
    run = operators.find(node).build(node)
    x = torch.from_numpy(X).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: run(x, torch.tensor([3]))[0], x)


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_one_hot(check, axis, dtype):
    indices, values = np.array([[0, 3, -1], [-4, 4, -5]], dtype), np.array([0.5, 2.0], np.float32)
    check("OneHot", indices, np.array(4, dtype), values, axis=axis)


@pytest.mark.parametrize("axis", [-1, 0])
def test_a_carried_position_moves_weight_between_its_neighbours(check, axis):
    values = np.array([0.5, 2.0], np.float32)
    graph = check("OneHot", np.array([1, 3, -1], np.float32), np.array(4, np.float32), values, axis=axis)
    indices = torch.tensor([1.0, 3.0, -1.0], requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(graph, indices)
    rows = jacobian if axis == -1 else jacobian.movedim(0, 1)
    assert torch.allclose(rows[0, :, 0], 1.5 * torch.tensor([-0.5, 0.0, 0.5, 0.0]))
    assert torch.allclose(rows[1, :, 1], 1.5 * torch.tensor([0.0, 0.0, -0.5, 0.0]))
    assert torch.allclose(rows[2, :, 2], 1.5 * torch.tensor([0.0, 0.0, -0.5, 0.0]))
    assert graph.surrogates == ("OneHot: triangular",)


def binned(operators, features=8, bins=6, classes=3):
    """A net whose every score goes through the nearest of some centres on a line: ArgMax, OneHot, a table of scores."""
    line, centres = RNG.standard_normal(features), np.linspace(-4, 4, bins)
    constants = {
        "line": (2 * np.outer(line, centres)).astype(np.float32),
        "squares": (-(centres**2)).astype(np.float32),
        "depth": np.array(bins, np.int64),
        "values": np.array([0, 1], np.float32),
        "heads": RNG.standard_normal((bins, classes)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "line"], ["along"]),
        helper.make_node("Add", ["along", "squares"], ["near"]),
        helper.make_node("ArgMax", ["near"], ["bin"], axis=1, keepdims=0),
        helper.make_node("OneHot", ["bin", "depth", "values"], ["hot"]),
        helper.make_node("MatMul", ["hot", "heads"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "binned",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    program = read_program(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), operators)
    return Graph(program, "scores", operators)


def test_an_attack_climbs_through_a_position(operators):
    graph = binned(operators)
    assert graph.surrogates == ("ArgMax: soft arg-max", "OneHot: triangular")
    x = torch.from_numpy(RNG.standard_normal((256, 8)).astype(np.float32))
    with torch.no_grad():
        labels = graph(x).argmax(1)

    def losses(points):
        return torch.nn.functional.cross_entropy(graph(points), labels, reduction="none")

    def flipped(direction):
        """The share of labels that twenty steps along a direction change, within 0.2 of the start."""
        points, broken = x, torch.zeros(len(x), dtype=torch.bool)
        for _ in range(20):
            points = (points + 0.04 * direction(points).sign()).clamp(x - 0.2, x + 0.2)
            with torch.no_grad():
                broken |= graph(points).argmax(1) != labels
        return broken.float().mean().item()

    def uphill(points):
        points = points.clone().requires_grad_(True)
        return torch.autograd.grad(losses(points).sum(), points)[0]

    assert (uphill(x).abs().amax(1) > 0).float().mean() > 0.95
    noise = flipped(lambda points: torch.from_numpy(RNG.standard_normal(x.shape).astype(np.float32)))
    assert flipped(uphill) > 1.5 * noise > 0
