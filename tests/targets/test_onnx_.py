import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from auditor.plugins.operators import bundled
from auditor.plugins.targets.onnx_ import OnnxTarget, load_target, possible_shapes
from onnx import TensorProto, helper, numpy_helper
from onnx_files import endless_loop, huge_constant, linear, make, slow_where, value, write

from auditor import onnx_probe
from auditor.access import Access, OutputKind
from auditor.errors import ModelError, SamplesError, TargetUnavailable, UnsupportedOperator
from auditor.preprocess import Preprocess
from auditor.target import TargetOptions

DRAWS = np.random.default_rng(0)
W = DRAWS.normal(size=(4, 3)).astype(np.float32)
X = DRAWS.normal(size=(7, 4)).astype(np.float32)
SCORES = X @ W
TRUSTED = TargetOptions(trust=True, threads=1)


def loaded(path: Path, shape: tuple[int, ...] = (4,), **options: Any) -> OnnxTarget:
    """A target that was tried out in this process, fitted to samples of this shape."""
    target = OnnxTarget(path, TargetOptions(trust=True, threads=1, **options))
    target.fit(shape)
    return target


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def test_logits(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", W)
    target = OnnxTarget(path, TargetOptions(threads=1))
    target.fit((4,))
    np.testing.assert_allclose(target.scores(X), SCORES, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(target.scores(X, batch=1), SCORES, rtol=1e-5, atol=1e-6)
    assert (target.classes, target.shape, target.batch) == (3, (4,), None)
    assert (target.output, target.access) == (OutputKind.LOGITS, Access.SCORE)
    assert target.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert target.name == "m.onnx"
    assert target.queries == 14
    told = target.runtime
    assert (told["name"], told["version"], told["provider"]) == ("onnxruntime", ort.__version__, "CPUExecutionProvider")
    assert told["opset"] == "17"


@pytest.mark.parametrize(
    ("ending", "kind", "expected"),
    [
        (("Softmax",), OutputKind.PROBABILITIES, softmax(SCORES)),
        (("LogSoftmax",), OutputKind.LOG_PROBABILITIES, np.log(softmax(SCORES))),
        (("Softmax", "Log"), OutputKind.LOG_PROBABILITIES, np.log(softmax(SCORES))),
        (("Relu",), OutputKind.LOGITS, np.maximum(SCORES, 0)),
    ],
)
def test_kinds_of_scores(tmp_path: Path, ending: tuple[str, ...], kind: OutputKind, expected: np.ndarray) -> None:
    target = loaded(linear(tmp_path / "m.onnx", W, ending=ending))
    assert target.output is kind
    np.testing.assert_allclose(target.scores(X), expected, rtol=1e-4, atol=1e-5)


def test_a_label_alone_is_decision_access(tmp_path: Path) -> None:
    target = loaded(linear(tmp_path / "m.onnx", W, ending=("ArgMax",), axis=1, keepdims=0))
    assert (target.access, target.output, target.classes) == (Access.DECISION, OutputKind.LABELS, 3)
    np.testing.assert_array_equal(target.scores(X), np.eye(3)[SCORES.argmax(axis=1)])


@pytest.mark.parametrize(("ending", "kind"), [((), OutputKind.LOGITS), (("Sigmoid",), OutputKind.PROBABILITIES)])
def test_one_number_is_two_classes(tmp_path: Path, ending: tuple[str, ...], kind: OutputKind) -> None:
    target = loaded(linear(tmp_path / "m.onnx", W[:, :1], ending=ending))
    assert (target.classes, target.output) == (2, kind)
    np.testing.assert_array_equal(target.labels(X), SCORES[:, 0] > 0)


def test_a_file_that_insists_on_one_sample_gets_one(tmp_path: Path) -> None:
    target = loaded(linear(tmp_path / "m.onnx", W, shape=[1, 4]))
    assert target.batch == 1
    np.testing.assert_allclose(target.scores(X), SCORES, rtol=1e-5, atol=1e-6)


def test_a_file_that_insists_on_four_gets_four(tmp_path: Path) -> None:
    target = loaded(linear(tmp_path / "m.onnx", W, shape=[4, 4]))
    assert target.batch == 4
    np.testing.assert_allclose(target.scores(X), SCORES, rtol=1e-5, atol=1e-6)


def test_a_reshape_inside_may_insist_on_one(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    constants = {"s": np.array([1, 4]), "w": W}
    path = write(tmp_path / "m.onnx", make(nodes, [value("x", ["N", 4])], [value("y", ["N", 3])], constants))
    target = loaded(path)
    assert target.batch == 1
    np.testing.assert_allclose(target.scores(X), SCORES, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "tolerance"), [(TensorProto.FLOAT16, 2e-2), (TensorProto.DOUBLE, 1e-6), (TensorProto.INT8, 1e-6)]
)
def test_inputs_are_cast_to_the_type_of_the_file(tmp_path: Path, kind: int, tolerance: float) -> None:
    x = np.rint(X * 10) if kind == TensorProto.INT8 else X
    target = loaded(linear(tmp_path / "m.onnx", W, kind=kind))
    np.testing.assert_allclose(target.scores(x), x @ W, rtol=tolerance, atol=tolerance)


def test_a_file_of_bytes_takes_pixels_at_scale_255(tmp_path: Path) -> None:
    pixels = DRAWS.integers(0, 256, (7, 4))
    target = loaded(linear(tmp_path / "m.onnx", W, kind=TensorProto.UINT8), preprocess=Preprocess.preset("0-255"))
    scores = target.scores(pixels.astype(np.float32) / np.float32(255))
    np.testing.assert_allclose(scores, pixels @ W, rtol=1e-5, atol=1e-4)


def test_half_precision_out(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    half = TensorProto.FLOAT16
    model = make(nodes, [value("x", ["N", 4], half)], [value("y", ["N", 3], half)], {"w": W.astype(np.float16)})
    scores = loaded(write(tmp_path / "m.onnx", model)).scores(X)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, SCORES, rtol=1e-2, atol=1e-2)


def classifier(keys: list[Any], zipmap: bool) -> onnx.ModelProto:
    """A linear classifier as scikit-learn's exporter writes it: a label, and a map of probabilities."""
    texts = isinstance(keys[0], str)
    named = {"classlabels_strings" if texts else "classlabels_ints": keys}
    domain = {"domain": "ai.onnx.ml"}
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "raw"],
            coefficients=W.T.ravel().tolist(),
            intercepts=[0.0, 0.0, 0.0],
            multi_class=1,
            post_transform="SOFTMAX",
            **named,
            **domain,
        )
    ]
    outputs = [value("label", None, TensorProto.STRING if texts else TensorProto.INT64)]
    if zipmap:
        mapped = {"classlabels_strings" if texts else "classlabels_int64s": keys}
        nodes.append(helper.make_node("ZipMap", ["raw"], ["maps"], **mapped, **domain))
        key_type = TensorProto.STRING if texts else TensorProto.INT64
        row = helper.make_map_type_proto(key_type, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        outputs.append(helper.make_value_info("maps", helper.make_sequence_type_proto(row)))
    return make(nodes, [value("x", ["N", 4])], outputs, ml=1)


@pytest.mark.parametrize("keys", [[0, 1, 2], [3, 1, 7], ["b", "a", "c"]])
def test_maps_of_probabilities(tmp_path: Path, keys: list[Any]) -> None:
    target = loaded(write(tmp_path / "m.onnx", classifier(keys, zipmap=True)))
    assert (target.classes, target.output, target.access) == (3, OutputKind.PROBABILITIES, Access.SCORE)
    assert target.class_names == (tuple(keys) if isinstance(keys[0], str) else None)
    np.testing.assert_allclose(target.scores(X), softmax(SCORES), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("keys", [[0, 1, 2], [3, 1, 7], ["b", "a", "c"]])
def test_labels_with_names(tmp_path: Path, keys: list[Any]) -> None:
    target = loaded(write(tmp_path / "m.onnx", classifier(keys, zipmap=False)))
    assert (target.classes, target.access) == (3, Access.DECISION)
    np.testing.assert_array_equal(target.labels(X), SCORES.argmax(axis=1))


def test_an_output_named_by_the_user(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", classifier([0, 1, 2], zipmap=True))
    assert loaded(path, output="label").access is Access.DECISION
    with pytest.raises(ModelError, match="label, maps"):
        loaded(path, output="logits")


def open_net(shape: list[int | str | None]) -> onnx.ModelProto:
    """Mean over the two axes behind the channels, for pictures of any size."""
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["m"]), helper.make_node("Flatten", ["m"], ["y"])]
    return make(nodes, [value("x", shape)], [value("y", None)])


@pytest.mark.parametrize("shape", [["N", 3, "H", "W"], [1, 3, None, None], [None, None, None, None], None])
@pytest.mark.parametrize("sample", [(3, 9, 7), (9, 7, 3)])
def test_open_shapes_are_those_of_the_samples(tmp_path: Path, shape: Any, sample: tuple[int, ...]) -> None:
    target = loaded(write(tmp_path / "m.onnx", open_net(shape)), sample)
    assert target.shape == (3, 9, 7)
    assert target.classes == 3
    x = DRAWS.random((2, *sample), np.float32)
    axes = (2, 3) if sample[0] == 3 else (1, 2)
    np.testing.assert_allclose(target.scores(x), x.mean(axis=axes), rtol=1e-5)


def test_an_open_shape_is_tried_out_in_the_sandbox_again(tmp_path: Path) -> None:
    target = OnnxTarget(write(tmp_path / "m.onnx", open_net(["N", 3, "H", "W"])), TargetOptions(threads=1))
    assert target.classes == 3  # a guess ran
    target.fit((3, 5, 6))
    assert target.shape == (3, 5, 6)
    with pytest.raises(SamplesError, match=r"\[3, any, any\]"):
        target.fit((4, 5, 6))


@pytest.mark.parametrize(
    ("declared", "sample", "layout", "expected"),
    [
        ((None,), (28, 28), None, ((784,),)),
        ((None, 1), (28, 28), None, ((784, 1),)),
        ((1, None, None), (28, 28), None, ((1, 28, 28),)),
        ((None, None, None), (28, 28), None, ((1, 28, 28), (28, 28, 1))),
        ((None, None, None), (8, 6, 3), None, ((3, 8, 6), (8, 6, 3))),
        ((None, None, None), (8, 6, 3), "nhwc", ((8, 6, 3), (3, 8, 6))),
        ((None, None, 3), (8, 6, 3), None, ((8, 6, 3),)),
        ((None, None), (5,), None, ()),
    ],
)
def test_shapes_that_samples_may_reach(
    declared: tuple[int | None, ...], sample: tuple[int, ...], layout: str | None, expected: Any
) -> None:
    assert possible_shapes(declared, sample, layout) == expected


def test_a_shape_that_can_not_be_guessed_waits_for_samples(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["a"]), helper.make_node("Concat", ["a", "a"], ["y"], axis=1)]
    model = make(nodes, [value("x", ["N", "F"])], [value("y", None)], {"axes": np.array([1])})
    target = OnnxTarget(write(tmp_path / "m.onnx", model), TRUSTED)
    assert (target.shape, target.classes) == ((), 0)
    target.fit((5,))
    assert (target.shape, target.classes) == ((5,), 2)


