import weakref

import numpy as np
import pytest
import torch
from auditor.plugins.operators import bundled
from onnx import TensorProto, helper, numpy_helper

from auditor.errors import ModelError, UnsupportedOperator
from auditor.graph import Graph
from auditor.operators import Operators, always
from auditor.program import read_program

OPSET = 18


@pytest.fixture
def operators() -> Operators:
    return bundled()


def const(name, value, kind=np.float32):
    return numpy_helper.from_array(np.asarray(value, kind), name)


def program(nodes, constants=(), shape=("N", 4), operators=None, opsets=()):
    """A program of the input x and outputs without stated types."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        list(constants),
    )
    imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in opsets)]
    return read_program(helper.make_model(graph, opset_imports=imports), operators or bundled())


def op(op_type, inputs, outputs="y", **attributes):
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def test_what_the_output_does_not_need_may_be_unknown(operators):
    nodes = [
        op("Relu", "x", "h"),
        op("Foreign", "h", "label", domain="acme", name="head_2"),
        op("Neg", "h", "y"),
    ]
    graph = Graph(program(nodes, opsets=["acme"]), "y", operators)
    x = torch.tensor([[1.0, -2.0]])
    assert graph(x).tolist() == [[-1, 0]]
    with pytest.raises(UnsupportedOperator, match=r"acme::Foreign \(opset 1, node 'head_2'\)"):
        Graph(program(nodes, opsets=["acme"]), "label", operators)


def test_what_depends_on_constants_alone_is_computed_once(operators):
    calls = []
    operators.register("Count", lambda node: lambda a: calls.append(1) or a * 2, domain="acme")
    nodes = [op("Count", "w", "w2", domain="acme"), op("Mul", "x w2", "h"), op("Count", "h", "y", domain="acme")]
    graph = Graph(program(nodes, [const("w", 3.0)], opsets=["acme"]), "y", operators)
    assert len(calls) == 1
    assert graph(torch.ones(1)).tolist() == [12]
    assert graph(torch.ones(1)).tolist() == [12]
    assert len(calls) == 3


def test_dead_values_are_freed(operators):
    alive = []

    def watched(x):
        alive.append(sum(ref() is not None for ref in refs))
        result = x + 1
        refs.append(weakref.ref(result))
        return result

    refs = []
    operators.register("Watched", always(watched), domain="acme")
    names = [f"h{i}" for i in range(5)]
    nodes = [op("Watched", a, b, domain="acme") for a, b in zip(["x", *names], [*names, "y"], strict=True)]
    with torch.no_grad():
        assert Graph(program(nodes, opsets=["acme"]), "y", operators)(torch.zeros(1)).item() == 6
    assert alive == [0, 1, 1, 1, 1, 1]


def test_an_output_inside_the_graph_survives(operators):
    nodes = [op("Relu", "x", "h"), op("Neg", "h", "y")]
    assert Graph(program(nodes), "h", operators)(torch.tensor([2.0])).tolist() == [2]


def shape_chain():
    """Flattens as exporters do: Reshape to (Shape(x)[0], -1), the batch scaled by a float on the way."""
    return program(
        [
            op("Shape", "x", "s"),
            op("Gather", "s zero", "n", axis=0),
            op("Cast", "n", "nf", to=TensorProto.FLOAT),
            op("Mul", "nf one", "nf1"),
            op("Cast", "nf1", "n1", to=TensorProto.INT64),
            op("Unsqueeze", "n1 first", "nu"),
            op("Concat", "nu rest", "target", axis=0),
            op("Reshape", "x target", "flat"),
            op("Div", "flat nf", "y"),
        ],
        [
            const("zero", 0, np.int64),
            const("one", 1.0),
            const("first", [0], np.int64),
            const("rest", [-1], np.int64),
        ],
        shape=("N", 2, 3),
    )


@pytest.mark.parametrize("batch", [1, 5])
def test_shapes_are_followed(operators, batch):
    x = torch.rand(batch, 2, 3)
    graph = Graph(shape_chain(), "y", operators)
    torch.testing.assert_close(graph(x), x.reshape(batch, 6) / batch)


def test_shape_chains_stay_on_the_host(operators):
    """On a device without data only what depends on values may be computed; shapes must be known all the same."""
    graph = Graph(shape_chain(), "y", operators).to("meta")
    y = graph(torch.empty(5, 2, 3, device="meta"))
    assert (y.device.type, tuple(y.shape)) == ("meta", (5, 6))


def test_a_straight_through_cast_on_the_host_is_no_surrogate(operators):
    assert Graph(shape_chain(), "y", operators).surrogates == ()


def test_surrogates_are_named_once(operators):
    nodes = [
        op("Round", "x", "a"),
        op("Round", "a", "b"),
        op("Sign", "b", "c"),
        op("Floor", "w", "d"),
        op("Add", "c d"),
    ]
    graph = Graph(program(nodes, [const("w", 1.5)]), "y", operators)
    assert graph.surrogates == ("Round: straight-through", "Sign: straight-through")


def test_the_module_runs_in_the_precision_of_its_input(operators):
    """A mask made of booleans, a constant of a computed shape and a weight all meet in one product."""
    nodes = [
        op("Greater", "x zero", "b"),
        op("Cast", "b", "mask", to=TensorProto.FLOAT),
        op("Shape", "x", "s"),
        op("ConstantOfShape", "s", "ones", value=numpy_helper.from_array(np.ones(1, np.float32))),
        op("Mul", "ones mask", "scaled"),
        op("MatMul", "mask w", "h"),
        op("Add", "h scaled", "y"),
    ]
    graph = Graph(program(nodes, [const("zero", 0.0), const("w", np.eye(4) / 3)]), "y", operators)
    x = torch.tensor([[1.0, -1.0, 2.0, 0.0]])
    assert graph(x).dtype == torch.float32
    y = graph.double()(x.double())
    assert y.dtype == torch.float64
    third = float(np.float32(1) / np.float32(3))
    assert y.tolist() == [[1 + third, 0, 1 + third, 0]]


def test_half_precision_files_are_computed_in_float32(operators):
    weight = np.linspace(-1, 1, 12).reshape(4, 3)
    nodes = [op("Cast", "x", "h", to=TensorProto.FLOAT16), op("MatMul", "h w", "y")]
    graph = Graph(program(nodes, [const("w", weight, np.float16)]), "y", operators)
    x = torch.rand(2, 4)
    expected = x @ torch.from_numpy(weight.astype(np.float16).astype(np.float32))
    assert torch.equal(graph(x), expected)


def test_weights_are_buffers_under_known_names(operators):
    nodes = [op("MatMul", "x w.0", "h"), op("Reshape", "h shape", "y")]
    graph = Graph(program(nodes, [const("w.0", np.eye(4)), const("shape", [-1, 2], np.int64)]), "y", operators)
    assert list(graph.buffer_names) == ["w.0"]
    assert torch.equal(graph.get_buffer(graph.buffer_names["w.0"]), torch.eye(4))
    graph.get_buffer(graph.buffer_names["w.0"]).mul_(3)
    assert graph(torch.ones(1, 4)).tolist() == [[3, 3], [3, 3]]


def test_optional_inputs_may_be_absent(operators):
    nodes = [helper.make_node("Clip", ["x", "", "high"], ["y"])]
    graph = Graph(program(nodes, [const("high", 1.0)]), "y", operators)
    assert graph(torch.tensor([-5.0, 5.0])).tolist() == [-5, 1]


def test_the_gradient_is_that_of_the_composition(operators):
    nodes = [
        op("MatMul", "x w", "h"),
        op("Tanh", "h", "t"),
        op("Mul", "t h", "u"),
        op("ReduceSum", "u", "y", keepdims=0),
    ]
    graph = Graph(program(nodes, [const("w", np.arange(12).reshape(4, 3) / 9)]), "y", operators).double()
    assert torch.autograd.gradcheck(graph, (torch.rand(2, 4, dtype=torch.float64, requires_grad=True),))


def test_a_bound_that_depends_on_the_input_has_a_gradient(operators):
    nodes = [
        op("ReduceMax", "x", "m", keepdims=0),
        op("Mul", "m half", "bound"),
        helper.make_node("Clip", ["x", "", "bound"], ["y"]),
    ]
    graph = Graph(program(nodes, [const("half", 0.5)]), "y", operators).double()
    x = torch.tensor([1.0, 3.0, 2.0, 0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(graph, (x,))


def test_a_failing_node_is_named(operators):
    nodes = [op("Relu", "x", "h"), op("Reshape", "h shape", "y", name="to_grid")]
    graph = Graph(program(nodes, [const("shape", [3, 3], np.int64)]), "y", operators)
    with pytest.raises(ModelError, match=r"ai\.onnx::Reshape \(opset 18, node 'to_grid'\).*\[3, 3\]"):
        graph(torch.zeros(1, 4))


def test_an_output_of_constants_is_refused(operators):
    nodes = [op("Relu", "x", "h"), op("Neg", "w", "y")]
    with pytest.raises(ModelError, match="'y' does not depend"):
        Graph(program(nodes, [const("w", 1.0)]), "y", operators)


def test_a_value_that_nothing_computes_is_named(operators):
    with pytest.raises(ModelError, match="'nowhere' is used before"):
        Graph(program([op("Add", "x nowhere")]), "y", operators)


@pytest.mark.parametrize(
    "nodes",
    [
        [op("ConstantOfShape", "huge", "big"), op("Add", "x big")],
        [op("Expand", "one huge", "big"), op("Add", "x big")],
        [op("Tile", "row huge", "big"), op("Add", "x big")],
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_bombs_are_refused_before_they_go_off(operators, nodes):
    constants = [const("huge", [2**20, 2**20], np.int64), const("one", 1.0), const("row", [[1.0]])]
    with pytest.raises(ModelError, match="hostile"):
        Graph(program(nodes, constants), "y", operators)


def test_many_small_bombs_are_one(operators, monkeypatch):
    monkeypatch.setattr("auditor.plan.MEMORY", 1000)
    constants = [const("shape", [10, 10], np.int64), const("one", 1.0)]
    few = [op("Expand", "one shape", "big0"), op("Sum", "x big0", "y")]
    Graph(program(few, constants), "y", operators)
    many = [*(op("Expand", "one shape", f"big{i}") for i in range(3)), op("Sum", "x big0 big1 big2", "y")]
    with pytest.raises(ModelError, match=r"derives from its constants.*'big2'"):
        Graph(program(many, constants), "y", operators)


def test_a_stated_batch_may_be_taken_as_a_placeholder(operators):
    nodes = [op("Relu", "x", "h"), op("Reshape", "h shape", "y")]
    file = program(nodes, [const("shape", [1, 4], np.int64)], shape=(1, 2, 2))
    x = torch.rand(3, 2, 2)
    with pytest.raises(ModelError):
        Graph(file, "y", operators)(x)
    assert torch.equal(Graph(file, "y", operators, free_batch=1)(x), x.reshape(3, 4))


def test_a_zero_of_the_files_own_is_not_taken_for_a_placeholder(operators):
    """With allowzero a 0 is an empty axis; exporters set it also where no 0 is in sight."""
    nodes = [op("Reshape", "x shape", "y", allowzero=1)]
    file = program(nodes, [const("shape", [1, 4], np.int64)], shape=(1, 2, 2))
    assert Graph(file, "y", operators, free_batch=1)(torch.rand(3, 2, 2)).shape == (3, 4)
    empty = program(nodes, [const("shape", [1, 0], np.int64)], shape=(1, 0))
    assert Graph(empty, "y", operators, free_batch=1)(torch.rand(3, 0)).shape == (1, 0)


def test_a_missing_attribute_is_an_error_of_the_file(operators):
    with pytest.raises(ModelError, match=r"Concat.*axis"):
        Graph(program([op("Concat", "x x")]), "y", operators)
