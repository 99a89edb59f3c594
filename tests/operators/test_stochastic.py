import pytest
from auditor.plugins.operators.stochastic import GENERATORS

from auditor.errors import UnsupportedOperator
from auditor.operators import Node


@pytest.mark.parametrize("op_type", GENERATORS)
def test_random_numbers_are_refused_in_one_clear_sentence(operators, op_type):
    node = Node(op_type=op_type, domain="", opset=15, name="r", inputs=(), outputs=("y",), attributes={})
    with pytest.raises(UnsupportedOperator, match=rf"random numbers .*{op_type}"):
        operators.find(node).build(node)
