import numpy as np
import pytest
import torch
from runtime_nodes import CONTRIB, compare, one_node, twin

from auditor.errors import ModelError, UnsupportedOperator
from auditor.operators import Node

BATCH, TIME, KEYS, HEADS, WIDTH, SIZE = 2, 5, 7, 4, 16, 4
RNG = np.random.default_rng(0)

directed = pytest.mark.parametrize("unidirectional", [0, 1])


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def integers(*rows):
    return np.array(rows, np.int32)


X, WEIGHTS, BIAS = normal(BATCH, TIME, WIDTH), normal(WIDTH, 3 * WIDTH) / 3, normal(3 * WIDTH)
MASKS = {
    "none": None,
    "lengths": integers(3, 4),
    "nothing": integers(0, 4),
    "ends and starts": integers(4, 5, 1, 0),
    "keys": integers([1, 1, 0, 1, 1], [1, 1, 1, 0, 0]),
    "no key": integers([0] * 5, [1, 1, 1, 0, 0]),
    "queries and keys": RNG.integers(0, 2, (BATCH, TIME, TIME), np.int32),
}


def check(op_type, *inputs, **options):
    compare(op_type, *inputs, domain=CONTRIB, **{"tolerance": 5e-6, **options})


@directed
@pytest.mark.parametrize("mask", MASKS)
def test_attention(mask, unidirectional):
    options = {"num_heads": HEADS, "unidirectional": unidirectional}
    check("Attention", X, WEIGHTS, BIAS, MASKS[mask], gradient=True, **options)
    check("Attention", X, WEIGHTS, BIAS, MASKS[mask], None, normal(1, 1, TIME, TIME), scale=0.3, **options)
    check("Attention", X, WEIGHTS, BIAS, MASKS[mask], mask_filter_value=-3.0, **options)


@directed
def test_attention_with_a_past(unidirectional):
    past, options = normal(2, BATCH, HEADS, 3, SIZE), {"num_heads": HEADS, "unidirectional": unidirectional}
    mask = integers([1, 0, 1, 1, 1, 0, 1, 1], [0, 1, 1, 1, 1, 1, 0, 0])
    check("Attention", X, WEIGHTS, BIAS, None, past, outputs=2, gradient=True, **options)
    check("Attention", X, WEIGHTS, BIAS, mask, past, outputs=2, **options)


def test_attention_to_narrower_values():
    sizes = [WIDTH, WIDTH, 8]
    check("Attention", X, normal(WIDTH, sum(sizes)), normal(sum(sizes)), num_heads=HEADS, qkv_hidden_sizes=sizes)


Q, K, V = normal(BATCH, TIME, WIDTH), normal(BATCH, KEYS, WIDTH), normal(BATCH, KEYS, 8)


@directed
def test_multi_head_attention(unidirectional):
    """With more keys than queries the runtime lets the last query see all of them, unidirectional or not."""
    options = {"num_heads": HEADS, "unidirectional": unidirectional}
    check("MultiHeadAttention", Q, K, V, gradient=True, **options)
    check("MultiHeadAttention", Q, K, V, normal(2 * WIDTH + 8), scale=0.2, gradient=True, **options)
    check("MultiHeadAttention", Q, normal(BATCH, HEADS, KEYS, SIZE), normal(BATCH, HEADS, KEYS, SIZE), **options)
    check("MultiHeadAttention", Q, K[:, :3], V[:, :3], None, None, normal(1, HEADS, TIME, 3), **options)


@directed
@pytest.mark.parametrize("shape", [None, (BATCH, KEYS), (BATCH, TIME, KEYS)])
def test_multi_head_attention_with_masks(unidirectional, shape):
    options = {"num_heads": HEADS, "unidirectional": unidirectional}
    mask = integers(3, 6) if shape is None else RNG.integers(0, 2, shape, np.int32)
    check("MultiHeadAttention", Q, K, V, None, mask, gradient=True, **options)
    check("MultiHeadAttention", Q, K, V, None, mask, normal(1, HEADS, TIME, KEYS), **options)


