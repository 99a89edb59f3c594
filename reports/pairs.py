"""Into what? From each class towards each other: how often attacks get there within epsilon, and how far away it is."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from auditor.hardness import Hardness, Pair
from auditor.rates import MISSING
from auditor.record import Record

from .classes import FAR
from .matrix import FEW, LEAST, MOST, Matrix, distances, success
from .names import in_words, naming
from .numbers import amount, count, interval, known, percent

TARGETS = 3
"""Targets of each class that a narrow screen lists in place of a matrix."""
SLIM, BESIDE = 4, 10
"""Characters of every class's name, and classes, up to which two matrices stand beside each other."""
ENDS = 15
"""Easiest and hardest pairs that are listed where no matrix is."""
STRONG, SOME = 0.7, 0.4
"""Rank correlations from which a prediction gives the order, and from which it gives some of it."""


@dataclass(frozen=True, kw_only=True)
class PairLine:
    """One pair in words. broken: of n runs, within epsilon. reached: at any distance. mean: of those reached."""

    source: str
    target: str
    broken: str
    share: str
    interval: str
    distance: str
    reached: str
    mean: str
    hardness: str
    saliency: str


@dataclass(frozen=True, kw_only=True)
class Targets:
    """A class and the three others that it is most easily turned into, in words."""

    name: str
    easiest: str


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """lead: the easiest and the hardest pair. note: how the runs were made. matrices: success and distance, empty where
    there are too many classes or not all targets were tried; then easiest and hardest. numbers: every pair where there
    is a matrix. slim: whether two matrices fit beside each other. saliency: whether any pair has an A. prediction:
    whether a cheap measure would have said the same."""

    lead: str
    note: str
    matrices: list[Matrix]
    slim: bool
    saliency: bool
    targets: list[Targets]
    easiest: list[PairLine]
    hardest: list[PairLine]
    numbers: list[PairLine]
    prediction: str


def pairs(record: Record) -> Pairs | None:
    """The pairs of a record, None where no sample was attacked towards a class."""
    hardness = record.hardness
    if hardness is None:
        return None
    ranked = sorted((pair for pair in hardness.pairs if pair.n), key=_rank)
    if not ranked:
        return None
    labels = sorted({pair.source for pair in ranked} | {pair.target for pair in ranked})
    square = hardness.targets == "all" and LEAST <= len(labels) <= MOST
    lines = [_line(record, pair) for pair in (ranked if square or len(ranked) <= ENDS else ranked[:ENDS])]
    rest = [] if square else ranked[ENDS:]
    matrices = [success(record, ranked, labels), distances(record, ranked, labels)] if square else []
    return Pairs(
        lead=_lead(record, ranked),
        note=_note(hardness, ranked),
        matrices=matrices,
        slim=len(labels) <= BESIDE and all(len(head.name) <= SLIM for matrix in matrices for head in matrix.heads),
        saliency=any(known(pair.adversarial_distance) for pair in ranked),
        targets=_targets(record, ranked) if square else [],
        numbers=lines if square else [],
        easiest=[] if square else lines,
        hardest=[_line(record, pair) for pair in rest[: -ENDS - 1 : -1]],
        prediction=_prediction(hardness),
    )


def _rank(pair: Pair) -> tuple[float, float, int, int]:
    """The easiest first: by the share that gets there within epsilon, then by the distance that it takes."""
    far = pair.distance if known(pair.distance) else inf
    return -pair.broken / pair.n, far, pair.source, pair.target


def _line(record: Record, pair: Pair) -> PairLine:
    name = naming(record)
    return PairLine(
        source=name(pair.source),
        target=name(pair.target),
        broken=f"{count(pair.broken)} of {count(pair.n)}",
        share=percent(pair.broken / pair.n, pair.n),
        interval=interval(pair.interval),
        distance=amount(pair.distance) if known(pair.distance) else FAR,
        reached=count(pair.reached),
        mean=amount(pair.mean_distance),
        hardness=amount(pair.hardness),
        saliency=amount(pair.adversarial_distance),
    )


def _lead(record: Record, ranked: list[Pair]) -> str:
    if not any(pair.reached for pair in ranked):
        return "No run got to the class that it went for, at any distance."
    easiest = f"Easiest is {_told(record, ranked[0])}"
    if len(ranked) == 1:
        return f"{easiest}."
    return f"{easiest}; hardest is {_told(record, ranked[-1])}."


def _told(record: Record, pair: Pair) -> str:
    name = naming(record)
    at = f", median distance {amount(pair.distance)}" if known(pair.distance) else ""
    return (
        f"{in_words(name(pair.source))} to {name(pair.target)} ({count(pair.broken)} of {count(pair.n)} within "
        f"epsilon{at})"
    )


def _note(hardness: Hardness, ranked: list[Pair]) -> str:
    whom = (
        "each of the other classes" if hardness.targets == "all" else f"the {hardness.each} nearest and most confused"
    )
    text = (
        f"{count(hardness.n)} correctly classified samples were attacked towards {whom} by {hardness.attack}: "
        f"{count(len(ranked))} {'pair' if len(ranked) == 1 else 'pairs'}. A pair's rate counts who got there within "
        "epsilon; its distance is the median over all of its runs."
    )
    if all(pair.n < FEW for pair in ranked):
        text += f" Every pair has fewer than {FEW} runs, so read each as a hint."
    return text


def _targets(record: Record, ranked: list[Pair]) -> list[Targets]:
    name = naming(record)
    own: dict[int, list[Pair]] = {}
    for pair in ranked:
        own.setdefault(pair.source, []).append(pair)
    return [
        Targets(
            name=name(source),
            easiest="; ".join(
                f"{name(pair.target)} ({count(pair.broken)} of {count(pair.n)}"
                + (f", {amount(pair.distance)})" if known(pair.distance) else ")")
                for pair in own[source][:TARGETS]
            ),
        )
        for source in sorted(own)
    ]


def _prediction(hardness: Hardness) -> str:
    if not known(hardness.correlation):
        return ""
    strength = hardness.correlation
    verdict = (
        "so on this model the cheap measure gives the order"
        if strength >= STRONG
        else "so it gives some of the order, and no more"
        if strength >= SOME
        else "so on this model it does not tell which pairs are easy"
    )
    text = (
        "The adversarial distance A is a prediction from gradients alone, without an attack: the share of features "
        f"that do not push a sample towards the class. Its rank correlation (Spearman's) with the hardness H is "
        f"{_two(strength)} over {count(hardness.over)} pairs, {verdict}."
    )
    if known(hardness.correlation_distance):
        text += f" With the median distance it is {_two(hardness.correlation_distance)}."
    if known(hardness.robustness):
        text += f" The least A of any run, R(F), is {amount(hardness.robustness)}."
    return text


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if known(value) else MISSING
