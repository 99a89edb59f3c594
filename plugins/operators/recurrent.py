"""Recurrent layers: RNN, GRU and LSTM, step by step over the time axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators

Activation = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]
"""What a step hands to the next, `[batch, hidden]` each; the first part is also its output."""
Step = Callable[[Tensor, State], State]
"""From the input of one time step, weighted and with its bias, and the state before it to the state after it."""

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""For each direction whether it reads the sequence from its end."""
GATES = 2
"""How many of the functions of one direction are those of gates and candidates."""
PLAIN: dict[str, Activation] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softsign": F.softsign,
    "softplus": lambda x: F.softplus(x, threshold=40.0),
}
SHAPED: dict[str, tuple[Callable[[Tensor, float, float], Tensor], float | None, float | None]] = {
    "leakyrelu": (lambda x, alpha, _: torch.where(x < 0, alpha * x, x), 0.01, None),
    "thresholdedrelu": (lambda x, alpha, _: torch.where(x > alpha, x, torch.zeros_like(x)), 0.0, None),
    "elu": (lambda x, alpha, _: F.elu(x, alpha), 1.0, None),
    "hardsigmoid": (lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1), 0.2, 0.5),
    "affine": (lambda x, alpha, beta: alpha * x + beta, 0.0, 0.0),
    "scaledtanh": (lambda x, alpha, beta: alpha * torch.tanh(beta * x), 0.0, 0.0),
}
"""Activations that read alpha and perhaps beta, with their defaults."""


class Weights(NamedTuple):
    """The parameters of one direction; `p` holds the peepholes of an LSTM."""

    w: Tensor
    r: Tensor
    b: Tensor | None
    p: Tensor | None


Cell = Callable[[Node, Weights, list[Activation]], tuple[Tensor | None, Step]]
"""From the parameters of one direction to the bias of its weighted input and its step."""


def activations(node: Node, defaults: tuple[str, ...]) -> list[Activation]:
    """The activation functions of all directions in order, with clipping before each where the node asks for it.

    As in the runtime, alphas and betas are consumed by those functions alone that have use for them, and what a cell
    state goes through before it is put out (the third function of an LSTM) is not clipped.
    """
    directions = len(DIRECTIONS[node.attributes.get("direction", "forward")])
    names = node.attributes.get("activations") or defaults * directions
    if len(names) < len(defaults) * directions:
        raise node.unsupported(f"{len(names)} activations for {directions} directions")
    alphas, betas = (iter(node.attributes.get(f"activation_{greek}", ())) for greek in ("alpha", "beta"))
    clip = node.attributes.get("clip", 0.0)
    functions = [_activation(node, name.lower(), alphas, betas) for name in names]
    gates = [position % len(defaults) < GATES for position in range(len(names))]
    return [_clipped(f, clip) if gate else f for f, gate in zip(functions, gates, strict=True)]


