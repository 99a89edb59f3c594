"""The kit for authors: its answers are right, and it finds what is wrong with an attack, a check, a defence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor

from auditor import (
    Access,
    Attack,
    Certificates,
    Certifier,
    Check,
    Defense,
    Evidence,
    Finding,
    FindingStatus,
    LibraryAttack,
    Norm,
    Problem,
    Region,
    Reply,
    Rows,
    Samples,
    Severity,
    ThreatModel,
    Twin,
)
from auditor.host import Host
from auditor.testing import (
    LinearTarget,
    check_attack,
    check_certifier,
    check_check,
    check_defense,
    evidence,
    linear_bench,
    single,
)

HOST = Host.load(installed=False)
BOTH = frozenset({Norm.LINF, Norm.L2})


@dataclass(frozen=True, kw_only=True)
class Ascent(Attack):
    """Right in every norm that problem.steepest knows; broken below on purpose, one piece at a time."""

    name: ClassVar[str] = "ascent"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = BOTH

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.project(problem.inputs))

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        return Rows(x=problem.project(rows.x + self.move(problem, reply.need_gradient())))

    def move(self, problem: Problem, gradient: Tensor) -> Tensor:
        return problem.wide(problem.epsilon) * problem.steepest(gradient)


def test_a_right_attack_passes() -> None:
    check_attack(Ascent())


def wrong(move: Callable[[Problem, Tensor], Tensor], *, project: bool = True) -> Attack:
    class Wrong(Ascent):
        def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
            x = rows.x + move(problem, reply.need_gradient())
            return Rows(x=problem.project(x) if project else x)

    return Wrong()


def ascent(problem: Problem, gradient: Tensor) -> Tensor:
    return problem.wide(problem.epsilon) * problem.steepest(gradient)


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (wrong(lambda p, g: -ascent(p, g)), "breaks 0 of 8 at 1.01 times their distance"),
        (wrong(lambda p, g: 0.97 * ascent(p, g)), "breaks 0 of 8 at 1.01 times their distance"),
        (wrong(lambda p, g: 1.5 * ascent(p, g), project=False), "proposes points that break the threat model"),
        (wrong(lambda p, g: ascent(p, g) + 0.3 * torch.rand(g.shape)), "differs between two runs"),
        (wrong(lambda p, g: ascent(p, g) * (1 - 1 / (2 + len(p)))), "treats a sample alone otherwise than in company"),
        (wrong(lambda p, g: g[:, :-1]), "did not run: RuntimeError"),
    ],
    ids=["descends", "stays short", "leaves the ball", "draws elsewhere", "looks at its batch", "raises"],
)
def test_a_wrong_attack_is_told_what_is_wrong(attack: Attack, says: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_attack(attack)
    assert says in str(caught.value)
    assert str(caught.value).startswith("ascent (l2, seed 0) ")


def test_a_random_attack_need_not_break() -> None:
    noise = HOST.attacks["noise"]()
    check_attack(noise, must_break=False)
    with pytest.raises(AssertionError, match=r"of 8 at 1\.01 times"):
        check_attack(noise)


def test_an_attack_that_lies_about_its_success_breaks_nothing_below() -> None:
    """The verifier asks the target; this pins that the check relies on it."""
    bench = linear_bench(distance=0.1, n=4)
    assert not bench.at(0.0999).play(Ascent()).broken.any()
    assert bench.at(0.1001).play(Ascent()).broken.all()


def test_library_attacks_are_checked_too() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Step(LibraryAttack):
        name: ClassVar[str] = "library"
        access: ClassVar[Access] = Access.GRADIENT
        norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

        scale: float = 0.9999

        def run_on(self, model: Any, inputs: Tensor, labels: Tensor, threat: ThreatModel, seed: int) -> Tensor:
            x = inputs.clone().requires_grad_()
            loss = torch.nn.functional.cross_entropy(model(x), labels, reduction="sum")
            return inputs + self.scale * threat.epsilon * torch.autograd.grad(loss, x)[0].sign()

    check_attack(Step())
    with pytest.raises(AssertionError, match="outside the ball"):
        check_attack(Step(scale=1.1))


# radii, against linear and convex programmes


def distance_by_programme(target: LinearTarget, x: np.ndarray, label: int, norm: Norm, weights: np.ndarray) -> float:
    """The least size of δ/w for which some other class gets the label's score."""
    best = np.inf
    d = len(x)
    for k in set(range(target.classes)) - {label}:
        slope = (target.weight[k] - target.weight[label]).astype(float) * weights
        gap = float((target.weight[label] - target.weight[k]) @ x + target.bias[label] - target.bias[k])
        if norm is Norm.L2:
            result = minimize(
                lambda z: z @ z,
                slope * gap / (slope @ slope) + 0.1,
                constraints={"type": "eq", "fun": lambda z, s=slope, g=gap: s @ z - g},
                options={"ftol": 1e-16},
            )
            best = min(best, float(np.sqrt(result.fun)))
            continue
        # z = p - q with p, q >= 0; linf bounds every p + q by t, l1 sums them
        if norm is Norm.LINF:
            c = np.r_[np.zeros(2 * d), 1]
            upper = np.c_[np.eye(d), np.eye(d), -np.ones(d)]
            result = linprog(c, upper, np.zeros(d), np.r_[slope, -slope, 0][None], [gap])
        else:
            result = linprog(np.ones(2 * d), A_eq=np.r_[slope, -slope][None], b_eq=[gap])
        best = min(best, float(result.fun))
    return best


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
def test_radii_are_those_of_a_solver(norm: Norm, weighted: bool) -> None:
    weights = np.random.default_rng(0).uniform(0.5, 2, 6) if weighted else None
    threat = ThreatModel(norm=norm, weights=weights)
    bench = linear_bench(classes=4, shape=(6,), n=5, threat=threat)
    radii = bench.target.radii(bench.samples, threat)
    for x, label, radius in zip(bench.samples.inputs, bench.samples.labels, radii, strict=True):
        expected = distance_by_programme(bench.target, x, label, norm, np.ones(6) if weights is None else weights)
        assert radius == pytest.approx(expected, rel=1e-4)


