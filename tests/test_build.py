import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from auditor.plugins.operators import bundled
from onnx import TensorProto, helper, numpy_helper

from auditor.access import OutputKind
from auditor.batching import Batching
from auditor.build import build_twin
from auditor.errors import ModelError, UnsupportedOperator
from auditor.preprocess import Preprocess

FLOAT32_FILES = [
    "cifar_cnn_a_adv",
    "cifar_cnn_a_mix",
    "mnist_cnn_a_adv",
    "mnist_cntk_batch1",
    "mnist_kw_certified_eps0.1",
    "mnist_rsl18a_sdp_eps0.1",
    "mnist_undefended_logits",
    "mnist_undefended_softmax",
    "vnncomp_cifar_marabou_small_nhwc",
    "vnncomp_cifar_resnet_2b",
    "vnncomp_mnist_fc_256x2",
    "vnncomp_mnist_relu_9_200_final_relu",
    "vnncomp_safenlp_medical",
    "vnncomp_sri_resnet_a",
    "vnncomp_vit_pgd",
]
RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((4, 3)).astype(np.float32)


def op(op_type, inputs, outputs="y", **attributes):
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def file(*nodes, shape=("N", 4), opset=13, weight=WEIGHT):
    graph = helper.make_graph(
        [op("MatMul", "x w", "z"), *nodes],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([2, 3], np.int64), "pixel")],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("acme", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def build(model, kind=OutputKind.LOGITS, *, fixed_batch=False, preprocess=None, output=None):
    return build_twin(
        model,
        output=output or model.graph.output[0].name,
        kind=kind,
        preprocess=preprocess or Preprocess(),
        operators=bundled(),
        fixed_batch=fixed_batch,
    )


def deployed(source, x, output):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run([output], {name: row[None]})[0] for row in x.numpy()])


@pytest.mark.shared
@pytest.mark.parametrize("name", FLOAT32_FILES)
def test_third_party_files(shared, name):
    """Forward as the runtime, batched although many take one sample only; the gradient of every sample is its own."""
    path = shared / "models" / f"{name}.onnx"
    model = onnx.load(path)
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    kind = OutputKind.PROBABILITIES if "softmax" in name else OutputKind.LOGITS
    twin = build(model, kind, fixed_batch=dims[0] == 1)
    assert twin.peeled == ("softmax" if "softmax" in name else None)
    assert twin.surrogates == ()
    assert twin.module.batching in (Batching.PLAIN, Batching.FREED)

    generator = torch.Generator().manual_seed(1)
    x = torch.rand(4, *dims[1:], generator=generator) ** 16  # mostly dark: bright noise leaves some nets without a unit
    x.requires_grad_(True)
    scores = twin.scores(x).detach().numpy()
    expected = deployed(str(path), x.detach(), model.graph.output[0].name)
    assert np.abs(scores - expected).max() <= 2e-6 * np.abs(expected).max()

    logits = twin.logits(x)
    (gradient,) = torch.autograd.grad(logits.square().sum(), x)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).abs().amax(1) > 0).all()
    (alone,) = torch.autograd.grad(twin.logits(x[1:2]).square().sum(), x)
    torch.testing.assert_close(alone[1], gradient[1], rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mnist_cnn_a_adv", "vnncomp_sri_resnet_a", "vnncomp_vit_pgd"])
def test_third_party_gradients_against_finite_differences(shared, name):
    model = onnx.load(shared / "models" / f"{name}.onnx")
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    twin = build(model, fixed_batch=dims[0] == 1)
    twin.module.double()
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(2, *dims[1:], generator=generator, dtype=torch.float64).requires_grad_(True)
    step = 1e-7 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(twin.logits(x)[:, 3].sum(), x)
    with torch.no_grad():
        difference = (twin.logits(x + step) - twin.logits(x - step))[:, 3].sum() / 2
    torch.testing.assert_close((gradient * step).sum(), difference, rtol=1e-4, atol=0.0)


X = torch.from_numpy(RNG.standard_normal((5, 4)).astype(np.float32))
Z = X @ torch.from_numpy(WEIGHT)


@pytest.mark.parametrize(
    ("op_type", "kind", "peeled"),
    [
        ("Softmax", OutputKind.PROBABILITIES, "softmax"),
        ("LogSoftmax", OutputKind.LOG_PROBABILITIES, "log_softmax"),
        ("Sigmoid", OutputKind.PROBABILITIES, "sigmoid"),
    ],
)
@pytest.mark.parametrize("opset", [7, 13])
def test_the_last_activation_is_cut_off(op_type, kind, peeled, opset):
    model = file(op(op_type, "z"), opset=opset)
    twin = build(model, kind)
    assert twin.peeled == peeled
    torch.testing.assert_close(twin.logits(X), Z)
    expected = deployed(model.SerializeToString(), X, "y")
    np.testing.assert_allclose(twin.scores(X).numpy(), expected, rtol=1e-5)


def test_gradients_survive_where_probabilities_saturate():
    x = (1000 * X).requires_grad_(True)
    twin = build(file(op("Softmax", "z")), OutputKind.PROBABILITIES)
    top, other = twin.logits(x).topk(2).values.unbind(1)
    (gradient,) = torch.autograd.grad((other - top).sum(), x)
    assert (gradient.abs().amax(1) > 0.1).all()


@pytest.mark.parametrize("opset", [11, 13])
def test_a_softmax_over_a_map_of_one_pixel_is_cut_off(opset):
    axes = {"axes": [2, 3]} if opset < 13 else {}
    inputs = "z" if opset < 13 else "z pixel"
    twin = build(
        file(op("Unsqueeze", inputs, "u", **axes), op("Softmax", "u", axis=1), opset=opset), OutputKind.PROBABILITIES
    )
    assert twin.peeled == "softmax"
    torch.testing.assert_close(twin.logits(X), Z)


def test_a_softmax_whose_probabilities_are_rounded_is_cut_off_but_scores_keep_the_rounding():
    nodes = [op("Softmax", "z", "p"), op("QuantizeLinear", "p step zero", "q"), op("DequantizeLinear", "q step zero")]
    model = file(*nodes)
    for name, value in {"step": np.float32(1 / 256), "zero": np.uint8(0)}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    twin = build(model, OutputKind.PROBABILITIES)
    assert twin.peeled == "softmax"
    torch.testing.assert_close(twin.logits(X), Z)
    np.testing.assert_allclose(twin.scores(X).numpy(), deployed(model.SerializeToString(), X, "y"), atol=1e-7)
    assert twin.surrogates == ("QuantizeLinear: straight-through",)


CONSTANTS = {
    "low": np.float32(1e-7),
    "high": np.float32(1 - 1e-7),
    "hundred": np.float32(100),
    "nought": np.float32(0),
    "one": np.array([1], np.int64),
    "two": np.array([2], np.int64),
    "depth": np.array(3, np.int64),
    "off_on": np.array([0, 1], np.float32),
}
SATURATED = [op("Mul", "z hundred", "l"), op("Softmax", "l", "p", axis=1)]
DECIDED = [op("ArgMax", "l", "a", axis=1, keepdims=0), op("OneHot", "a depth off_on")]


def with_constants(*nodes, **made):
    model = file(*nodes, **made)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()
    )
    return model


