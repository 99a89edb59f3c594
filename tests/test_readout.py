from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_files import linear, make, value

from auditor.access import OutputKind
from auditor.errors import ModelError
from auditor.readout import Ending, Form, Readout, choose, ending, kind_of

Z = np.random.default_rng(0).normal(size=(6, 4)) * 3
P = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
SIGMOID = 1 / (1 + np.exp(-Z))


@pytest.mark.parametrize(
    ("rows", "end", "kind"),
    [
        (Z, "", OutputKind.LOGITS),
        (P, "", OutputKind.PROBABILITIES),
        (P.astype(np.float16), "Softmax", OutputKind.PROBABILITIES),
        (np.rint(P * 64) / 64, "Softmax", OutputKind.PROBABILITIES),
        (np.log(P), "", OutputKind.LOG_PROBABILITIES),
        (np.where(np.eye(4) > 0, 0, -np.inf), "", OutputKind.LOG_PROBABILITIES),
        (np.eye(4), "", OutputKind.PROBABILITIES),
        (np.array([[-1e-7, 1 + 1e-7], [0.25, 0.75]]), "TreeEnsembleClassifier", OutputKind.PROBABILITIES),
        (SIGMOID, "Sigmoid", OutputKind.PROBABILITIES),
        (SIGMOID, "Gemm", OutputKind.LOGITS),
        (np.maximum(Z, 0), "Relu", OutputKind.LOGITS),
        (np.abs(Z) * -1, "", OutputKind.LOGITS),
        (Z[:, :1], "Sigmoid", OutputKind.LOGITS),
        (SIGMOID[:, :1], "Sigmoid", OutputKind.PROBABILITIES),
        (SIGMOID[:, :1], "Gemm", OutputKind.LOGITS),
        (np.full((2, 3), np.nan), "", OutputKind.LOGITS),
    ],
)  # fmt: skip
def test_numbers_tell_what_they_are(rows: np.ndarray, end: str, kind: OutputKind) -> None:
    assert kind_of(rows, Ending(op_type=end)) is kind


def graph(nodes: list[onnx.NodeProto], output: str) -> onnx.ModelProto:
    return make(nodes, [value("x", ["N", 4])], [value(output, None)], ml=1)


def test_the_ending_is_the_last_operator_that_matters() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["z"]),
        helper.make_node("Softmax", ["z"], ["p"]),
        helper.make_node("Reshape", ["p", "s"], ["q"]),
        helper.make_node("Cast", ["q"], ["y"], to=1),
    ]
    found = ending(graph(nodes, "y"), "y")
    assert (found.op_type, found.source) == ("Softmax", "z")


def test_zipmap_and_classifiers_tell_names() -> None:
    names = ["b", "a"]
    classifier = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["l", "p"],
        domain="ai.onnx.ml",
        classlabels_strings=names,
        post_transform="LOGISTIC",
    )
    nodes = [classifier, helper.make_node("ZipMap", ["p"], ["m"], domain="ai.onnx.ml", classlabels_strings=names)]
    found = ending(graph(nodes, "m"), "m")
    assert (found.op_type, found.mapped, found.keys) == ("TreeEnsembleClassifier", "p", ("b", "a"))
    assert found.squashes


def test_an_output_that_is_the_input_ends_in_nothing() -> None:
    assert ending(graph([helper.make_node("Identity", ["x"], ["y"])], "y"), "y") == Ending()


def picked(*answers: dict[str, Any], ends: dict[str, Ending] | None = None, **options: Any) -> Readout:
    return choose(answers, {name: Ending() for name in answers[0]} | (ends or {}), **options)


LABEL = np.array([2])
MAPS = [{0: 0.2, 1: 0.3, 2: 0.5}]
ROW = P[:1].astype(np.float32)


def test_scores_win_over_maps_and_labels() -> None:
    assert picked({"label": LABEL, "maps": MAPS, "row": ROW}).output == "row"
    assert picked({"label": LABEL, "maps": MAPS}).form is Form.MAPS
    assert picked({"label": LABEL, "one": np.array([[0.3]], np.float32)}).output == "one"


def test_an_output_can_be_asked_for_by_name() -> None:
    assert picked({"row": ROW, "label": LABEL}, wanted="label", classes=4).form is Form.LABELS
    with pytest.raises(ModelError, match="row, label"):
        picked({"row": ROW, "label": LABEL}, wanted="other")