def test_radii_in_l0_are_those_of_trying_every_set() -> None:
    from itertools import combinations

    threat = ThreatModel(norm=Norm.L0, bounds=(0.0, 1.0))
    bench = linear_bench(classes=3, shape=(7,), n=12, seed=8, threat=threat)
    target = bench.target
    for x, label, radius in zip(
        bench.samples.inputs, bench.samples.labels, target.radii(bench.samples, threat), strict=True
    ):
        fewest = np.inf
        for k in set(range(3)) - {int(label)}:
            slope = target.weight[k].astype(float) - target.weight[label]
            far = np.where(slope > 0, 1.0, 0.0)
            for count in range(8):
                for chosen in combinations(range(7), count):
                    moved = x.astype(float)
                    moved[list(chosen)] = far[list(chosen)]
                    if slope @ moved + target.bias[k] - target.bias[label] > 0:
                        fewest = min(fewest, count)
        assert radius == fewest


def test_frozen_features_lie_on_no_way() -> None:
    target = LinearTarget(np.array([[1.0, 3.0], [0.0, 0.0]]), np.zeros(2))
    samples = Samples(inputs=np.ones((1, 2), np.float32), labels=np.zeros(1, np.int64), ids=np.arange(1))
    assert target.radii(samples, ThreatModel()).tolist() == [1.0]
    assert target.radii(samples, ThreatModel(frozen=np.array([False, True]))).tolist() == [4.0]


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
def test_samples_can_be_put_at_one_distance(norm: Norm) -> None:
    bench = linear_bench(n=9, seed=2, threat=ThreatModel(norm=norm), distance=0.25)
    assert bench.target.radii(bench.samples, bench.threat) == pytest.approx([0.25] * 9, rel=1e-5)
    assert np.array_equal(bench.target.labels(bench.samples.inputs), bench.samples.labels)


def test_one_sample_keeps_its_id() -> None:
    bench = single(linear_bench(n=5), 3, epsilon=0.5)
    assert (bench.samples.ids.tolist(), bench.threat.epsilon) == ([3], 0.5)


def test_a_problem_can_be_fed_by_hand() -> None:
    problem = linear_bench(classes=3, n=4).at(0.1).problem()
    assert len(problem) == 4
    assert (problem.classes, problem.ages.tolist(), problem.restarts.tolist()) == (3, [0] * 4, [0] * 4)
    assert torch.allclose(problem.upper - problem.lower, torch.tensor(0.2))


# checks, certifiers, defences


def test_evidence_is_what_a_scan_would_show() -> None:
    bench = linear_bench(distance=0.1, n=4).at(0.11)
    seen = evidence(bench, HOST.attacks["fgsm"]())
    assert [(row.name, row.status, row.broken) for row in seen.attacks] == [("fgsm", "ran", 4)]
    assert seen.ledger.broken.all()
    assert seen.fidelity is not None
    assert seen.fidelity.label_agreement == 1.0
    blind = evidence(replace(bench, access=Access.SCORE))
    assert (blind.twin, blind.fidelity, blind.attacks) == (None, None, [])


@dataclass(frozen=True, kw_only=True)
class Watch(Check):
    name: ClassVar[str] = "watch"
    title: ClassVar[str] = "Something"
    source: ClassVar[str] = "nobody"
    severity: ClassVar[Severity] = Severity.WARNING

    def look(self, evidence: Evidence) -> Finding:
        return self.finding(FindingStatus.CLEAR, "All is well.", value=0.0)


def looking(look: Callable[[Check, Evidence], Any]) -> Check:
    return type("Looking", (Watch,), {"look": look})()


RAISED = FindingStatus.RAISED


