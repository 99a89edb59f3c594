"""What a file is made of."""

from __future__ import annotations

import numpy as np
from auditor.plugins.operators import bundled
from onnx import helper
from onnx_files import make, value

from auditor.inventory import take_inventory
from auditor.program import read_program


def test_nodes_on_the_way_are_counted_and_those_of_bodies_too() -> None:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op_type, ["t"], [name], domain=domain)], name, [], [value(name, ["N", 4])]
        )
        for name, op_type, domain in (("then", "Sin", ""), ("else", "Odd", "com.acme"))
    }
    nodes = [
        helper.make_node("Tanh", ["x"], ["t"]),
        helper.make_node("Tanh", ["t"], ["aside"]),
        helper.make_node("If", ["yes"], ["y"], **branches),
    ]
    model = make(nodes, [value("x", ["N", 4])], [value("y", ["N", 4])], {"yes": np.array(True)})
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    operators = bundled()
    found = take_inventory(read_program(model, operators), "y", operators)
    assert found.counts == {"Tanh": 1, "If": 1, "Sin": 1, "com.acme::Odd": 1}
    assert found.nodes == 4
    assert found.lacking == {"com.acme::Odd": ["else"]}