@pytest.mark.parametrize(
    ("nodes", "kind", "peeled"),
    [
        ([*SATURATED, op("Clip", "p low high")], OutputKind.PROBABILITIES, "softmax"),
        ([*SATURATED, op("Clip", "p low", "c"), op("Log", "c")], OutputKind.LOG_PROBABILITIES, "log_softmax"),
        ([*SATURATED, op("Mul", "p hundred")], OutputKind.LOGITS, "softmax"),
        ([*SATURATED, op("Add", "p nought")], OutputKind.PROBABILITIES, "softmax"),
        ([*SATURATED, op("Softmax", "p")], OutputKind.PROBABILITIES, "softmax"),
        ([*SATURATED, op("Hardmax", "p")], OutputKind.PROBABILITIES, "decision"),
        ([SATURATED[0], *DECIDED], OutputKind.PROBABILITIES, "decision"),
    ],
    ids=["clipped", "clipped-logarithm", "percent", "shifted", "twice", "decided", "one-hot"],
)
def test_attacks_climb_logits_and_scores_are_the_files_whatever_follows_in_order(nodes, kind, peeled):
    model = with_constants(*nodes)
    twin = build(model, kind)
    assert twin.peeled == peeled
    torch.testing.assert_close(twin.logits(X), 100 * Z)
    expected = deployed(model.SerializeToString(), X, "y")
    np.testing.assert_allclose(twin.scores(X).numpy(), expected, rtol=1e-4, atol=1e-6)
    assert twin.logits(X).argmax(1).tolist() == expected.argmax(1).tolist()


def test_a_mark_of_another_class_than_the_best_stays():
    """That of the second best; the sum lends the file a gradient."""
    second = [op("TopK", "z two", "v i", axis=1), op("Gather", "i one", "g", axis=1), op("Squeeze", "g one", "a")]
    shifted = [op("ReduceSum", "z one", "s"), op("Mul", "s nought", "n"), op("Add", "h n")]
    model = with_constants(*second, op("OneHot", "a depth off_on", "h"), *shifted)
    assert build(model, OutputKind.PROBABILITIES).peeled is None


