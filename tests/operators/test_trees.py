import numpy as np
import pytest
import torch
from ml_nodes import compare, one_node, random_forest, random_tree, runtime, twin
from onnx import TensorProto, numpy_helper

from auditor.errors import UnsupportedOperator

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")


@pytest.fixture
def draws():
    return np.random.default_rng(0)


def inputs(draws, missing=False, grid=False, rows=60):
    x = draws.integers(-2, 3, (rows, 4)).astype(np.float32) if grid else draws.standard_normal((rows, 4), np.float32)
    if missing:
        x[draws.random(x.shape) < 0.2] = np.nan
    return x


@pytest.mark.parametrize("opset", [1, 3])
@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), MODES])
@pytest.mark.parametrize("missing", [False, True])
def test_every_branch_and_missing_values(draws, modes, missing, opset):
    forest = random_forest(draws, "target", [0, 1], modes=modes, missing=missing, grid=True)
    compare(
        "TreeEnsembleRegressor",
        inputs(draws, missing=True, grid=True),
        opset=opset,
        tolerance=0,
        n_targets=2,
        **forest,
    )


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("based", [False, True])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_regressors_aggregate_and_transform(draws, aggregate, targets, based, transform):
    forest = random_forest(draws, "target", list(range(targets)), positive=True)
    base = draws.random(targets) / 8 if based else []
    compare(
        "TreeEnsembleRegressor",
        inputs(draws),
        tolerance=1e-4 if transform == "PROBIT" else 1e-6,  # near 1/2 it takes the difference of equal numbers
        n_targets=targets,
        aggregate_function=aggregate,
        post_transform=transform,
        **({"base_values": base.tolist()} if based else {}),
        **forest,
    )


@pytest.mark.parametrize("aggregate", ["SUM", "MIN", "MAX"])
def test_a_target_that_no_leaf_scores_is_zero(draws, aggregate):
    forest = random_forest(draws, "target", [0, 2])
    compare("TreeEnsembleRegressor", inputs(draws), n_targets=3, aggregate_function=aggregate, **forest)


@pytest.mark.parametrize("trees", [1, 7, 100])
@pytest.mark.parametrize("rows", [1, 3, 200])
def test_sums_are_rounded_as_the_runtime_rounds_them(draws, trees, rows):
    forest = random_forest(draws, "target", [0], trees=trees)
    compare("TreeEnsembleRegressor", inputs(draws, rows=rows), tolerance=0, n_targets=1, **forest)


@pytest.mark.parametrize("named", [[0], [1], [0, 1]])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("transform", TRANSFORMS[:4])
@pytest.mark.parametrize("based", [False, True])
@pytest.mark.parametrize("labels", ["numbers", "texts"])
def test_two_classes_as_the_runtime_has_them(draws, named, positive, transform, based, labels):
    if based and 0 not in named:
        pytest.skip("refused")
    forest = random_forest(draws, "class", named, positive=positive)
    given = {"classlabels_int64s": [0, 1]} if labels == "numbers" else {"classlabels_strings": ["no", "yes"]}
    compare(
        "TreeEnsembleClassifier",
        inputs(draws),
        outputs={"label": INT64 if labels == "numbers" else STRING, "scores": FLOAT},
        post_transform=transform,
        **({"base_values": [0.125]} if based else {}),
        **given,
        **forest,
    )


@pytest.mark.parametrize("named", [[0, 1, 2], [0, 2]])
@pytest.mark.parametrize("transform", TRANSFORMS[:4])
@pytest.mark.parametrize("based", [False, True])
def test_several_classes(draws, named, transform, based):
    forest = random_forest(draws, "class", named)
    compare(
        "TreeEnsembleClassifier",
        inputs(draws),
        outputs={"label": INT64, "scores": FLOAT},
        post_transform=transform,
        classlabels_int64s=[5, 7, 11],
        **({"base_values": [0.1, 0.2, -0.3]} if based else {}),
        **forest,
    )


def test_double_precision_thresholds_of_the_file_are_kept(draws):
    forest = random_forest(draws, "target", [0])
    values, weights = (np.array(forest.pop(name)) + 1e-12 for name in ("nodes_values", "target_weights"))
    forest |= {"nodes_values_as_tensor": numpy_helper.from_array(values, "v")}
    forest |= {"target_weights_as_tensor": numpy_helper.from_array(weights, "w")}
    x = inputs(draws).astype(np.float64)
    model = one_node("TreeEnsembleRegressor", x, {"y": FLOAT}, 3, n_targets=1, **forest)
    (found,) = twin(model).double()(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), runtime(model, x)[0], rtol=1e-6)


