"""Who fools whom: the error of each model on examples that were crafted on each, and what its diagonal says.

A model's own gradients should lead to the examples that fool it most, since others' know less of it. Where examples of
every other model fool it more, its gradients lead nowhere and its robustness to them is a mask: so are the rows of the
adversarially trained models in table 1 of Tramèr et al., https://arxiv.org/abs/1705.07204
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from auditor.errors import UsageError
from auditor.protocols import TransferCounts
from auditor.rates import percent


class Signature(StrEnum):
    """Where the diagonal stands in a target's row."""

    MASKED = "masked"
    """Every other source fools the target more than its own gradients do."""
    BEATEN = "beaten"
    """Some other source does: its own gradients are not the best way to fool it."""
    OWN = "own"
    """None does, as it is with undefended models and with those that are robust."""
    UNKNOWN = "unknown"
    """There is nothing to compare."""


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """names: of the models, in the order of rows and columns. errors: `errors[target][source]`, Tramèr's rate, whose
    denominator is the same along a row; None where there are no samples. n: samples."""

    names: tuple[str, ...]
    errors: tuple[tuple[float | None, ...], ...]
    n: int

    def __post_init__(self) -> None:
        side = len(self.names)
        if len(self.errors) != side or any(len(row) != side for row in self.errors):
            lengths = [len(row) for row in self.errors]
            raise UsageError(
                f"A matrix of {side} models has {side} rows of {side} errors, got {len(lengths)} of lengths {lengths}."
            )

    @classmethod
    def of(cls, counts: Mapping[tuple[str, str], TransferCounts], names: tuple[str, ...]) -> Matrix:
        """From the counts of one attack by (source, target); every pair of names is among them."""
        missing = [(source, target) for source in names for target in names if (source, target) not in counts]
        if missing:
            source, target = missing[0]
            raise UsageError(f"A matrix needs every source against every target, {source} against {target} is missing.")
        rows = tuple(tuple(counts[source, target].error for source in names) for target in names)
        return cls(names=names, errors=rows, n=max((one.n for one in counts.values()), default=0))

    def signature(self, target: str) -> Signature:
        """What a target's row says. Differences of one sample count; see `lead` for how much there is to it."""
        own, others = self._split(target)
        if own is None or not others:
            return Signature.UNKNOWN
        if own < min(others):
            return Signature.MASKED
        return Signature.BEATEN if own < max(others) else Signature.OWN

    def lead(self, target: str) -> float | None:
        """How much more its own gradients fool a target than the best other source; negative where that is better."""
        own, others = self._split(target)
        return None if own is None or not others else own - max(others)

    def table(self) -> Iterator[str]:
        """The matrix as lines of Markdown: a row a target, its signature last."""
        yield f"| target \\ source | {' | '.join(self.names)} | own gradients |"
        yield "|---" * (len(self.names) + 2) + "|"
        for name, row in zip(self.names, self.errors, strict=True):
            cells = [percent(error, self.n) for error in row]
            own = self.names.index(name)
            cells[own] = f"**{cells[own]}**"
            yield f"| {name} | {' | '.join(cells)} | {self.signature(name)} |"

    def _split(self, target: str) -> tuple[float | None, list[float]]:
        """A target's error on its own examples, and on those of the others."""
        place = self.names.index(target)
        row = self.errors[place]
        return row[place], [error for i, error in enumerate(row) if i != place and error is not None]
