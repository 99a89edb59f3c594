"""Models built to deceive, each a plain net behind something that hides its gradient: the base net is the answer."""

import numpy as np
import pytest
import torch
from auditor.plugins.operators import bundled
from auditor.plugins.targets.onnx_ import OnnxTarget
from onnx import TensorProto, helper

from auditor.bench import LinearTarget
from auditor.defense import Defense
from auditor.errors import UnsupportedOperator
from auditor.losses import LOSSES
from auditor.smoothing import ALIKE, JUDGED, smoothed
from auditor.spread import SPREAD
from auditor.target import TargetOptions
from tests.models import save

FEATURES, HIDDEN, CLASSES = 32, 24, 4
RNG = np.random.default_rng(0)
WEIGHTS = {
    "w1": RNG.normal(size=(FEATURES, HIDDEN)).astype(np.float32) / 3,
    "b1": RNG.normal(size=HIDDEN).astype(np.float32) / 4,
    "w2": RNG.normal(size=(HIDDEN, CLASSES)).astype(np.float32),
    "zero": np.zeros((), np.float32),
    "one": np.ones((), np.float32),
    "half": np.full((), 0.5, np.float32),
    "loud": np.full((), 100.0, np.float32),
    "steps": np.full((), 4.0, np.float32),
    "levels": np.full((), 255.0, np.float32),
    "scale": np.full((), 1 / 3, np.float32),
    "zp": np.zeros((), np.uint8),
    "three": np.array([HIDDEN - 6], np.int64),
    "last": np.array([HIDDEN - 7], np.int64),
    "bits": np.full((), 0xC0, np.uint8),
    "two": np.array([0, 1], np.float32),
    "depth": np.array(CLASSES, np.int64),
    "classes": np.arange(CLASSES),
    "true": np.array(True),
}
WEIGHTS["axes"], WEIGHTS["marks"] = np.array([-1]), np.linspace(-8, 1, 10, dtype=np.float32)
X = RNG.random((24, FEATURES)).astype(np.float32)
MANY = RNG.random((80, FEATURES)).astype(np.float32)


def op(op_type, inputs, outputs, **attributes):
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def net(first=None, inner=None, last=None):
    """A net of two layers; nodes from x to v, from h to a and from z to y."""
    products = op("MatMul", "v w1", "h0"), op("Add", "h0 b1", "h")
    first, inner = first or [op("Identity", "x", "v")], inner or [op("Relu", "h", "a")]
    return [*first, *products, *inner, op("MatMul", "a w2", "z"), *(last or [op("Identity", "z", "y")])]


def target(path, nodes, opset=18):
    used = {name for node in nodes for name in node.input}
    constants = {name: value for name, value in WEIGHTS.items() if name in used}
    save(path, nodes, constants, inputs=["N", FEATURES], output=("y", ["N", CLASSES]), opset=opset)
    made = OnnxTarget(path, TargetOptions(operators=bundled(), trust=True, threads=1))
    made.fit((FEATURES,))
    return made


def slopes(twin):
    """The gradient of each sample's largest score less its second, for the plain net's two best classes."""
    x = torch.from_numpy(X).clone().requires_grad_()
    best = torch.from_numpy(plain_scores()).topk(2, dim=1).indices
    logits = twin.logits(x).gather(1, best)
    (slope,) = torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), x)
    return slope


def plain_scores():
    hidden = np.maximum(X @ WEIGHTS["w1"] + WEIGHTS["b1"], 0)
    return hidden @ WEIGHTS["w2"]


def agreement(twin, truth):
    """The share of features whose sign is the true one."""
    return float((slopes(twin).sign() == truth.sign()).float().mean())


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")

    def slope(kind):
        inner = {"relu": op("Relu", "h", "a"), "tanh": op("Tanh", "h", "a"), "sigmoid": op("Sigmoid", "h", "a")}[kind]
        return slopes(target(folder / f"{kind}.onnx", net(inner=[inner])).twin())

    return {kind: slope(kind) for kind in ("relu", "tanh", "sigmoid")}


