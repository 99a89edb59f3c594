"""The LSTM that onnxruntime's quantisation tool writes: inputs and states are quantised on the way."""

from __future__ import annotations

from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.levels import dequantized
from auditor.operators import Function, Node, Operators

from .quantisation import CONTRIB, dynamic_quantize
from .recurrent import Activation, State, Step, Weights, layer, lstm_cell

WEIGHTS = 8
"""How many inputs come before the scales and zero points of the weights."""


def through_bytes(x: Tensor) -> Tensor:
    """x as it is after it was quantised by its own range and taken back."""
    return dequantized(*dynamic_quantize(x))


def quantised_cell(node: Node, weights: Weights, functions: list[Activation]) -> tuple[Tensor | None, Step]:
    bias, step = lstm_cell(node, weights, functions)

    def quantised(x: Tensor, state: State) -> State:
        hidden, cell = state
        return step(x, (through_bytes(hidden), cell))

    return bias, quantised


def transposed(weight: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """What weights `[directions, in, out]` stand for, as `[directions, out, in]`.

    scale, zero: one a direction, or one an output of each.
    """
    shape = (weight.shape[0], 1, -1)
    return dequantized(weight, scale.reshape(shape), zero.reshape(shape)).transpose(1, 2)


def lstm(node: Node) -> Function:
    """The range of a state is that of the whole batch, as in the runtime where it runs a batch in one thread."""
    run_layer = layer(quantised_cell, ("sigmoid", "tanh", "tanh"), 2)(node)

    def run(x: Tensor, w: Tensor, r: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        given, parameters = rest[: WEIGHTS - 3], rest[WEIGHTS - 3 :]
        w_scale, w_zero, r_scale, r_zero = (value for value in parameters if value is not None)
        weights = transposed(w, w_scale, w_zero), transposed(r, r_scale, r_zero)
        result: tuple[Tensor, ...] = run_layer(through_bytes(x), *weights, *given)
        return result

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("DynamicQuantizeLSTM", lstm, domain=CONTRIB, surrogate="straight-through, the scale held")
