"""Doubts are answered, what the answers break counts, and trust says whether that settled it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.pgd import PGD
from torch import Tensor, nn

from auditor.access import OutputKind
from auditor.bench import Bench, linear_bench
from auditor.check import Check, Evidence
from auditor.escalation import ROUNDS, believe
from auditor.fidelity import agree
from auditor.host import Host
from auditor.inquiry import Inquiry
from auditor.ledger import Ledger
from auditor.measured import Measured
from auditor.observe import observe
from auditor.record import AttackRow, Finding, FindingStatus, Severity
from auditor.sources import SMOOTH, Sources
from auditor.suite import Stage
from auditor.twin import Twin

HOST = Host.load(installed=False)


class Stairs(nn.Module):
    """Computes what it is given, to a part in a million, and has no gradient."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = (self.inner(x) * 1e6).round() / 1e6
        return scores


def masked(epsilon: float, n: int = 100) -> Bench:
    """A linear model, all samples at the distance 0.1, whose twin has no gradients."""
    bench = linear_bench(n=n, distance=0.1).at(epsilon)
    plain = bench.target.twin()
    bench.target.twin = lambda: replace(plain, module=Stairs(plain.module))  # type: ignore[method-assign]
    return bench


@contextmanager
def asked(bench: Bench, host: Host = HOST, smooth: Twin | None = None) -> Iterator[tuple[Inquiry, list[AttackRow]]]:
    """An inquiry after PGD alone."""
    with TemporaryDirectory() as folder:
        sources = Sources({} if smooth is None else {SMOOTH: lambda: smooth})
        search = replace(bench.search(Path(folder)), sources=sources)
        observation = observe(bench.target, bench.samples)
        ledger = Ledger.of(bench.samples, observation.clean_labels == bench.samples.labels)
        rows = search.play([Stage(attack=PGD(steps=10), title="pgd")], ledger)
        assert search.twin is not None
        clean = agree(bench.target, search.twin, bench.samples.inputs, bench.execution)
        yield Inquiry(host, search, ledger, observation, Measured(search.twin, None, clean)), rows


def test_a_masked_model_falls_to_the_answers_and_its_number_can_then_be_trusted() -> None:
    with asked(masked(0.12)) as (inquiry, rows):
        assert not inquiry.ledger.broken.any()  # what gradients alone would claim
        rows, belief = believe(inquiry, rows, escalate=True)
        assert inquiry.ledger.robust_accuracy == 0
        assert (belief.masking, belief.trust) == ("present", "sound")
    kinds = [chapter.kind for chapter in belief.story]
    assert kinds[0] == "claimed"
    assert {"doubted", "fell"} <= set(kinds)
    assert belief.story[0].robust_accuracy == 1.0
    assert belief.story[-1].robust_accuracy == 0.0
    assert "gradients" in {finding.id for finding in belief.findings if finding.answers}
    assert {row.phase for row in rows} == {"suite", "check", "answer"}  # nobody was left for a last try
    assert all(row.because for row in rows if row.phase == "answer")


def test_without_escalation_the_number_stays_in_doubt() -> None:
    with asked(masked(0.12)) as (inquiry, rows):
        after, belief = believe(inquiry, rows, escalate=False)
    assert (belief.masking, belief.trust) == ("present", "doubtful")
    assert {row.phase for row in after} <= {"suite", "check"}


def test_what_was_robust_stays_so() -> None:
    """No answer breaks anything below the true distance, and the doubt is settled."""
    with asked(masked(0.09)) as (inquiry, rows):
        _, belief = believe(inquiry, rows, escalate=True)
        assert inquiry.ledger.robust_accuracy == 1
    assert (belief.masking, belief.trust) == ("present", "sound")
    assert belief.story[-1].text.startswith("A last try")


def test_a_smooth_copy_leads_where_the_twin_does_not() -> None:
    """The copy's gradients are followed and the file decides; the stage says whose they were."""
    bench = masked(0.12)
    plain = linear_bench(n=100, distance=0.1).target.twin()
    with asked(bench, smooth=plain) as (inquiry, rows):
        rows, _ = believe(inquiry, rows, escalate=True)
    smooth = [row for row in rows if row.source == SMOOTH]
    assert smooth
    assert sum(row.broken for row in smooth) > 30


def test_an_honest_model_raises_no_doubt_that_stays() -> None:
    with asked(linear_bench(n=12, distance=0.1).at(0.09)) as (inquiry, rows):
        _, belief = believe(inquiry, rows, escalate=True)
    assert belief.masking in ("none", "unknown")
    assert belief.trust in ("sound", "unknown")
    assert not [f for f in belief.findings if f.status is FindingStatus.RAISED and f.severity is not Severity.INFO]


class Restless(Check):
    """Raised whatever happens."""

    name: ClassVar[str] = "restless"
    title: ClassVar[str] = "Restless"
    source: ClassVar[str] = ""
    severity: ClassVar[Severity] = Severity.WARNING
    answers: ClassVar[tuple[str, ...]] = ("margin",)

    def look(self, evidence: Evidence) -> Finding:
        return self.finding(FindingStatus.RAISED, "Always.")


class Unanswerable(Restless):
    name: ClassVar[str] = "unanswerable"
    answers: ClassVar[tuple[str, ...]] = ()


class Clumsy(Restless):
    name: ClassVar[str] = "clumsy"

    def look(self, evidence: Evidence) -> Finding:
        raise ValueError("tripped")


def with_checks(*checks: type[Check]) -> Host:
    host = Host.load(installed=False)
    for name in list(host.checks):
        if name not in ("gradients", "gradient_free"):
            del host.checks[name]
    host.checks.update({kind.name: kind for kind in checks})
    return host