def external(folder: Path) -> Path:
    """x @ W with W in a file of its own."""
    model = onnx.load(linear(folder / "m.onnx", W))
    (folder / "w.bin").write_bytes(W.tobytes())
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=W.shape, data_location=1))
    tensor.external_data.add(key="location", value="w.bin")
    return write(folder / "m.onnx", model)


@pytest.mark.parametrize("trust", [False, True])
def test_external_weights_are_followed(tmp_path: Path, trust: bool) -> None:
    path = external(tmp_path)
    target = OnnxTarget(path, TargetOptions(trust=trust, threads=1, operators=bundled()))
    (tmp_path / "w.bin").write_bytes(b"changed after it was checked")
    target.fit((4,))
    np.testing.assert_allclose(target.scores(X), SCORES, rtol=1e-5, atol=1e-6)
    assert target.sha256 == hashlib.sha256(path.read_bytes() + W.tobytes()).hexdigest()
    np.testing.assert_allclose(target.twin().scores(torch.from_numpy(X)).numpy(), SCORES, rtol=1e-5, atol=1e-6)


def test_external_weights_that_are_missing_or_linked_are_refused(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "w.bin").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"There is no file .*w\.bin"):
        OnnxTarget(path, TRUSTED)
    (tmp_path / "w.bin").hardlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="no other name links to"):
        OnnxTarget(path, TargetOptions())


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (huge_constant, r"m\.onnx could not be run: ConstantOfShape .*Failed to allocate memory.*274877906944"),
        (endless_loop, r"m\.onnx should answer within 0\.5 s"),
    ],
)
def test_bombs_end_in_one_sentence(tmp_path: Path, model: Callable[[], onnx.ModelProto], match: str) -> None:
    began = time.monotonic()
    with pytest.raises(ModelError, match=match) as caught:
        OnnxTarget(write(tmp_path / "m.onnx", model()), TargetOptions(timeout=0.5, memory=4 << 30))
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 30


