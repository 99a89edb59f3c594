import numpy as np
import pytest
import torch
from auditor.plugins.operators.elementwise import FUNCTIONS, STEPS

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
