"""Hardness in the record: which classes are hard to attack, into which others, at what distance. Data only.

After Papernot et al., https://arxiv.org/abs/1511.07528 (pairs, hardness, adversarial distance), and Zhang et al.,
https://arxiv.org/abs/1901.08573 (natural and boundary errors, which are in `ClassRow`).
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class CurvePoint(Struct, frozen=True, kw_only=True):
    """robust_accuracy: the share with no adversarial example found up to epsilon, an upper bound. certified: the share
    proved to have none, a lower bound; 0 where no certifier says more."""

    epsilon: float
    robust_accuracy: float
    certified: float = 0.0


class Runs(Struct, frozen=True, kw_only=True):
    """Minimum-norm runs, one of a sample towards a class: columns of equal length.

    ids, targets: which sample, towards which class. distances: of the nearest example of that class that was found and
    verified, in the threat's norm; None where none was. saliency: A(X, t), the share of features that do not push the
    sample towards the class when they are raised; None where the model gave no gradients.
    """

    ids: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    distances: list[float | None] = field(default_factory=list)
    saliency: list[float | None] = field(default_factory=list)


class Pair(Struct, frozen=True, kw_only=True):
    """From samples of one class towards another.

    n: runs. broken: of those, within epsilon, with the Wilson interval of the rate at 95 %. reached: at any distance.
    distance: the median over all n, None where half or more were not reached. mean_distance: of those reached.
    hardness: Papernot's H over the budgets, low where the pair is easy; None where none of them was enough.
    adversarial_distance: mean of A(X, t).
    """

    source: int
    target: int
    n: int
    broken: int
    interval: tuple[float, float] | None
    reached: int
    distance: float | None
    mean_distance: float | None
    hardness: float | None
    adversarial_distance: float | None


class ClassHardness(Struct, frozen=True, kw_only=True):
    """How far and how steep one class is.

    n: correctly classified samples whose nearest adversarial example was looked for, with the same budget. distance:
    the median, None where fewer than half have one. nearest: the smallest. curve: robust accuracy of the class over
    epsilon. measured: samples whose slopes were measured. margin: mean of the label's score less the largest other.
    jacobian: mean Frobenius norm of the Jacobian of the logits. radius: median of margin over the dual norm of its
    gradient, the distance if the model were linear.
    """

    label: int
    n: int
    distance: float | None = None
    nearest: float | None = None
    curve: list[CurvePoint] = field(default_factory=list)
    measured: int = 0
    margin: float | None = None
    jacobian: float | None = None
    radius: float | None = None


class Protected(Struct, frozen=True, kw_only=True):
    """A confusion that the user said must not happen. into: the class, None for any other. cost: of one such error.

    n: samples of the class. clean, broken: how many are confused so without an attack, and with one. tried: runs
    towards `into` (towards any class where it is None: samples), of which so many got there within epsilon.
    precision: of the model's answer `label` on clean samples; a model that answers it always protects the class, and
    is of no use.
    """

    label: int
    into: int | None
    cost: float
    n: int
    clean: int
    broken: int
    tried: int
    got_there: int
    precision: float | None


class Risk(Struct, frozen=True, kw_only=True):
    """Mean cost of a sample; every error that the user gave no cost costs 1.

    clean: without an attack. found: by the adversarial examples that count, whatever class they happened to become.
    costliest: where the attacker picks, of the classes that were reached within epsilon, the one that costs most; what
    that adds is estimated from the samples of the pairs (n of them), by class. None without runs. Attacks push `found`
    up, so it is a lower bound.
    """

    clean: float
    found: float
    costliest: float | None
    n: int


class Hardness(Struct, frozen=True, kw_only=True):
    """Where the model is weak.

    why_not: why nothing was looked for beyond epsilon, None where it was. why_no_pairs: why nothing was sent towards
    classes. correct: correctly classified samples; ranged: of those, the ones whose nearest example was looked for,
    drawn uniformly. attack, parameters: with what. n: samples that were also attacked towards classes, `each` of them,
    about as many of every source: `targets` is `all` the others, or the `nearest` and most confused. budgets: the
    distances over which H is integrated. robustness: Papernot's R(F), the least A(X, t). correlation: Spearman's,
    between A and H over the pairs; correlation_distance: between A and the median distance. over: pairs that went into
    the first. easiest, hardest: ids of the samples with the nearest and the farthest examples. share: what all this
    cost, over what the suite had cost, both in forward equivalents (a backward pass counts as two, a query as one).
    """

    why_not: str | None = None
    why_no_pairs: str | None = None
    correct: int = 0
    ranged: int = 0
    attack: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    n: int = 0
    each: int = 0
    targets: str = "all"
    budgets: list[float] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    classes: list[ClassHardness] = field(default_factory=list)
    robustness: float | None = None
    correlation: float | None = None
    correlation_distance: float | None = None
    over: int = 0
    easiest: list[int] = field(default_factory=list)
    hardest: list[int] = field(default_factory=list)
    protected: list[Protected] = field(default_factory=list)
    risk: Risk | None = None
    share: float | None = None
    runs: Runs = Runs()
