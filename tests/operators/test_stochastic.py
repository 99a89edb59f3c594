"""Random operators: the twin draws other numbers than the runtime, of the same distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from auditor.access import OutputKind
from auditor.build import build_twin
from auditor.chance import CHANCE
from auditor.errors import UnsupportedOperator
from auditor.graph import Graph
from auditor.operators import Operators
from auditor.preprocess import Preprocess
from auditor.program import read_program

N = 20_000
RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((4, 3)).astype(np.float32)


def file(*nodes: onnx.NodeProto, shape: tuple[Any, ...] = ("N", 4), **arrays: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )


def op(op_type: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, [name.strip("-") for name in inputs.split()], outputs.split(), **attributes)


def graph(model: onnx.ModelProto, operators: Operators) -> Graph:
    return Graph(read_program(model, operators), "y", operators)


def deployed(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answer: np.ndarray = session.run(None, {"x": x})[0]
    return answer


ROW = np.array([[0.1, 0.4, 0.7, 1.0]], np.float32)
CASES: dict[str, onnx.ModelProto] = {
    "RandomNormal": file(op("RandomNormal", "", "r", shape=[N, 4], mean=1.0, scale=0.5), op("Add", "x r")),
    "RandomUniform": file(op("RandomUniform", "", "r", shape=[N, 4], low=-1.0, high=3.0), op("Add", "x r")),
    "RandomNormalLike": file(op("RandomNormalLike", "x", "r", mean=-1.0, scale=2.0), op("Add", "x r")),
    "RandomUniformLike": file(op("RandomUniformLike", "x", "r"), op("Add", "x r")),
    "Bernoulli": file(op("Bernoulli", "x")),
    "Bernoulli of booleans": file(op("Bernoulli", "x", "b", dtype=TensorProto.BOOL), op("Cast", "b", to=1)),
    "Dropout": file(op("Dropout", "x ratio on"), ratio=np.float32(0.25), on=np.array(True)),
    "Dropout by default": file(op("Dropout", "x - on"), on=np.array(True)),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers_have_the_runtimes_distribution(name: str, operators: Operators) -> None:
    CHANCE.begin(0)
    x = np.repeat(ROW, N, axis=0)
    theirs = deployed(CASES[name], x)
    made = graph(CASES[name], operators)
    assert made.random
    ours = made(torch.from_numpy(x)).detach().numpy()
    assert ours.shape == theirs.shape
    spread = max(float(theirs.std()), 0.1)
    for moment in (lambda v: v.mean(axis=0), lambda v: v.std(axis=0), lambda v: np.quantile(v, 0.8, axis=0)):
        np.testing.assert_allclose(moment(ours), moment(theirs), atol=0.05 * spread)
    assert not np.array_equal(made(torch.from_numpy(x)).detach().numpy(), ours)


def test_classes_are_drawn_by_their_weights(operators: Operators) -> None:
    model = file(op("Multinomial", "x", "c", sample_size=N), op("Cast", "c", to=TensorProto.FLOAT))
    weights = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]], np.float32)
    made = graph(model, operators)
    found = made(torch.from_numpy(np.log(weights))).numpy()
    assert made.surrogates == ("Multinomial: none: classes are drawn",)
    assert found.shape == (2, N)
    for row, chances in zip(found, weights, strict=True):
        assert np.bincount(row.astype(int), minlength=4) / N == pytest.approx(chances, abs=0.015)


def test_the_mean_of_a_bernoulli_is_one_less_the_input_and_so_is_its_gradient(operators: Operators) -> None:
    """As the runtime has it (see the distributions above), whatever the operator's description says."""
    made = graph(CASES["Bernoulli"], operators)
    assert made.surrogates == ("Bernoulli: random mask, straight-through",)
    x = torch.from_numpy(np.repeat(ROW, N, axis=0)).requires_grad_()
    y = made(x)
    assert set(y.unique().tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(y.mean(0).detach().numpy(), 1 - ROW[0], atol=4 * 0.5 / N**0.5)
    assert y[:, 3].max() == 0
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.unique().tolist() == [-1.0]


def test_a_mask_that_does_not_depend_on_the_input_needs_no_stand_in(operators: Operators) -> None:
    model = file(op("Bernoulli", "half", "mask"), op("Mul", "x mask"), half=np.full((1, 4), 0.5, np.float32))
    made = graph(model, operators)
    assert made.random
    assert made.surrogates == ()
    x = torch.ones(1, 4, requires_grad=True)
    masks = torch.cat([made(x) for _ in range(200)])
    assert masks.mean().item() == pytest.approx(0.5, abs=0.1)


def test_what_is_dropped_has_no_gradient_and_what_is_kept_is_scaled(operators: Operators) -> None:
    model = file(op("Dropout", "x ratio on", "y kept"), ratio=np.float32(0.75), on=np.array(True))
    made = Graph(read_program(model, operators), ["y", "kept"], operators)
    x = torch.rand(100, 4, generator=torch.Generator().manual_seed(0)).add(0.1).requires_grad_()
    y, kept = made(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert kept.dtype is torch.bool
    assert 0.15 < kept.float().mean() < 0.35
    assert torch.equal(gradient, 4.0 * kept)
    torch.testing.assert_close(y, 4 * x * kept)


@pytest.mark.parametrize(("ratio", "on"), [(0.5, False), (0.0, True)])
def test_dropout_that_drops_nothing_is_not_random(ratio: float, on: bool, operators: Operators) -> None:
    made = graph(file(op("Dropout", "x ratio on"), ratio=np.float32(ratio), on=np.array(on)), operators)
    x = torch.from_numpy(ROW)
    assert not made.random
    assert torch.equal(made(x), x)


def test_dropout_of_everything_is_refused(operators: Operators) -> None:
    made = graph(file(op("Dropout", "x ratio on"), ratio=np.float32(1), on=np.array(True)), operators)
    with pytest.raises(UnsupportedOperator, match=r"Dropout.*the ratio 1"):
        made(torch.from_numpy(ROW))


@pytest.mark.parametrize("op_type", ["RandomNormal", "RandomUniform"])
def test_whole_numbers_are_not_drawn(op_type: str, operators: Operators) -> None:
    with pytest.raises(UnsupportedOperator, match="element type INT32"):
        graph(file(op(op_type, "", "r", shape=[4], dtype=TensorProto.INT32), op("Mul", "x r")), operators)


def test_what_is_drawn_follows_the_input_in_precision_and_is_not_folded_in_bodies_either(operators: Operators) -> None:
    body = helper.make_graph(
        [op("RandomNormal", "", "inner", shape=[4])],
        "body",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [4])],
    )
    branch = helper.make_node("If", ["always"], ["r"], then_branch=body, else_branch=body)
    for model in (
        file(op("RandomNormal", "", "r", shape=[4]), op("Add", "x r")),
        file(branch, op("Add", "x r"), always=np.array(True)),
    ):
        made = graph(model, operators).double()
        x = torch.zeros(1, 4, dtype=torch.float64)
        assert made.random
        assert made(x).dtype is torch.float64
        assert not torch.equal(made(x), made(x))


