"""What a rule of the gate is about: which samples, and how many of them are good by its metric. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isfinite

from msgspec import structs

from auditor.bounds import Count
from auditor.errors import UsageError
from auditor.metrics import GOOD, OPEN, chosen, class_name, nearest_found
from auditor.record import Outcome, Record, Status
from auditor.rule import ATTACKED, Policy, Rule


def parts(rule: Rule, policy: Policy, record: Record) -> list[tuple[str, list[Outcome]]]:
    """The samples that a rule is judged on, each part by the name of its class; one part without a name for all.

    Raises UsageError for a class that the model hasn't, and where the protected classes are asked for and none is.
    """
    outcomes = record.outcomes
    if rule.metric == "distance":
        outcomes = [outcome for outcome in outcomes if outcome.clean_label == outcome.label]
    if not rule.on_classes:
        return [("", outcomes)]
    own: dict[int, list[Outcome]] = {label: [] for label in _labels(rule, policy, record)}
    for outcome in outcomes:
        if outcome.label in own:
            own[outcome.label].append(outcome)
    return [(class_name(label, record.names), found) for label, found in own.items()]


def _labels(rule: Rule, policy: Policy, record: Record) -> list[int]:
    """The classes that a rule names, without those that have no samples where it is for each class."""
    if rule.each_class:
        return sorted({outcome.label for outcome in record.outcomes})
    wanted = policy.protected if rule.protected else rule.classes
    if not wanted:
        raise UsageError("A gate for the protected classes needs [[protect]] tables beside it that name them.")
    return list(dict.fromkeys(label_of(name, record.names or (), record.model.classes) for name in wanted))


def check_classes(policy: Policy, names: Sequence[str], classes: int) -> None:
    """Raise UsageError for a rule that names a class which the model hasn't."""
    for rule in policy.every:
        for name in rule.classes:
            label_of(name, names, classes)


def label_of(name: int | str, names: Sequence[str], classes: int, what: str = "A gate") -> int:
    """The label of a class that is given by its name or number. Raises UsageError where the model has no such class, or
    several of this name. what: names it, for the sentence."""
    text = str(name)
    if names and text in names:
        if list(names).count(text) > 1:
            raise UsageError(f"{what} names one class, several are called {text!r}; give its number.")
        return list(names).index(text)
    if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < classes:
        return int(text)
    known = ", ".join(names[:10]) + (", …" if len(names) > 10 else "") if names else f"0 to {classes - 1}"
    raise UsageError(f"{what} names a class of the model ({known}), got {text[:40]!r}.")


def count(rule: Rule, outcomes: Sequence[Outcome], record: Record, *, streamed: bool) -> Count | str:
    """How many of these samples are good, or why nobody can say. streamed: look only at those that a sequential scan
    drew, in which every one got its full budget."""
    looked = outcomes
    if streamed and rule.metric in ATTACKED and record.drawn is not None:
        looked = chosen(outcomes, record.drawn)
    if rule.metric == "distance" and rule.over == "population":
        looked = [outcome for outcome in looked if outcome.ranged]
    if why := _why_not(rule.metric, record):
        return why
    low, high = (sum(found) for found in zip((0, 0), *(good(rule, outcome, record) for outcome in looked), strict=True))
    return Count(low=low, high=high, n=len(looked), size=len(outcomes))


def _why_not(metric: str, record: Record) -> str:
    if metric == "clean_accuracy" and record.samples.labels == "predicted":
        return "the labels are the model's own answers, so they say nothing of its accuracy"
    if metric == "certified_accuracy" and record.metrics.certified_accuracy is None:
        return "it was not computed: no certifier ran"
    if metric == "robust_accuracy" and record.metrics.robust_accuracy is None:
        return "it was not computed: nothing was attacked"
    if metric == "distance" and not any(outcome.ranged for outcome in record.outcomes):
        return "no distances were looked for"
    return ""


def good(rule: Rule, outcome: Outcome, record: Record) -> tuple[bool, bool]:
    """Whether a sample is certainly, and possibly, good by the rule's metric."""
    if rule.metric == "clean_accuracy":
        right = outcome.clean_label == outcome.label
        return right, right
    if rule.metric == "certified_accuracy":
        proved = outcome.status is Status.CERTIFIED
        return proved, proved
    if rule.metric == "robust_accuracy":
        return outcome.status in GOOD, outcome.status in GOOD or outcome.status in OPEN
    asked = rule.at_least or 0.0
    far = nearest_found(outcome, record.threat.epsilon) >= asked
    return far and (outcome.ranged or outcome.radius >= asked), far


def value(rule: Rule, counted: Count, outcomes: Sequence[Outcome], record: Record) -> float | None:
    """The metric as it was measured: an upper bound where samples are unknown."""
    if rule.metric != "distance":
        return counted.high / counted.n if counted.n else None
    far = sorted(nearest_found(o, record.threat.epsilon) for o in outcomes if o.ranged or o.status is Status.BROKEN)
    place = floor(rule.quantile * len(far) + 1e-9)  # so many may be nearer than what is asked for
    return far[place] if far and isfinite(far[place]) else None


def share(rule: Rule) -> float:
    """The share of good samples that the rule asks for."""
    return round(1 - rule.quantile, 12) if rule.metric == "distance" else rule.at_least or 0.0


def bounded(rule: Rule, record: Record) -> Rule:
    """The rule with the bound that it is judged by on this record."""
    if rule.bound or rule.baseline is not None:
        return rule
    sequential = record.drawn is not None and rule.metric == "robust_accuracy"
    default = {"samples": "certain", "population": "mixture" if sequential else "exact"}[rule.over]
    return structs.replace(rule, bound=default)