def _activation(node: Node, name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    if name in PLAIN:
        return PLAIN[name]
    if name not in SHAPED:
        raise node.unsupported(f"activation {name!r}")
    function, alpha, beta = SHAPED[name]
    first = 0.0 if alpha is None else next(alphas, alpha)
    second = 0.0 if beta is None else next(betas, beta)
    return lambda x: function(x, first, second)


def _clipped(function: Activation, clip: float) -> Activation:
    return (lambda x: function(torch.clamp(x, -clip, clip))) if clip > 0 else function


def rnn_cell(node: Node, weights: Weights, functions: list[Activation]) -> tuple[Tensor | None, Step]:
    (f,) = functions
    bias = None if weights.b is None else sum_of_halves(weights.b)
    return bias, lambda x, state: (f(x + F.linear(state[0], weights.r)),)


def gru_cell(node: Node, weights: Weights, functions: list[Activation]) -> tuple[Tensor | None, Step]:
    """The gates lie in the order update, reset, hidden."""
    f, g = functions
    size = weights.r.shape[-1]
    recurrent, hidden = torch.split(weights.r, [2 * size, size])
    linear_first = bool(node.attributes.get("linear_before_reset", 0))
    bias = hidden_bias = None
    if weights.b is not None:
        own, other = weights.b.chunk(2)
        bias = own + other
        if linear_first:
            hidden_bias = other[2 * size :]
            bias = torch.cat([bias[: 2 * size], own[2 * size :]])

    def step(x: Tensor, state: State) -> State:
        (h,) = state
        gates, candidate = torch.split(x, [2 * size, size], -1)
        update, reset = f(gates + F.linear(h, recurrent)).chunk(2, -1)
        if linear_first:
            candidate = g(candidate + reset * F.linear(h, hidden, hidden_bias))
        else:
            candidate = g(candidate + F.linear(reset * h, hidden))
        return ((1 - update) * candidate + update * h,)

    return bias, step


def lstm_cell(node: Node, weights: Weights, functions: list[Activation]) -> tuple[Tensor | None, Step]:
    """The gates lie in the order input, output, forget, cell; so do the peepholes."""
    f, g, h = functions
    size = weights.r.shape[-1]
    coupled = bool(node.attributes.get("input_forget", 0))
    bias = None if weights.b is None else sum_of_halves(weights.b)
    peepholes = None if weights.p is None else weights.p.chunk(3)

    def step(x: Tensor, state: State) -> State:
        hidden, cell = state
        gates = x + F.linear(hidden, weights.r)
        if peepholes is None:
            opened, candidate = torch.split(gates, [3 * size, size], -1)
            enter, leave, keep = f(opened).chunk(3, -1)
        else:
            enter, leave, keep, candidate = gates.chunk(4, -1)
            enter, keep = f(enter + peepholes[0] * cell), f(keep + peepholes[2] * cell)
        cell = (1 - enter if coupled else keep) * cell + enter * g(candidate)
        if peepholes is not None:
            leave = f(leave + peepholes[1] * cell)
        return leave * h(cell), cell

    return bias, step


def sum_of_halves(bias: Tensor) -> Tensor:
    """The bias of the input and that of the recurrence, which lie one after the other."""
    own, other = bias.chunk(2)
    return own + other


def layer(cell: Cell, defaults: tuple[str, ...], states: int) -> Callable[[Node], Function]:
    """The builder of a layer of such cells: all directions, both layouts, ragged sequences."""

    def build(node: Node) -> Function:
        if node.attributes.get("direction", "forward") not in DIRECTIONS:
            raise node.unsupported(f"direction {node.attributes['direction']!r}")
        directions = DIRECTIONS[node.attributes.get("direction", "forward")]
        functions = activations(node, defaults)
        batch_first = bool(node.attributes.get("layout", 0))

        def run(
            x: Tensor,
            w: Tensor,
            r: Tensor,
            b: Tensor | None = None,
            lengths: Tensor | None = None,
            *initial_and_peepholes: Tensor | None,
        ) -> tuple[Tensor, ...]:
            given = [*initial_and_peepholes, None, None, None][: states + 1]
            initial, p = given[:states], given[states] if states == 2 else None
            if batch_first:
                x = x.transpose(0, 1)
                initial = [None if part is None else part.transpose(0, 1) for part in initial]
            if w.shape[0] != len(directions):
                raise ValueError(f"the weights are for {w.shape[0]} directions, the node has {len(directions)}")
            ends, outputs = [], []
            for d, backwards in enumerate(directions):
                weights = Weights(w[d], r[d], None if b is None else b[d], None if p is None else p[d])
                own = functions[d * len(defaults) : (d + 1) * len(defaults)]
                bias, step = cell(node, weights, own)
                zero = x.new_zeros((x.shape[1], weights.r.shape[-1]))
                start = tuple(zero if part is None else part[d] for part in initial)
                order = _backwards(x, lengths) if backwards else None
                inputs = F.linear(x if order is None else _in_order(x, order), weights.w, bias)
                output, end = _unrolled(step, inputs, start, lengths)
                outputs.append(output if order is None else _in_order(output, order))
                ends.append(end)
            y = torch.stack(outputs, 1)
            lasts = [torch.stack(parts) for parts in zip(*ends, strict=True)]
            if batch_first:
                return (y.permute(2, 0, 1, 3), *(last.transpose(0, 1) for last in lasts))
            return (y, *lasts)

        return run

    return build


def _unrolled(step: Step, inputs: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """Outputs `[time, batch, hidden]` and the last state.

    Beyond its length a sequence puts out 0 and stays as it is; that of an empty sequence is 0, as in the runtime.
    """
    outputs = []
    for time, x in enumerate(inputs.unbind()):
        new = step(x, state)
        if lengths is None:
            state = new
            outputs.append(state[0])
            continue
        alive = (lengths > time).unsqueeze(-1)
        state = tuple(torch.where(alive, after, before) for after, before in zip(new, state, strict=True))
        outputs.append(torch.where(alive, new[0], torch.zeros_like(new[0])))
    if lengths is not None:
        begun = (lengths > 0).unsqueeze(-1)
        state = tuple(torch.where(begun, part, torch.zeros_like(part)) for part in state)
    return torch.stack(outputs), state


def _backwards(x: Tensor, lengths: Tensor | None) -> Tensor:
    """For each time and sequence the time to read instead, so that what lies within its length is turned around."""
    time = torch.arange(x.shape[0], device=x.device).unsqueeze(-1)
    if lengths is None:
        return time.flip(0).expand(x.shape[:2])
    lengths = lengths.long()
    return torch.where(time < lengths, lengths - 1 - time, time)


def _in_order(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(0, order.unsqueeze(-1).expand(x.shape))


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("RNN", layer(rnn_cell, ("Tanh",), 1), since=7)
    operators.register("GRU", layer(gru_cell, ("Sigmoid", "Tanh"), 1), since=7)
    operators.register("LSTM", layer(lstm_cell, ("Sigmoid", "Tanh", "Tanh"), 2), since=7)