def test_a_doubt_that_no_attack_answers_stays() -> None:
    with asked(linear_bench(n=12, distance=0.1).at(0.09), with_checks(Restless, Unanswerable)) as (inquiry, rows):
        _, belief = believe(inquiry, rows, escalate=True)
    assert belief.trust == "doubtful"
    assert {f.id: f.answers for f in belief.findings}["restless"] == ["margin"]


def test_answers_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last try still breaks some, doubts are answered again, but not for ever, and the number stays open."""
    bench = linear_bench(n=12, distance=0.1).at(0.09)
    with asked(bench, with_checks(Restless)) as (inquiry, rows):
        monkeypatch.setattr("auditor.escalation.SHARE", -1.0)
        monkeypatch.setattr("auditor.escalation.max", lambda *values, **rest: -1.0, raising=False)
        rows, belief = believe(inquiry, rows, escalate=True)
    assert belief.trust == "doubtful"
    assert sum(chapter.stages != [] and chapter.kind == "tried" for chapter in belief.story) >= ROUNDS


def test_a_check_that_raises_is_inconclusive_never_clear() -> None:
    with asked(linear_bench(n=4, distance=0.1).at(0.05), with_checks(Clumsy)) as (inquiry, rows):
        _, belief = believe(inquiry, rows, escalate=True)
    (clumsy,) = (finding for finding in belief.findings if finding.id == "clumsy")
    assert clumsy.status is FindingStatus.INCONCLUSIVE
    assert "ValueError: tripped" in clumsy.explanation


class Leaver(Restless):
    name: ClassVar[str] = "leaver"

    def look(self, evidence: Evidence) -> Finding:
        raise SystemExit(0)


class Silent(Restless):
    name: ClassVar[str] = "silent_one"

    def look(self, evidence: Evidence) -> Finding:
        return None  # type: ignore[return-value]


class Impostor(Restless):
    name: ClassVar[str] = "impostor"

    def look(self, evidence: Evidence) -> Finding:
        return Restless().finding(FindingStatus.RAISED, "I am another.")


def test_checks_that_break_their_contract_are_named_and_end_nothing() -> None:
    host = with_checks(Leaver, Silent, Impostor)
    with asked(linear_bench(n=4, distance=0.1).at(0.05), host) as (inquiry, rows):
        _, belief = believe(inquiry, rows, escalate=True)
    found = {finding.id: finding for finding in belief.findings}
    for name, word in (("leaver", "SystemExit"), ("silent_one", "None"), ("impostor", "restless")):
        assert found[name].status is FindingStatus.INCONCLUSIVE
        assert word in found[name].explanation


class Late(Restless):
    """Raised only after the answers to another."""

    name: ClassVar[str] = "late"
    answers: ClassVar[tuple[str, ...]] = ("decision",)
    again: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        after = any(row.phase == "confirmation" for row in evidence.attacks)
        return self.finding(FindingStatus.RAISED if after else FindingStatus.CLEAR, "Later.")


class Demanding(Restless):
    name: ClassVar[str] = "demanding"
    answers: ClassVar[tuple[str, ...]] = ("margin", "nosuch")


def test_a_doubt_that_comes_late_is_told_and_answered_too() -> None:
    with asked(linear_bench(n=12, distance=0.1).at(0.09), with_checks(Restless, Late)) as (inquiry, rows):
        rows, belief = believe(inquiry, rows, escalate=True)
    assert any("late" in chapter.findings for chapter in belief.story if chapter.kind == "doubted")
    assert any("late" in row.because for row in rows)
    assert {f.id: f.answers for f in belief.findings}["late"] == ["decision"]


def test_a_doubt_is_not_answered_by_half() -> None:
    with asked(linear_bench(n=12, distance=0.1).at(0.09), with_checks(Demanding)) as (inquiry, rows):
        _, belief = believe(inquiry, rows, escalate=True)
    assert belief.trust == "doubtful"


def test_where_nobody_is_left_nothing_is_left_to_doubt() -> None:
    with asked(linear_bench(n=6, distance=0.1).at(0.6), with_checks(Unanswerable)) as (inquiry, rows):
        assert inquiry.ledger.broken.all()
        after, belief = believe(inquiry, rows, escalate=True)
    assert len(after) == len(rows)
    assert belief.trust == "sound"


def test_nothing_is_booked_twice() -> None:
    """What an experiment spent that became a stage is that stage's."""
    with asked(masked(0.12)) as (inquiry, rows):
        rows, belief = believe(inquiry, rows, escalate=False)
        asked_in_all = sum(row.queries for row in rows) + belief.spent.queries
        own = inquiry.search.target.queries
    assert sum(row.queries for row in rows if row.phase == "check") > 0
    assert asked_in_all <= own


def test_the_same_course_twice() -> None:
    def once() -> tuple[list[AttackRow], np.ndarray]:
        with asked(masked(0.12)) as (inquiry, rows):
            rows, _ = believe(inquiry, rows, escalate=True)
            return rows, inquiry.ledger.stage

    (one, first), (two, second) = once(), once()
    assert np.array_equal(first, second)
    told = [[(r.name, r.broken, r.queries, r.forwards) for r in rows] for rows in (one, two)]
    assert told[0] == told[1]


def test_stairs_compute_the_same() -> None:
    bench = masked(0.1)
    x = torch.from_numpy(bench.samples.inputs)
    assert np.allclose(bench.target.twin().logits(x).numpy(), bench.target.scores(bench.samples.inputs), atol=1e-5)
    assert bench.target.twin().output is OutputKind.LOGITS
