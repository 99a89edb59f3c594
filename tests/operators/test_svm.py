from itertools import combinations

import numpy as np
import onnx
import pytest
import torch
from auditor.plugins.operators.svm import coupled
from auditor.plugins.targets.onnx_ import OnnxTarget
from ml_nodes import ML, compare, one_node, twin
from onnx import TensorProto, helper
from onnx_files import make, value, write

from auditor.errors import UnsupportedOperator
from auditor.target import TargetOptions

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
X = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
KERNELS = {
    "LINEAR": [0.0, 0.0, 0.0],
    "POLY": [0.3, 0.5, 3.0],
    "RBF": [0.4, 0.0, 0.0],
    "SIGMOID": [0.2, -0.1, 0.0],
}


def machine(classes, kernel, calibrated, seed=1):
    """Attributes of a classifier with random support vectors, two or three a class."""
    draws = np.random.default_rng(seed)
    sizes = [2 + i % 2 for i in range(classes)]
    pairs = classes * (classes - 1) // 2
    attributes = {
        "vectors_per_class": sizes,
        "support_vectors": draws.standard_normal(4 * sum(sizes)).tolist(),
        "coefficients": draws.standard_normal((classes - 1) * sum(sizes)).tolist(),
        "rho": draws.standard_normal(pairs).tolist(),
        "kernel_type": kernel,
        "kernel_params": KERNELS[kernel],
        "classlabels_ints": list(range(10, 10 + classes)),
    }
    if calibrated:
        attributes |= {"prob_a": (-1 - draws.random(pairs)).tolist(), "prob_b": draws.standard_normal(pairs).tolist()}
    return attributes


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("calibrated", [False, True])
def test_classifiers(kernel, classes, calibrated):
    graph = compare(
        "SVMClassifier",
        X,
        outputs={"label": INT64, "scores": FLOAT},
        tolerance=5e-6,
        **machine(classes, kernel, calibrated),
    ).double()
    x = torch.from_numpy(X).double().requires_grad_()
    if not calibrated:
        assert torch.autograd.gradcheck(lambda point: graph(point)[1], (x,))
    mapped = torch.vmap(lambda row: graph(row[None])[1][0])(x)
    assert torch.allclose(mapped, graph(x)[1])


