"""What onnxruntime's transformer optimisers fuse around attention: norms of sums and of embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators

from .normalisation import layer_normalization

DOMAIN = "com.microsoft"


def rms(x: Tensor, scale: Tensor, axis: int, epsilon: float) -> Tensor:
    """Entries over their root mean square, taken over all axes from `axis` on."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon) * scale


def simplified_layer_normalization(node: Node) -> Function:
    axis, epsilon = node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5)
    if node.wants(1):
        raise node.unsupported("the output of the inverse deviation")
    return lambda x, scale: rms(x, scale, axis, epsilon)


def _without_statistics(node: Node) -> None:
    if node.wants(1) or node.wants(2):
        raise node.unsupported("the outputs of mean and inverse deviation")


def skip_layer_normalization(node: Node) -> Function:
    """Layer norm of a sum; the fourth output is that sum."""
    epsilon = node.attributes.get("epsilon", 1e-12)
    _without_statistics(node)

    def run(
        x: Tensor, skip: Tensor, scale: Tensor, shift: Tensor | None = None, bias: Tensor | None = None
    ) -> tuple[Tensor | None, ...]:
        total = x + skip if bias is None else x + skip + bias
        return F.layer_norm(total, scale.shape, scale, shift, epsilon), None, None, total

    return run


def skip_simplified_layer_normalization(node: Node) -> Function:
    """The same with the root mean square, which has no shift."""
    epsilon = node.attributes.get("epsilon", 1e-12)
    _without_statistics(node)

    def run(x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor | None, ...]:
        total = x + skip if bias is None else x + skip + bias
        return rms(total, scale, -1, epsilon), None, None, total

    return run


def embed_layer_normalization(node: Node) -> Function:
    """Layer norm of the sum of the embeddings of words, positions and segments.

    The second output counts the words that a mask leaves, the third is the sum.
    """
    epsilon = node.attributes.get("epsilon", 1e-12)

    def run(
        words: Tensor,
        segments: Tensor | None,
        word_table: Tensor,
        position_table: Tensor,
        segment_table: Tensor | None,
        scale: Tensor,
        shift: Tensor,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        length = words.shape[1]
        at = position_table[:length] if positions is None else F.embedding(positions.long(), position_table)
        total = F.embedding(words.long(), word_table) + at
        if segments is not None and segment_table is not None:
            total = total + F.embedding(segments.long(), segment_table)
        counts = torch.zeros_like(words[:, 0]) if mask is None else (mask == 1).sum(1, dtype=words.dtype)
        return F.layer_norm(total, scale.shape, scale, shift, epsilon), counts, total

    return run


def group_norm(node: Node) -> Function:
    """Normalisation by groups of channels, which come last by default, and perhaps a SiLU after it."""
    get = node.attributes.get
    groups, epsilon, last = node.attributes["groups"], get("epsilon", 1e-5), bool(get("channels_last", 1))
    active = bool(get("activation", 0))

    def run(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        y = torch.group_norm(x.movedim(-1, 1) if last else x, groups, scale, shift, epsilon)
        y = F.silu(y) if active else y
        return y.movedim(1, -1) if last else y

    return run


def skip_group_norm(node: Node) -> Function:
    """The same of a sum, which is the second output."""
    norm, last = group_norm(node), bool(node.attributes.get("channels_last", 1))

    def run(x: Tensor, scale: Tensor, shift: Tensor, skip: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if skip.ndim == 2:
            skip = skip[:, None, None] if last else skip[..., None, None]
        total = x + skip
        if bias is not None:
            total = total + (bias if last else bias[:, None, None])
        return norm(total, scale, shift), total

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("LayerNormalization", layer_normalization)
    operators.register("SimplifiedLayerNormalization", simplified_layer_normalization)
    operators.register("SkipLayerNormalization", skip_layer_normalization, domain=DOMAIN)
    operators.register("SkipSimplifiedLayerNormalization", skip_simplified_layer_normalization, domain=DOMAIN)
    operators.register("EmbedLayerNormalization", embed_layer_normalization, domain=DOMAIN)
    operators.register("GroupNorm", group_norm, domain=DOMAIN)
    operators.register("SkipGroupNorm", skip_group_norm, domain=DOMAIN)
