"""Sequential scans of the bundled nets: what they stop at, and that a sample's fate depends on that sample alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec import structs

from auditor.cli import main
from auditor.entry import read_evidence, read_record
from auditor.errors import UsageError
from auditor.gate import judged
from auditor.judgement import Verdict
from auditor.record import Record, Status
from auditor.replay import replay
from auditor.rule import Policy, Rule
from auditor.sequential import random_order
from auditor.watch import check_sequential

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "mnist"
PLAN = """
[[threat]]
norm = "linf"
epsilon = 0.3
bounds = [0.0, 1.0]
[search]
suite = "quick"
sequential = true
escalate = false
certify = false
[run]
batch_size = 64
threads = 1
"""
OPEN = (Status.UNATTACKED, Status.ERROR)


def scan(out: Path, gate: str, *more: str, code: int | None, model: str = "robust") -> Record:
    plan = out.parent / f"{out.name}.toml"
    plan.write_text(PLAN + gate)
    words = ["scan", str(EXAMPLE / f"{model}.onnx"), "--data", str(EXAMPLE / "samples.npz")]
    words += ["--config", str(plan), "--out", str(out), "--format", "junit", "--progress", "none", *more]
    result = CliRunner().invoke(main, words)
    assert code is None or result.exit_code == code, result.output
    return read_record(out)


def rule(**options: Any) -> str:
    told = {"metric": "robust_accuracy", "at_least": 0.5} | options
    return "\n".join(["[[gate]]", *(f"{key} = {value!r}" for key, value in told.items())]) + "\n"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Of the population, 0.5, with a net that has some 0.8."""
    return scan(tmp_path_factory.mktemp("drawn") / "out", rule(over="population"), code=0)


def test_it_stops_as_soon_as_the_population_is_settled(drawn: Record) -> None:
    told = drawn.drawn
    assert told is not None
    assert (drawn.verdict, told.settled, told.size, told.swept) == (Verdict.PASSED, Verdict.PASSED, 500, [])
    assert 30 <= len(told.ids) <= 80, "more than the mixture takes at such a rate, or fewer than the rule's minimum"
    assert told.cost == pytest.approx(len(told.ids) / 500)
    assert told.ids == [int(i) for i in random_order(500, 0)[: len(told.ids)]]
    known = [o.id for o in drawn.outcomes if o.status not in OPEN]
    assert set(told.ids) <= set(known)
    assert all(o.status is Status.MISCLASSIFIED for o in drawn.outcomes if o.id in set(known) - set(told.ids))
    assert drawn.n == sum(drawn.metrics.statuses.values()) == len(told.ids)
    assert f"n = {len(told.ids)} drawn of 500" in drawn.summary
    assert {row.share for row in drawn.attacks if row.phase == "suite"} == {1.0}, "who enters hangs on the others"


def test_one_block_fewer_would_not_have_settled_it(drawn: Record) -> None:
    told = drawn.drawn
    assert told is not None
    last = len(told.ids) - 16
    before = structs.replace(drawn, drawn=structs.replace(told, ids=told.ids[:last]))
    policy = Policy(rules=[Rule(metric="robust_accuracy", at_least=0.5, over="population")])
    assert judged(drawn, policy).verdict is Verdict.PASSED
    assert judged(before, policy).verdict is Verdict.INCONCLUSIVE


def test_the_interval_holds_wherever_one_stops(drawn: Record) -> None:
    from auditor.sequential import confidence_sequence

    good = drawn.metrics.statuses["withstood"]
    low, high = confidence_sequence(good, drawn.n)
    assert drawn.metrics.robust_accuracy_interval == (float(low), float(high))


def test_the_record_agrees_with_itself(tmp_path: Path) -> None:
    out = tmp_path / "out"
    scan(out, rule(at_least=0.9, bound="drawn"), code=1, model="natural")
    assert replay(out).whole


def fell(record: Record) -> dict[int, bool]:
    """Whether the suite broke a sample; what checks break afterwards, on some of them, only takes away."""
    suite = {row.name for row in record.attacks if row.phase == "suite"}
    return {o.id: o.status is Status.BROKEN and o.attack in suite for o in record.outcomes}


