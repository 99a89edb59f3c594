"""Attention layers that onnxruntime's transformer optimisers fuse: projections, heads, masks and the past in one."""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, integers

from .attention import (
    additive,
    capped,
    merge_heads,
    repeat_heads,
    rotated,
    softmax,
    split_heads,
    visible,
)

DOMAIN = "com.microsoft"
FILTER = -10000.0
"""What the runtime adds to the score of a masked key by default."""


def rotary_embedding(node: Node) -> Function:
    """Rotation by positions; one position is that of the first entry, where the others follow on."""
    get = node.attributes.get
    heads, width, interleaved = get("num_heads", 0), get("rotary_embedding_dim", 0), bool(get("interleaved", 0))
    if get("is_packed_batching", 0) or get("scale", 1.0) != 1:
        raise node.unsupported("packed batches and a scale")

    def run(x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        flat = x.ndim == 3
        if flat:
            size = width if width and heads else 2 * cos.shape[-1]
            x = split_heads(x, heads or x.shape[-1] // size)
        positions = positions.long()
        if positions.ndim == 1:
            positions = (positions + torch.arange(x.shape[2], device=x.device)).unsqueeze(0)
        y = rotated(x, cos[positions].unsqueeze(1), sin[positions].unsqueeze(1), interleaved)
        return merge_heads(y) if flat else y

    return run


def padding(mask: Tensor | None, q: Tensor, keys: int, value: float) -> Tensor | None:
    """The bias of a mask of keys: lengths `[batch]`, ends and then starts `[2 * batch]`, or 0 and 1 for each key."""
    if mask is None:
        return None
    batch = q.shape[0]
    if mask.ndim == 1:
        position = torch.arange(keys, device=q.device)
        if mask.shape[0] not in (batch, 2 * batch):
            raise ValueError(f"a mask of {mask.shape[0]} lengths for a batch of {batch}")
        kept = position < mask[:batch].unsqueeze(-1)
        if mask.shape[0] == 2 * batch:
            kept = kept & (position >= mask[batch:].unsqueeze(-1))
        mask = kept
    elif mask.ndim > 3:
        raise ValueError(f"a mask of {mask.ndim} axes")
    mask = mask.unsqueeze(1) if mask.ndim == 3 else mask[:, None, None]
    return additive(mask > 0 if mask.dtype is not torch.bool else mask, q, value)


def attend(node: Node, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None, past: int) -> Tensor:
    """Attention of heads `[batch, heads, time, size]` as the runtime's fused layers have it.

    Of `unidirectional` queries the last always sees all keys, also where there are more keys than queries.
    """
    get = node.attributes.get
    scale = get("scale", 0.0) or q.shape[-1] ** -0.5
    scores = (q * scale) @ k.transpose(-1, -2)
    hidden = padding(mask, q, k.shape[2], get("mask_filter_value", FILTER))
    for term in (bias, hidden):
        scores = scores if term is None else scores + term
    if get("unidirectional", 0):
        seen = visible(q.shape[2], k.shape[2], past, -1, 0, q.device)
        seen = torch.cat([seen[:-1], torch.ones_like(seen[-1:])])
        scores = torch.where(seen, scores, torch.full_like(scores, torch.finfo(torch.float32).min))
    return merge_heads(scores.softmax(-1) @ v)


def attention(node: Node) -> Function:
    """Projection to queries, keys and values, and attention; the past holds keys and values in one."""
    get = node.attributes.get
    heads, sizes = node.attributes["num_heads"], get("qkv_hidden_sizes")
    if get("do_rotary", 0) or get("past_present_share_buffer", 0):
        raise node.unsupported("rotation and shared buffers")

    def run(
        x: Tensor,
        weights: Tensor,
        bias: Tensor | None = None,
        mask: Tensor | None = None,
        past: Tensor | None = None,
        added: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        projected = x @ weights if bias is None else x @ weights + bias
        parts = torch.split(projected, list(sizes), -1) if sizes else projected.chunk(3, -1)
        q, k, v = (split_heads(part, heads) for part in parts)
        before = 0
        if past is not None:
            before = past.shape[3]
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        y = attend(node, q, k, v, mask, added, before)
        return (y, torch.stack([k, v])) if node.wants(1) else y

    return run


def multi_head_attention(node: Node) -> Function:
    """Attention of projected queries, keys and values; keys and values may come in heads, without a bias."""
    heads = node.attributes["num_heads"]
    if node.wants(3):
        raise node.unsupported("the output of the scores")
    if any(name for name in node.inputs[8:]):
        raise node.unsupported("shared buffers and beams")

    def run(
        q: Tensor,
        k: Tensor | None = None,
        v: Tensor | None = None,
        bias: Tensor | None = None,
        mask: Tensor | None = None,
        added: Tensor | None = None,
        past_key: Tensor | None = None,
        past_value: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if k is None or v is None or q.ndim != 3:
            raise ValueError("queries, keys and values packed into one tensor are not covered")
        if bias is not None:
            width = q.shape[-1]
            q, k, v = q + bias[:width], k + bias[width : 2 * width], v + bias[2 * width :]
        q = split_heads(q, heads)
        k, v = (part if part.ndim == 4 else split_heads(part, heads) for part in (k, v))
        before = 0
        if past_key is not None and past_value is not None:
            before = past_key.shape[2]
            k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
        return attend(node, q, k, v, mask, added, before), k, v

    return run


def group_query_attention(node: Node) -> Function:
    """Attention in which several heads of queries share one of keys, over a whole sequence without a past."""
    get = node.attributes.get
    heads, key_heads = node.attributes["num_heads"], node.attributes["kv_num_heads"]
    interleaved, window = bool(get("rotary_interleaved", 0)), get("local_window_size", -1)
    causal, cap = bool(get("causal", 1)), get("softcap", 0.0)
    if any(node.inputs[3:5]) or get("sliding_window_cache", 0):
        raise node.unsupported("a past")
    if any(node.inputs[11:]) or get("smooth_softmax", -1) > 0 or node.wants(3):
        raise node.unsupported("sinks, quantised caches, norms of queries and keys, and the output of the scores")

    def run(
        q: Tensor,
        k: Tensor | None,
        v: Tensor | None,
        past_key: None,
        past_value: None,
        lengths: Tensor,
        total: Tensor,
        cos: Tensor | None = None,
        sin: Tensor | None = None,
        positions: Tensor | None = None,
        added: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if k is None or v is None:
            size = q.shape[-1] // (heads + 2 * key_heads)
            q, k, v = torch.split(q, [heads * size, key_heads * size, key_heads * size], -1)
        q, k, v = split_heads(q, heads), split_heads(k, key_heads), split_heads(v, key_heads)
        length = k.shape[2]
        if set(integers(lengths)) != {length - 1} or integers(total) != [length]:
            raise ValueError("sequences that do not fill the batch are not covered")
        if get("do_rotary", 0) and cos is not None and sin is not None:
            if positions is not None:
                cos, sin = cos[positions.long()].unsqueeze(1), sin[positions.long()].unsqueeze(1)
            else:
                cos, sin = cos[:length], sin[:length]
            q, k = rotated(q, cos, sin, interleaved), rotated(k, cos, sin, interleaved)
        scale = get("scale", 0.0) or q.shape[-1] ** -0.5
        scores = capped((q * scale) @ repeat_heads(k, heads).transpose(-1, -2), cap)
        scores = scores if added is None else scores + added
        seen = visible(q.shape[2], length, 0, window - 1 if window > 0 else -1, 0 if causal else -1, q.device)
        return merge_heads(softmax(scores, additive(seen, q)) @ repeat_heads(v, heads)), k, v

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("RotaryEmbedding", rotary_embedding, domain=DOMAIN)
    operators.register("Attention", attention, domain=DOMAIN)
    operators.register("MultiHeadAttention", multi_head_attention, domain=DOMAIN)
    operators.register("GroupQueryAttention", group_query_attention, domain=DOMAIN, host=[5, 6])
