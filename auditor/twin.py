"""The twin: a torch module that computes what the file computes, with gradients. It proposes; it never decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auditor.access import OutputKind
from auditor.heads import two_columns
from auditor.peel import unpeeled
from auditor.preprocess import Preprocess


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A differentiable copy of a target.

    module: from `[batch, *model_shape]` to the file's scores, or to its logits where `peeled` names what was cut off
    its end ("softmax", "log_softmax", "sigmoid", "decision"). preprocess: the target's own. output: what the *file*
    returns. surrogates: operators whose backward pass is not their derivative, named so that a reader of the report
    knows. before: defences that stand in front, in sample units, outermost first. whole: to the file's scores also
    where what was cut off does more than that, as in a quantised file. random: whether two calls at one point may
    differ, as the model or a defence draws from `auditor.chance`. passes: through the model that one call costs. All
    parameters are frozen.
    """

    module: nn.Module
    preprocess: Preprocess
    output: OutputKind
    peeled: str | None = None
    surrogates: tuple[str, ...] = ()
    before: tuple[Callable[[Tensor], Tensor], ...] = ()
    whole: nn.Module | None = None
    random: bool = False
    passes: int = 1

    def __post_init__(self) -> None:
        for module in (self.module, self.whole):
            if module is not None:
                module.eval()
                module.requires_grad_(False)

    def _raw(self, x: Tensor, module: nn.Module) -> Tensor:
        for defense in self.before:
            x = defense(x)
        raw: Tensor = module(self.preprocess(x))
        return raw

    def logits(self, x: Tensor) -> Tensor:
        """What attacks differentiate, `[batch, classes]`: the logits, or the logarithm of probabilities.

        Their softmax is the pair of probabilities where the file returns one number. A probability of 0 has a finite
        logarithm here, and no gradient.
        x: `[batch, *sample_shape]` in sample units.
        """
        raw = self._raw(x, self.module)
        if self.peeled is not None:
            return two_columns(raw, OutputKind.LOGITS)
        scores = two_columns(raw, self.output)
        if self.output is OutputKind.PROBABILITIES:
            return scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
        return scores

    def scores(self, x: Tensor) -> Tensor:
        """What the target returns for x, `[batch, classes]`: for measuring fidelity."""
        if self.whole is not None:
            return two_columns(self._raw(x, self.whole.to(x.device, x.dtype)), self.output)
        raw = self._raw(x, self.module)
        return two_columns(raw, self.output) if self.peeled is None else unpeeled(raw, self.peeled)
