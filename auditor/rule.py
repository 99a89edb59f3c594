"""A rule of the gate: what is asked of a record, as a table of audit.toml. Loads no torch."""

from __future__ import annotations

from math import isfinite
from pathlib import Path, PurePath
from typing import Literal

from msgspec import Struct, field

from auditor.errors import UsageError

RATES = ("robust_accuracy", "clean_accuracy", "certified_accuracy")
"""Shares of samples; these can be asked of classes, and held against a baseline."""
STATES = {"trust": "sound", "masking": "none"}
"""What these have to be."""
SHARES = (*RATES, "distance")
"""All that asks for a share of samples; the other metrics are about the audit as a whole."""
ATTACKED = ("robust_accuracy", "distance")
"""Metrics that attacks bring about: an upper bound, which may be in doubt."""
METRICS = (*SHARES, "label_agreement", "coverage", *STATES)
BOUNDS = {"samples": ("certain", "drawn"), "population": ("exact", "wilson", "mixture", "sprt")}
"""By what a rule is judged, the first unless it says otherwise (`mixture` where the scan was sequential)."""
PAIRED = "paired"
"""The bound of a row that was held against a baseline."""
STREAMED = ("drawn", "mixture", "sprt")
"""Bounds that hold whenever one stops to look."""
MINIMUM = 30
"""Samples under which a rule is not decided unless it says otherwise: one sample would move the rate by 3 points."""
MARGIN = 0.02
ALPHA = 0.05


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One [[gate]] table.

    metric: `robust_accuracy`, `clean_accuracy`, `certified_accuracy` (shares of all samples), `distance` (within which
    the share `quantile` of the correctly classified samples is broken), `label_agreement` (of twin and file),
    `coverage` (share of the samples of which anything is known), `trust` (sound) or `masking` (none).
    at_least: the least value that passes. baseline: instead, another record of the same samples, from which the metric
    may be `margin` lower at most. over: `samples` judges exactly these, `population` what they were drawn from. bound:
    see `auditor.bounds`. each_class, classes, protected: hold for every class, for these labels or names, for those of
    the [[protect]] tables. threat: the name or the norm of the threat that it is for; empty for any. minimum: samples
    (of each class), coverage: share of them of which anything is known, under which it is inconclusive. margin: also
    the half width of what `sprt` makes no promise for.
    """

    metric: str
    at_least: float | None = None
    baseline: str | None = None
    margin: float = MARGIN
    over: Literal["samples", "population"] = "samples"
    bound: Literal["", "certain", "drawn", "exact", "wilson", "mixture", "sprt"] = ""
    threat: str = ""
    each_class: bool = False
    classes: list[int | str] = []
    protected: bool = False
    quantile: float = 0.5
    minimum: int = MINIMUM
    coverage: float = 0.0

    def __post_init__(self) -> None:
        _check(self)

    @property
    def text(self) -> str:
        """The rule in words."""
        return self.of("each class" if self.each_class else ", ".join(map(str, self.classes)))

    def of(self, whom: str) -> str:
        """The rule in words, for these classes; for all samples where that is empty."""
        what = self.metric.replace("_", " ")
        if self.metric == "distance":
            what = "median distance" if self.quantile == 0.5 else f"{self.quantile:g} quantile of the distance"
        whom = whom or ("the protected classes" if self.protected else "")
        what += f" of {whom}" if whom else ""
        asked = f"at least {self.at_least:g}" if self.at_least is not None else STATES.get(self.metric, "")
        if self.baseline is not None:
            name = PurePath(self.baseline).name or self.baseline
            asked = f"at most {self.margin:g} below the baseline {name}"
        where = " in the population" if self.over == "population" else ""
        return f"{what} {asked}{where}" + (f" under {self.threat}" if self.threat else "")

    @property
    def on_classes(self) -> bool:
        """Whether it is judged class by class."""
        return self.each_class or self.protected or bool(self.classes)

    def meant_for(self, name: str, norm: str) -> bool:
        """Whether it is for a threat of this name and norm."""
        return self.threat in ("", name, norm)


class Policy(Struct, frozen=True, kw_only=True):
    """The rules of a gate. alpha: the chance, over all rules that speak of chance and one record, that any of them
    passes though it should not, and that any fails though it should not. protected: the classes of the [[protect]]
    tables. path: the file that the rules are from, empty for none; its first rule is `[[gate]]` number 1."""

    rules: list[Rule] = field(default_factory=list)
    alpha: float = ALPHA
    protected: list[int | str] = field(default_factory=list)
    path: str = ""
    also: list[Rule] = field(default_factory=list)
    """Rules from elsewhere, such as `--fail-under`."""

    @property
    def every(self) -> list[Rule]:
        """All rules, for whatever threat, wherever they are from."""
        return [*self.rules, *self.also]

    def for_threat(self, name: str, norm: str) -> list[tuple[Rule, int | None]]:
        """The rules for this threat, each with the number of its table, None for one from elsewhere."""
        numbered = [*((rule, place) for place, rule in enumerate(self.rules, 1)), *((rule, None) for rule in self.also)]
        return [(rule, place) for rule, place in numbered if rule.meant_for(name, norm)]

    def check_threats(self, threats: list[tuple[str, str]]) -> None:
        """Raise UsageError for a rule that is for none of these threats, given by name and norm: it would never be
        judged."""
        for rule in self.every:
            if not any(rule.meant_for(*threat) for threat in threats):
                known = ", ".join(name for name, _ in threats)
                raise UsageError(
                    f"A gate's threat is the name or norm of one that was audited ({known}), got {rule.threat!r}."
                )

    @property
    def folder(self) -> Path:
        """What paths of baselines are relative to."""
        return Path(self.path).parent if self.path else Path()


def _check(rule: Rule) -> None:
    """Raise UsageError for a rule that makes no sense."""
    if rule.metric not in METRICS:
        raise UsageError(f"A gate's metric is one of {', '.join(METRICS)}, got {rule.metric!r}.")
    what = f"A gate on {rule.metric}"
    if rule.metric in STATES:
        if rule.at_least is not None or rule.baseline is not None:
            raise UsageError(
                f"{what} asks for {STATES[rule.metric]!r} and takes no at_least or baseline; leave it out."
            )
    elif (rule.at_least is None) == (rule.baseline is None):
        raise UsageError(f"{what} takes at_least or baseline, one of them.")
    if rule.baseline is not None and rule.metric not in RATES:
        raise UsageError(f"A gate's baseline is for {', '.join(RATES)}, got {rule.metric}.")
    most = float("inf") if rule.metric == "distance" else 1.0
    if rule.at_least is not None and not (0 <= rule.at_least <= most and isfinite(rule.at_least)):
        kind = "a distance from 0 on" if rule.metric == "distance" else "a fraction between 0 and 1"
        hint = (
            f"; write {rule.at_least / 100:g} for {rule.at_least:g} %" if 1 < rule.at_least <= 100 and most == 1 else ""
        )
        raise UsageError(f"A gate's threshold is {kind}, got {rule.at_least:g}{hint}.")
    if not 0 < rule.quantile < 1 or not 0 <= rule.coverage <= 1 or not 0 <= rule.margin < 1:
        raise UsageError(f"{what}: quantile lies between 0 and 1, coverage from 0 to 1, margin from 0 to below 1.")
    if "\0" in (rule.baseline or ""):
        raise UsageError(f"{what}: baseline is the directory of a record, got {rule.baseline!r}.")
    if rule.minimum < 1:
        raise UsageError(f"{what}: minimum is a number of samples from 1 on, got {rule.minimum}.")
    if rule.metric not in SHARES and (rule.on_classes or rule.over == "population"):
        raise UsageError(f"{what} is about the audit as a whole: no classes and no population.")
    if rule.each_class + rule.protected + bool(rule.classes) > 1:
        raise UsageError(f"{what} takes one of each_class, classes and protected.")
    _check_bound(rule, what)


def _check_bound(rule: Rule, what: str) -> None:
    if rule.bound and rule.bound not in BOUNDS[rule.over]:
        raise UsageError(
            f"{what}: over = {rule.over!r} is judged by {' or '.join(BOUNDS[rule.over])}, got {rule.bound!r}."
        )
    if rule.bound and rule.baseline is not None:
        raise UsageError(f"{what}: a baseline has a test of its own; leave bound out.")
    if rule.bound == "sprt" and rule.at_least is not None:
        share = 1 - rule.quantile if rule.metric == "distance" else rule.at_least
        low, high = share - rule.margin, share + rule.margin
        if not 0 < low < high < 1:
            raise UsageError(f"{what}: {share:g} ± {rule.margin:g} leaves no rates on both sides; another margin.")
