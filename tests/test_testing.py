"""The kit for authors: its answers are right, and it finds what is wrong with an attack, a check, a defence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
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
from auditor.chance import CHANCE, normal_like
from auditor.host import Host
from auditor.testing import (
    LinearTarget,
    check_attack,
    check_certifier,
    check_check,
    check_defense,
    evidence,
    linear_bench,
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
    with pytest.raises(AssertionError, match=r"at 1\.01 times"):
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
    check_defense(noisy())


def noisy(**methods: Any) -> Defense:
    """Half of the input and a number by chance."""
    own = {
        "transform": lambda self, x: np.float32(0.5) * x + CHANCE.normal((1,)),
        "relaxed": lambda self, x: 0.5 * x + normal_like(x, (1,)),
    }
    return dim("random", **own | methods)


@pytest.mark.parametrize(
    ("defense", "says"),
    [
        (
            noisy(transform=lambda self, x: np.float32(0.5) * x + np.float32(np.random.default_rng().normal())),
            "differs between two calls; draw from `auditor.chance.CHANCE` only",
        ),
        (noisy(relaxed=lambda self, x: 0.5 * x), "something else than transform of the same draws"),
        (dim(shaped=lambda self, shape: (2, *shape[1:])), "return the shape (6, 2, 8, 8), as `shaped` says"),
    ],
)
def test_a_wrong_defence_that_is_random_or_of_another_shape_is_told_so(defense: Defense, says: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_defense(defense)
    assert says in str(caught.value)