def test_a_sample_falls_or_not_whoever_else_is_there(drawn: Record, tmp_path: Path) -> None:
    """Among others, in another order and in other blocks: its budget and its draws are its own."""
    assert drawn.drawn is not None
    other = scan(tmp_path / "out", rule(at_least=0.0, over="population", minimum=130), "--limit", "130", code=None)
    assert other.drawn is not None
    assert len(other.drawn.ids) == 130
    mine, theirs = fell(drawn), fell(other)
    shared = set(drawn.drawn.ids) & set(other.drawn.ids)
    assert len(shared) >= 5
    assert any(mine[i] for i in shared), "nothing broken: the test says little"
    assert {i: theirs[i] for i in shared} == {i: mine[i] for i in shared}


def test_breaks_prove_a_failure_on_these_samples_before_anyone_is_drawn(tmp_path: Path) -> None:
    record = scan(tmp_path / "out", rule(at_least=0.9), code=1, model="natural")
    told = record.drawn
    assert told is not None
    assert (told.ids, told.swept, told.settled) == ([], ["fgsm"], Verdict.FAILED)
    assert told.cost is not None
    assert told.cost < 0.05
    broken, wrong = (record.metrics.statuses[name] for name in ("broken", "misclassified"))
    assert 50 < broken + wrong <= 50 + 64, "it went on after it was settled"
    assert record.metrics.statuses["withstood"] == 0, "one cheap attack is no full budget"
    assert record.metrics.robust_accuracy == 1 - (broken + wrong) / 500
    assert (record.trust, record.masking, record.findings) == ("unknown", "unknown", [])
    assert "none was made" in record.story[0].text


def test_these_samples_pass_once_enough_withstood(tmp_path: Path) -> None:
    record = scan(tmp_path / "out", rule(at_least=0.3), "--limit", "150", code=None)
    told = record.drawn
    assert told is not None
    assert told.settled is Verdict.PASSED
    assert 45 <= record.metrics.statuses["withstood"] <= 45 + 32
    assert len(told.ids) <= 96


@pytest.mark.slow
def test_a_threshold_at_the_rate_takes_all_of_them(tmp_path: Path) -> None:
    record = scan(tmp_path / "out", rule(at_least=0.8, over="population"), "--limit", "40", code=3)
    assert record.drawn is not None
    assert (len(record.drawn.ids), record.drawn.settled, record.drawn.cost) == (40, None, 1.0)
    assert record.gate.rules[0].needed is None or record.gate.rules[0].needed > 40


@pytest.mark.slow
def test_stopped_and_resumed_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = rule(over="population")
    scan(tmp_path / "whole", gate, code=0)
    from auditor.search import Search

    play, left = Search._play, [6]

    def dying(*args: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return play(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Search, "_play", dying)
        plan = tmp_path / "killed.toml"
        plan.write_text(PLAN + gate)
        words = ["scan", str(EXAMPLE / "robust.onnx"), "--data", str(EXAMPLE / "samples.npz"), "--progress", "none"]
        words += ["--config", str(plan), "--out", str(tmp_path / "killed")]
        assert CliRunner().invoke(main, words).exit_code == 130
    scan(tmp_path / "killed", gate, "--resume", code=0)
    records = [read_record(tmp_path / name) for name in ("whole", "killed")]
    assert records[0].outcomes_digest == records[1].outcomes_digest
    assert records[0].drawn == records[1].drawn
    evidence = [read_evidence(tmp_path / name) for name in ("whole", "killed")]
    assert all(np.array_equal(evidence[0][name], evidence[1][name]) for name in evidence[0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "clean_accuracy", "at_least": 0.5}, "there is none with at_least"),
        ({"metric": "robust_accuracy", "baseline": "x"}, "there is none with at_least"),
        ({"metric": "robust_accuracy", "at_least": 0.5, "over": "population", "bound": "exact"}, "fixed beforehand"),
    ],
)
def test_what_can_not_be_settled_early_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_sequential(Policy(rules=[Rule(**options)]), [])


def test_distances_can_not_be_settled_early() -> None:
    rules = [Rule(metric="robust_accuracy", at_least=0.5), Rule(metric="distance", at_least=0.1)]
    with pytest.raises(UsageError, match=r"settle .median distance at least 0\.1"):
        check_sequential(Policy(rules=rules), [])
    check_sequential(Policy(rules=rules[:1]), [])
