"""Expectation over transformation: a twin whose answer is the mean of many draws. Athalye, Engstrom, Ilyas, Kwok,
https://arxiv.org/abs/1707.07397; against randomised defences https://arxiv.org/abs/1802.00420.

What is averaged is the logits, not the probabilities. Their mean has the gradient of the typical draw, where a mean of
probabilities has that of the few draws that are undecided, which vanishes once all are sure. Logarithms of
probabilities differ from logits by one number a draw, the same for every class, so their mean gives attacks the same
margins, labels and losses. A single draw of extreme logits weighs more than its one vote, though: the verifier, which
counts votes on the deployed model, decides in any case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from torch import Tensor

from auditor.errors import UsageError
from auditor.twin import Twin


@dataclass(frozen=True, kw_only=True)
class ExpectedTwin(Twin):
    """A twin whose logits and scores are means over `passes` draws; their gradient is that of the mean.

    Draws are taken one after the other, so that what a file draws once for a whole batch differs between them too. A
    call whose gradient is wanted keeps all passes, so `passes` times the memory a point: ask about fewer points.
    """

    def logits(self, x: Tensor) -> Tensor:
        """The mean of the logits, or of the logarithms of probabilities, `[batch, classes]`."""
        return self._mean(super().logits, x)

    def scores(self, x: Tensor) -> Tensor:
        """The mean of what the target returns, `[batch, classes]`."""
        return self._mean(super().scores, x)

    def _mean(self, one: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        total = one(x)
        for _ in range(self.passes - 1):
            total = total + one(x)
        return total / self.passes


def expected(twin: Twin, draws: int) -> Twin:
    """The twin's expectation over so many draws; a twin that draws nothing is returned as it is.

    Costs `draws` forward passes a call, and as many backward where a gradient is wanted; the standard error of score
    and gradient is that of one draw over the square root of `draws`. Raises UsageError for less than one draw.
    """
    if draws < 1:
        raise UsageError(f"An expectation takes at least one draw, got {draws}.")
    if draws == 1 or not twin.random:
        return twin
    own = {field.name: getattr(twin, field.name) for field in fields(twin)}
    return ExpectedTwin(**own | {"passes": twin.passes * draws})
