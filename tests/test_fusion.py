"""Patterns as exporters write them, in ONNX's own text form."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from auditor.plugins.operators import bundled
from onnx import helper, numpy_helper, parser

from auditor.fusion import DOMAIN, fused
from auditor.graph import Graph
from auditor.operators import Operators
from auditor.program import read_program

RNG = np.random.default_rng(0)
OPERATORS = bundled()
ROOT, HALF, ONE, TWO, THREE = (np.array(value, np.float32) for value in (2**0.5, 0.5, 1, 2, 3))


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def program(body, opset=17, size=(2, 3, 5, 8), outputs=("y",), **constants):
    """A model of these nodes from x to the outputs, and what the twin reads of it."""
    text = f'<ir_version: 10, opset_import: ["": {opset}]> g (float[{",".join(map(str, size))}] x) => () {{{body}}}'
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    return model, read_program(model, OPERATORS)


def check(body, expected, opset=17, size=(2, 3, 5, 8), gone=(), **constants):
    """The pattern becomes these operators, and computes what it did: value, gradient, also under vmap."""
    model, plain = program(body, opset, size, **constants)
    rewritten = fused(plain, ["y"], OPERATORS)
    left = [node.op_type for node in rewritten.ancestors(["y"])]
    assert set(expected) <= set(left)
    assert not set(gone) & set(left)
    x = normal(*size)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    before, after = (Graph(part, "y", OPERATORS) for part in (plain, rewritten))
    with torch.no_grad():
        found = after(torch.from_numpy(x))
    np.testing.assert_allclose(found, session.run(None, {"x": x})[0], rtol=1e-5, atol=2e-6)
    pair = torch.from_numpy(np.stack([x, x[::-1]]))
    np.testing.assert_allclose(torch.vmap(after)(pair)[1], after(pair[1]), rtol=1e-5, atol=2e-6)
    x64 = torch.from_numpy(x).double().requires_grad_(True)
    values = [graph.double()(x64) for graph in (before, after)]
    torch.testing.assert_close(values[1], values[0], rtol=1e-6, atol=1e-6)
    weights = torch.randn(values[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = [torch.autograd.grad((value * weights).sum(), x64)[0] for value in values]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-6)


def kept(body, unexpected, outputs=("y",), **constants):
    """The pattern is left alone."""
    _, plain = program(body, outputs=outputs, **constants)
    assert unexpected not in [node.op_type for node in fused(plain, outputs, OPERATORS).nodes]


@pytest.mark.parametrize(
    "body",
    [
        "a = Div (x, root) b = Erf (a) c = Add (b, one) d = Mul (x, c) y = Mul (d, half)",
        "a = Div (x, root) b = Erf (a) c = Add (one, b) d = Mul (half, x) y = Mul (d, c)",
        "a = Mul (x, inverse) b = Erf (a) c = Add (b, one) d = Mul (c, half) y = Mul (x, d)",
    ],
)
def test_gelu(body):
    check(body, ["Gelu"], gone=["Erf"], root=ROOT, one=ONE, half=HALF, inverse=1 / ROOT)


@pytest.mark.parametrize("cube", ["a = Pow (x, three)", "s = Mul (x, x) a = Mul (x, s)"])
def test_gelu_by_tanh(cube):
    body = f"""{cube} b = Mul (a, small) c = Add (x, b) d = Mul (c, scale) e = Tanh (d) f = Add (e, one)
               g = Mul (half, f) y = Mul (x, g)"""
    scale, small = np.array((2 / np.pi) ** 0.5, np.float32), np.array(0.044715, np.float32)
    check(body, ["Gelu"], gone=["Tanh"], three=THREE, one=ONE, half=HALF, scale=scale, small=small)


GELU = "a = Div (x, root) b = Erf (a) c = Add (b, one) d = Mul (x, c) y = Mul (d, half)"


@pytest.mark.parametrize(
    ("name", "value"), [("root", 1.4140625), ("one", 1.01), ("half", 0.49), ("half", [[[[[0.5]]]]])]
)
def test_constants_must_be_those_of_the_function(name, value):
    constants = {"root": ROOT, "one": ONE, "half": HALF} | {name: np.array(value, np.float32)}
    kept(GELU, "Gelu", **constants)


def test_a_value_that_is_used_elsewhere_stays():
    kept(f"{GELU.replace('y =', 'z =')} y = Add (z, b)", "Gelu", root=ROOT, one=ONE, half=HALF)


def test_a_value_that_is_asked_for_stays():
    kept(GELU, "Gelu", outputs=("y", "b"), root=ROOT, one=ONE, half=HALF)
    _, plain = program(GELU, root=ROOT, one=ONE, half=HALF)
    assert [node.op_type for node in fused(plain, ["c"], OPERATORS).nodes] == ["Div", "Erf", "Add", "Mul", "Mul"]


def test_another_factor_is_not_the_same_value():
    kept(GELU.replace("d = Mul (x, c)", "z = Neg (x) d = Mul (z, c)"), "Gelu", root=ROOT, one=ONE, half=HALF)


def test_swish():
    check("a = Sigmoid (x) y = Mul (a, x)", ["Swish"], gone=["Sigmoid"])


def test_hard_swish():
    check("a = HardSigmoid <alpha: float = 0.16666667> (x) y = Mul (x, a)", ["HardSwish"], gone=["HardSigmoid"])
    kept("a = HardSigmoid (x) y = Mul (x, a)", "HardSwish")
    kept("a = HardSigmoid <alpha: float = 0.16666667, beta: float = 0.4> (x) y = Mul (x, a)", "HardSwish")


NORM = """m = ReduceMean <axes: ints = [-1]> (x) c = Sub (x, m) s = Pow (c, two) v = ReduceMean <axes: ints = [-1]> (s)
          e = Add (v, epsilon) r = Sqrt (e) n = Div (c, r) p = Mul (n, scale) y = Add (p, bias)"""


def test_layer_norm():
    constants = {"two": TWO, "epsilon": np.array(1e-3, np.float32), "scale": normal(8), "bias": normal(8)}
    check(NORM, ["LayerNormalization"], opset=13, gone=["Sqrt", "ReduceMean"], **constants)
    squared = NORM.replace("Pow (c, two)", "Mul (c, c)").replace("n = Div (c, r)", "i = Reciprocal (r) n = Mul (c, i)")
    check(squared, ["LayerNormalization"], opset=13, gone=["Reciprocal"], **constants)
    since_18 = NORM.replace("<axes: ints = [-1]> (x)", "(x, last)").replace("<axes: ints = [-1]> (s)", "(s, last)")
    check(since_18, ["LayerNormalization"], opset=18, gone=["Sqrt"], last=np.array([-1]), **constants)


@pytest.mark.parametrize(
    "change", [("[-1]> (x)", "[-2]> (x)"), ("[-1]> (s)", "[1]> (s)"), ("Sub (x, m)", "Sub (m, x)")]
)
def test_layer_norm_is_over_the_last_axis(change):
    constants = {"two": TWO, "epsilon": np.array(1e-3, np.float32), "scale": normal(8), "bias": normal(8)}
    kept(NORM.replace(*change), "LayerNormalization", opset=13, **constants)


GROUPS = """a = Reshape (x, shape) b = InstanceNormalization <epsilon: float = 0.01> (a, ones, zeros) s = Shape (x)
            c = Reshape (b, s) d = Mul (c, scale) y = Add (d, bias)"""


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups):
    constants = {"ones": np.ones(groups, np.float32), "zeros": np.zeros(groups, np.float32)}
    constants |= {"shape": np.array([0, groups, -1]), "scale": normal(6, 1, 1), "bias": normal(6, 1, 1)}
    check(GROUPS, ["GroupNorm"], size=(2, 6, 4, 5), gone=["InstanceNormalization", "Reshape"], **constants)


@pytest.mark.parametrize("name", ["ones", "zeros"])
def test_group_norm_scales_channels_only(name):
    constants = {"ones": np.ones(1, np.float32), "zeros": np.zeros(1, np.float32), "shape": np.array([0, 1, -1])}
    constants |= {"scale": normal(3, 1, 1), "bias": normal(3, 1, 1), name: np.full(1, 0.5, np.float32)}
    kept(GROUPS, "GroupNorm", **constants)


def test_group_norm_of_other_axes():
    """A scale that is not that of the channels is applied as the file applies it."""
    constants = {"ones": np.ones(1, np.float32), "zeros": np.zeros(1, np.float32), "shape": np.array([0, 1, -1])}
    check(GROUPS, ["GroupNorm"], size=(2, 3, 4), scale=normal(2, 1, 1), bias=normal(2, 1, 1), **constants)


def test_linear():
    check("a = MatMul (x, w) y = Add (b, a)", ["Linear"], gone=["MatMul"], w=normal(8, 6), b=normal(6))
    kept("a = MatMul (x, w) y = Add (b, a)", "Linear", w=normal(8, 6), b=normal(5, 6))
    kept("a = MatMul (x, w) y = Add (b, a)", "Linear", w=normal(3, 8, 6), b=normal(6))
    kept("a = MatMul (x, w) b = ReduceMax <axes: ints = [0, 1, 2, 3], keepdims: int = 0> (x) y = Add (b, a)",
         "Linear", w=normal(8, 6))  # fmt: skip


@pytest.mark.parametrize("shape", [(), (1,)])
def test_two_factors_of_a_product(shape):
    body = "t = Transpose <perm: ints = [0, 1, 3, 2]> (x) a = Mul (x, c) b = Mul (d, t) y = MatMul (a, b)"
    c, d = (np.full(shape, value, np.float32) for value in (0.5, 0.3))
    check(body, ["ScaledMatMul"], gone=["Mul"], c=c, d=d)
    kept(body, "ScaledMatMul", c=c.reshape((1,) * 5), d=d)
    kept(body, "ScaledMatMul", c=c, d=normal(5))
    kept("m = ReduceMax <keepdims: int = 0> (x)" + body.replace("c)", "m)"), "ScaledMatMul", d=d)


def test_factors_made_of_the_width():
    body = """s = Shape (x) w = Slice (s, from, to) f = Cast <to: int = 1> (w) r = Sqrt (f) i = Div (one, r)
              j = Cast <to: int = 1> (i) c = Sqrt (j) d = Sqrt (j) a = Mul (x, c)
              t = Transpose <perm: ints = [0, 1, 3, 2]> (x) b = Mul (t, d) y = MatMul (a, b)"""
    check(body, ["ScaledMatMul"], gone=["Mul"], one=ONE, **{"from": np.array([-1]), "to": np.array([2**63 - 1])})


TRANSPOSED = """s = Shape <start: int = 0> (x) columns = Slice (s, m1, last) rows = Slice (s, m2, m1)
                others = Slice (s, first, m2) p = Concat <axis: int = 0> (m1, rows, columns) f = Reshape (x, p)
                t = Transpose <perm: ints = [0, 2, 1]> (f) q = Concat <axis: int = 0> (others, columns, rows)
                y = Reshape (t, q)"""
ENDS = {"m1": np.array([-1]), "m2": np.array([-2]), "last": np.array([2**63 - 1]), "first": np.array([-(2**63)])}


@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (2, 3, 4)])
def test_the_transpose_of_a_stack_of_matrices(shape):
    check(TRANSPOSED, ["MatrixTranspose"], size=shape, gone=["Reshape", "Shape"], **ENDS)


@pytest.mark.parametrize("change", [("(m1, rows, columns)", "(m1, columns, rows)"), ("[0, 2, 1]", "[0, 1, 2]")])
def test_another_order_of_rows_and_columns_is_no_transpose(change):
    kept(TRANSPOSED.replace(*change), "MatrixTranspose", **ENDS)


CUTS = "a = Slice (x, zero, three, axis) b = Slice (x, three, end, axis, one) y = Concat <axis: int = -1> (b, a)"


@pytest.mark.parametrize("end", [8, 2**63 - 1, 6])
def test_slices_that_part_an_axis(end):
    constants = {"zero": np.array([0]), "three": np.array([3]), "axis": np.array([-1]), "one": np.array([1])}
    check(CUTS, ["Slices"], gone=["Slice"], end=np.array([end]), **constants)
    check(CUTS, ["Slices"], size=(2, 2), end=np.array([end]), **constants)  # beyond the end there is nothing


@pytest.mark.parametrize("width", [8, 4, 2])
def test_slices_from_either_end(width):
    """A roll, as exporters write it. Of 4 entries none is before the last 3 and behind the first 2."""
    constants = {"zero": np.array([0]), "two": np.array([2]), "axis": np.array([1])}
    body = """c = Slice (x, minus, end, axis) b = Slice (x, two, minus, axis) a = Slice (x, zero, two, axis)
              y = Concat <axis: int = 1> (b, c, a)"""
    check(
        body, ["Slices"], size=(2, width), minus=np.array([-3]), end=np.array([2**63 - 1]), gone=["Slice"], **constants
    )


@pytest.mark.parametrize(("start", "end", "step"), [(2, 8, 1), (4, 8, 1), (3, 8, 2)])
def test_slices_that_overlap_or_skip_stay(start, end, step):
    body = CUTS.replace("(x, three, end, axis, one)", "(x, start, end, axis, step)")
    constants = {"zero": np.array([0]), "three": np.array([3]), "axis": np.array([-1]), "step": np.array([step])}
    kept(body, "Slices", start=np.array([start]), end=np.array([end]), **constants)


def test_a_rule_without_its_operator_is_left_out():
    bare = Operators({key: known for key, known in OPERATORS.table.items() if key[0] != DOMAIN and key[1] != "Gelu"})
    _, gelu = program(GELU, root=ROOT, one=ONE, half=HALF)
    _, linear = program("a = MatMul (x, w) y = Add (b, a)", w=normal(8, 6), b=normal(6))
    assert fused(gelu, ["y"], bare) == gelu
    assert fused(linear, ["y"], bare) == linear


def test_in_bfloat16():
    """What is fused runs where a search lets products run in fewer bits."""
    body = f"h = MatMul (x, w) i = Add (h, v) {GELU.replace('x', 'i')}"
    _, plain = program(body, root=ROOT, one=ONE, half=HALF, w=normal(8, 6), v=normal(6))
    graph = Graph(fused(plain, ["y"], OPERATORS), "y", OPERATORS)
    x = torch.from_numpy(normal(2, 3, 5, 8)).requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        y = graph(x)
    assert y.dtype is torch.bfloat16
    torch.testing.assert_close(y.float(), graph(x), rtol=3e-2, atol=3e-2)
    assert torch.autograd.grad(y.float().sum(), x)[0].isfinite().all()