def test_rows_that_agree_are_one_answer_and_others_are_asked_about() -> None:
    assert picked({"logits": Z[:1], "probabilities": P[:1]}).output == "logits"
    with pytest.raises(ModelError, match=r"\[model\] output = 'a'"):
        picked({"a": np.array([[1.0, 2, 3]]), "b": np.array([[3.0, 2, 1]])})


@pytest.mark.parametrize("several", [False, True])
def test_a_number_of_classes_that_changes_is_refused(several: bool) -> None:
    answers = [{"y": Z[:1], "z": Z[:1]}, {"y": Z[:1, :2], "z": Z[:1, :2]}]
    with pytest.raises(ModelError, match="gave 2 scores for one and 4 for another"):
        picked(*(answers if several else [{"y": answer["y"]} for answer in answers]))
    with pytest.raises(ModelError, match="maps differ"):
        picked({"y": [{0: 0.5, 1: 0.5}]}, {"y": [{0: 0.5, 2: 0.5}]})


def test_what_is_no_classifier_is_refused() -> None:
    with pytest.raises(ModelError, match=r"features is float64 of shape \[1, 5, 7\]"):
        picked({"features": np.zeros((1, 5, 7))})


def test_maps_become_columns_in_the_order_that_the_graph_names() -> None:
    answers = {"m": [{"a": 0.1, "b": 0.9}]}
    sorted_keys = picked(answers)
    assert sorted_keys.class_names == ("a", "b")
    np.testing.assert_allclose(sorted_keys.scores(answers["m"]), [[0.1, 0.9]])
    named = picked(answers, ends={"m": Ending(keys=("b", "a"), mapped="p")})
    assert (named.class_names, named.source) == (("b", "a"), "p")
    np.testing.assert_allclose(named.scores(answers["m"] * 2), [[0.9, 0.1], [0.9, 0.1]])
    with pytest.raises(ModelError, match="left out"):
        named.scores([{"a": 1.0}])


def test_a_class_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="names a class twice"):
        picked({"maps": [{3: 0.4, 5: 0.6}]}, ends={"maps": Ending(keys=(3, 5, 3))})


def test_labels_become_one_hot_rows() -> None:
    plain = picked({"l": np.array([1])}, classes=3)
    np.testing.assert_array_equal(plain.scores(np.array([1, 0])), [[0, 1, 0], [1, 0, 0]])
    named = picked({"l": np.array(["cat"], object)}, ends={"l": Ending(keys=("ant", "cat"))})
    np.testing.assert_array_equal(named.scores(np.array(["cat"], object)), [[0, 1]])
    numbered = picked({"l": np.array([[7]])}, ends={"l": Ending(keys=(3, 7))})
    np.testing.assert_array_equal(numbered.scores(np.array([[7], [3]])), [[0, 1], [1, 0]])
    for readout, label in ((plain, np.array([3])), (named, np.array(["dog"], object)), (plain, np.array([-1]))):
        with pytest.raises(ModelError, match="should be one of"):
            readout.scores(label)


def test_a_lone_label_needs_a_count() -> None:
    assert (
        picked({"l": np.array([1])}, ends={"l": Ending(op_type="ArgMax", source="z")}, width={"z": 5}.get).classes == 5
    )
    with pytest.raises(ModelError, match="how many"):
        picked({"l": np.array([1])})


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (1, 1, 4), (4,), (1, 4)])
def test_rows_of_any_shape_are_read(shape: tuple[int, ...]) -> None:
    readout = picked({"y": Z[:1].reshape(shape)}, {"y": Z[1:2].reshape(shape)})
    assert readout.classes == 4
    np.testing.assert_array_equal(readout.scores(Z[:1].reshape(shape)), Z[:1])


def test_one_number_becomes_two_columns() -> None:
    readout = picked({"y": np.array([[0.25]])}, {"y": np.array([[0.75]])}, ends={"y": Ending(op_type="Sigmoid")})
    assert (readout.classes, readout.kind) == (2, OutputKind.PROBABILITIES)
    np.testing.assert_allclose(readout.scores(np.array([[0.25], [0.75]])), [[0.75, 0.25], [0.25, 0.75]])


def test_bytes_are_scores_where_nothing_better_is_there() -> None:
    readout = picked({"q": np.array([[3, 200, 7]], np.uint8)})
    assert (readout.kind, readout.classes) == (OutputKind.LOGITS, 3)


def test_a_model_of_one_matrix_ends_in_it(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", np.ones((4, 3), np.float32), ending=("ArgMax",), axis=1)
    found = ending(onnx.load(path), "z1")
    assert (found.op_type, found.source) == ("ArgMax", "z0")