@pytest.mark.parametrize(
    ("look", "says"),
    [
        (lambda self, e: None, "returns NoneType, not a Finding"),
        (lambda self, e: self.finding(RAISED, "Bad."), "raises a finding without advice"),
        (lambda self, e: self.finding(RAISED, "", "Do it."), "does not explain its finding"),
        (lambda self, e: self.finding(RAISED, "Bad.", "Do.", value=float("nan")), "returns the value nan"),
        (lambda self, e: self.finding("fine", "All is well."), "should return a FindingStatus, not 'fine'"),
        (
            lambda self, e: self.finding(FindingStatus.CLEAR, "Well.", value=float(np.random.default_rng().random())),
            "returns something else the second time",
        ),
    ],
)
def test_a_wrong_check_is_told_what_is_wrong(look: Callable[[Check, Evidence], Any], says: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_check(looking(look))
    assert says in str(caught.value)


def test_a_right_check_passes() -> None:
    check_check(Watch())


@dataclass(frozen=True, kw_only=True)
class Prover(Certifier):
    name: ClassVar[str] = "prover"
    norms: ClassVar[frozenset[Norm]] = BOTH

    factor: float = 1.0

    def certify(self, twin: Twin, samples: Samples, threat: ThreatModel, region: Region) -> Certificates | None:
        """Right for two classes when the factor is 1."""
        weight = twin.module[1].weight.numpy().astype(float)  # type: ignore[index, union-attr, operator]
        bias = twin.module[1].bias.numpy().astype(float)  # type: ignore[index, union-attr, operator]
        radii = LinearTarget(weight, bias).radii(samples, threat)
        return Certificates(self.factor * radii > threat.epsilon, {"radii": radii})


def test_certifiers() -> None:
    check_certifier(Prover())
    with pytest.raises(AssertionError, match="certifies 16 samples that can be broken"):
        check_certifier(Prover(factor=1.1))


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (np.ones(16, bool), "returns ndarray, not Certificates or None"),
        (Certificates(np.zeros(16), {}), r"should return certified as bool \[16\]"),
        (Certificates(np.zeros(3, bool), {}), r"should return certified as bool \[16\]"),
        (Certificates(np.zeros(16, bool), {"why": "because"}), "should return arrays as its witness"),  # type: ignore[dict-item]
    ],
)
def test_a_wrong_certifier_is_told_what_is_wrong(returned: Any, says: str) -> None:
    class Odd(Prover):
        def certify(self, *_: Any) -> Any:
            return returned

    with pytest.raises(AssertionError, match=says):
        check_certifier(Odd())


def test_a_certifier_may_decline() -> None:
    class Shy(Prover):
        def certify(self, *_: Any) -> None:
            return None

    check_certifier(Shy())


@dataclass(frozen=True, kw_only=True)
class Dim(Defense):
    name: ClassVar[str] = "dim"
    gradient: ClassVar[str] = "exact"

    def transform(self, x: np.ndarray) -> np.ndarray:
        return (0.5 * x).astype(np.float32)

    def relaxed(self, x: Tensor) -> Tensor:
        return 0.5 * x


def dim(gradient: str = "exact", **methods: Any) -> Defense:
    return type("Odd", (Dim,), {"gradient": gradient} | methods)()


def in_place(self: Defense, x: np.ndarray) -> np.ndarray:
    x *= np.float32(0.5)
    return x


@pytest.mark.parametrize(
    ("defense", "says"),
    [
        (dim(transform=in_place), "transform changes its input in place"),
        (dim(transform=lambda self, x: 0.5 * x[:, :1]), "transform should keep the shape"),
        (dim(transform=lambda self, x: 0.5 * x.astype(float)), "transform should return float32, it returned float64"),
        (dim(relaxed=lambda self, x: 0.5 * x.detach()), "relaxed has no gradient"),
        (dim(relaxed=lambda self, x: 0.5 * x.detach() + 0 * x), "relaxed has a gradient that is zero or not finite"),
        (dim(relaxed=lambda self, x: 0.4 * x), "relaxed computes something else than transform"),
        (dim(relaxed=lambda self, x: x + (0.5 * x - x).detach()), "relaxed is not exact: say `bpda`"),
        (dim(transform=lambda self, x: (0.5 * x / x.max()).astype(np.float32)), "treats a sample alone otherwise"),
        (
            dim(transform=lambda self, x: np.float32(0.5) * x + np.float32(np.random.default_rng().normal())),
            "transform differs between two calls",
        ),
    ],
)
def test_a_wrong_defence_is_told_what_is_wrong(defense: Defense, says: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_defense(defense)
    assert says in str(caught.value)


def test_right_defences_pass() -> None:
    check_defense(Dim())
    check_defense(dim("bpda", relaxed=lambda self, x: x + (0.5 * x - x).detach()))
    noisy = dim("random", transform=lambda self, x: np.float32(0.5) * x + np.float32(np.random.default_rng().normal()))
    check_defense(noisy)
