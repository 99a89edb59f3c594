"""Rates, intervals and the table by class, from outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import inf, sqrt

from auditor.judgement import Drawn
from auditor.record import ClassRow, Metrics, Outcome, Record, Status

GOOD = (Status.WITHSTOOD, Status.CERTIFIED)
OPEN = (Status.UNATTACKED, Status.ERROR)
"""Statuses that say nothing about the model: an upper bound has to count them as robust."""
CONFIDENCE = 0.95
Z = 1.959963984540054
"""The normal quantile of CONFIDENCE, two-sided: as scipy rounds it, so that intervals of older records stay the same to
the last bit, and written down, since the gate starts without scipy."""


def wilson(k: int, n: int) -> tuple[float, float] | None:
    """Wilson's score interval at 95 % for k of n (Wilson 1927); None for n = 0.

    Raises ValueError unless 0 <= k <= n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no share")
    if n == 0:
        return None
    share = k / n
    whole = 2 * (n + Z * Z)
    middle = (2 * n * share + Z * Z) / whole
    reach = Z / whole * sqrt(4 * n * share * (1 - share) + Z * Z)
    return max(middle - reach, 0.0) if k else 0.0, min(middle + reach, 1.0) if k < n else 1.0


def anytime(k: int, n: int) -> tuple[float, float] | None:
    """The same wherever one stops to count: the mixture's confidence sequence at 95 % (`auditor.sequential`)."""
    if n == 0:
        return None
    from auditor.sequential import confidence_sequence

    low, high = confidence_sequence(k, n)
    return float(low), float(high)


def is_correct(outcome: Outcome) -> bool:
    """Whether the model is right on the clean sample."""
    return outcome.clean_label == outcome.label


def count(outcomes: list[Outcome]) -> dict[str, int]:
    """How many samples have each status, every status named."""
    counted = Counter(outcome.status for outcome in outcomes)
    return {str(status): counted[status] for status in Status}


def upper_bound(outcomes: list[Outcome]) -> int:
    """Samples not shown to be wrong: an upper bound on how many are robust."""
    return sum(outcome.status in (*GOOD, *OPEN) for outcome in outcomes)


def counted(outcomes: list[Outcome], drawn: Drawn | None) -> list[Outcome]:
    """Those that a scan's numbers are of: of a sequential one that attacked nobody else, the samples that it drew."""
    if drawn is None or drawn.swept:
        return outcomes
    return chosen(outcomes, drawn)


def chosen(outcomes: Iterable[Outcome], drawn: Drawn) -> list[Outcome]:
    """Those that a sequential scan drew."""
    own = set(drawn.ids)
    return [outcome for outcome in outcomes if outcome.id in own]


def nearest_found(outcome: Outcome, epsilon: float | None) -> float:
    """Distance of the nearest adversarial example that any stage found, infinite where none was. What was broken lies
    within epsilon, however its distance was rounded."""
    near = inf if outcome.nearest is None else outcome.nearest
    if outcome.status is not Status.BROKEN:
        return near
    limit = inf if epsilon is None else epsilon
    return min(near, limit if outcome.distance is None else outcome.distance, limit)


def measure(outcomes: list[Outcome], *, certified: bool, drawn: Drawn | None = None) -> Metrics:
    """The metrics of a scan. Robust accuracy is None where no sample was judged by any attack or certificate.

    certified: whether any certifier ran; without one the certified accuracy is None, not 0. drawn: of a sequential
    scan; what attacks bring about is then of the samples that count, with an interval that holds wherever one stops.
    """
    looked, n = counted(outcomes, drawn), len(outcomes)
    counts = count(looked)
    correct = sum(outcome.clean_label == outcome.label for outcome in outcomes)
    proved = sum(outcome.status is Status.CERTIFIED for outcome in outcomes)
    judged = any(outcome.status in (*GOOD, Status.BROKEN) for outcome in looked) or not any(map(is_correct, looked))
    robust = upper_bound(looked)
    attacked = sum(counts[s] for s in (Status.BROKEN, Status.WITHSTOOD, Status.CERTIFIED))
    # a sweep that was stopped has broken the easy ones, and left the others
    stopped = drawn is not None and bool(drawn.swept) and drawn.partial
    span = anytime if drawn is not None and not drawn.swept else wilson
    interval = span(robust, len(looked)) if judged else None
    if stopped and interval is not None:  # of the others nobody knows that they would have withstood
        interval = (wilson(sum(counts[status] for status in GOOD), len(looked)) or interval)[0], interval[1]
    return Metrics(
        clean_accuracy=correct / n if n else None,
        robust_accuracy=robust / len(looked) if looked and judged else None,
        robust_accuracy_interval=interval,
        certified_accuracy=proved / n if n and certified else None,
        attack_success_rate=counts[Status.BROKEN] / attacked if attacked and not stopped else None,
        statuses=counts,
    )


def by_class(outcomes: list[Outcome], names: tuple[str, ...] | None, drawn: Drawn | None = None) -> list[ClassRow]:
    """A row for every class that has samples that count, in the order of the labels."""
    rows = []
    for label, own in by_label(counted(outcomes, drawn)).items():
        whole = measure(own, certified=False, drawn=drawn)
        turned = Counter(o.adversarial_label for o in own if o.adversarial_label is not None)
        rows.append(
            ClassRow(
                label=label,
                name=class_name(label, names),
                n=len(own),
                clean_accuracy=whole.clean_accuracy,
                robust_accuracy=whole.robust_accuracy,
                interval=whole.robust_accuracy_interval,
                turns_into=min(turned, key=lambda k: (-turned[k], k)) if turned else None,
                misclassified=whole.statuses[Status.MISCLASSIFIED],
                broken=whole.statuses[Status.BROKEN],
                certified=whole.statuses[Status.CERTIFIED],
            )
        )
    return rows


def by_label(outcomes: list[Outcome]) -> dict[int, list[Outcome]]:
    """The outcomes of each label, in the order of the labels."""
    found: dict[int, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.label):
        found.setdefault(outcome.label, []).append(outcome)
    return found


def class_name(label: int, names: tuple[str, ...] | None) -> str:
    """The class's name, or its number where it has none."""
    return names[label] if names and 0 <= label < len(names) else str(label)


def weakest(record: Record, least: int = 5) -> ClassRow | None:
    """The class of lowest robust accuracy among those with enough samples to say so, of equals the one whose samples
    are nearest to their adversarial examples; None where nothing was broken."""
    broken = [row for row in by_weakness(record) if row.n >= least and row.turns_into is not None]
    return broken[0] if broken and broken[0].robust_accuracy is not None else None


def by_weakness(record: Record) -> list[ClassRow]:
    """The classes, weakest first: by robust accuracy, then by median distance, then by label."""
    far = {own.label: own.distance for own in record.hardness.classes} if record.hardness else {}

    def key(row: ClassRow) -> tuple[float, float, int]:
        distance = far.get(row.label)
        return (
            inf if row.robust_accuracy is None else row.robust_accuracy,
            inf if distance is None else distance,
            row.label,
        )

    return sorted(record.by_class, key=key)
