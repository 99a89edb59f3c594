"""Losses that a file computes itself."""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators

REDUCTIONS = ("none", "sum", "mean")


def negative_log_likelihood(node: Node) -> Function:
    """From log-probabilities `[N, C, ...]`, labels `[N, ...]` and weights `[C]` to the loss that the node asks for."""
    reduction, ignored = node.attributes.get("reduction", "mean"), node.attributes.get("ignore_index")
    if reduction not in REDUCTIONS:
        raise node.unsupported(f"reduction {reduction!r}")

    def run(log_probabilities: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        labels = labels.long()
        counted = torch.ones_like(labels, dtype=torch.bool) if ignored is None else labels != ignored
        labels = torch.where(counted, labels, torch.zeros_like(labels))
        picked = log_probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
        shares = torch.ones_like(picked) if weight is None else weight[labels]
        shares = torch.where(counted, shares, torch.zeros_like(shares))
        losses = torch.where(counted, -picked * shares, torch.zeros_like(picked))
        if reduction == "none":
            return losses
        return losses.sum() if reduction == "sum" else losses.sum() / shares.sum()

    return run


def softmax_cross_entropy(node: Node) -> Function:
    """The second output holds the log-probabilities."""
    loss = negative_log_likelihood(node)

    def run(scores: Tensor, labels: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_probabilities = scores.log_softmax(1)
        return loss(log_probabilities, labels, weight), log_probabilities

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("NegativeLogLikelihoodLoss", negative_log_likelihood, since=12)
    operators.register("SoftmaxCrossEntropyLoss", softmax_cross_entropy, since=12)
