import numpy as np
import pytest
import torch
from auditor.plugins.operators import bundled
from onnx import TensorProto, helper, numpy_helper

from auditor.batching import Batched, Batching, batched, close
from auditor.errors import ModelError
from auditor.graph import Graph
from auditor.program import read_program

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((6, 3)).astype(np.float32)
CONSTANTS = {
    "w": WEIGHT,
    "w2": RNG.standard_normal((2, 5)).astype(np.float32),
    "flat": np.array([1, -1], np.int64),
    "rows": np.array([3, 2], np.int64),
    "pair": np.array([2, -1], np.int64),
    "all": np.array([-1], np.int64),
    "first": np.array([0], np.int64),
    "one": np.array([1], np.int64),
}


def op(op_type, inputs, outputs="y", **attributes):
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


FILES = {
    Batching.PLAIN: [op("Flatten", "x", "h"), op("MatMul", "h w")],
    Batching.FREED: [op("Relu", "x", "r"), op("Reshape", "r flat", "h"), op("MatMul", "h w")],
    # the batch of 1 vanishes into the rows of a matrix
    Batching.MAPPED: [
        op("Reshape", "x rows", "r"),
        op("MatMul", "r w2", "m"),
        op("ReduceMax", "m", "p", axes=[0], keepdims=0),
        op("Unsqueeze", "p", "y", axes=[0]),
    ],
    # how many entries there are depends on what they are: vmap can't follow
    Batching.LOOPED: [
        op("Reshape", "x all", "v"),
        op("NonZero", "v", "i"),
        op("Shape", "i", "s"),
        op("Gather", "s one", "n", axis=0),
        op("ConstantOfShape", "n", "ones", value=numpy_helper.from_array(np.ones(1, np.float32))),
        op("ReduceSum", "ones", "count", keepdims=0),
        op("Flatten", "x", "h"),
        op("MatMul", "h w", "m"),
        op("Mul", "m count", "y"),
    ],
}
MIXING = [
    op("ReduceMean", "x", "mean", axes=[0], keepdims=1),
    op("Sub", "x mean", "c"),
    op("Add", "c x", "d"),
    op("Flatten", "d", "h"),
    op("MatMul", "h w"),
]
"""Runs for any batch, but each sample's scores then depend on its companions."""


def maker(nodes, batch=1):
    names = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in names],
    )
    operators = bundled()
    program = read_program(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)]), operators)
    return lambda free: Graph(program, "y", operators, free_batch=free)


def probes(seed=0, number=3):
    return torch.randn(number, 3, 2, generator=torch.Generator().manual_seed(seed))


def one_by_one(nodes, x):
    graph = maker(nodes)(None)
    return torch.cat([graph(row[None]) for row in x])


@pytest.mark.parametrize("batching", Batching)
def test_the_fastest_way_that_is_right_is_chosen(batching):
    x = probes(1, 7)
    module = batched(maker(FILES[batching]), 1, probes())
    assert module.batching is batching
    torch.testing.assert_close(module(x), one_by_one(FILES[batching], x))
    torch.testing.assert_close(module(x[:1]), one_by_one(FILES[batching], x[:1]))


@pytest.mark.parametrize("batching", Batching)
def test_gradients_are_those_of_single_samples(batching):
    x = probes(2, 4).requires_grad_(True)
    module = batched(maker(FILES[batching]), 1, probes())
    (together,) = torch.autograd.grad(module(x).square().sum(), x)
    (apart,) = torch.autograd.grad(one_by_one(FILES[batching], x).square().sum(), x)
    assert together.abs().max() > 0
    torch.testing.assert_close(together, apart)


def test_a_file_that_mixes_samples_is_kept_apart():
    x = probes(3, 4)
    plain = Batched(maker(MIXING)(None), Batching.PLAIN)
    assert not close(plain, x, one_by_one(MIXING, x))
    module = batched(maker(MIXING), 1, probes())
    assert module.batching is Batching.MAPPED
    torch.testing.assert_close(module(x), one_by_one(MIXING, x))


def test_probes_that_look_alike_prove_nothing():
    """All scores are 0 on these probes; that a batch gives zeros too does not show that samples stay apart."""
    nodes = [
        op("ReduceMean", "x", "mean", axes=[0], keepdims=1),
        op("Relu", "mean", "r"),
        op("Mul", "x r", "h"),
        op("Flatten", "h", "f"),
        op("MatMul", "f w", "y"),
    ]
    assert batched(maker(nodes), 1, -probes().abs()).batching is Batching.MAPPED


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7])
def test_a_fixed_batch_of_two_is_filled_up(number):
    nodes = [
        op("ReduceMean", "x", "mean", axes=[0], keepdims=1),
        op("Sub", "x mean", "c"),
        op("Reshape", "c pair", "h"),
        op("MatMul", "h w", "y"),
    ]
    module = batched(maker(nodes, 2), 2, probes(number=4))
    assert (module.batching, module.size) == (Batching.LOOPED, 2)
    assert module(probes(4, number)).shape == (number, 3)


def test_a_fixed_batch_of_two_is_freed_where_samples_do_not_mix():
    nodes = [op("Reshape", "x pair", "h"), op("MatMul", "h w", "y")]
    module = batched(maker(nodes, 2), 2, probes())
    assert module.batching is Batching.FREED
    x = probes(5, 5)
    torch.testing.assert_close(module(x), x.reshape(5, 6) @ torch.from_numpy(WEIGHT))


def test_axes_of_length_one_behind_the_classes_are_dropped():
    nodes = [op("Flatten", "x", "h"), op("MatMul", "h w", "m"), op("Unsqueeze", "m", "y", axes=[2, 3])]
    assert batched(maker(nodes), 1, probes())(probes()).shape == (3, 3)


def test_a_graph_that_does_not_run_is_an_error():
    with pytest.raises(ModelError, match="MatMul"):
        batched(maker([op("MatMul", "x w", "y")]), 1, probes())


def test_an_empty_batch_is_an_error():
    with pytest.raises(ModelError, match="at least one sample"):
        Batched(maker(FILES[Batching.PLAIN])(None), Batching.PLAIN)(probes()[:0])


def test_infinite_scores_can_be_equal():
    scores = torch.tensor([[1.0, -torch.inf]])
    assert close(lambda x: scores.clone(), torch.zeros(1), scores)
    assert not close(lambda x: torch.tensor([[1.0, 0.0]]), torch.zeros(1), scores)
    assert not close(lambda x: torch.tensor([[1.0, torch.nan]]), torch.zeros(1), scores)
