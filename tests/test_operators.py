import pytest
import torch

from auditor.errors import ModelError, PluginError, UnsupportedOperator
from auditor.operators import Node, Operators, always, check_size, integers, straight_through


def node(opset, domain="", op_type="Relu"):
    return Node(op_type=op_type, domain=domain, opset=opset, name="act_3", inputs=("x",), outputs=("y",), attributes={})


def test_the_newest_that_the_file_knows_is_found():
    operators = Operators()
    for since in (13, 1, 6):
        operators.register("Relu", always(since), since=since)
    found = {opset: operators.find(node(opset)).since for opset in (1, 5, 6, 12, 13, 22)}
    assert found == {1: 1, 5: 1, 6: 6, 12: 6, 13: 13, 22: 13}


def test_what_is_lacking_is_named_in_full():
    operators = Operators()
    operators.register("Relu", always(torch.relu), since=6)
    with pytest.raises(UnsupportedOperator, match=r"ai\.onnx::Relu \(opset 5, node 'act_3'\)"):
        operators.find(node(5))
    with pytest.raises(UnsupportedOperator, match=r"com\.acme::Relu \(opset 6, node 'act_3'\)"):
        operators.find(node(6, "com.acme"))


def test_registering_twice_is_an_error():
    operators = Operators()
    operators.register("Relu", always(torch.relu))
    with pytest.raises(PluginError, match="Relu since opset 1"):
        operators.register("Relu", always(torch.relu))


def test_a_surrogate_may_depend_on_the_node():
    operators = Operators()
    operators.register("Relu", always(torch.relu), surrogate=lambda node: "late" if node.opset > 9 else None)
    operator = operators.find(node(7))
    assert operator.surrogate_for(node(7)) is None
    assert operator.surrogate_for(node(10)) == "late"


def test_straight_through_is_exact_forwards_and_the_identity_backwards():
    x = torch.tensor([0.1, 1e8, -3.7, torch.inf], requires_grad=True)
    hard = torch.tensor([1.0, 3.0, -1e-9, 255.0])
    y = straight_through(x, hard)
    assert torch.equal(y, hard)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.ones(4))


def test_integers_of_any_shape_and_type():
    assert integers(torch.tensor(3)) == [3]
    assert integers(torch.tensor([[2.0, -1.0]])) == [2, -1]


def test_a_gigabyte_is_the_limit():
    check_size((2**28,), 4)
    with pytest.raises(ModelError, match="1024 MiB"):
        check_size((2**28 + 1,), 4)
