"""Distances and pairs as a scan finds them, against linear programs, brute force and the rules of the budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, cast

import numpy as np
import pytest
from scipy.optimize import linprog

from auditor.access import Access
from auditor.allowance import SHARE, STANDARD, Allowance, equivalents
from auditor.attack import Reply, Rows
from auditor.bench import Bench, LinearTarget
from auditor.curve import curve
from auditor.explore import ALL, CONFUSED, EACH, MOST, NEAREST, Explored, explore, in_turn, left_out
from auditor.host import Host
from auditor.job import Job
from auditor.journal import Journal
from auditor.ledger import Ledger
from auditor.observe import observe
from auditor.outcomes import evidence, settle
from auditor.pairs import hardness as papernot
from auditor.problem import Problem
from auditor.record import AttackRow, Outcome, Status
from auditor.risk import Confusion
from auditor.samples import Samples
from auditor.search import Search
from auditor.suite import find_suite, for_norm
from auditor.threat import Goal, Norm, ThreatModel
from auditor.weigh import weigh

ATTACKS = Host.load().attacks
EPSILON = 0.15


def bench(classes: int = 3, n: int = 24, features: int = 5, norm: Norm = Norm.LINF, seed: int = 5) -> Bench:
    rng = np.random.default_rng(seed)
    target = LinearTarget(rng.normal(size=(classes, features)), rng.normal(size=classes) / 4)
    x = rng.uniform(-1, 1, (n, features)).astype(np.float32)
    samples = Samples(inputs=x, labels=target.labels(x, batch=1), ids=3 * np.arange(n))
    return Bench(target=target, samples=samples, threat=ThreatModel(norm=norm, epsilon=EPSILON))


def spent(amount: int) -> list[AttackRow]:
    from records import attack_row

    return [attack_row(forwards=amount)]


def asking(attack: str = "") -> Job:
    """A job that says no more than with which attack."""
    return cast(Job, SimpleNamespace(distances=attack, asked=False, confusions=[]))


def explored(made: Bench, folder: Path, *, most: int = 10**7, attack: str = "") -> tuple[Explored, Ledger, Search]:
    search = made.search(folder)
    ledger = Ledger.of(made.samples, np.ones(len(made.samples), bool))
    return explore(search, ledger, spent(most), ATTACKS, asking(attack)), ledger, search


def blocks(n: int = 30, norm: Norm = Norm.LINF) -> Bench:
    """Three classes, each the sum of four features of its own: raising those of one and lowering all others, each as
    far, is the best change towards it whatever the scores are, so distances have a closed form."""
    weight = np.kron(np.eye(3), np.ones(4)) * np.repeat([1.0, 1.5, 0.5], 4)[None]
    target = LinearTarget(weight, np.array([0.3, 0.0, 0.1]))
    x = np.random.default_rng(2).uniform(-1, 1, (n, 12)).astype(np.float32)
    samples = Samples(inputs=x, labels=target.labels(x, batch=1), ids=3 * np.arange(n))
    return Bench(target=target, samples=samples, threat=ThreatModel(norm=norm, epsilon=EPSILON))


def closed_form(target: LinearTarget, x: np.ndarray, k: int) -> float:
    """The linf distance of x to class k of `blocks`: of all others, the one that takes longest to be beaten."""
    scores = target.scores(x[None])[0].astype(float)
    others = [j for j in range(3) if j != k]
    return max(max(scores[j] - scores[k], 0) / np.abs(target.weight[k] - target.weight[j]).sum() for j in others)


def test_three_classes_have_the_matrices_of_their_closed_form(tmp_path: Path) -> None:
    made = blocks()
    assert isinstance(made.target, LinearTarget)
    found, ledger, _ = explored(made, tmp_path)
    labels, slack = made.samples.labels, 1.01
    exact = {
        (i, k): closed_form(made.target, x, k)
        for i, x in enumerate(made.samples.inputs)
        for k in range(3)
        if k != labels[i]
    }
    got = dict(zip(zip(found.reached.index, found.reached.target, strict=True), found.reached.distance, strict=True))
    assert got.keys() == exact.keys()
    for run, distance in got.items():
        assert exact[run] * (1 - 1e-5) <= distance <= slack * exact[run] + 1e-6
    hardness = weigh(found, settled(made, ledger, found), made.samples, made.threat, [])
    assert {(cell.source, cell.target) for cell in hardness.pairs} == {(labels[i], k) for i, k in exact}
    for cell in hardness.pairs:
        own = np.array([exact[i, cell.target] for i in np.flatnonzero(labels == cell.source)])
        assert cell.n == len(own) == cell.reached
        assert int((own * slack <= EPSILON).sum()) <= cell.broken <= int((own <= EPSILON).sum())
        assert cell.distance == pytest.approx(np.median(own), rel=0.01)
        assert cell.mean_distance == pytest.approx(own.mean(), rel=0.01)
        rates = [float((own <= b).mean()) for b in hardness.budgets]
        means = [float(own[own <= b].mean()) if rate else 0.0 for b, rate in zip(hardness.budgets, rates, strict=True)]
        assert cell.hardness == pytest.approx(papernot(rates, means), rel=0.02, abs=1e-3)
    # the nearest of all classes is the sample's distance, and what lies within epsilon is broken
    nearest = np.array([min(exact[i, k] for k in range(3) if k != labels[i]) for i in range(30)])
    assert (ledger.nearest >= nearest * (1 - 1e-5)).all()
    assert ledger.nearest == pytest.approx(nearest, rel=0.01, abs=1e-6)
    assert ledger.broken[nearest * slack < EPSILON].all()
    assert not ledger.broken[nearest > EPSILON].any()


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L1])
def test_no_run_is_nearer_than_its_linear_program_and_most_come_close(norm: Norm, tmp_path: Path) -> None:
    made = bench(norm=norm)
    assert isinstance(made.target, LinearTarget)
    found, _, _ = explored(made, tmp_path)
    x = made.samples.inputs
    runs = zip(found.reached.index, found.reached.target, found.reached.distance, strict=True)
    ratios = np.array([d / towards(made.target, x[i], k, norm) for i, k, d in runs])
    assert len(ratios) == 48
    assert (ratios >= 1 - 1e-5).all()
    assert np.median(ratios) < 1.1  # in five dimensions a climb by signs passes corners by
    assert (ratios < 1.35).mean() > 0.9


def towards(target: LinearTarget, x: np.ndarray, k: int, norm: Norm) -> float:
    """The exact linf or l1 distance from x to where class k is the answer, by a linear program in the change and its
    size: every other class has to be beaten at once."""
    d = len(x)
    slope = target.weight.astype(float) - target.weight[k]
    gap = target.bias.astype(float) - target.bias[k] + slope @ x.astype(float)
    rows = [j for j in range(len(gap)) if j != k]
    if norm is Norm.LINF:
        size = np.concatenate([np.eye(d), -np.eye(d)])
        a = np.block([[slope[rows], np.zeros((len(rows), 1))], [size, -np.ones((2 * d, 1))]])
        b = np.concatenate([-gap[rows], np.zeros(2 * d)])
        c = np.concatenate([np.zeros(d), [1.0]])
    else:
        a = np.block([
            [slope[rows], np.zeros((len(rows), d))],
            [np.eye(d), -np.eye(d)],
            [-np.eye(d), -np.eye(d)],
        ])  # fmt: skip
        b = np.concatenate([-gap[rows], np.zeros(2 * d)])
        c = np.concatenate([np.zeros(d), np.ones(d)])
    solved = linprog(c, A_ub=a, b_ub=b, bounds=[(None, None)] * len(c))
    return float(solved.fun)


def settled(made: Bench, ledger: Ledger, found: Explored) -> list[Outcome]:
    from auditor.certificates import Certified

    nothing = np.zeros(len(made.samples), bool)
    proved = Certified(nothing, nothing, np.zeros(len(made.samples)))
    rows = spent(1) + found.rows
    return settle(made.samples, made.threat, observe(made.target, made.samples), ledger, rows, proved)


def test_curves_and_extremes_against_brute_force(tmp_path: Path) -> None:
    made = bench()
    found, ledger, _ = explored(made, tmp_path)
    outcomes = settled(made, ledger, found)
    hardness = weigh(found, outcomes, made.samples, made.threat, [])
    assert (hardness.correct, hardness.ranged) == (24, 24)
    for point in curve(outcomes, EPSILON):
        assert point.robust_accuracy == np.mean(ledger.nearest > point.epsilon)
    for own in hardness.classes:
        mine = ledger.nearest[made.samples.labels == own.label]
        assert own.n == own.measured == len(mine)
        assert own.distance == pytest.approx(np.median(mine))
        assert own.nearest == mine.min()
        for point in own.curve:
            assert point.robust_accuracy == pytest.approx(np.mean(mine > point.epsilon))
    order = made.samples.ids[np.argsort(ledger.nearest)].tolist()
    assert hardness.easiest == order[:8]
    assert hardness.hardest == order[:-9:-1]


def test_every_run_that_got_there_is_evidence_that_the_model_confirms(tmp_path: Path) -> None:
    made = bench()
    found, ledger, _ = explored(made, tmp_path)
    proof = evidence(made.samples, made.threat, ledger, found)
    assert len(proof["pair_id"]) == len(found.reached.points) == 48
    assert (made.target.labels(proof["pair_x_adv"], batch=1) == proof["pair_adversarial_label"]).all()
    sizes = np.abs(proof["pair_x_adv"].astype(float) - proof["pair_x"]).max(axis=1)
    assert sizes == pytest.approx(np.array(found.reached.distance))


def test_two_classes_need_no_runs_of_their_own(tmp_path: Path) -> None:
    made = bench(classes=2)
    found, ledger, _ = explored(made, tmp_path)
    assert [row.phase for row in found.rows] == ["hardness"]
    assert found.reached.distance == ledger.nearest[found.reached.index].tolist()
    assert (np.array(found.reached.target) == 1 - made.samples.labels[found.reached.index]).all()


def test_a_targeted_goal_is_the_only_target(tmp_path: Path) -> None:
    made = bench()
    made = replace(made, samples=made.samples.take(made.samples.labels != 2))
    made = replace(made, threat=replace(made.threat, goal=Goal(2)))
    found, _, _ = explored(made, tmp_path)
    assert set(found.reached.target) == {2}
    assert len(found.rows) == 1


def test_of_many_classes_the_nearest_and_the_most_confused_are_tried(tmp_path: Path) -> None:
    made = bench(classes=ALL + 8, n=60, features=24)
    search = made.search(tmp_path)
    ledger = Ledger.of(made.samples, np.ones(60, bool))
    label = int(made.samples.labels[0])
    order = np.argsort(-made.target.scores(made.samples.inputs, batch=1), axis=1, kind="stable")
    far = int(order[0, -1])
    own = np.flatnonzero(made.samples.labels == label)
    ledger.broken[own[-1]], ledger.label[own[-1]] = True, far
    found = explore(search, ledger, spent(10**7), ATTACKS, asking())
    assert (found.targets, found.each) == ("nearest", NEAREST + CONFUSED)
    aimed = {
        i: [t for j, t in zip(found.reached.index, found.reached.target, strict=True) if j == i] for i in range(60)
    }
    assert far in aimed[0]
    for i, targets in aimed.items():
        assert set(order[i, 1 : NEAREST + 1].tolist()) <= set(targets)
        assert len(targets) == NEAREST + CONFUSED
        assert made.samples.labels[i] not in targets


def test_it_costs_at_most_half_of_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.allowance.MODEST", 0.0)
    made = bench(n=200)
    for most in (3_000, 20_000, 60_000):
        found, _, _ = explored(made, tmp_path / str(most), most=most)
        cost = sum(equivalents(row.forwards, row.backwards, row.queries) for row in found.rows)
        assert 0.1 * most < cost <= SHARE * most
        assert found.share == pytest.approx(cost / most)
        assert 0 < len(found.ranged) <= 200
        assert set(found.chosen) <= set(found.ranged)


def test_too_little_for_one_sample_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.allowance.MODEST", 0.0)
    found, _, _ = explored(bench(), tmp_path, most=10)
    assert found.why_not is not None
    assert not found.rows


def test_where_everything_fell_at_once_a_modest_sum_is_allowed_but_never_more_than_withstanding_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(n=200)
    ledger = Ledger.of(made.samples, np.ones(200, bool))
    allowance = Allowance.of(made.search(tmp_path), ledger, spent(1))
    assert allowance.most == SHARE * STANDARD * 200
    monkeypatch.setattr("auditor.allowance.MODEST", 1000 * 1e3)
    monkeypatch.setattr("auditor.allowance.operations", lambda search: 1e3)
    frugal, asked = (Allowance.of(made.search(tmp_path), ledger, spent(1), asked=a) for a in (False, True))
    assert (frugal.most, asked.most) == (1000, 10_000)
    budgets = [
        stage.share * equivalents(*stage.budget(3)) for stage in for_norm(find_suite("standard", ATTACKS), Norm.LINF)
    ]
    assert sum(budgets) == pytest.approx(STANDARD, rel=0.05)


def test_without_gradients_distances_are_looked_for_and_pairs_are_not(tmp_path: Path) -> None:
    made = replace(bench(n=6), access=Access.DECISION)
    found, ledger, _ = explored(made, tmp_path)
    assert found.rows[0].attack == "rays"
    assert np.isfinite(ledger.nearest).all()
    assert found.why_no_pairs is not None
    assert not found.reached.index
    assert found.slopes is None


@pytest.mark.parametrize("threat", [ThreatModel(boxes=True, epsilon=1.0), ThreatModel(norm=Norm.L1, epsilon=1.0)])
def test_where_there_is_no_distance_to_look_for_it_says_so(threat: ThreatModel, tmp_path: Path) -> None:
    made = bench(n=4)
    x = made.samples.inputs
    made = replace(made, samples=replace(made.samples, lower=x - 1, upper=x + 1), threat=threat, access=Access.SCORE)
    found, _, _ = explored(made, tmp_path)
    assert found.why_not is not None


def test_another_attack_may_be_named(tmp_path: Path) -> None:
    found, _, _ = explored(bench(n=6), tmp_path, attack="fmn:steps=20")
    assert {row.attack for row in found.rows} == {"fmn"}
    assert found.rows[0].parameters["steps"] == 20


def test_turns_are_fair_nested_and_bounded() -> None:
    rng = np.random.default_rng(0)
    labels, ids = rng.choice(4, 400, p=[0.7, 0.1, 0.1, 0.1]), 7 * np.arange(400)
    small, large = in_turn(labels, ids, 20, 0), in_turn(labels, ids, 60, 0)
    assert np.bincount(labels[small]).tolist() == [5, 5, 5, 5]
    assert set(small) < set(large)
    assert np.bincount(labels[in_turn(labels, ids, 400, 0)]).max() == EACH
    assert len(in_turn(np.arange(3000) % 100, np.arange(3000), 3000, 0)) == MOST
    assert set(in_turn(labels, ids, 20, 1)) != set(small)


def test_a_resumed_search_takes_runs_from_the_journal(tmp_path: Path) -> None:
    made = bench()
    found, ledger, search = explored(made, tmp_path)
    done = Journal(tmp_path, {}, resume=True).done
    again = replace(search, journal=Journal(tmp_path, {}, resume=True))
    queries = made.target.queries
    second = Ledger.of(made.samples, np.ones(24, bool))
    repeated = explore(again, second, spent(10**7), ATTACKS, asking())
    assert len(done) > 1
    assert repeated.reached.distance == found.reached.distance
    assert (second.nearest == ledger.nearest).all()
    assert made.target.queries - queries <= 24  # the clean scores of those that are sent towards classes


def test_where_it_is_left_out_protected_confusions_are_still_counted() -> None:
    job = asking()
    assert left_out(job) is None
    job.confusions.append(Confusion(label=0))
    found = left_out(job)
    assert found is not None
    outcomes = [Outcome(id=i, label=0, clean_label=i, status=Status.WITHSTOOD) for i in range(2)]
    made = bench(n=2)
    hardness = weigh(found, outcomes, made.samples, made.threat, job.confusions)
    assert (hardness.protected[0].n, hardness.protected[0].clean, hardness.protected[0].tried) == (2, 1, 0)
    assert hardness.why_not is not None
    assert hardness.risk is not None
    assert hardness.risk.clean == 5


def test_what_is_protected_is_tried_whether_it_is_near_or_not(tmp_path: Path) -> None:
    made = bench(classes=ALL + 8, n=60, features=24)
    label = int(made.samples.labels[0])
    far = int(np.argmin(made.target.scores(made.samples.inputs[:1], batch=1)))
    ledger = Ledger.of(made.samples, np.ones(60, bool))
    job = asking()
    job.confusions.append(Confusion(label=label, into=far))
    found = explore(made.search(tmp_path), ledger, spent(10**7), ATTACKS, job)
    runs = list(zip(found.reached.index, found.reached.target, strict=True))
    assert {(int(i), far) for i in np.flatnonzero(made.samples.labels == label)} <= set(runs)
    assert len(runs) == 60 * (NEAREST + CONFUSED)


def test_runs_that_broke_off_are_no_runs(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Half(ATTACKS["fmn"]):  # type: ignore[misc]
        name: ClassVar[str] = "half"

        def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
            if bool((problem.targets >= 0).any()):
                raise RuntimeError("broken off")
            return super().step(problem, rows, reply)  # type: ignore[no-any-return]

    made = bench()
    ledger = Ledger.of(made.samples, np.ones(24, bool))
    found = explore(made.search(tmp_path), ledger, spent(10**7), ATTACKS | {"half": Half}, asking("half"))
    assert found.rows[-1].status == "error"
    assert found.reached.index == []
    assert weigh(found, settled(made, ledger, found), made.samples, made.threat, []).pairs == []


def test_where_nothing_is_right_nothing_is_looked_for(tmp_path: Path) -> None:
    made = bench()
    found = explore(made.search(tmp_path), Ledger.of(made.samples, np.zeros(24, bool)), spent(9), ATTACKS, asking())
    assert found.why_not == "the model has no sample right"


def test_large_inputs_keep_fewer_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.explore.BYTES", 7 * 2 * 5 * 4)
    found, _, _ = explored(bench(), tmp_path)
    assert (len(found.chosen), len(found.ranged)) == (7, 24)
