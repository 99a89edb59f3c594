import numpy as np
import pytest
import torch
from runtime_nodes import compare, one_node, twin

from auditor.errors import ModelError, UnsupportedOperator
from auditor.operators import Node

BATCH, HEADS, QUERIES, KEYS, SIZE = 2, 4, 3, 5, 8
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def heads(number=HEADS, keys=KEYS, size=SIZE):
    return normal(BATCH, number, keys, size)


def truths(*shape):
    mask = RNG.random(shape) < 0.6
    mask[..., 0] = True
    return mask


Q, K, V = heads(keys=QUERIES), heads(), heads(size=6)


def check(*inputs, opset=23, **options):
    compare("Attention", *inputs, opset=opset, **options)


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize("attributes", [{}, {"is_causal": 1}, {"scale": 0.3}, {"softcap": 2.0}])
def test_attention(opset, attributes):
    check(Q, K, V, opset=opset, gradient=True, **attributes)
    check(Q, heads(2), heads(2), opset=opset, gradient=True, **attributes)
    flat = normal(BATCH, QUERIES, 16), normal(BATCH, KEYS, 8), normal(BATCH, KEYS, 12)
    check(*flat, opset=opset, q_num_heads=4, kv_num_heads=2, gradient=True, **attributes)


@pytest.mark.parametrize("shape", [(QUERIES, KEYS), (HEADS, QUERIES, KEYS), (BATCH, 1, QUERIES, KEYS)])
@pytest.mark.parametrize("causal", [0, 1])
def test_masks_hide_or_add(shape, causal):
    check(Q, K, V, truths(*shape), is_causal=causal, gradient=True)
    check(Q, K, V, normal(*shape), is_causal=causal, gradient=True)


def test_one_mask_for_all_queries():
    """The standard allows what the runtime refuses."""
    check(Q, K, V, truths(1, 1, 1, KEYS), standard=True, gradient=True)
    check(Q, K, V, normal(KEYS), standard=True, gradient=True)


@pytest.mark.parametrize("value", [False, -np.inf, np.float32(-1e9)])
def test_a_query_that_sees_nothing(value):
    mask = np.full((QUERIES, KEYS), True) if value is False else np.zeros((QUERIES, KEYS), np.float32)
    mask[1] = value
    check(Q, K, V, mask, gradient=value is False)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", [False, True])
def test_the_past_comes_before_the_keys(causal, mask):
    given = truths(QUERIES, KEYS + 2) if mask else None
    check(Q, K, V, given, heads(keys=2), heads(keys=2, size=6), is_causal=causal, outputs=3, gradient=True)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_scores_on_the_way(mode):
    outputs = ["y", "", "", "scores"]
    check(Q, K, V, normal(QUERIES, KEYS), outputs=outputs, softcap=2.0, qk_matmul_output_mode=mode, gradient=True)


@pytest.mark.parametrize("causal", [0, 1])
def test_samples_of_different_lengths(causal):
    valid = np.array([4, 3], np.int64)
    check(Q, K, V, None, None, None, valid, opset=24, is_causal=causal, gradient=True)
    check(Q, K, V, truths(QUERIES, KEYS), None, None, valid, opset=24, is_causal=causal)


@pytest.mark.parametrize(("left", "right"), [(2, -1), (0, 0), (1, 1), (-1, 2)])
@pytest.mark.parametrize("causal", [0, 1])
def test_windows(left, right, causal):
    options = {"left_window_size": left, "right_window_size": right, "is_causal": causal, "standard": True}
    check(heads(), heads(), heads(), opset=25, gradient=True, **options)
    check(heads(), heads(), heads(), None, heads(keys=3), heads(keys=3), opset=25, outputs=3, **options)
    check(heads(), heads(), heads(), None, None, None, np.array([5, 4]), opset=25, **options)


def test_a_short_mask_hides_the_rest():
    check(Q, K, V, truths(QUERIES, 3), opset=24, standard=True)
    check(Q, K, V, normal(QUERIES, 3), opset=24, standard=True)


def test_a_mask_carried_as_numbers_stays_a_mask():
    """The twin carries truths as 0.0 and 1.0 where a gradient passes; added to the scores they would hide nothing."""
    mask = truths(QUERIES, KEYS)
    graph = twin(one_node("Attention", (Q, K, V, mask), ["y"], "", 23))
    q, k, v = (torch.from_numpy(value) for value in (Q, K, V))
    (plain,), (carried,) = graph(q, k, v, torch.from_numpy(mask)), graph(q, k, v, torch.from_numpy(mask).float())
    torch.testing.assert_close(carried, plain, rtol=0, atol=0)


def attention(**changes):
    fields = {
        "inputs": ("q", "k", "v", "m"),
        "types": ("float32", "float32", "float32", ""),
        "live": (True, True, True, True),
        "attributes": {},
    }
    fixed = {"op_type": "Attention", "domain": "", "opset": 23, "name": "n", "outputs": ("y",)}
    return Node(**{**fixed, **fields, **changes})


def test_what_is_not_covered(operators):
    with pytest.raises(UnsupportedOperator, match="whose type is not known"):
        operators.find(attention()).build(attention())
    node = attention(attributes={"qk_matmul_output_mode": 4}, types=("float32",) * 4)
    with pytest.raises(UnsupportedOperator, match="qk_matmul_output_mode 4"):
        operators.find(node).build(node)


def test_heads_that_do_not_fit_are_an_error():
    graph = twin(one_node("Attention", (Q, heads(3), heads(3)), ["y"], "", 23))
    with pytest.raises(ModelError, match="4 heads of queries can't share 3"):
        graph(torch.from_numpy(Q), torch.from_numpy(heads(3)), torch.from_numpy(heads(3)))


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved):
    positions = RNG.integers(0, 20, (BATCH, KEYS))
    options = {"opset": 23, "interleaved": interleaved, "gradient": True}
    compare("RotaryEmbedding", heads(), normal(20, 4), normal(20, 4), positions, **options)
    compare("RotaryEmbedding", heads(), normal(BATCH, KEYS, 4), normal(BATCH, KEYS, 4), **options)
    flat = normal(BATCH, KEYS, HEADS * SIZE)
    compare("RotaryEmbedding", flat, normal(20, 4), normal(20, 4), positions, num_heads=HEADS, **options)
    part = normal(20, 2), normal(20, 2), positions
    compare("RotaryEmbedding", heads(), *part, rotary_embedding_dim=4, num_heads=HEADS, **options)
