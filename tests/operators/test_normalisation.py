import numpy as np
import pytest
import torch

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


X = normal(2, 4, 3, 5)
SCALE, BIAS, MEAN, VARIANCE = normal(4), normal(4), normal(4), np.abs(normal(4)) + 0.3


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 3), (2, 4, 3, 5), (1, 4, 2, 3, 2)])
def test_batch_normalization(check, opset, shape):
    check("BatchNormalization", normal(*shape), SCALE, BIAS, MEAN, VARIANCE, opset=opset, epsilon=0.01, gradient=True)


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 3), (2, 4, 3, 5)])
def test_batch_normalization_of_the_batch_itself(check, shape):
    given = {"opset": 15, "outputs": 3, "training_mode": 1, "momentum": 0.7, "mapped": False}
    check("BatchNormalization", normal(*shape), SCALE, BIAS, MEAN, VARIANCE, tolerance=1e-5, **given)


def test_batch_normalization_of_each_pixel(check):
    scale, bias, mean, variance = normal(4, 3), normal(4, 3), normal(4, 3), np.abs(normal(4, 3)) + 0.3
    check("BatchNormalization", normal(2, 4, 3), scale, bias, mean, variance, opset=7, spatial=0, gradient=True)


def test_statistics_of_old_training_are_not_covered(operators):
    node = Node(
        op_type="BatchNormalization",
        domain="",
        opset=9,
        name="bn",
        inputs=(),
        outputs=("y", "mean", "variance"),
        attributes={},
    )
    with pytest.raises(UnsupportedOperator, match=r"'bn'.*statistics"):
        operators.find(node).build(node)


@pytest.mark.parametrize("axis", [-1, 1])
def test_mean_and_deviation_of_layer_normalization(check, axis):
    shape = X.shape[axis % X.ndim :]
    check("LayerNormalization", X, normal(*shape), normal(*shape), axis=axis, outputs=3, gradient=True, tolerance=1e-5)


def test_layer_normalization(check):
    check("LayerNormalization", X, normal(5), gradient=True)
    check("LayerNormalization", X, normal(5), normal(5), axis=-1, epsilon=0.1)
    check("LayerNormalization", X, normal(3, 5), normal(3, 5), axis=2, gradient=True)
    check("LayerNormalization", X, normal(4, 3, 5), axis=-3)
    check("LayerNormalization", X, normal(5), normal(5), axis=2, gradient=True)


def test_rms_normalization(check):
    check("RMSNormalization", X, normal(5), opset=23, gradient=True)
    check("RMSNormalization", X, normal(3, 5), opset=23, axis=2, epsilon=0.1)


def test_instance_normalization(check):
    check("InstanceNormalization", X, SCALE, BIAS, gradient=True, tolerance=1e-5)
    check("InstanceNormalization", X[..., 0], SCALE, BIAS, epsilon=0.1, tolerance=1e-5)


@pytest.mark.parametrize("opset", [18, 21])
def test_group_normalization(check, opset):
    size = 4 if opset == 21 else 2
    check("GroupNormalization", X, normal(size), normal(size), num_groups=2, opset=opset, gradient=True, tolerance=1e-5)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_normalization(check, size):
    check("LRN", X, size=size, alpha=0.5, beta=0.6, bias=1.3, gradient=True, tolerance=1e-5)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [-1, 1])
def test_lp_normalization(check, p, axis):
    check("LpNormalization", X, p=p, axis=axis, gradient=True)


@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalization_of_nothing_is_nothing(check, p):
    graph = check("LpNormalization", X * (np.arange(X.shape[1]) > 0).reshape(1, -1, 1, 1), p=p, axis=-1)
    x = torch.from_numpy(np.zeros_like(X)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(graph(x).sum(), x)
    assert torch.isfinite(gradient).all()


def test_mean_variance_normalization(check):
    check("MeanVarianceNormalization", X, opset=13, gradient=True, tolerance=1e-5)
    check("MeanVarianceNormalization", X, opset=13, axes=[2, 3], tolerance=1e-5)
