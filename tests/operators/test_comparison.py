import numpy as np
import pytest

A = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 2.0]], np.float32)
B = np.array([1.0, 0.0, 2.0], np.float32)
P, Q = A > 0, A > 1


@pytest.mark.parametrize("op_type", ["Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"])
def test_comparisons(check, op_type):
    check(op_type, A, B)
    check(op_type, B, A, dynamic=1)


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor"])
def test_logic(check, op_type):
    check(op_type, P, Q)


def test_not(check):
    check("Not", P)


def test_where_passes_the_gradient_of_what_it_selects(check):
    check("Where", P, A, B, dynamic=1, gradient=True)
    check("Where", P, A, B, dynamic=2, gradient=True)
    check("Where", P, A, B, dynamic=0)
