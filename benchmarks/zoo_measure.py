"""What a member of the zoo withstands: raw nets under 40 steps of PGD, files under an attack that believes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

import auditor.operators
from auditor.chance import CHANCE
from auditor.defense import Defense
from auditor.errors import ModelError
from auditor.host import Host
from auditor.target import Target, TargetOptions
from auditor.twin import Twin
from benchmarks.zoo_training import Loss, ascend, cross_entropy, margin

STEPS = 40
DRAWS = 8
"""Draws of a randomised model that an attack on its expectation averages over."""
ASKED = 9
"""How often a randomised model is asked about one input; what is reported is the mean."""


class _OwnGradient(torch.autograd.Function):
    """The hard value, with the gradient that it has: none."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, hard: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing has to be kept."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.zeros_like(gradient), None


@contextmanager
def own_gradients() -> Iterator[None]:
    """Meanwhile no operator of a twin has a stand-in for its gradient: what rounds, compares or picks has none."""
    with mock.patch.object(auditor.operators, "_StraightThrough", _OwnGradient):
        yield


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A member's file behind its defences, as it is deployed, and its twin."""

    target: Target
    twin: Twin
    defenses: list[Defense]

    @classmethod
    def of(cls, path: Path, defenses: list[Defense], shape: tuple[int, ...], host: Host) -> Opened:
        """Load a file as a scan would, for samples of this shape. Raises ModelError where it has no twin."""
        target = host.load_target(str(path), TargetOptions(operators=host.operators, threads=1, trust=True))
        for defense in defenses:
            target = defense.wrap_target(target)
        target.fit(shape)
        return cls(target=target, twin=target.twin(), defenses=defenses)

    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        """Of the deployed file; of one that draws in the mean over several answers."""
        asked = ASKED if self.twin.random else 1
        right = [self.target.labels(x.numpy(), batch=len(x)) == labels.numpy() for _ in range(asked)]
        return float(np.mean(right))

    def naive(self, x: Tensor) -> Tensor:
        """The file's scores as they are, for its first draw every time; front ends that are not random have no
        gradient."""
        CHANCE.begin(0, "zoo")
        for defense in reversed(self.defenses):
            if defense.gradient == "random":
                x = defense.relaxed(x)
            else:
                x = torch.from_numpy(defense.transform(x.detach().numpy()))
        return replace(self.twin, before=()).scores(x)

    def expected(self, x: Tensor) -> Tensor:
        """What a scan climbs, in the mean over a few draws where there are any."""
        draws = DRAWS if self.twin.random else 1
        return torch.stack([self.twin.logits(x) for _ in range(draws)]).mean(dim=0)

    def blurred(self, x: Tensor, radius: float) -> Tensor:
        """The mean over a few points nearby, whose gradient says more where one point's says nothing.

        Tramèr et al. 2020, https://arxiv.org/abs/2002.08347, of k-winners-take-all.
        """
        nearby = [(x + radius * (2 * torch.rand_like(x) - 1)).clamp(0, 1) for _ in range(DRAWS)]
        return torch.stack([self.twin.logits(point) for point in nearby]).mean(dim=0)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Accuracies on the samples, all fractions. None where there is nothing to measure it on.

    clean: of the file. entropy, margin: of the raw net at the member's epsilon, under 40 steps that climb the
    cross-entropy, or the margin. base: of the net that a deceiver is built on, likewise under the margin. naive: of the
    file, under an attack that takes its own gradients for true. known: of the file, the least that any of these left,
    with stand-ins for gradients, means over a neighbourhood, and with what fooled the base.
    """

    clean: float
    entropy: float | None = None
    margin: float | None = None
    base: float | None = None
    naive: float | None = None
    known: float | None = None

    @property
    def optimism(self) -> float | None:
        """By how much the naive attack is too optimistic."""
        return None if self.naive is None or self.known is None else self.naive - self.known


Scores = Callable[[Tensor], Tensor]


def climbed(scores: Scores, x: Tensor, labels: Tensor, epsilon: float, loss: Loss, steps: int = STEPS) -> Tensor:
    """`ascend` with a fixed seed."""
    torch.manual_seed(0)
    return ascend(scores, x, labels, epsilon=epsilon, steps=steps, loss=loss)


def raw(net: nn.Module, x: Tensor, labels: Tensor, epsilon: float, loss: Loss) -> float:
    """Accuracy of a torch net under 40 steps of PGD."""
    found = climbed(net, x, labels, epsilon, loss)
    return float((net(found).argmax(dim=1) == labels).float().mean())


def honest(net: nn.Module | None, file: Opened, x: Tensor, labels: Tensor, epsilon: float) -> Measured:
    """An honest member, by its raw net, or by the twin of its file where there is none."""
    scores: Any = net or file.twin.logits
    return Measured(
        clean=file.accuracy(x, labels),
        entropy=raw(scores, x, labels, epsilon, cross_entropy),
        margin=raw(scores, x, labels, epsilon, margin),
    )


def deceiver(
    net: nn.Module, base: nn.Module, file: Opened, x: Tensor, labels: Tensor, epsilon: float, naive_steps: int = STEPS
) -> Measured:
    """A deceiver, and what it is built on.

    net: what stands in its file without the disguise; the same as base, or a net that was trained for the disguise.
    """
    with own_gradients():
        found = climbed(file.naive, x, labels, epsilon, cross_entropy, naive_steps)
    naive = file.accuracy(found, labels)
    attempts = [naive]
    sources: list[Any] = [file.expected, base] if net is base else [file.expected, base, net]
    if net is not base and not file.twin.random:
        sources += [partial(file.blurred, radius=epsilon / 2), partial(file.blurred, radius=epsilon / 10)]
    for scores in sources:
        for loss in (margin, cross_entropy):
            try:
                attempts.append(file.accuracy(climbed(scores, x, labels, epsilon, loss), labels))
            except ModelError:
                continue
    return Measured(
        clean=file.accuracy(x, labels),
        entropy=raw(net, x, labels, epsilon, cross_entropy),
        margin=raw(net, x, labels, epsilon, margin),
        base=raw(base, x, labels, epsilon, margin),
        naive=naive,
        known=min(attempts),
    )
