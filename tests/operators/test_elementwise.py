import numpy as np
import pytest
import torch
from auditor.plugins.operators.elementwise import FUNCTIONS, STEPS
from quantised_nodes import compare_carried

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

POSITIVE = {"Log", "Sqrt", "Reciprocal"}
WITHIN_ONE = {"Acos", "Asin", "Atanh"}
ABOVE_ONE = {"Acosh"}
X = np.linspace(-2.3, 2.9, 24, dtype=np.float32).reshape(2, 3, 4)
Y = np.cos(np.arange(12, dtype=np.float32)).reshape(3, 4) + 1.5


def domain_of(op_type: str) -> np.ndarray:
    if op_type in POSITIVE:
        return np.abs(X) + 0.1
    if op_type in WITHIN_ONE:
        return X / 3
    return np.abs(X) + 1.1 if op_type in ABOVE_ONE else X


@pytest.mark.parametrize("op_type", sorted(FUNCTIONS.keys() - {"IsNaN"}))
def test_functions(check, op_type):
    check(op_type, domain_of(op_type), gradient=True)


@pytest.mark.parametrize("op_type", STEPS)
def test_steps_are_exact_and_pass_the_gradient_straight_through(check, op_type):
    halves = np.array([-2.5, -1.5, -0.5, 0.0, 0.3, 0.5, 1.5, 2.5, 1e9], np.float32)
    graph = check(op_type, halves)
    x = torch.from_numpy(halves).requires_grad_(True)
    weights = torch.arange(9.0)
    (gradient,) = torch.autograd.grad((graph(x) * weights).sum(), x)
    assert torch.equal(gradient, weights)
    assert graph.surrogates == (f"{op_type}: straight-through",)


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("opset", [7, 13, 20])
@pytest.mark.parametrize("dynamic", [0, 1])
def test_arithmetic_broadcasts(check, op_type, opset, dynamic):
    check(op_type, X, Y, opset=opset, dynamic=dynamic, gradient=True)
    check(op_type, Y, X, opset=opset, dynamic=dynamic)


@pytest.mark.parametrize("kind", [np.int64, np.int32])
def test_integers_divide_towards_zero(check, kind):
    check("Div", np.array([7, -7, 8, -9], kind), np.array([2, 2, -3, -3], kind))


@pytest.mark.parametrize(("op_type", "fmod"), [("Mod", 0), ("Mod", 1)])
def test_modulo(check, op_type, fmod):
    a, b = np.array([7, -7, 8, -9], np.int64), np.array([3, 3, -3, -3], np.int64)
    check(op_type, a, b, fmod=fmod)
    if fmod:
        check(op_type, a.astype(np.float32) / 2, b.astype(np.float32), fmod=1)


@pytest.mark.parametrize("exponent", [2.0, 3.0, -1.0, 0.5, 1.7, 0.0])
@pytest.mark.parametrize("opset", [7, 15])
def test_power_of_a_constant(check, exponent, opset):
    check("Pow", np.abs(X) + 0.2, np.array(exponent, np.float32), opset=opset, gradient=True)
    check("Pow", np.abs(X) + 0.2, np.array([exponent], np.float32), opset=opset)


def test_power_of_many(check):
    check("Pow", np.abs(X) + 0.2, Y, gradient=True)
    check("Pow", np.abs(Y), X, dynamic=1, gradient=True)
    check("Pow", np.abs(Y[0]), X[0, :1, :1], gradient=True)


def test_power_of_a_negative_base(check):
    check("Pow", X, np.array(2, np.int64), gradient=True)
    check("Pow", X, np.array(3.0, np.float32), gradient=True)


@pytest.mark.parametrize("op_type", ["Min", "Max", "Sum", "Mean"])
def test_any_number_of_inputs(check, op_type):
    check(op_type, X)
    check(op_type, X, Y, gradient=True)
    check(op_type, X, Y, Y[:1] - 1.3, opset=8, gradient=True)


def test_special_numbers(check):
    special = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    check("IsNaN", special, opset=13)
    check("IsInf", special, opset=10)
    check("IsInf", special, opset=10, detect_negative=0)
    check("IsInf", special, opset=10, detect_positive=0)


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul"])
def test_small_integers_wrap_around(check, kind, op_type):
    limits = np.iinfo(kind)
    x = np.array([1, 2, 7, 100, limits.max, limits.min, limits.max - 1])
    for constant in (5, 100, limits.max - 2, limits.min + 1):
        k = np.array(constant, kind)
        compare_carried(op_type, kind, x, k)
        compare_carried(op_type, kind, x, k, first=False)
        if kind != "uint16":  # which comes as int32 from within a file, never as an input of torch's own type
            check(op_type, x.astype(kind), k, opset=14)


@pytest.mark.parametrize("op_type", ["Neg", "Abs"])
def test_the_least_integer_has_no_opposite(op_type):
    compare_carried(op_type, "int8", np.array([-128, -127, 3, 127]))


def test_wrapping_uint32_that_floats_carry_is_refused():
    with pytest.raises(UnsupportedOperator, match="uint32 that floats carry"):
        compare_carried("Sub", "uint32", np.array([1, 2]), np.array(5, np.uint32))


@pytest.mark.parametrize("exponent", [np.float32(0.5), np.float32(1.5), np.int64(-1), np.int64(3), np.float32(-2)])
@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_powers_of_integers_are_whole(check, exponent, kind):
    x = np.array([1, 2, 3, 9, 16, 27])
    check("Pow", x.astype(kind), np.array(exponent), opset=15)
    compare_carried("Pow", kind, x, np.array(exponent))


@pytest.mark.parametrize(("kind", "carrier"), [("uint16", torch.int32), ("uint32", torch.int64)])
def test_integers_that_wider_ones_stand_for_wrap_around(operators, kind, carrier):
    a, b = np.array([3, 200, np.iinfo(kind).max], kind), np.array([5, 3, np.iinfo(kind).max], kind)
    for op_type, combine in (("Add", np.add), ("Sub", np.subtract), ("Mul", np.multiply)):
        node = Node(
            op_type=op_type,
            domain="",
            opset=14,
            name="n",
            inputs=("a", "b"),
            outputs=("y",),
            attributes={},
            types=(kind,) * 2,
        )
        y = operators.find(node).build(node)(*(torch.from_numpy(part.astype(np.int64)).to(carrier) for part in (a, b)))
        assert y.dtype is carrier
        np.testing.assert_array_equal(y.numpy(), combine(a, b))
