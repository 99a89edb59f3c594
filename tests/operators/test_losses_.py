import numpy as np
import pytest
from runtime_nodes import compare

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (2, 5, 3, 2)])
@pytest.mark.parametrize("ignored", [None, -1, 2, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses(reduction, shape, ignored, weighted):
    labels = RNG.integers(0, 5, (shape[0], *shape[2:]))
    attributes = {"reduction": reduction}
    if ignored is not None:
        labels.reshape(-1)[:2] = ignored
        attributes["ignore_index"] = ignored
    inputs = (normal(*shape), labels, *([np.abs(normal(5)) + 0.1] if weighted else []))
    compare("NegativeLogLikelihoodLoss", *inputs, gradient=weighted, **attributes)
    compare("SoftmaxCrossEntropyLoss", *inputs, outputs=2, gradient=weighted, **attributes)


def test_the_loss_of_nothing_is_not_a_number_as_in_the_runtime():
    labels = np.full(4, 3)
    compare("NegativeLogLikelihoodLoss", normal(4, 5), labels, ignore_index=3, mapped=False)
    compare("SoftmaxCrossEntropyLoss", normal(4, 5), labels, ignore_index=3, reduction="sum")


def test_an_unknown_reduction_is_not_covered(operators):
    node = Node(
        op_type="NegativeLogLikelihoodLoss",
        domain="",
        opset=13,
        name="n",
        inputs=("x", "y"),
        outputs=("l",),
        attributes={"reduction": "median"},
    )
    with pytest.raises(UnsupportedOperator, match="median"):
        operators.find(node).build(node)
