"""Scaled dot-product attention and the rotation of queries and keys by their positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, truth


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`[batch, time, heads * size]` as `[batch, heads, time, size]`."""
    if heads < 1 or x.shape[-1] % heads:
        raise ValueError(f"a width of {x.shape[-1]} can't be split into {heads} heads")
    return x.reshape((*x.shape[:2], heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """`[batch, heads, time, size]` as `[batch, time, heads * size]`."""
    return x.transpose(1, 2).flatten(2)


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Each head of keys or values as often as there are queries that share it, one after the other."""
    if x.shape[1] == heads:
        return x
    if heads % x.shape[1]:
        raise ValueError(f"{heads} heads of queries can't share {x.shape[1]} heads of keys")
    return x.unsqueeze(2).expand(-1, -1, heads // x.shape[1], -1, -1).flatten(1, 2)


def additive(mask: Tensor, like: Tensor, value: float = -torch.inf) -> Tensor:
    """A mask of truths as a bias: 0 where it is true, else `value`."""
    zero = torch.zeros((), dtype=like.dtype, device=like.device)
    return torch.where(truth(mask), zero, torch.full_like(zero, value))


def softmax(scores: Tensor, bias: Tensor | None) -> Tensor:
    """Weights of the keys; all 0 for a query that may see none of them."""
    if bias is None:
        return scores.softmax(-1)
    blind = (bias == -torch.inf).all(-1, keepdim=True)
    weights = (scores + torch.where(blind, torch.zeros_like(bias), bias)).softmax(-1)
    return torch.where(blind, torch.zeros_like(weights), weights)


def capped(scores: Tensor, cap: float) -> Tensor:
    """Scores squeezed softly into (-cap, cap); as they are where cap is 0."""
    return cap * torch.tanh(scores / cap) if cap > 0 else scores


def visible(queries: int, keys: int, offset: Tensor | int, before: int, after: int, device: torch.device) -> Tensor:
    """Which keys each query sees, `[queries, keys]`, or `[batch, 1, queries, keys]` for an offset `[batch, 1, 1, 1]`.

    A query stands at its number plus the offset and sees `before` keys before that and `after` behind it; -1 is all.
    """
    position = torch.arange(queries, device=device).unsqueeze(-1) + offset
    distance = position - torch.arange(keys, device=device)
    seen = torch.ones_like(distance, dtype=torch.bool)
    if before >= 0:
        seen = seen & (distance <= before)
    if after >= 0:
        seen = seen & (-distance <= after)
    return seen


def attention(node: Node) -> Function:
    """Since opset 23; since 24 with the number of valid keys of each sample, since 25 with windows."""
    get = node.attributes.get
    heads, key_heads = get("q_num_heads", 0), get("kv_num_heads", 0)
    causal, cap, mode = bool(get("is_causal", 0)), get("softcap", 0.0), get("qk_matmul_output_mode", 0)
    before, after = get("left_window_size", -1), get("right_window_size", -1)
    mask_is_bool = _mask_is_bool(node, 3)
    if causal:
        after = 0
    if mode not in (0, 1, 2, 3):
        raise node.unsupported(f"qk_matmul_output_mode {mode}")

    def run(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None = None,
        past_key: Tensor | None = None,
        past_value: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        if (past_key is None) != (past_value is None) or (past_key is not None and valid is not None):
            raise ValueError("past keys and values come together, and without a number of valid keys")
        flat = q.ndim == 3
        if flat:
            q, k, v = split_heads(q, heads), split_heads(k, key_heads), split_heads(v, key_heads)
        offset: Tensor | int = 0
        if past_key is not None and past_value is not None:
            offset = past_key.shape[2]
            k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
        bias = None if mask is None else _mask(mask, q, k.shape[2], mask_is_bool)
        if valid is not None:
            valid = valid.long().reshape(-1, 1, 1, 1)
            offset = valid - q.shape[2]
            padding = additive(torch.arange(k.shape[2], device=q.device) < valid, q)
            bias = padding if bias is None else bias + padding
        if before >= 0 or after >= 0:
            window = additive(visible(q.shape[2], k.shape[2], offset, before, after, q.device), q)
            bias = window if bias is None else bias + window
        scale = get("scale", q.shape[-1] ** -0.5)
        raw = (q * scale) @ repeat_heads(k, q.shape[1]).transpose(-1, -2)
        scores = capped(raw, cap)
        weights = softmax(scores, bias)
        y = weights @ repeat_heads(v, q.shape[1])
        y = merge_heads(y) if flat else y
        if not node.wants(3):
            return y, k, v
        return y, k, v, (raw, scores, scores if bias is None else scores + bias, weights)[mode]

    return run


def _mask_is_bool(node: Node, position: int) -> bool:
    """Whether a mask holds truths; they may be carried as floats, which by themselves would be scores to add."""
    kind = node.types[position] if position < len(node.types) else ""
    live = position < len(node.live) and node.live[position]
    if live and not kind:
        raise node.unsupported("a mask that depends on the input and whose type is not known")
    return kind == "bool"


def _mask(mask: Tensor, q: Tensor, keys: int, is_bool: bool) -> Tensor:
    """A mask as a bias; keys that it is too short for are hidden."""
    bias = additive(mask, q) if is_bool or not mask.is_floating_point() else mask
    missing = keys - bias.shape[-1]
    return F.pad(bias, (0, missing), value=-torch.inf) if missing > 0 else bias


def rotated(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Pairs of entries turned by an angle: `[batch, heads, time, size]` by `[batch or 1, 1, time, size / 2]`.

    A pair is an entry of the first half and the same one of the second, or two neighbours where interleaved. Entries
    beyond twice the width of `cos` stay.
    """
    width = 2 * cos.shape[-1]
    turning, rest = x[..., :width], x[..., width:]
    if interleaved:
        a, b = turning.reshape((*turning.shape[:-1], -1, 2)).unbind(-1)
        turned = torch.stack([cos * a - sin * b, sin * a + cos * b], -1).flatten(-2)
    else:
        a, b = turning.chunk(2, -1)
        turned = torch.cat([cos * a - sin * b, sin * a + cos * b], -1)
    return torch.cat([turned, rest], -1) if rest.shape[-1] else turned


def rotary_embedding(node: Node) -> Function:
    get = node.attributes.get
    heads, width, interleaved = get("num_heads", 0), get("rotary_embedding_dim", 0), bool(get("interleaved", 0))

    def run(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
        if positions is not None:
            cos, sin = cos[positions.long()], sin[positions.long()]
        flat = x.ndim == 3
        if flat:
            x = split_heads(x, heads)
        if 2 * cos.shape[-1] != (width or x.shape[-1]):
            raise ValueError(f"angles for {2 * cos.shape[-1]} entries, {width or x.shape[-1]} of a head turn")
        y = rotated(x, cos.unsqueeze(1), sin.unsqueeze(1), interleaved)
        return merge_heads(y) if flat else y

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Attention", attention, since=23)
    operators.register("RotaryEmbedding", rotary_embedding, since=23)