@directed
def test_multi_head_attention_with_a_past(unidirectional):
    options = {"num_heads": HEADS, "unidirectional": unidirectional, "outputs": 3}
    past = normal(BATCH, HEADS, 3, SIZE), normal(BATCH, HEADS, 3, SIZE)
    check("MultiHeadAttention", Q, Q, Q, None, None, None, *past, **options)
    check("MultiHeadAttention", Q, Q, Q, BIAS, None, None, *past, **options)


WIDE = normal(BATCH, TIME, 64), normal(BATCH, TIME, 32), normal(BATCH, TIME, 32)
FULL = integers(TIME - 1, TIME - 1), integers(TIME)


@pytest.mark.parametrize("options", [{}, {"local_window_size": 2}, {"softcap": 3.0}, {"scale": 0.2}, {"causal": 0}])
def test_group_query_attention(options):
    options = {"num_heads": 4, "kv_num_heads": 2, "outputs": 3, **options}
    check("GroupQueryAttention", *WIDE, None, None, *FULL, gradient=True, **options)
    check("GroupQueryAttention", np.concatenate(WIDE, -1), None, None, None, None, *FULL, **options)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_group_query_attention_of_rotated_queries(interleaved):
    options = {"num_heads": 4, "kv_num_heads": 2, "outputs": 3, "do_rotary": 1, "rotary_interleaved": interleaved}
    angles = normal(20, 8), normal(20, 8)
    check("GroupQueryAttention", *WIDE, None, None, *FULL, *angles, **options)
    positions = np.tile(np.arange(TIME) + 2, (BATCH, 1))
    check("GroupQueryAttention", *WIDE, None, None, *FULL, *angles, positions, **options)
    added = normal(BATCH, 4, TIME, TIME)
    check("GroupQueryAttention", *WIDE, None, None, *FULL, *angles, None, added, **options)


def test_group_query_attention_of_unfilled_sequences_is_an_error():
    inputs = (*WIDE, None, None, integers(2, TIME - 1), FULL[1])
    graph = twin(one_node("GroupQueryAttention", inputs, ["y"], CONTRIB, 17, num_heads=4, kv_num_heads=2))
    with pytest.raises(ModelError, match="do not fill the batch"):
        graph(*(torch.from_numpy(value) for value in inputs if value is not None))


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved):
    positions, angles = RNG.integers(0, 20, (BATCH, TIME)), (normal(20, 2), normal(20, 2))
    options = {"interleaved": interleaved, "gradient": True}
    check("RotaryEmbedding", X, positions, *angles, **options)
    check("RotaryEmbedding", X, np.array([3]), *angles, **options)
    check("RotaryEmbedding", normal(BATCH, HEADS, TIME, SIZE), positions, *angles, **options)
    part = {"num_heads": HEADS, "rotary_embedding_dim": SIZE, **options}
    check("RotaryEmbedding", normal(BATCH, TIME, 2 * WIDTH), positions, *angles, **part)
    check("RotaryEmbedding", normal(BATCH, HEADS, TIME, 2 * SIZE), positions, *angles, **part)


@pytest.mark.parametrize(
    ("op_type", "attributes", "inputs", "outputs", "word"),
    [
        ("Attention", {"do_rotary": 1}, 2, 1, "rotation"),
        ("Attention", {"past_present_share_buffer": 1}, 2, 1, "shared buffers"),
        ("MultiHeadAttention", {}, 3, 4, "scores"),
        ("MultiHeadAttention", {}, 9, 1, "shared buffers and beams"),
        ("GroupQueryAttention", {"kv_num_heads": 2}, 7, 1, "a past"),
        ("GroupQueryAttention", {"kv_num_heads": 2, "smooth_softmax": 1}, 3, 1, "sinks"),
        ("RotaryEmbedding", {"scale": 2.0}, 4, 1, "a scale"),
    ],
)
def test_what_is_not_covered(operators, op_type, attributes, inputs, outputs, word):
    node = Node(
        op_type=op_type,
        domain=CONTRIB,
        opset=1,
        name="n",
        inputs=tuple(f"i{i}" for i in range(inputs)),
        outputs=tuple(f"o{i}" for i in range(outputs)),
        attributes={"num_heads": HEADS, **attributes},
    )
    with pytest.raises(UnsupportedOperator, match=word):
        operators.find(node).build(node)