TWO_LEVELS = [op("Round", "x", "v")]
FLOOR = [op("Mul", "x steps", "s"), op("Mod", "s one", "m", fmod=1), op("Sub", "s m", "f"), op("Div", "f steps", "v")]
PAIR = [op("QuantizeLinear", "x scale zp", "q"), op("DequantizeLinear", "q scale zp", "v")]
BITS = [
    op("Mul", "x levels", "s"),
    op("Cast", "s", "c", to=TensorProto.UINT8),
    op("BitwiseAnd", "c bits", "k"),
    op("Cast", "k", "f", to=TensorProto.FLOAT),
    op("Div", "f levels", "v"),
]
INPUT_THRESHOLD = [op("Greater", "x half", "g"), op("Cast", "g", "v", to=TensorProto.FLOAT)]
SIGN = [op("Sign", "h", "a")]
SATURATED = [op("Mul", "h loud", "l"), op("Sigmoid", "l", "a")]
TANH = [op("Mul", "h loud", "l"), op("Tanh", "l", "a")]
PLATEAUS = [op("Mul", "h loud", "l"), op("HardSigmoid", "l", "a")]
CHOICE = [op("Greater", "h zero", "g"), op("Where", "g one zero", "a")]
WINNERS = [
    op("Relu", "h", "r"),
    op("TopK", "r three", "top places"),
    op("Gather", "top last", "least", axis=1),
    op("GreaterOrEqual", "r least", "g"),
    op("Cast", "g", "c", to=TensorProto.FLOAT),
    op("Mul", "r c", "a"),
]
CHOSEN = [*WINNERS[:4], op("Where", "g r zero", "a")]
PLACED = [
    op("Relu", "h", "r"),
    op("TopK", "r three", "top places"),
    op("Shape", "r", "lengths"),
    op("ConstantOfShape", "lengths", "zeros"),
    op("ScatterElements", "zeros places top", "a", axis=1),
]
DROPPED = [op("Relu", "h", "r"), op("Dropout", "r half true", "a", seed=1)]
NOISE = [op("Relu", "h", "r"), op("RandomNormalLike", "r", "n"), op("Add", "r n", "a")]
RANDOM_MASK = [
    op("Relu", "h", "r"),
    op("RandomUniformLike", "r", "u"),
    op("Less", "u half", "g"),
    op("Cast", "g", "c", to=TensorProto.FLOAT),
    op("Mul", "c r", "a"),
]
DECIDED = [op("Greater", "z zero", "g"), op("Cast", "g", "y", to=TensorProto.FLOAT)]
EQUAL = [op("ArgMax", "z", "i", axis=1), op("Equal", "i classes", "g"), op("Cast", "g", "y", to=TensorProto.FLOAT)]
CLIPPED = [op("Relu", "z", "y")]
MARKED = [op("ArgMax", "z", "i", axis=-1, keepdims=0), op("OneHot", "i depth two", "o"), op("Add", "o z", "y")]
LEFT_OUT = {
    "input rounded to two levels": ("relu", {"first": TWO_LEVELS}, "Round: left out"),
    "input floored": ("relu", {"first": FLOOR}, "Mod: left out"),
    "input quantised": ("relu", {"first": PAIR}, "QuantizeLinear: not rounded"),
    "bits masked": ("relu", {"first": BITS}, "BitwiseAnd: left out"),
    "k-WTA by a product": ("relu", {"inner": WINNERS}, "mask of the largest: left out"),
    "k-WTA by a choice": ("relu", {"inner": CHOSEN}, "mask of the largest: left out"),
    "k-WTA by places": ("relu", {"inner": PLACED}, "mask of the largest: left out"),
    "dropout": ("relu", {"inner": DROPPED}, "Dropout: left out"),
    "noise": ("relu", {"inner": NOISE}, "RandomNormalLike: its mean"),
    "a random mask": ("relu", {"inner": RANDOM_MASK}, "random mask: left out"),
    "answers compared": ("relu", {"last": DECIDED}, "the last Greater: left out"),
    "answers marked": ("relu", {"last": EQUAL}, "Equal of ArgMax: softmax"),
    "scores clipped": ("relu", {"last": CLIPPED}, "the last Relu: left out"),
}
"""What hides the gradient can be left out altogether: then the net behind is what remains."""
SOFTENED = {
    "input compared": ("relu", {"first": INPUT_THRESHOLD}, "Greater: softened"),
    "signs": ("tanh", {"inner": SIGN}, "Sign: softened"),
    "choices": ("sigmoid", {"inner": CHOICE}, "Greater: softened"),
    "saturated tanh": ("tanh", {"inner": TANH}, "Tanh: at a lower temperature"),
    "saturated sigmoid": ("sigmoid", {"inner": SATURATED}, "Sigmoid: at a lower temperature"),
    "plateaus": ("sigmoid", {"inner": PLATEAUS}, "HardSigmoid: at a lower temperature"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_can_be_left_out_leaves_the_net_behind(tmp_path, base, name):
    kind, parts, label = LEFT_OUT[name]
    twin = smoothed(target(tmp_path / "m.onnx", net(**parts)), X)
    assert label in twin.surrogates
    assert agreement(twin, base[kind]) > 0.99
    found, scores = twin.logits(torch.from_numpy(X)), torch.from_numpy(plain_scores())
    torch.testing.assert_close(found / found.std(), scores / scores.std(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SOFTENED)
def test_what_is_softened_points_where_the_net_behind_does(tmp_path, base, name):
    kind, parts, label = SOFTENED[name]
    twin = smoothed(target(tmp_path / "m.onnx", net(**parts)), X)
    assert label in twin.surrogates
    assert agreement(twin, base[kind]) > 0.65


@pytest.mark.parametrize("parts", [{"inner": SATURATED}, {"inner": TANH}, {"inner": PLATEAUS}, {"first": FLOOR}])
def test_the_plain_twins_of_some_mislead(tmp_path, base, parts):
    kind = {"inner": "tanh" if parts.get("inner") is TANH else "sigmoid", "first": "relu"}[next(iter(parts))]
    assert agreement(target(tmp_path / "m.onnx", net(**parts)).twin(), base[kind]) < 0.65


def test_no_gradient_at_all_becomes_one(tmp_path):
    made = target(tmp_path / "m.onnx", net(first=BITS))
    with pytest.raises(UnsupportedOperator, match="no gradient"):
        made.twin()
    assert slopes(smoothed(made, X)).abs().amin() > 0


def broken(made, twin, epsilon=0.06, steps=15):
    """The share of samples that the model classes otherwise where PGD on the margin of this twin ends."""
    labels, clean = torch.from_numpy(made.labels(MANY)), torch.from_numpy(MANY)
    x = clean.clone()
    for _ in range(steps):
        x.requires_grad_()
        loss = LOSSES["margin"](twin.logits(x), labels, torch.full_like(labels, -1)).sum()
        x = x.detach() + 2.5 * epsilon / steps * torch.autograd.grad(loss, x)[0].sign()
        x = (clean + (x - clean).clamp(-epsilon, epsilon)).clamp(0, 1)
    return float((made.labels(x.numpy()) != labels.numpy()).mean())


@pytest.mark.parametrize(
    "parts", [{"first": FLOOR}, {"inner": SIGN}, {"inner": TANH}, {"inner": PLATEAUS}, {"last": EQUAL}]
)
def test_attacks_on_the_smoothed_twin_break_what_those_on_the_plain_one_do_not(tmp_path, parts):
    made = target(tmp_path / "m.onnx", net(**parts))
    assert broken(made, smoothed(made, MANY)) > broken(made, made.twin()) + 0.25


def test_a_narrow_step_is_taken_where_a_wide_one_answers_otherwise(tmp_path):
    """The scores of a thermometer code, half of whose thresholds no sample is near, are lost in wide steps."""
    rows = [op("Unsqueeze", "x axes", "u"), op("Greater", "u marks", "g"), op("Cast", "g", "f", to=TensorProto.FLOAT)]
    made = target(tmp_path / "m.onnx", net(first=[*rows, op("ReduceSum", "f axes", "v", keepdims=0)]))
    twin = smoothed(made, MANY)
    assert twin.surrogates == ("Greater: softened",)
    alike = twin.logits(torch.from_numpy(MANY)).argmax(dim=1).numpy() == made.labels(MANY)
    assert alike[:JUDGED].mean() >= ALIKE


def test_the_place_of_the_largest_becomes_a_softmax(tmp_path, base):
    twin = smoothed(target(tmp_path / "m.onnx", net(last=MARKED)), X)
    assert "OneHot of ArgMax: softmax" in twin.surrogates
    scores = torch.from_numpy(plain_scores())
    expected, found = scores + scores.softmax(1), twin.logits(torch.from_numpy(X))
    torch.testing.assert_close(found / found.std(), expected / expected.std(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("factor", ["loud", "scale"])
def test_scores_have_the_spread_of_other_nets(tmp_path, factor):
    made = target(tmp_path / "m.onnx", net(first=TWO_LEVELS, last=[op("Mul", f"z {factor}", "y")]))
    logits = smoothed(made, X).logits(torch.from_numpy(X[:16]))
    assert float(logits.std(dim=1, correction=0).mean()) == pytest.approx(SPREAD, rel=1e-4)


def test_quantisation_still_clips(tmp_path):
    twin = smoothed(target(tmp_path / "m.onnx", net(first=PAIR)), X)
    far = torch.tensor([[-1.0], [90.0]]).expand(2, FEATURES)
    x = far.clone().requires_grad_()
    (slope,) = torch.autograd.grad(twin.logits(x).square().sum(), x)
    assert not slope.any()


@pytest.mark.parametrize("inner", ["Relu", "Sigmoid", "Softmax"])
def test_a_plain_net_has_nothing_to_replace(tmp_path, inner):
    with pytest.raises(UnsupportedOperator, match=r"Nothing in m.* hides gradients"):
        smoothed(target(tmp_path / "m.onnx", net(inner=[op(inner, "h", "a")])), X)


def test_weights_stay_as_they_are(tmp_path):
    """What depends on constants alone is no part of the way to the input: signs of weights are the net's own."""
    nodes = [op("Sign", "w1", "s"), op("Round", "x", "v"), op("MatMul", "v s", "a"), op("MatMul", "a w2", "y")]
    twin = smoothed(target(tmp_path / "m.onnx", nodes), X)
    assert twin.surrogates == ("Round: left out",)
    found, scores = twin.logits(torch.from_numpy(X)), torch.from_numpy(X @ np.sign(WEIGHTS["w1"]) @ WEIGHTS["w2"])
    torch.testing.assert_close(found / found.std(), scores / scores.std(), rtol=1e-3, atol=1e-3)


def test_code_of_its_own_cannot_be_replaced():
    made = LinearTarget(np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    with pytest.raises(UnsupportedOperator, match="can't be replaced"):
        smoothed(made, np.zeros((2, 3), np.float32))


class Hides(Defense):
    """Rounds to two levels, and tells the twin nothing."""

    name = "hides"
    gradient = "exact"

    def transform(self, x):
        return np.rint(x)

    def relaxed(self, x):
        return x.round()


class Turns(Hides):
    name = "turns"

    def transform(self, x):
        return 1 - x

    def relaxed(self, x):
        return 1 - x


def test_a_defence_is_left_out(tmp_path, base):
    guarded = Hides().wrap_target(target(tmp_path / "m.onnx", net()))
    assert not slopes(guarded.twin()).any()
    twin = smoothed(guarded, X)
    assert twin.surrogates == ("defence hides: left out",)
    assert agreement(twin, base["relu"]) == 1


def test_a_defence_without_which_the_model_answers_otherwise_stays(tmp_path):
    inner = target(tmp_path / "m.onnx", net(first=TWO_LEVELS))
    signs = LinearTarget(np.float32([[1, 1], [-1, -1]]), np.float32([-1, 1]))
    with pytest.raises(UnsupportedOperator, match="can't be left out"):
        smoothed(Turns().wrap_target(signs), np.float32([[0.1, 0.2], [0.9, 0.7]]))
    twin = smoothed(Hides().wrap_target(inner), X)
    assert twin.surrogates == ("Round: left out", "defence hides: left out")
    assert not twin.before


class Halves(Hides):
    """Takes samples of twice the model's length, and keeps the first half of each."""

    name = "halves"

    def shaped(self, shape):
        return (shape[0] // 2,)

    def transform(self, x):
        return x[:, : x.shape[1] // 2]

    relaxed = transform


def test_behind_a_defence_that_changes_the_shape_the_model_is_smoothed(tmp_path):
    made = Halves().wrap_target(target(tmp_path / "m.onnx", net(first=TWO_LEVELS)))
    twin = smoothed(made, np.concatenate([X, X], axis=1))
    assert twin.surrogates == ("Round: left out",)
    assert twin.logits(torch.zeros(2, 2 * FEATURES)).shape == (2, CLASSES)
