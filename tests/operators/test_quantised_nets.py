"""Whole nets quantised by onnxruntime's tool, in every form: the twin beside the runtime."""

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from quantised_nodes import twin

X = np.random.default_rng(0).random((24, 3, 12, 12), np.float32)
FORMS = ["QDQ", "QOperator"]
PAIRS = [("QUInt8", "QInt8"), ("QInt8", "QInt8"), ("QUInt8", "QUInt8")]


def net():
    """Convolutions around which the input goes, one of them depthwise; a pool; two layers."""
    draws = np.random.default_rng(1)

    def weight(*shape):
        return (draws.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5).astype(np.float32)

    values = {
        "w1": weight(8, 3, 3, 3), "b1": weight(8, 1)[:, 0], "w2": weight(8, 1, 3, 3), "b2": weight(8, 1)[:, 0],
        "w3": weight(8, 8, 1, 1), "w4": weight(16, 128), "b4": weight(16, 1)[:, 0], "w5": weight(16, 10),
    }  # fmt: skip
    edge = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], **edge),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], group=8, **edge),
        helper.make_node("LeakyRelu", ["c2"], ["r2"], alpha=0.1),
        helper.make_node("Conv", ["r2", "w3"], ["c3"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["c3", "r1"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["gate"]),
        helper.make_node("Mul", ["sum", "gate"], ["swish"]),
        helper.make_node("AveragePool", ["swish"], ["pool"], kernel_shape=[3, 3], strides=[3, 3]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w4", "b4"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["hr"]),
        helper.make_node("MatMul", ["hr", "w5"], ["y"]),
    ]
    for number, node in enumerate(nodes):
        node.name = f"node{number}"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


class Calibration:
    def __init__(self):
        self.rows = iter(X)

    def get_next(self):
        row = next(self.rows, None)
        return None if row is None else {"x": row[None]}


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    from onnxruntime import quantization as tool

    folder = tmp_path_factory.mktemp("quantised")
    onnx.save(net(), folder / "net.onnx")

    def make(form, activations, weights, per_channel):
        path = folder / f"{form}-{activations}-{weights}-{per_channel}.onnx"
        kinds = {"per_channel": per_channel, "weight_type": tool.QuantType[weights]}
        logging.disable(logging.WARNING)
        if form == "dynamic":
            tool.quantize_dynamic(folder / "net.onnx", path, **kinds)
        else:
            kinds |= {"quant_format": tool.QuantFormat[form], "activation_type": tool.QuantType[activations]}
            tool.quantize_static(folder / "net.onnx", path, Calibration(), **kinds)
        logging.disable(logging.NOTSET)
        return path

    return make


def deployed(path, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": row[None]})[0] for row in x])


def agrees(path, step):
    """Asserts that scores are alike within a step, most of them the same, and that every gradient is alive."""
    graph = twin(onnx.load(path))
    one_by_one = torch.vmap(lambda x: graph(x[None])[0])
    x = torch.from_numpy(X).requires_grad_(True)
    scores = one_by_one(x)
    expected = deployed(path, X)
    scale = np.abs(expected).max()
    found = scores.detach().numpy()
    assert np.abs(found - expected).max() <= step * scale
    assert np.isclose(found, expected, atol=1e-4 * scale).mean() >= 0.9
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.95
    gradient = torch.autograd.grad(scores.square().sum(), x)[0]
    assert gradient.isfinite().all()
    assert gradient.flatten(1).ne(0).any(1).all()
    return graph


@pytest.mark.wide_sums
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("activations", "weights"), PAIRS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_static_forms(quantised, form, activations, weights, per_channel):
    graph = agrees(quantised(form, activations, weights, per_channel), 3 / 255)
    assert any("straight-through" in name for name in graph.surrogates)


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_dynamic_form(quantised, per_channel):
    graph = agrees(quantised("dynamic", "", "QUInt8", per_channel), 3 / 255)
    assert graph.surrogates == ("DynamicQuantizeLinear: straight-through, the scale held",)


def test_the_gradient_points_where_that_of_the_unquantised_net_does(quantised):
    path = quantised("QDQ", "QUInt8", "QInt8", True)
    gradients = []
    for graph in (twin(net()), twin(onnx.load(path))):
        x = torch.from_numpy(X).requires_grad_(True)
        gradients.append(torch.autograd.grad(graph(x)[:, 0].sum(), x)[0].flatten(1))
    assert torch.cosine_similarity(*gradients).min() > 0.9
