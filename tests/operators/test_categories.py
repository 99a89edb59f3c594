import numpy as np
import pytest
import torch
from ml_nodes import compare, one_node, twin
from onnx import TensorProto, numpy_helper

from auditor.errors import UnsupportedOperator

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
TEXT = np.array([["cat", "dog"], ["emu", "cat"]], dtype=object)
WHOLE = np.array([[3, 1, 4], [1, 5, 9]], np.int64)
FLOATS = np.array([[3.0, 1.9, -0.5], [1.0, np.nan, 5.0]], np.float32)


@pytest.mark.parametrize("x", [WHOLE, WHOLE[0], np.nan_to_num(FLOATS)], ids=["rows", "vector", "floats"])
def test_one_hot_of_numbers(x):
    compare("OneHotEncoder", x, cats_int64s=[0, 1, 3, 5])


def test_one_hot_of_text():
    compare("OneHotEncoder", TEXT, cats_strings=["dog", "cat"])


def test_one_hot_of_floats_has_the_gradient_of_a_bump():
    graph = twin(one_node("OneHotEncoder", FLOATS, {"y": FLOAT}, 1, cats_int64s=[0, 2]))
    x = torch.tensor([[0.5]], requires_grad=True)
    found = graph(x)[0][0, 0]
    assert found.tolist() == [1, 0]
    assert torch.autograd.grad(found[0], x)[0] < 0
    assert torch.autograd.grad(graph(x)[0][0, 0, 1], x)[0] > 0


ENTRIES = {"int64s": [1, 3, 5], "floats": [1.0, 3.0, float("nan")], "strings": ["cat", "dog", "ox"]}
KINDS = {"int64s": INT64, "floats": FLOAT, "strings": STRING}
INPUTS = {"int64s": WHOLE, "floats": FLOATS, "strings": TEXT}
DEFAULTS = {"int64s": 7, "floats": 0.5, "strings": "none"}
PAIRS = [(key, value) for key in ENTRIES for value in ENTRIES if key != value or key == "int64s"]


@pytest.mark.parametrize(("key", "value"), PAIRS)
@pytest.mark.parametrize("stated", [False, True])
def test_label_encoder(key, value, stated):
    default = {f"default_{value.removesuffix('s')}": DEFAULTS[value]} if stated else {}
    table = {f"keys_{key}": ENTRIES[key], f"values_{value}": [entry for entry in ENTRIES[value] if entry == entry]}
    table[f"keys_{key}"] = table[f"keys_{key}"][: len(table[f"values_{value}"])]
    compare("LabelEncoder", INPUTS[key], outputs={"y": KINDS[value]}, opset=4, **table, **default)


def test_not_a_number_is_a_key():
    compare(
        "LabelEncoder", FLOATS, outputs={"y": INT64}, opset=4, keys_floats=[float("nan"), 1.0], values_int64s=[6, 7]
    )


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_label_encoder_with_tensors(kind):
    keys, values = np.array([1, 3, 5], kind), np.array([0.5, 0.25, 0.125], np.float64)
    if kind is np.int64:
        values = np.array([10, 20, 30], np.int64)
    tensors = {"keys_tensor": keys, "values_tensor": values, "default_tensor": values[:1] + 1}
    compare(
        "LabelEncoder",
        WHOLE.astype(kind),
        outputs={"y": INT64 if kind is np.int64 else TensorProto.DOUBLE},
        opset=4,
        **{name: numpy_helper.from_array(array, name) for name, array in tensors.items()},
    )


@pytest.mark.parametrize(("x", "kind"), [(TEXT, INT64), (np.array([0, 1, 2, -1]), STRING)])
def test_the_first_label_encoder_maps_both_ways(x, kind):
    compare("LabelEncoder", x, outputs={"y": kind}, opset=1, classes_strings=["cat", "dog"])


@pytest.mark.parametrize(("x", "kind"), [(TEXT, INT64), (WHOLE, STRING)])
def test_category_mapper(x, kind):
    table = {"cats_strings": ["cat", "dog"], "cats_int64s": [3, 9]}
    compare("CategoryMapper", x, outputs={"y": kind}, opset=1, default_int64=-5, default_string="none", **table)


@pytest.mark.parametrize(
    ("op_type", "attributes", "words"),
    [
        ("OneHotEncoder", {"cats_int64s": [1, 1]}, "named twice"),
        ("LabelEncoder", {"keys_int64s": [1, 1], "values_int64s": [1, 2]}, "named twice"),
        ("LabelEncoder", {"keys_int64s": [1]}, "0 lists of values"),
    ],
)
def test_what_is_not_understood_is_refused(op_type, attributes, words):
    with pytest.raises(UnsupportedOperator, match=words):
        twin(one_node(op_type, WHOLE, {"y": INT64}, 2, **attributes))
