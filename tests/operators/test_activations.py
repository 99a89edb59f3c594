import numpy as np
import pytest

X = np.linspace(-4.1, 4.3, 48, dtype=np.float32).reshape(2, 3, 2, 4)
FLOOR, CEILING = np.array(-1.0, np.float32), np.array(2.5, np.float32)


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("Relu", {}),
        ("Sigmoid", {}),
        ("Tanh", {}),
        ("Softsign", {}),
        ("Softplus", {}),
        ("LeakyRelu", {}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("Elu", {}),
        ("Elu", {"alpha": 0.5}),
        ("Celu", {"alpha": 2.0}),
        ("Selu", {}),
        ("Selu", {"alpha": 1.2, "gamma": 0.7}),
        ("ThresholdedRelu", {}),
        ("ThresholdedRelu", {"alpha": 0.4}),
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("HardSwish", {}),
        ("Shrink", {"lambd": 1.05, "bias": 0.5}),
    ],
)
def test_activations(check, op_type, attributes):
    check(op_type, X, gradient=True, **attributes)


@pytest.mark.parametrize("opset", [18, 22])
def test_mish(check, opset):
    check("Mish", X, opset=opset, gradient=True)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(check, approximate):
    check("Gelu", X, opset=20, approximate=approximate, gradient=True)


@pytest.mark.parametrize("alpha", [1.0, 1.7])
def test_swish(check, alpha):
    check("Swish", X, opset=24, alpha=alpha, gradient=True)


@pytest.mark.parametrize("shape", [(1,), (3, 1, 1), (3, 2, 4)])
def test_prelu(check, shape):
    slope = np.linspace(0.1, 0.6, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    check("PRelu", X, slope, gradient=True)


def test_relu_has_no_gradient_at_zero(check):
    import torch

    graph = check("Relu", np.zeros(3, np.float32))
    x = torch.zeros(3, requires_grad=True)
    assert torch.autograd.grad(graph(x).sum(), x)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("bounds", [(), (FLOOR,), (None, CEILING), (FLOOR, CEILING)])
def test_clip_with_bounds_as_inputs(check, bounds):
    check("Clip", X, *bounds, opset=13, gradient=True)


@pytest.mark.parametrize("bounds", [{}, {"min": -1.0}, {"max": 2.5}, {"min": -1.0, "max": 2.5}])
def test_clip_with_bounds_as_attributes(check, bounds):
    check("Clip", X, opset=6, gradient=True, **bounds)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [7, 12, 13, 20])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3, -1, -2])
def test_softmax_flattens_before_opset_13(check, op_type, opset, axis):
    check(op_type, X, opset=opset, gradient=axis == 1, **({} if axis is None else {"axis": axis}))