def ensemble(draws, trees=4, *, members=False, missing=False):
    """Attributes of a TreeEnsemble."""
    lists = {name: [] for name in ("featureids", "truenodeids", "trueleafs", "falsenodeids", "falseleafs")}
    splits, modes, leaves, roots, sets = [], [], [], [], []
    for _ in range(trees):
        children = random_tree(draws, levels=4)
        inner = [place for place, (yes, _) in enumerate(children) if yes > 0]
        place_of = {place: len(splits) + number for number, place in enumerate(inner)}
        roots.append(place_of[0])
        for place in inner:
            lists["featureids"].append(int(draws.integers(4)))
            splits.append(float(draws.integers(-1, 2)))
            modes.append(6 if members and draws.random() < 0.5 else int(draws.integers(6)))
            if modes[-1] == 6:
                sets += [*draws.choice(8, int(draws.integers(1, 4)), replace=False).tolist(), np.nan]
            for side, child in zip(("true", "false"), children[place], strict=True):
                is_leaf = child not in place_of
                lists[f"{side}nodeids"].append(len(leaves) if is_leaf else place_of[child])
                lists[f"{side}leafs"].append(int(is_leaf))
                leaves += [(int(draws.integers(2)), float(draws.standard_normal()))] if is_leaf else []
    attributes = {f"nodes_{name}": entries for name, entries in lists.items()}
    arrays = {"nodes_splits": np.float32(splits), "leaf_weights": np.float32([weight for _, weight in leaves])}
    arrays |= {"nodes_modes": np.array(modes, np.uint8)} | ({"membership_values": np.float32(sets)} if members else {})
    tensors = {name: numpy_helper.from_array(array, name) for name, array in arrays.items()}
    tracks = {"nodes_missing_value_tracks_true": draws.integers(0, 2, len(modes)).tolist()} if missing else {}
    return {**attributes, **tensors, **tracks, "tree_roots": roots, "leaf_targetids": [i for i, _ in leaves]}


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("members", [False, True])
@pytest.mark.parametrize("aggregate", [0, 1, 2, 3])
def test_the_newest_operator(draws, members, missing, aggregate):
    for _ in range(5):
        forest = ensemble(draws, members=members, missing=missing)
        x = inputs(draws, missing=missing, grid=True)
        x[::2] *= 1.5
        compare("TreeEnsemble", np.abs(x), opset=5, n_targets=2, aggregate_function=aggregate, **forest)


@pytest.mark.parametrize("transform", range(4))
def test_transforms_of_the_newest_operator_are_numbered_as_the_runtime_does(draws, transform):
    compare("TreeEnsemble", inputs(draws), opset=5, n_targets=2, post_transform=transform, **ensemble(draws))


def test_a_forest_has_no_gradient_and_says_so(draws):
    forest = random_forest(draws, "target", [0])
    graph = twin(one_node("TreeEnsembleRegressor", inputs(draws), {"y": FLOAT}, 3, n_targets=1, **forest))
    (found,) = graph(torch.from_numpy(inputs(draws)).requires_grad_())
    assert not found.requires_grad
    assert graph.surrogates == ("TreeEnsembleRegressor: none: a forest is piecewise constant",)


def test_samples_can_be_mapped(draws):
    forest = random_forest(draws, "target", [0, 1], modes=MODES)
    x = torch.from_numpy(inputs(draws))
    graph = twin(one_node("TreeEnsembleRegressor", x.numpy(), {"y": FLOAT}, 3, n_targets=2, **forest))
    mapped = torch.vmap(lambda row: graph(row[None])[0][0])(x)
    assert torch.equal(mapped, graph(x)[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nodes_truenodeids": [0, 0, 0]}, "levels"),
        ({"nodes_modes": ["BRANCH_SOMEHOW", "LEAF", "LEAF"]}, "BRANCH_SOMEHOW"),
        ({"nodes_nodeids": [0, 1, 1]}, "named twice"),
        ({"target_ids": [0, 3]}, "do not fit"),
        ({"target_nodeids": [1, 1]}, "two weights"),
        ({"aggregate_function": "MEDIAN"}, "MEDIAN"),
        ({"post_transform": "CUBE"}, "CUBE"),
        ({"base_values": [0.5, 0.5]}, "2 base values"),
    ],
)
def test_what_is_not_understood_is_refused(change, words):
    tree = {
        "n_targets": 1,
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [1.0, -1.0],
    }
    model = one_node("TreeEnsembleRegressor", np.zeros((1, 1), np.float32), {"y": FLOAT}, 3, **(tree | change))
    with pytest.raises(UnsupportedOperator, match=words):
        twin(model)


def test_sets_that_the_runtime_gets_wrong_are_refused():
    tree = {
        "n_targets": 1,
        "tree_roots": [0],
        "nodes_modes": numpy_helper.from_array(np.array([6], np.uint8), "m"),
        "nodes_splits": numpy_helper.from_array(np.zeros(1, np.float32), "s"),
        "membership_values": numpy_helper.from_array(np.array([-1, 2, np.nan], np.float32), "v"),
        "leaf_weights": numpy_helper.from_array(np.ones(2, np.float32), "w"),
        "leaf_targetids": [0, 0],
    }
    tree |= {f"nodes_{name}": [0] for name in ("featureids", "truenodeids")}
    tree |= {f"nodes_{name}": [1] for name in ("trueleafs", "falsenodeids", "falseleafs")}
    with pytest.raises(UnsupportedOperator, match="sets"):
        twin(one_node("TreeEnsemble", np.zeros((1, 1), np.float32), {"y": FLOAT}, 5, **tree))
