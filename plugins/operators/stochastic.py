"""Random numbers, all refused: a score that is random has no twin, and an audit of it would not be repeatable."""

from __future__ import annotations

from auditor.errors import UnsupportedOperator
from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators

GENERATORS = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")


def refused(node: Node) -> Function:
    raise UnsupportedOperator(
        f"The file draws random numbers ({node.label}), so its scores have no gradient that could be repeated; the "
        "audit goes on gradient-free."
    )


@hookimpl
def register_operators(operators: Operators) -> None:
    for name in GENERATORS:
        operators.register(name, refused)