def test_an_input_that_takes_for_ever_is_stopped_and_the_next_is_answered(tmp_path: Path) -> None:
    # the probes stay below the threshold, so that only a run on such an input hangs
    target = loaded(write(tmp_path / "m.onnx", slow_where(1000.0)), timeout=0.3)
    slow = np.array([[2000, 1, 2, 3]], np.float32)
    with pytest.raises(TargetUnavailable, match=r"did not answer within 0\.3 s"):
        target.scores(slow)
    fast = np.array([[0, 1, 2, 3]], np.float32)
    np.testing.assert_array_equal(target.scores(fast), fast)


def test_a_slow_model_is_tried_out_in_haste(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    run = onnx_probe._Trial.run

    def counted(trial: Any, x: np.ndarray) -> dict[str, Any]:
        runs.append(len(x))
        return run(trial, x)

    monkeypatch.setattr(onnx_probe, "HASTE", float("inf"))
    monkeypatch.setattr(onnx_probe._Trial, "run", counted)
    assert loaded(linear(tmp_path / "m.onnx", W)).output is OutputKind.LOGITS
    assert runs == [1, 1, 2]


def two_inputs() -> onnx.ModelProto:
    inputs = [value("x", ["N", 4]), value("mask", ["N", 4])]
    return make([helper.make_node("Add", ["x", "mask"], ["y"])], inputs, [value("y", ["N", 4])])


def text_input() -> onnx.ModelProto:
    node = helper.make_node("StringNormalizer", ["x"], ["y"])
    return make([node], [value("x", [4], TensorProto.STRING)], [value("y", [4], TensorProto.STRING)])


def no_batch() -> onnx.ModelProto:
    return make([helper.make_node("Relu", ["x"], ["y"])], [value("x", [5])], [value("y", [5])])


def picture_out() -> onnx.ModelProto:
    return make([helper.make_node("Relu", ["x"], ["y"])], [value("x", ["N", 3, 8, 8])], [value("y", None)])


def contradiction() -> onnx.ModelProto:
    return make(
        [helper.make_node("Reshape", ["x", "s"], ["y"])],
        [value("x", ["N", 4])],
        [value("y", None)],
        {"s": np.array([-1, 3])},
    )


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (two_inputs, r"takes one input, m\.onnx takes 2 \(x, mask\)"),
        (text_input, "should take numbers"),
        (no_batch, "batch axis"),
        (picture_out, r"y is float32 of shape \[1, 3, 8, 8\]"),
        (contradiction, r"m\.onnx could not be run: Reshape"),
    ],
)
def test_what_is_no_classifier_is_refused(tmp_path: Path, model: Callable[[], onnx.ModelProto], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        OnnxTarget(write(tmp_path / "m.onnx", model()), TRUSTED)


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no file"):
        load_target(str(tmp_path / "absent.onnx"), TargetOptions())
    (tmp_path / "text.onnx").write_text("hello, this is a text")
    with pytest.raises(ModelError, match=r"text\.onnx is not an ONNX file"):
        load_target(str(tmp_path / "text.onnx"), TargetOptions())
    assert load_target("model.pt", TargetOptions()) is None


def test_the_twin_needs_operators(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperator, match="gradient-free"):
        loaded(linear(tmp_path / "m.onnx", W)).twin()


@pytest.mark.parametrize("shape", [["N", 4], [1, 4], [3, 4]])
def test_the_twin_is_what_the_target_is(tmp_path: Path, shape: list[int | str | None]) -> None:
    target = loaded(linear(tmp_path / "m.onnx", W, ending=("Softmax",), shape=shape), operators=bundled())
    twin = target.twin()
    np.testing.assert_allclose(twin.scores(torch.from_numpy(X)).numpy(), target.scores(X), rtol=1e-4, atol=1e-6)
    assert twin.peeled == "softmax"


def test_a_label_alone_has_the_twin_of_its_scores(tmp_path: Path) -> None:
    target = loaded(linear(tmp_path / "m.onnx", W, ending=("ArgMax",), axis=1), operators=bundled())
    x = torch.from_numpy(X).requires_grad_()
    logits = target.twin().logits(x)
    np.testing.assert_allclose(logits.detach().numpy(), SCORES, rtol=1e-5, atol=1e-6)
    assert logits.requires_grad


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist_undefended_softmax", ((1, 28, 28), None, 10, OutputKind.PROBABILITIES)),
        ("mnist_undefended_logits", ((1, 28, 28), None, 10, OutputKind.LOGITS)),
        ("mnist_cntk_batch1", ((1, 28, 28), 1, 10, OutputKind.LOGITS)),
        ("imagenet_squeezenet_fp16", ((3, 224, 224), 1, 1000, OutputKind.PROBABILITIES)),
        ("iris_random_forest_zipmap", ((4,), None, 3, OutputKind.PROBABILITIES)),
        ("mnist_2_6_robust_trees_eps0.3", ((784,), None, 2, OutputKind.LOGITS)),
        ("vnncomp_cifar_marabou_small_nhwc", ((32, 32, 3), None, 10, OutputKind.LOGITS)),
        ("vnncomp_mnist_fc_256x2", ((784, 1), 1, 10, OutputKind.LOGITS)),
        ("vnncomp_mnist_relu_9_200_final_relu", ((1, 28, 28), 1, 10, OutputKind.LOGITS)),
    ],
)
def test_real_files(shared: Path, name: str, expected: Any) -> None:
    target = OnnxTarget(shared / "models" / f"{name}.onnx", TargetOptions(threads=1))
    assert (target.shape, target.batch, target.classes, target.output) == expected


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("custom_op_noisy_relu_unloadable", r"MyNoisyReluDomain:NoisyRelu\(-1\) is not a registered function/op\.$"),
        ("qonnx_tfc_1w1a_unloadable", r"node BipolarQuant_14 .*: No opset import for domain 'onnx\.brevitas'\.$"),
    ],
)
def test_files_that_the_runtime_refuses(shared: Path, name: str, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        OnnxTarget(shared / "models" / f"{name}.onnx", TargetOptions())


@pytest.mark.shared
def test_the_iris_forest_is_right_about_all_its_rows(shared: Path) -> None:
    target = loaded(shared / "models" / "iris_random_forest_zipmap.onnx")
    data = np.load(shared / "models" / "iris_90.npz")
    np.testing.assert_array_equal(target.labels(data["x"]), data["y"])


def test_constants_of_the_file_are_the_ones_that_are_run(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", W)
    target = loaded(path)
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(-W, "w"))
    write(path, model)  # a new file in its place changes nothing about the one that was loaded
    np.testing.assert_allclose(target.scores(X), SCORES, rtol=1e-5, atol=1e-6)
