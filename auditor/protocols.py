"""How often examples that were crafted on one model fool another, by the two published protocols.

The denominator moves a rate of transfer by tens of points, so every count is kept:

- Kurakin, Goodfellow, Bengio (https://arxiv.org/abs/1607.02533): of the samples that both models classify rightly and
  whose example fools the source, the share that fools the target too. To itself a model transfers all.
- Tramèr et al. (https://arxiv.org/abs/1705.07204): the error of the target on all examples, whether or not they fool
  the source, and with the samples that it gets wrong anyway; of all attacks and held-out sources the largest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from auditor.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


class TransferCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of n examples of one attack on one source, put before one target.

    both_right: samples that both models classify rightly before they are changed. Of these, fooled_source: those whose
    example the source gets wrong, fooled_target: the target, fooled_both: both of them. errors: examples that the
    target gets wrong, of all n.
    """

    n: int
    both_right: int
    fooled_source: int
    fooled_both: int
    fooled_target: int
    errors: int

    @property
    def transferred(self) -> float | None:
        """Kurakin's rate: of the examples that fool the source, those that fool the target too."""
        return _share(self.fooled_both, self.fooled_source)

    @property
    def error(self) -> float | None:
        """Tramèr's rate: examples that the target gets wrong, of all."""
        return _share(self.errors, self.n)

    @property
    def source_success(self) -> float | None:
        """Examples that fool the source, of those whose sample both classify rightly."""
        return _share(self.fooled_source, self.both_right)

    @property
    def target_success(self) -> float | None:
        """Examples that fool the target, of those whose sample both classify rightly, whatever the source makes of
        them."""
        return _share(self.fooled_target, self.both_right)


def count(
    source_right: np.ndarray, target_right: np.ndarray, source_wrong: np.ndarray, target_wrong: np.ndarray
) -> TransferCounts:
    """The counts, from bool `[n]` each: who classifies the clean sample rightly, and who its example wrongly."""
    masks = (source_right, target_right, source_wrong, target_wrong)
    if any(mask.ndim != 1 or mask.dtype != bool or len(mask) != len(source_right) for mask in masks):
        shapes = ", ".join(f"{mask.dtype} {list(mask.shape)}" for mask in masks)
        raise UsageError(f"Transfer is counted from four masks of the same samples, each bool [n], got {shapes}.")
    both = source_right & target_right
    return TransferCounts(
        n=len(both),
        both_right=int(both.sum()),
        fooled_source=int((both & source_wrong).sum()),
        fooled_both=int((both & source_wrong & target_wrong).sum()),
        fooled_target=int((both & target_wrong).sum()),
        errors=int(target_wrong.sum()),
    )


def worst_black_box(
    counts: Mapping[tuple[str, str], TransferCounts], target: str
) -> tuple[tuple[str, str], float] | None:
    """Tramèr's figure for a target: the (source, attack) of largest error and that error; None without any.

    counts: of examples put before this target, by source and attack. What was crafted on the target itself is left out:
    sources are held out. The first of equal ones is named.
    """
    errors = {key: one.error for key, one in counts.items() if key[0] != target}
    known = {key: error for key, error in errors.items() if error is not None}
    return max(known.items(), key=lambda item: item[1]) if known else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
