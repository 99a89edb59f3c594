"""What errors cost: confusions that must not happen, and the mean cost of a sample with and without an attacker.

After cost-sensitive robustness (Zhang and Evans, https://arxiv.org/abs/1810.09225): a confusion of one class with
another has a cost, and an attacker picks the costliest that is in reach.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from auditor.hardness import Protected, Risk, Runs
from auditor.record import Outcome


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """A class that must not be taken for another: into, or any other where that is None. Every other error costs 1."""

    label: int
    into: int | None = None
    cost: float = 10.0


def cost(confusions: Sequence[Confusion], label: int, answer: int) -> float:
    """Of answering so where the label is this: 0 where it is right, that of the confusion where one is named (the one
    that names both classes first), else 1."""
    if label == answer:
        return 0.0
    own = [one for one in confusions if one.label == label and one.into in (None, answer)]
    return max(own, key=lambda one: (one.into is not None, one.cost)).cost if own else 1.0


def protected(one: Confusion, outcomes: list[Outcome], runs: Runs, epsilon: float | None) -> Protected:
    """How well one class is protected."""
    own = [o for o in outcomes if o.label == one.label]
    answered = [o for o in outcomes if o.clean_label == one.label]
    ids = {o.id for o in own}
    tried: dict[int, bool] = {}
    for sample, target, distance in zip(runs.ids, runs.targets, runs.distances, strict=True):
        if sample in ids and one.into in (None, target):
            there = distance is not None and epsilon is not None and distance <= epsilon
            tried[sample] = tried.get(sample, False) or there

    def confused(answer: int | None) -> bool:
        return answer is not None and answer != one.label and one.into in (None, answer)

    return Protected(
        label=one.label,
        into=one.into,
        cost=one.cost,
        n=len(own),
        clean=sum(confused(o.clean_label) for o in own),
        broken=sum(confused(o.adversarial_label) or confused(o.clean_label) for o in own),
        tried=len(tried),
        got_there=sum(tried.values()),
        precision=sum(o.label == one.label for o in answered) / len(answered) if answered else None,
    )


def risk(outcomes: list[Outcome], runs: Runs, epsilon: float | None, confusions: Sequence[Confusion]) -> Risk:
    """The mean cost of a sample."""
    clean = {o.id: cost(confusions, o.label, o.clean_label) for o in outcomes}
    found = {
        o.id: clean[o.id] if o.adversarial_label is None else cost(confusions, o.label, o.adversarial_label)
        for o in outcomes
    }
    more = _more(outcomes, runs, epsilon, confusions, found)
    mean = sum(found.values()) / len(outcomes)
    return Risk(
        clean=sum(clean.values()) / len(outcomes),
        found=mean,
        costliest=None if not more else mean + _by_class(more, outcomes),
        n=len(more),
    )


def _more(
    outcomes: list[Outcome],
    runs: Runs,
    epsilon: float | None,
    confusions: Sequence[Confusion],
    found: dict[int, float],
) -> dict[int, float]:
    """By how much the costliest class in reach exceeds what was found, for each sample with runs."""
    labels = {o.id: o.label for o in outcomes}
    more: dict[int, float] = {}
    for sample, target, distance in zip(runs.ids, runs.targets, runs.distances, strict=True):
        there = distance is not None and epsilon is not None and distance <= epsilon
        price = cost(confusions, labels[sample], target) if there else 0.0
        more[sample] = max(more.get(sample, 0.0), price - found[sample])
    return more


def _by_class(more: dict[int, float], outcomes: list[Outcome]) -> float:
    """The mean over all samples of what those with runs stand for: the correctly classified ones of their class. A
    class without runs adds nothing."""
    right = Counter(o.label for o in outcomes if o.clean_label == o.label)
    own = defaultdict(list)
    for o in outcomes:
        if o.id in more:
            own[o.label].append(more[o.id])
    return sum(right[label] * sum(values) / len(values) for label, values in own.items()) / len(outcomes)