@pytest.mark.parametrize("transform", ["LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("calibrated", [False, True])
def test_transforms(transform, classes, calibrated):
    compare(
        "SVMClassifier",
        X,
        outputs={"label": INT64, "scores": FLOAT},
        tolerance=5e-6,
        post_transform=transform,
        **machine(classes, "RBF", calibrated),
    )


def test_labels_of_text():
    attributes = machine(3, "RBF", calibrated=False)
    del attributes["classlabels_ints"]
    compare(
        "SVMClassifier",
        X,
        outputs={"label": STRING, "scores": FLOAT},
        tolerance=5e-6,
        classlabels_strings=["a", "b", "c"],
        **attributes,
    )


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("rho", [-0.3, 0.4])
def test_linear_machines(classes, positive, rho):
    weights = np.random.default_rng(2).standard_normal(4 * classes) / 3
    compare(
        "SVMClassifier",
        X,
        outputs={"label": INT64, "scores": FLOAT},
        coefficients=(np.abs(weights) if positive else weights).tolist(),
        rho=[rho],
        kernel_params=KERNELS["LINEAR"],
        classlabels_ints=list(range(classes)),
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("one_class", [0, 1])
@pytest.mark.parametrize("vectors", [0, 5])
def test_regressors(kernel, one_class, vectors):
    draws = np.random.default_rng(3)
    graph = compare(
        "SVMRegressor",
        X,
        tolerance=5e-6,
        n_supports=vectors,
        coefficients=draws.standard_normal(vectors or 4).tolist(),
        rho=[0.1],
        kernel_type=kernel,
        kernel_params=KERNELS[kernel],
        one_class=one_class,
        **({"support_vectors": draws.standard_normal(4 * vectors).tolist()} if vectors else {}),
    ).double()
    x = torch.from_numpy(X).double().requires_grad_()
    if one_class:
        assert graph.surrogates == ("SVMRegressor: straight-through",)
        assert (torch.autograd.grad(graph(x)[0].sum(), x)[0] != 0).any()
    else:
        assert torch.autograd.gradcheck(lambda point: graph(point)[0], (x,))


def test_the_gradient_of_coupled_probabilities_is_that_of_the_exact_ones():
    pairs = list(combinations(range(4), 2))
    likely = torch.rand((3, 6), dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def exact(likely):
        """By the optimality condition: Qp is the same for all classes, and p adds up to 1."""
        rows = []
        for row in likely:
            wins = torch.zeros((4, 4), dtype=row.dtype)
            for first, (i, j) in zip(row, pairs, strict=True):
                wins = wins.index_put((torch.tensor([i, j]), torch.tensor([j, i])), torch.stack([first, 1 - first]))
            form = torch.diag((wins.T**2).sum(1)) - wins.T * wins
            p = torch.linalg.solve(form, torch.ones(4, dtype=row.dtype))
            rows.append(p / p.sum())
        return torch.stack(rows)

    weights = torch.arange(4.0, dtype=torch.float64)
    found = coupled(likely, pairs, 4)
    assert (found - exact(likely)).abs().max() < 0.005
    (gradient,) = torch.autograd.grad((found * weights).sum(), likely)
    (expected,) = torch.autograd.grad((exact(likely) * weights).sum(), likely)
    assert torch.allclose(gradient, expected)


@pytest.mark.parametrize(
    ("op_type", "change", "words"),
    [
        ("SVMClassifier", {"kernel_type": "COSINE"}, "COSINE"),
        ("SVMClassifier", {"classlabels_ints": [1, 2]}, "2 labels for 3"),
        ("SVMRegressor", {"post_transform": "LOGISTIC"}, "post_transform"),
    ],
)
def test_what_is_not_understood_is_refused(op_type, change, words):
    outputs = {"label": INT64, "scores": FLOAT} if op_type == "SVMClassifier" else {"y": FLOAT}
    with pytest.raises(UnsupportedOperator, match=words):
        twin(one_node(op_type, X, outputs, 1, **(machine(3, "RBF", calibrated=False) | change)))


@pytest.mark.parametrize("names", [{"classlabels_int64s": [10, 11, 12]}, {"classlabels_strings": ["a", "b", "c"]}])
def test_the_twin_of_a_file_as_scikit_learn_exports_it_sees_through_its_maps(names, tmp_path, operators):
    attributes = machine(3, "RBF", calibrated=True)
    if "classlabels_strings" in names:
        del attributes["classlabels_ints"]
        attributes |= names
    nodes = [
        helper.make_node("Scaler", ["x"], ["s"], domain=ML, offset=[0.1], scale=[0.9]),
        helper.make_node("SVMClassifier", ["s"], ["label", "p"], domain=ML, **attributes),
        helper.make_node("Normalizer", ["p"], ["n"], domain=ML, norm="L1"),
        helper.make_node("ZipMap", ["n"], ["probabilities"], domain=ML, **names),
    ]
    model = make(nodes, [value("x", ["N", 4])], [onnx.ValueInfoProto(name="probabilities")], ml=1)
    options = TargetOptions(operators=operators, trust=True)
    target = OnnxTarget(write(tmp_path / "m.onnx", model), options)
    target.fit((4,))
    found, x = target.twin(), torch.from_numpy(X).requires_grad_()
    np.testing.assert_allclose(found.scores(x).detach().numpy(), target.scores(X), atol=2e-6)
    assert (torch.autograd.grad(found.logits(x)[:, 0].sum(), x)[0].abs().sum(dim=1) > 0).all()
