"""What a comparison of records holds: everything that a reporter prints of it, and nothing rendered."""

from __future__ import annotations

from msgspec import Struct

from auditor.paired import Change
from auditor.record import Status, ThreatInfo

SCHEMA = 1
"""Of `comparison.json`, which is this file's `Comparison`."""
BEYOND, INTO, EITHER = "beyond reach", "into reach", "either way"
"""In place of a number: no example was found any more, one was found for the first time, or half of each."""


class Side(Struct, frozen=True, kw_only=True):
    """One record as it stands alone. robust_accuracy: an upper bound, over all n samples of the record."""

    name: str
    folder: str
    model: str
    sha256: str
    threat: str
    n: int
    robust_accuracy: float | None
    clean_accuracy: float | None
    trust: str
    version: str


class ClassChange(Struct, frozen=True, kw_only=True):
    """What changed for the samples of one label; its p-values are adjusted over the classes as `p_holm`."""

    label: int
    name: str
    robust: Change
    clean: Change


class Distances(Struct, frozen=True, kw_only=True):
    """How far the nearest adversarial examples are that any stage found, of the n samples on which both records looked
    for distances and both models are right.

    not_looked: samples on which both are right and at least one record did not look. both, only_baseline, only_other,
    neither: where an example was found. baseline, other: medians over the n. difference: the median of other minus
    baseline, sample by sample (not the difference of the medians), over those that have one in either record, with an
    interval of at least 95 % for the same, None for fewer than six. What was not found is infinitely far, but no number
    is infinite: beyond says for `baseline`, `other`, `difference`, `low` and `high` in a word why it is None.
    """

    norm: str
    n: int
    not_looked: int
    both: int
    only_baseline: int
    only_other: int
    neither: int
    baseline: float | None
    other: float | None
    difference: float | None
    interval: tuple[float | None, float | None] | None
    beyond: dict[str, str]


class Flip(Struct, frozen=True, kw_only=True):
    """A sample that is robust in one record and not in the other; attack, distance and label are of the broken side.

    adversarial_label: None where that model is wrong on the clean input, without any attack; wrong_label: what it then
    answers, or the adversarial label.
    """

    id: int
    label: int
    name: str
    before: Status
    after: Status
    adversarial_label: int | None
    wrong_label: int
    wrong_name: str
    attack: str | None
    distance: float | None


class Contrast(Struct, frozen=True, kw_only=True):
    """One record against the baseline, on the n samples of which both records know something.

    left_out: samples that were not attacked or ended in an error in either, by which. robust: withstood or certified,
    so each rate is an upper bound. certified: None unless certifiers ran in both. classes: from the largest loss to the
    largest gain; by_class: which of them the samples tell apart, in a sentence. lost: robust before, broken or
    misclassified now; gained: the reverse; both in the order of the samples. threats: in what the threats differ.
    notes: what else differs or is in doubt.
    """

    baseline: str
    other: str
    sentence: str
    n: int
    left_out: dict[str, int]
    robust: Change
    clean: Change
    certified: Change | None
    classes: list[ClassChange]
    by_class: str
    distances: Distances | None
    lost: list[Flip]
    gained: list[Flip]
    threats: list[str]
    notes: list[str]


class Comparison(Struct, frozen=True, kw_only=True):
    """All records, baseline first, and each other one against it. across_threats: threats differ, as was allowed.

    threat, blind: of the baseline.
    """

    schema: int
    version: str
    across_threats: bool
    threat: ThreatInfo
    blind: bool
    sides: list[Side]
    contrasts: list[Contrast]
