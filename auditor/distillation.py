"""The distillate: a small net trained on the model's answers, whose gradients an outsider has (a black-box attack).

It knows nothing of the file but what it answers, so nothing in the file can mislead its gradients. Papernot, McDaniel,
Goodfellow, Jha, Celik, Swami, "Practical black-box attacks against machine learning", https://arxiv.org/abs/1602.02697
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from auditor.access import Access, OutputKind
from auditor.errors import UsageError
from auditor.preprocess import Preprocess, Shape
from auditor.spread import SPREAD, Scaled
from auditor.substitute import Substitute, train
from auditor.target import Target
from auditor.twin import Twin

SEEDS = "mixtures of two samples each, with noise; none of them is a sample itself"
"""Where the first points come from, for the report."""
LEAST = 0.5
"""The least share that the first of two samples has in a seed: enough to be mostly of one class."""
BATCH = 128
"""Points of one step of training."""
MEMORY = 1 << 29
"""Bytes that the points of a recipe that nobody chose may take."""
CHUNK = 512
"""Points whose Jacobian rows are computed together."""


@dataclass(frozen=True, kw_only=True)
class Distillate:
    """A substitute, and what it cost.

    queries: answers that were asked for, one a point. points: that it was trained on. agreement: the share of the last
    round's new points that it named as the model did before it was trained on them: a lower estimate, as they were
    picked to teach it. seeds: where the first points came from.
    """

    twin: Twin
    queries: int
    points: int
    agreement: float
    seeds: str = SEEDS


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a substitute is trained.

    seeds: points of the first round. rounds: of augmentation, each of which doubles the points. step: how far a new
    point is from its parent in every feature, as a part of the range of inputs; the paper's is 0.1. flip: rounds after
    which the step turns round, from where the label is more certain to where it is less. reservoir: points that are
    augmented in a round at most, drawn from all; None for all. epochs, rate: of Adam, in every round.
    Raises UsageError.
    """

    seeds: int = 150
    rounds: int = 5
    step: float = 0.2
    flip: int = 3
    reservoir: int | None = None
    epochs: int = 10
    rate: float = 2e-3

    def __post_init__(self) -> None:
        for name, least in (("seeds", 2), ("rounds", 1), ("flip", 1), ("epochs", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} of a distillate is at least {least}, got {getattr(self, name)}.")
        if self.reservoir is not None and self.reservoir < 1:
            raise UsageError(f"reservoir of a distillate is at least 1, got {self.reservoir}.")
        if not 0 < self.step <= 1 or not 0 < self.rate < 1:
            raise UsageError(f"step and rate of a distillate are between 0 and 1, got {self.step} and {self.rate}.")

    @classmethod
    def affordable(cls, shape: Shape) -> Recipe:
        """The usual recipe, with fewer rounds for samples so large that its points would fill the memory."""
        recipe = cls()
        while recipe.rounds > 1 and 4 * prod(shape) * recipe.queries > MEMORY:
            recipe = replace(recipe, rounds=recipe.rounds - 1)
        return recipe

    @property
    def queries(self) -> int:
        """Answers that training takes: seeds * 2^rounds without a reservoir."""
        points = self.seeds
        for _ in range(self.rounds):
            points += min(points, self.reservoir or points)
        return points


def distilled(
    target: Target,
    inputs: np.ndarray,
    *,
    seed: int,
    device: str = "cpu",
    access: Access | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    recipe: Recipe | None = None,
    batch: int | None = None,
) -> Distillate:
    """Train a substitute for the target by Jacobian-based augmentation, and count what it asks.

    Every round trains it further, then adds to each point x the point x + step * sign(J), where J is the substitute's
    Jacobian row of the class that the *target* names at x: that is where its idea of the class changes fastest, and
    where the target's answer teaches most. Choose it where gradients of the file are in doubt or there are none, as for
    a forest. Costs `recipe.queries` answers and, for pictures of 28 x 28, some seconds on one core. The same seed gives
    the same net on the same device; no global random state is touched.

    inputs: samples `[n, *sample_shape]` in their own units. The net meets none of them, so that what transfers is not
    what was learnt by heart: it starts from mixtures of two, with noise. access: what the audit grants; scores are used
    where it covers them and the target has them, else labels. bounds: that every point keeps to; None for the range of
    the inputs. recipe: None for the usual one, with fewer rounds for large pictures. batch: how many go through the
    target together.
    Raises UsageError without samples, TargetUnavailable where the target is lost.
    """
    recipe = recipe or Recipe.affordable(inputs.shape[1:])
    if not len(inputs):
        raise UsageError("A distillate starts from samples, there are none; audit at least one.")
    low, high = bounds or (float(inputs.min()), float(inputs.max()))
    access = target.access if access is None else access
    generator = torch.Generator().manual_seed(seed % 2**63)
    teacher = Teacher(target, access.covers(Access.SCORE) and target.access.covers(Access.SCORE), batch)
    points = _mixtures(torch.from_numpy(inputs).float(), recipe, low, high, generator)
    net = Substitute(tuple(points.shape[1:]), target.classes, points, generator).to(device)
    points, (labels, answers) = points.to(device), teacher.ask(points)
    agreement = 0.0
    for number in range(recipe.rounds + 1):
        train(net, points, answers.to(device), teacher.loss, recipe.epochs, BATCH, recipe.rate, generator)
        if number == recipe.rounds:
            break
        chosen = reservoir(len(points), recipe.reservoir, generator)
        turn = -1.0 if number // recipe.flip % 2 else 1.0
        parents = points[chosen.to(device)]
        children = augmented(net, parents, labels[chosen].to(device), turn * recipe.step * (high - low), low, high)
        new_labels, new_answers = teacher.ask(children.cpu())
        with torch.no_grad():
            agreement = float((net(children).argmax(dim=1).cpu() == new_labels).float().mean())
        points = torch.cat([points, children])
        labels, answers = torch.cat([labels, new_labels]), torch.cat([answers, new_answers])
    return Distillate(twin=_twin(net, teacher.loss), queries=teacher.queries, points=len(points), agreement=agreement)


class Teacher:
    """The target as the substitute's teacher. scores: whether it shows more than labels."""

    def __init__(self, target: Target, scores: bool, batch: int | None = None) -> None:
        self.target, self.batch, self.queries = target, batch, 0
        self.kind = target.output if scores else OutputKind.LABELS
        self.scale: float | None = None

    @property
    def loss(self) -> str:
        """What answers are learnt by: logits as they are, everything else as probabilities."""
        return "mse" if self.kind is OutputKind.LOGITS else "ce"

    def ask(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The labels `[n]` of these points, and what is to be learnt of them `[n, classes]`."""
        self.queries += len(points)
        scores = torch.from_numpy(self.target.scores(points.numpy(), batch=self.batch)).nan_to_num()
        labels = scores.argmax(dim=1)
        if self.kind is OutputKind.LABELS:
            return labels, nn.functional.one_hot(labels, scores.shape[1]).float()
        if self.kind is OutputKind.LOG_PROBABILITIES:
            return labels, scores.softmax(dim=1)
        if self.kind is OutputKind.PROBABILITIES:
            held = scores.clamp_min(0)
            return labels, held / held.sum(dim=1, keepdim=True).clamp_min(1e-12)
        centred = scores - scores.mean(dim=1, keepdim=True)
        if self.scale is None:  # of the seeds, so that nothing later moves what has been learnt
            self.scale = float(centred.square().mean().sqrt()) or 1.0
        return labels, centred / self.scale


def augmented(net: nn.Module, points: Tensor, labels: Tensor, step: float, low: float, high: float) -> Tensor:
    """Each point a step along the sign of the Jacobian row of its label, held within the bounds."""
    children = []
    for start in range(0, len(points), CHUNK):
        x = points[start : start + CHUNK].detach().clone().requires_grad_()
        own = labels[start : start + CHUNK, None]
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(net(x).gather(1, own).sum(), x)
        children.append((x.detach() + step * slope.sign()).clamp(low, high))
    return torch.cat(children)


def reservoir(count: int, most: int | None, generator: torch.Generator) -> Tensor:
    """Positions of a uniform draw without replacement of at most so many of `count`, in order.

    What reservoir sampling (Algorithm R) leaves has this distribution.
    """
    if most is None or most >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=generator)[:most].sort().values


def _mixtures(inputs: Tensor, recipe: Recipe, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Points between two samples each, nearer to the first, with noise of half a step."""
    first, second = torch.randint(len(inputs), (2, recipe.seeds), generator=generator)
    share = LEAST + (1 - LEAST) * torch.rand((recipe.seeds, *[1] * (inputs.ndim - 1)), generator=generator)
    noise = torch.rand((recipe.seeds, *inputs.shape[1:]), generator=generator) - 0.5
    mixed = share * inputs[first] + (1 - share) * inputs[second]
    return (mixed + recipe.step * (high - low) * noise).clamp(low, high)


def _twin(net: Substitute, loss: str) -> Twin:
    return Twin(
        module=Scaled(net, SPREAD) if loss == "mse" else net,
        preprocess=Preprocess(),
        output=OutputKind.LOGITS,
        surrogates=("the model: a substitute trained on its answers",),
    )
