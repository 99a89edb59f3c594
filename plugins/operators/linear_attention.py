"""Attention without a softmax, which carries a state along the sequence, and the causal convolution before it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators

from .attention import merge_heads, repeat_heads, split_heads

RULES = {"linear": (False, False), "gated": (True, False), "delta": (False, True), "gated_delta": (True, True)}
"""For each rule whether the state decays, and whether what it already knows of a value is taken off."""


def linear_attention(node: Node) -> Function:
    get = node.attributes.get
    heads, key_heads = node.attributes["q_num_heads"], node.attributes["kv_num_heads"]
    rule = get("update_rule", "gated_delta")
    if rule not in RULES:
        raise node.unsupported(f"update_rule {rule!r}")
    if get("state_window", 0):
        raise node.unsupported("state_window")
    decays, corrects = RULES[rule]

    def run(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        state: Tensor | None = None,
        decay: Tensor | None = None,
        rate: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if (decay is not None) != decays or (rate is not None) != corrects:
            raise ValueError(f"the update rule {rule!r} goes with another choice of decay and beta")
        scale = get("scale", 0.0) or (q.shape[-1] // heads) ** -0.5
        q, k, v = split_heads(q, heads), split_heads(k, key_heads), split_heads(v, key_heads)
        factor = None if decay is None else split_heads(decay, key_heads).exp().unsqueeze(-1)
        rate = None if rate is None else rate.transpose(1, 2).unsqueeze(-1)
        if state is None:
            state = q.new_zeros((q.shape[0], key_heads, k.shape[-1], v.shape[-1]))
        outputs = []
        for time in range(q.shape[2]):
            key, value = k[:, :, time].unsqueeze(-1), v[:, :, time].unsqueeze(-2)
            if factor is not None:
                state = state * factor[:, :, time]
            if rate is not None:
                value = rate[:, :, time].unsqueeze(-1) * (value - key.transpose(-1, -2) @ state)
            state = state + key * value
            outputs.append(scale * q[:, :, time].unsqueeze(-2) @ repeat_heads(state, heads))
        return merge_heads(torch.cat(outputs, 2)), state

    return run


def causal_convolution(node: Node) -> Function:
    """Each channel by itself, over its own past; what the next call needs of it is handed on as a state."""
    get = node.attributes.get
    activation, dilation = get("activation", "none"), get("dilation", 1)
    if activation not in ("none", "silu", "swish"):
        raise node.unsupported(f"activation {activation!r}")
    if get("ndim", 1) != 1 or get("channels_last", 0) or get("state_window", 0):
        raise node.unsupported("ndim, channels_last and state_window")

    def run(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        reach = (weight.shape[-1] - 1) * dilation
        past = F.pad(x, (reach, 0)) if state is None else torch.cat([state, x], 2)
        y = F.conv1d(past, weight, bias, dilation=dilation, groups=x.shape[1])
        return y if activation == "none" else F.silu(y), past[..., past.shape[-1] - reach :]

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    for domain, since in (("", 27), ("com.microsoft", 1)):
        operators.register("LinearAttention", linear_attention, domain=domain, since=since)
        operators.register("CausalConvWithState", causal_convolution, domain=domain, since=since)