@pytest.mark.parametrize("fixed", [False, True])
def test_a_file_with_noise_inside_has_a_twin_that_says_so(fixed: bool, operators: Operators) -> None:
    """Logits behind noise: batched as without it, cut before the softmax, with the weights for a gradient."""
    shape = (1, 4) if fixed else ("N", 4)
    nodes = [
        op("RandomNormalLike", "x", "r", scale=0.5),
        op("Add", "x r", "noisy"),
        op("MatMul", "noisy w", "z"),
        op("Softmax", "z"),
    ]
    twin = build_twin(
        file(*nodes, shape=shape, w=WEIGHT),
        output="y",
        kind=OutputKind.PROBABILITIES,
        preprocess=Preprocess(),
        operators=operators,
        fixed_batch=fixed,
    )
    assert twin.random
    assert (twin.peeled, twin.surrogates) == ("softmax", ())
    x = torch.from_numpy(np.repeat(ROW, 5, axis=0)).requires_grad_()
    CHANCE.begin(7)
    first = twin.logits(x)
    assert not torch.equal(twin.logits(x), first)
    CHANCE.begin(7)
    assert torch.equal(twin.logits(x), first)
    (gradient,) = torch.autograd.grad(first[:, 1].sum(), x)
    torch.testing.assert_close(gradient, torch.from_numpy(WEIGHT[:, 1]).expand(5, 4))


def test_a_file_without_chance_is_not_called_random(operators: Operators) -> None:
    twin = build_twin(
        file(op("MatMul", "x w"), w=WEIGHT),
        output="y",
        kind=OutputKind.LOGITS,
        preprocess=Preprocess(),
        operators=operators,
        fixed_batch=False,
    )
    assert not twin.random
