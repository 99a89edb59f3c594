import numpy as np
import pytest
import torch
from ml_nodes import compare, one_node, twin
from onnx import TensorProto, helper, numpy_helper

from auditor.errors import UnsupportedOperator
from auditor.surrogates import FAST_SIGMOID
from auditor.transforms import TRANSFORMS, transformed

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
X = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
VECTOR, WHOLE = X[0], np.array([[1, -2, 3], [0, 5, -7]], np.int64)
BOTH = {"label": INT64, "scores": FLOAT}


def differentiable(graph, x=X, output=-1):
    """Whether autograd's derivative is that of finite differences."""
    graph = graph.double()
    points = torch.from_numpy(x).double().requires_grad_()
    return torch.autograd.gradcheck(lambda value: graph(value)[output], (points,))


@pytest.mark.parametrize("x", [X, VECTOR, WHOLE, X.astype(np.float64)], ids=["rows", "vector", "int64", "float64"])
@pytest.mark.parametrize("features", [1, 3])
def test_scaler(x, features):
    numbers = {"scale": [0.5, 2.0, -3.0][:features], "offset": [0.1, 0.2, 0.3][:features]}
    graph = compare("Scaler", x, **numbers)
    assert x is not X or differentiable(graph)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
@pytest.mark.parametrize("x", [X, VECTOR, WHOLE], ids=["rows", "vector", "int64"])
def test_normalizer(norm, x):
    graph = compare("Normalizer", x, norm=norm)
    assert x is not X or differentiable(graph)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_a_row_of_zeros_has_no_norm_to_divide_by(norm):
    graph = compare("Normalizer", np.array([[0, 0], [0, -3]], np.float32), norm=norm)
    x = torch.zeros((1, 2), requires_grad=True)
    assert torch.autograd.grad(graph(x)[0].sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("missing", [0.0, float("nan"), 2.0])
@pytest.mark.parametrize("filling", [[9.0], [7.0, 8.0, 9.0], [7.0, 8.0]])
def test_imputer(missing, filling):
    x = X.copy()
    x[::2, 1] = missing
    compare("Imputer", x, imputed_value_floats=filling, replaced_value_float=missing)


def test_imputer_of_whole_numbers():
    compare("Imputer", WHOLE, outputs={"y": INT64}, imputed_value_int64s=[4], replaced_value_int64=-2)


def test_binarizer_has_the_gradient_of_a_smooth_step():
    graph = compare("Binarizer", X, threshold=0.25)
    assert graph.surrogates == (f"Binarizer: {FAST_SIGMOID}",)
    x = torch.from_numpy(X).requires_grad_()
    assert (torch.autograd.grad(graph(x)[0].sum(), x)[0] > 0).all()


def extractor(x, indices):
    node = helper.make_node("ArrayFeatureExtractor", ["x", "i"], ["y"], domain="ai.onnx.ml")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.array(indices), "i")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("x", [X, VECTOR, X[None]], ids=["rows", "vector", "block"])
@pytest.mark.parametrize("indices", [[2], [2, 0, 2], [[1, 0]]])
def test_array_feature_extractor(x, indices):
    from ml_nodes import runtime

    model = extractor(x, indices)
    graph = twin(model)
    np.testing.assert_array_equal(graph(torch.from_numpy(x))[0].numpy(), runtime(model, x)[0])
    assert differentiable(graph, x)


def test_feature_vectorizer():
    for length in (2, 3, 5):
        assert differentiable(compare("FeatureVectorizer", X, inputdimensions=[length]))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("x", [X, VECTOR, WHOLE], ids=["rows", "vector", "int64"])
def test_linear_classifier_of_several_classes(transform, x):
    model = {"coefficients": (np.arange(9) / 9 - 0.4).tolist(), "intercepts": [0.3, 0.0, -0.2]}
    if transform == "PROBIT":
        model = {"coefficients": [0.01] * 9, "intercepts": [0.3, 0.6, 0.8]}
    graph = compare(
        "LinearClassifier",
        x,
        outputs=BOTH,
        tolerance=1e-5,
        classlabels_ints=[4, 5, 9],
        post_transform=transform,
        **model,
    )
    assert x is not X or differentiable(graph)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("labels", [{"classlabels_ints": [3, 8]}, {"classlabels_strings": ["no", "yes"]}])
@pytest.mark.parametrize("scores", [1, 2])
def test_linear_classifier_of_two_classes(transform, labels, scores):
    outputs = {"label": STRING if "classlabels_strings" in labels else INT64, "scores": FLOAT}
    compare(
        "LinearClassifier",
        X,
        outputs=outputs,
        coefficients=[0.5, -1.0, 2.0, -0.3, 0.1, 0.7][: 3 * scores],
        intercepts=[0.1, -0.2][:scores],
        post_transform=transform,
        **labels,
    )


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("shifted", [False, True])
def test_linear_regressor(transform, targets, shifted):
    graph = compare(
        "LinearRegressor",
        X,
        tolerance=1e-4 if transform == "PROBIT" else 1e-6,
        coefficients=[0.05, -0.1, 0.02, 0.1, 0.03, 0.02][: 3 * targets],
        targets=targets,
        post_transform=transform,
        **({"intercepts": [0.4, 0.6][:targets]} if shifted or transform == "PROBIT" else {}),
    )
    assert differentiable(graph)


def test_softmax_zero_leaves_zeros_out():
    scores = torch.tensor([[0.0, 1.0, 2.0, 0.0]])
    found = transformed(scores, "SOFTMAX_ZERO")
    assert found[0, 0] == 0
    assert found.sum() == pytest.approx(1)
    assert found[0, 2] / found[0, 1] == pytest.approx(np.e)


@pytest.mark.parametrize(
    ("op_type", "attributes", "words"),
    [
        ("Normalizer", {"norm": "L3"}, "L3"),
        ("LinearClassifier", {"coefficients": [1.0], "classlabels_ints": [0, 1]}, "0 intercepts"),
        ("LinearClassifier", {"coefficients": [1.0], "intercepts": [0.0]}, "without labels"),
        ("LinearRegressor", {"coefficients": [1.0], "post_transform": "CUBE"}, "CUBE"),
    ],
)
def test_what_is_not_understood_is_refused(op_type, attributes, words):
    outputs = BOTH if op_type == "LinearClassifier" else {"y": FLOAT}
    with pytest.raises(UnsupportedOperator, match=words):
        twin(one_node(op_type, X[:, :1], outputs, 1, **attributes))
