"""The sentences of a comparison: what the samples tell, and what they can't, in the same words wherever it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from auditor.comparison import ClassChange, Flip
from auditor.paired import LEVEL, Change
from auditor.pairing import short
from auditor.points import ends, equation, points, size
from auditor.rates import percent

NAMED = 8
"""Classes that a sentence names at most."""
MOST = 2
"""Flipped samples of one class from which the sentence may name it."""


def sentence(robust: Change, lost: Sequence[Flip], gained: Sequence[Flip], called: tuple[str, str]) -> str:
    """`int8 loses 3.2 points of robust accuracy (≤ 41.2 % → ≤ 38.0 %, 95 % interval −5.9 to −0.6, McNemar p = 0.017,
    n = 500): 21 samples fell, 5 gained; most in class 4.`

    Where the samples can't tell the models apart it says so, and what they do not exclude.
    """
    first, second = called
    n, d, span = robust.n, robust.difference, robust.interval
    if d is None or span is None:
        return f"{second} can't be compared with {first}: no sample was attacked to the end in both."
    rates = f"≤ {percent(robust.baseline, n, bound=True)} → ≤ {percent(robust.other, n, bound=True)}"
    numbers = f"({rates}, 95 % interval {ends(span, n)}, McNemar {equation(robust.p)}, n = {n})"
    flips = _flips(lost, gained, d)
    if robust.clear:
        return f"{second} {'loses' if d < 0 else 'gains'} {size(d, n)} points of robust accuracy {numbers}: {flips}."
    head = f"{second} differs from {first} by {points(d, n)} points of robust accuracy {numbers}"
    if not span[0] <= 0 <= span[1]:
        return (
            f"{head}, on the edge of what {n} samples can tell: the interval leaves out 0, the test doesn't; {flips}."
        )
    return f"{head}, within what {n} samples can tell: anything from {ends(span, n)} fits them; {flips}."


def _flips(lost: Sequence[Flip], gained: Sequence[Flip], difference: float) -> str:
    if not lost and not gained:
        return "no sample flipped"
    told = f"{len(lost)} {'sample' if len(lost) == 1 else 'samples'} fell, {len(gained)} gained"
    counted = Counter(flip.name for flip in (lost if difference <= 0 else gained)).most_common(2)
    if counted and counted[0][1] >= MOST and (len(counted) == 1 or counted[0][1] > counted[1][1]):
        told += f"; most in class {short(counted[0][0])}"
    return told


def by_class(classes: Sequence[ClassChange]) -> str:
    """Which classes the samples tell apart, in a sentence; never that the others are alike."""
    told = [
        f"{short(row.name)} ({points(row.robust.difference, row.robust.n)} points)"
        for row in classes
        if row.robust.clear and row.robust.p_holm is not None and row.robust.p_holm < LEVEL
    ]
    head = f"Adjusted over {len(classes)} classes (Holm), p is below {LEVEL:g} for"
    if not told:
        return f"{head} none. That does not make them alike: the intervals say what is not excluded."
    more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return f"{head} {len(told)}: {', '.join(told[:NAMED])}{more}."