def test_a_scaled_sigmoid_of_one_number_stays():
    """The factor moves the threshold between the two classes."""
    model = with_constants(op("Sigmoid", "z", "p"), op("Mul", "p hundred"), weight=WEIGHT[:, :1])
    twin = build(model)
    assert twin.peeled is None
    torch.testing.assert_close(twin.logits(X)[:, 1:], 100 * Z[:, :1].sigmoid())


def test_a_softmax_over_one_class_stays():
    assert build(file(op("Softmax", "z", axis=1), weight=WEIGHT[:, :1]), OutputKind.PROBABILITIES).peeled is None


def test_a_softmax_over_groups_of_classes_stays():
    weight = RNG.standard_normal((4, 6)).astype(np.float32)
    nodes = [op("Reshape", "z groups", "g"), op("Softmax", "g", "p", axis=2), op("Flatten", "p")]
    model = file(*nodes, weight=weight)
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 2, 3], np.int64), "groups"))
    assert build(model).peeled is None


def test_a_softmax_over_another_axis_stays():
    """Over the pixels there is nothing to choose from: every probability is 1."""
    twin = build(file(op("Unsqueeze", "z pixel", "u"), op("Softmax", "u", axis=2)), OutputKind.PROBABILITIES)
    assert twin.peeled is None
    assert torch.equal(twin.scores(X), torch.ones(5, 3))


def test_a_softmax_that_something_follows_stays():
    twin = build(file(op("Softmax", "z", "p"), op("Mul", "p p")), OutputKind.PROBABILITIES)
    assert twin.peeled is None
    torch.testing.assert_close(twin.scores(X), Z.softmax(1) ** 2)


@pytest.mark.parametrize("squeezed", [False, True])
def test_one_sigmoid_is_two_classes(squeezed):
    nodes = [op("Sigmoid", "z", "p" if squeezed else "y")]
    if squeezed:
        nodes.append(helper.make_node("Reshape", ["p", "all"], ["y"]))
    model = file(*nodes, weight=WEIGHT[:, :1])
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), "all"))
    twin = build(model, OutputKind.PROBABILITIES)
    assert twin.peeled == "sigmoid"
    p = Z[:, :1].sigmoid()
    torch.testing.assert_close(twin.scores(X), torch.cat([1 - p, p], 1))
    torch.testing.assert_close(twin.logits(X).softmax(1), twin.scores(X))


def test_preprocessing_and_layout_come_first():
    preprocess = Preprocess(mean=(0.5,), std=(0.25,)).fit((4,), (4,))
    twin = build(file(op("Identity", "z")), preprocess=preprocess)
    torch.testing.assert_close(twin.logits(X), ((X - 0.5) / 0.25) @ torch.from_numpy(WEIGHT))


def test_an_open_shape_needs_fitted_preprocessing():
    model = file(op("Identity", "z"), shape=("N", "features"))
    with pytest.raises(ModelError, match="shape of its input open"):
        build(model)
    assert build(model, preprocess=Preprocess().fit((4,), (4,))).logits(X).shape == (5, 3)


def test_an_intermediate_value_can_be_audited():
    twin = build(file(op("Foreign", "z", domain="acme")), output="z")
    torch.testing.assert_close(twin.logits(X), Z)


def test_a_lacking_operator_is_named_with_node_domain_and_opset():
    with pytest.raises(UnsupportedOperator, match=r"acme::Foreign \(opset 1, node 'y'\)"):
        build(file(op("Foreign", "z", domain="acme")))


def test_surrogates_are_those_of_the_module_that_runs():
    assert build(file(op("Round", "z"))).surrogates == ("Round: straight-through",)


def test_no_global_random_state_is_touched():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    build(file(op("Softmax", "z")), OutputKind.PROBABILITIES)
    assert torch.equal(torch.get_rng_state(), before)


def test_scores_that_are_a_map_are_refused():
    with pytest.raises(ModelError, match=r"\[N, classes\]"):
        build(file(op("Unsqueeze", "z pixel", "u"), op("Concat", "u u", axis=2)))


def test_a_twin_without_any_gradient_is_no_twin():
    with pytest.raises(UnsupportedOperator, match="can be followed node by node, but has no gradient"):
        build(file(op("IsNaN", "z", "n"), op("Cast", "n", to=TensorProto.FLOAT)))
