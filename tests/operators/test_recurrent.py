import numpy as np
import pytest
from runtime_nodes import compare

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

TIME, BATCH, WIDTH, HIDDEN = 5, 4, 3, 6
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
LENGTHS = np.array([5, 2, 0, 3], np.int32)
RNG = np.random.default_rng(0)

families = pytest.mark.parametrize("op_type", list(GATES))
directions = pytest.mark.parametrize("direction", list(DIRECTIONS))


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def weights(op_type, direction="forward"):
    """Input, weights, recurrent weights, bias; initial states."""
    number, gates = DIRECTIONS[direction], GATES[op_type]
    layer = (
        normal(TIME, BATCH, WIDTH),
        normal(number, gates * HIDDEN, WIDTH) / 2,
        normal(number, gates * HIDDEN, HIDDEN) / 2,
        normal(number, 2 * gates * HIDDEN) / 2,
    )
    return layer, tuple(normal(number, BATCH, HIDDEN) for _ in range(2 if op_type == "LSTM" else 1))


def check(op_type, *inputs, **options):
    compare(op_type, *inputs, outputs=3 if op_type == "LSTM" else 2, hidden_size=HIDDEN, tolerance=1e-5, **options)


@families
@directions
def test_all_directions(op_type, direction):
    layer, states = weights(op_type, direction)
    check(op_type, *layer[:3], direction=direction)
    check(op_type, *layer, None, *states, direction=direction, gradient=True)


@families
@directions
def test_ragged_sequences_end_where_they_end_and_empty_ones_at_nothing(op_type, direction):
    layer, states = weights(op_type, direction)
    check(op_type, *layer, LENGTHS, *states, direction=direction, gradient=True)
    check(op_type, *layer, np.array([3, 2, 1, 3], np.int32), direction=direction)


@families
def test_one_sequence_state_alone(op_type):
    layer, _ = weights(op_type)
    compare(op_type, *layer, outputs=["", "last"], hidden_size=HIDDEN, tolerance=1e-5)


@families
@pytest.mark.parametrize("clip", [0.1, 1.0])
def test_clipping_bounds_what_the_gates_see(op_type, clip):
    layer, states = weights(op_type, "bidirectional")
    check(op_type, *layer, None, *states, clip=clip, direction="bidirectional")


@families
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    "name",
    [
        *("Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu"),
        *("Softsign", "Softplus"),
    ],
)
def test_activations(op_type, position, name):
    functions = list(FUNCTIONS[op_type])
    if position >= len(functions):
        return
    functions[position] = name
    (x, w, r, b), _ = weights(op_type)
    layer = (x, w / 3, r / 3, b / 3)
    check(op_type, *layer, activations=functions, mapped=False)
    check(op_type, *layer, activations=functions, activation_alpha=[0.3], activation_beta=[0.7])


@families
def test_parameters_go_to_those_activations_that_read_them(op_type):
    layer, _ = weights(op_type, "bidirectional")
    names = ["HardSigmoid", "LeakyRelu", "ScaledTanh"][: len(FUNCTIONS[op_type])] * 2
    alphas, betas = [0.3, 0.4, 0.5, 0.2, 0.1, 0.6], [0.6, 0.7, 0.4, 0.5]
    options = {"activations": names, "activation_alpha": alphas, "activation_beta": betas}
    check(op_type, *layer, direction="bidirectional", **options)


@pytest.mark.parametrize("clip", [{}, {"clip": 0.4}])
def test_gru_with_the_reset_after_the_product(clip):
    layer, states = weights("GRU", "bidirectional")
    check("GRU", *layer, LENGTHS, *states, direction="bidirectional", linear_before_reset=1, gradient=True, **clip)
    check("GRU", *layer[:3], direction="bidirectional", linear_before_reset=1)


@pytest.mark.parametrize("options", [{}, {"clip": 0.4}, {"input_forget": 1}])
@pytest.mark.parametrize("peepholes", [False, True])
def test_lstm_with_peepholes_and_coupled_gates(options, peepholes):
    layer, states = weights("LSTM", "bidirectional")
    p = (normal(2, 3 * HIDDEN),) if peepholes else ()
    check("LSTM", *layer, LENGTHS, *states, *p, direction="bidirectional", gradient=True, **options)


@families
def test_batch_first(op_type):
    """The runtime has no such kernel; the standard's evaluator has."""
    (x, *layer), states = weights(op_type)
    h, *c = (state.swapaxes(0, 1).copy() for state in states)
    check(op_type, x.swapaxes(0, 1).copy(), *layer, None, h, *c, layout=1, standard=True)


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"activations": ("Gelu", "Tanh", "Tanh")}, "gelu"),
        ({"direction": "sideways"}, "sideways"),
        ({"direction": "bidirectional", "activations": ("Sigmoid", "Tanh", "Tanh")}, "2 directions"),
    ],
)
def test_what_is_not_covered(operators, attributes, word):
    node = Node(
        op_type="LSTM", domain="", opset=14, name="n", inputs=("x", "w", "r"), outputs=("y",), attributes=attributes
    )
    with pytest.raises(UnsupportedOperator, match=word):
        operators.find(node).build(node)
