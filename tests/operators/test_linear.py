import numpy as np
import pytest

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("across", [0, 1])
@pytest.mark.parametrize("upright", [0, 1])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("shape", [None, (5,), (1, 5), (2, 1), (2, 5), ()])
def test_gemm(check, across, upright, alpha, beta, shape):
    a = normal(3, 2) if across else normal(2, 3)
    b = normal(5, 3) if upright else normal(3, 5)
    attributes = {"transA": across, "transB": upright, "alpha": alpha, "beta": beta}
    c = () if shape is None else (normal(*shape) if shape else np.array(0.7, np.float32),)
    check("Gemm", a, b, *c, gradient=shape == (5,), **attributes)


@pytest.mark.parametrize(
    ("left", "right"),
    [((2, 3), (3, 4)), ((2, 5, 3), (3, 4)), ((2, 5, 3), (2, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((3,), (3, 2))],
)
@pytest.mark.parametrize("dynamic", [0, 1])
def test_matmul(check, left, right, dynamic):
    check("MatMul", normal(*left), normal(*right), dynamic=dynamic, gradient=True)


@pytest.mark.parametrize("equation", ["bij,jk->bik", "b i j , j k -> b k", "...ij,jk->...ik", "bij,jk"])
def test_einsum(check, equation):
    check("Einsum", normal(2, 3, 4), normal(4, 5), equation=equation, gradient=True)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4)])
def test_determinant(check, shape):
    check("Det", np.cos(np.arange(np.prod(shape), dtype=np.float32) ** 2).reshape(shape), gradient=True, tolerance=1e-5)


@pytest.mark.parametrize("equation", ["ij , jk -> ik", "ij,kj", "...ij,...jk->...ik", "ii->i", "ij->", "ij,ij->j"])
def test_equations(check, equation):
    x = np.cos(np.arange(9, dtype=np.float32)).reshape(3, 3)
    operands = [x] * (equation.count(",") + 1)
    check("Einsum", *operands, equation=equation, gradient=True, tolerance=1e-5)
