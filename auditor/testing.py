"""For plugin authors: known-answer tests of attacks, checks, certifiers and defences, in one line each.

    from auditor.testing import check_attack
    check_attack(MyAttack())

A linear model's distance to its nearest adversarial example has a closed form, so an attack that is right breaks
everything a little above that distance and nothing below it. Each `check_*` raises AssertionError with a sentence, and
pytest, which knows this distribution as a plugin, is asked to add nothing to it: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from auditor.access import Access
from auditor.attack import AnyAttack, Attack
from auditor.bench import Bench, LinearTarget, Trial, linear_bench, single
from auditor.certify import Certificates, Certifier
from auditor.chance import CHANCE
from auditor.check import Check, Evidence
from auditor.defense import Defense
from auditor.execution import Execution
from auditor.fidelity import agree, fidelity
from auditor.guard import unmoved
from auditor.host import Host
from auditor.lab import Lab
from auditor.ledger import Ledger
from auditor.observe import observe
from auditor.record import AttackRow, Finding, FindingStatus, Severity
from auditor.suite import Stage
from auditor.threat import Norm, ThreatModel

__all__ = [
    "Bench",
    "LinearTarget",
    "Trial",
    "check_attack",
    "check_certifier",
    "check_check",
    "check_defense",
    "evidence",
    "linear_bench",
    "single",
]

DISTANCE = 0.1
"""How far the samples of a check are from the boundary."""


def check_attack(
    attack: AnyAttack, *, above: float = 1.01, seeds: int = 3, restarts: int = 1, must_break: bool = True
) -> None:
    """Raise AssertionError unless the attack is right on linear models with two classes, in all its norms.

    It must break no sample 1 % below the true distance (nothing can), break every one at `above` times it unless
    `must_break` is false (an attack that is random or weak), have no claim rejected as outside the threat model, give
    the same result twice whatever happened to the global generators, the same for a sample alone as in company, and
    leave samples alone at epsilon 0.
    """
    for where, bench, radius in _benches(attack, seeds):
        inside = _true_distance(bench.threat.norm, radius, 0.99)
        below = bench.at(inside).play(attack, restarts=restarts)
        _check_ran(where, below.row)
        assert not below.broken.any(), f"{where} breaks a sample below its true distance"
        beyond = bench.at(_true_distance(bench.threat.norm, radius, above))
        with unmoved():
            _stir(1)
            first = beyond.play(attack, restarts=restarts)
            _stir(2)
            second = beyond.play(attack, restarts=restarts)
        _check_ran(where, first.row)
        assert _same(first, second), f"{where} differs between two runs: draw from `problem.draws` or the seed only"
        if isinstance(attack, Attack):
            last = len(bench.samples) - 1
            alone = replace(beyond, samples=beyond.samples.take([last]))
            apart, among = (_exact(one).play(attack, restarts=restarts).ledger for one in (alone, beyond))
            near = np.allclose(apart.best[0], among.best[last], rtol=0, atol=1e-6)
            assert near, f"{where} treats a sample alone otherwise than in company"
        if must_break:
            n = int(first.broken.sum())
            assert first.broken.all(), f"{where} breaks {n} of {len(bench.samples)} at {above:g} times their distance"
        if isinstance(attack, Attack) and attack.minimum_norm:
            far = bench.play(attack, restarts=restarts, distance=True)
            _check_ran(where, far.row)
            found = far.ledger.nearest
            assert (found >= inside).all(), f"{where} finds an example below the true distance, looking for distances"
            hint = "epsilon is infinite there"
            assert np.isfinite(found).any() or not must_break, f"{where} finds no distance in a distance stage: {hint}"
        if bench.seed == 0:
            assert not bench.at(0.0).play(attack).broken.any(), f"{where} breaks samples at epsilon 0"


def _benches(attack: AnyAttack, seeds: int) -> Iterator[tuple[str, Bench, float]]:
    """Benches whose samples are all at one distance, in each norm that the attack knows; the spatial one has none."""
    for norm in sorted(attack.norms - {Norm.SPATIAL}):
        for seed in range(seeds):
            where = f"{attack.name} ({norm}, seed {seed})"
            if norm is not Norm.L0:
                threat = ThreatModel(norm=norm)
                yield where, linear_bench(seed=seed, threat=threat, n=8, distance=DISTANCE), DISTANCE
                continue
            bench = linear_bench(seed=seed, threat=ThreatModel(norm=norm, bounds=(0.0, 1.0)), n=8)
            radii = bench.target.radii(bench.samples, bench.threat)  # type: ignore[attr-defined]
            for radius in np.unique(radii[np.isfinite(radii)]):
                yield where, replace(bench, samples=bench.samples.take(radii == radius)), float(radius)


def _true_distance(norm: Norm, radius: float, factor: float) -> float:
    """The distance times a factor; in l0 the next whole number that is further away."""
    if norm is not Norm.L0:
        return factor * radius
    return radius - 1 if factor < 1 else float(ceil(factor * radius))


def _check_ran(where: str, row: AttackRow) -> None:
    assert row.status == "ran", f"{where} did not run: {row.reason}"
    allowed = {"unchanged input", "not misclassified"}
    outside = {reason: n for reason, n in row.rejected.items() if reason not in allowed}
    assert not outside, f"{where} proposes points that break the threat model: {outside}"


def _stir(seed: int) -> None:
    """Move the global generators, which no attack may draw from."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def _exact(bench: Bench) -> Bench:
    """In float64, where the batch moves a result by next to nothing."""
    return replace(bench, execution=Execution(device="cpu", threads=1, precision="float64"))


def _same(left: Trial, right: Trial) -> bool:
    return np.array_equal(left.ledger.best, right.ledger.best) and np.array_equal(left.broken, right.broken)


def evidence(bench: Bench, *attacks: AnyAttack, deep: bool = True) -> Evidence:
    """What a check would see after a scan of this bench with these attacks; its lab plays no game with the seed."""
    with TemporaryDirectory() as folder:
        search = bench.search(Path(folder))
        observation = observe(bench.target, bench.samples)
        ledger = Ledger.of(bench.samples, observation.clean_labels == bench.samples.labels)
        rows = search.play([Stage(attack=attack, title=attack.name) for attack in attacks], ledger)
    twin = search.twin
    return Evidence(
        target=bench.target,
        twin=twin,
        why_no_twin=None if twin else "the audit grants no gradient access",
        samples=bench.samples,
        threat=bench.threat,
        region=search.region,
        ledger=ledger,
        attacks=rows,
        observation=observation,
        fidelity=fidelity(agree(bench.target, twin, bench.samples.inputs, bench.execution), None) if twin else None,
        device=bench.execution.device,
        seed=bench.seed,
        lab=Lab(search=search, ledger=ledger, attacks=Host.load(installed=False).attacks, deep=deep),
    )


def check_check(check: Check, *attacks: AnyAttack) -> None:
    """Raise AssertionError unless the check returns a sound finding, twice the same, on an honest linear model.

    Asked with a twin and without, after these attacks and after none: it must answer each time, under its own name,
    with a finite value or none, an explanation, and advice where it is raised.
    """
    bench = linear_bench(classes=3, threat=ThreatModel(epsilon=0.02))
    for access in (Access.GRADIENT, Access.SCORE):
        for played in (attacks, ()):
            seen = evidence(replace(bench, access=access), *played)
            first, second = check.look(seen), check.look(seen)
            where = f"{check.name} ({access} access, {len(played)} attacks)"
            assert isinstance(first, Finding), f"{where} returns {type(first).__name__}, not a Finding"
            assert first.id == check.name, f"{where} returns a finding named {first.id!r}; use self.finding(...)"
            assert isinstance(first.status, FindingStatus), (
                f"{where} should return a FindingStatus, not {first.status!r}"
            )
            assert first.explanation, f"{where} does not explain its finding"
            raised = first.status is FindingStatus.RAISED and first.severity is not Severity.INFO
            assert first.advice or not raised, f"{where} raises a finding without advice"
            assert first.value is None or np.isfinite(first.value), f"{where} returns the value {first.value}"
            assert first == second, f"{where} returns something else the second time; use evidence.seed"


def check_certifier(certifier: Certifier, *, seeds: int = 3) -> None:
    """Raise AssertionError unless the certifier is sound on linear models with two classes, in all its norms.

    It must certify no sample 1 % above its true distance, return None or one boolean a sample with a witness of arrays,
    and give the same certificates twice. What it certifies below the distance is its own affair.
    """
    for norm in sorted(certifier.norms):
        for seed in range(seeds):
            where = f"{certifier.name} ({norm}, seed {seed})"
            bench = linear_bench(seed=seed, threat=ThreatModel(norm=norm), distance=DISTANCE)
            for factor in (0.5, 1.01):
                found, again = (_certified(where, certifier, bench.at(factor * DISTANCE)) for _ in range(2))
                assert np.array_equal(found, again), f"{where} gives other certificates the second time"
            assert not found.any(), f"{where} certifies {int(found.sum())} samples that can be broken"


def _certified(where: str, certifier: Certifier, bench: Bench) -> np.ndarray:
    n = len(bench.samples)
    region = bench.threat.region(bench.samples)
    proofs = certifier.certify(bench.target.twin(), bench.samples, bench.threat, region)
    if proofs is None:
        return np.zeros(n, bool)
    assert isinstance(proofs, Certificates), f"{where} returns {type(proofs).__name__}, not Certificates or None"
    mask = proofs.certified
    fits = isinstance(mask, np.ndarray) and mask.shape == (n,) and mask.dtype == bool
    assert fits, f"{where} should return certified as bool [{n}]"
    arrays = all(isinstance(array, np.ndarray) for array in proofs.witness.values())
    assert arrays, f"{where} should return arrays as its witness, so that they can be stored"
    return mask


def check_defense(defense: Defense, *, shape: tuple[int, ...] = (3, 8, 8), n: int = 6) -> None:
    """Raise AssertionError unless the defence keeps its contract on random inputs in [0, 1].

    `transform` must return float32 of the shape that `shaped` says, leave its input alone, give the same answer twice
    (where `gradient` is `random`: after the same `CHANCE.begin`) and otherwise treat a sample alone as in company.
    `relaxed` must compute the same, of the same draws, with a finite gradient that is not zero everywhere; where
    `gradient` is `exact` it must be the derivative.
    """
    name = defense.name
    outcome = (n, *defense.shaped(shape))
    told = f"keep the shape {outcome}" if outcome == (n, *shape) else f"return the shape {outcome}, as `shaped` says"
    CHANCE.begin(0)
    x = np.random.default_rng(0).uniform(0.05, 0.95, size=(n, *shape)).astype(np.float32)
    kept = x.copy()
    y = defense.transform(x)
    assert np.array_equal(x, kept), f"{name}.transform changes its input in place; copy it first"
    assert y.shape == outcome, f"{name}.transform should {told}, it returned {y.shape}"
    assert y.dtype == np.float32, f"{name}.transform should return float32, it returned {y.dtype}"
    point = torch.from_numpy(x.copy()).requires_grad_()
    CHANCE.begin(0)
    relaxed = defense.relaxed(point)
    assert relaxed.shape == outcome, f"{name}.relaxed should {told}"
    assert relaxed.requires_grad, f"{name}.relaxed has no gradient: let one through, and say `bpda` in `gradient`"
    probe = torch.from_numpy(np.random.default_rng(1).normal(size=y.shape).astype(np.float32))
    (gradient,) = torch.autograd.grad((relaxed * probe).sum(), point)
    useful = bool(gradient.isfinite().all() and gradient.any())
    assert useful, f"{name}.relaxed has a gradient that is zero or not finite"
    varies = defense.gradient == "random"
    CHANCE.begin(0)
    hint = "draw from `auditor.chance.CHANCE` only" if varies else "`gradient` is random"
    assert np.array_equal(y, defense.transform(x)), f"{name}.transform differs between two calls; {hint}"
    if not varies:
        alone = np.concatenate([defense.transform(row[None]) for row in x])
        assert np.allclose(y, alone, atol=1e-6), f"{name}.transform treats a sample alone otherwise than in company"
    drawn = " of the same draws" if varies else ""
    same = np.allclose(y, relaxed.detach().numpy(), atol=1e-5)
    assert same, f"{name}.relaxed computes something else than transform{drawn}"
    if defense.gradient == "exact":
        step = 1e-3 * np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
        rise = ((defense.transform(x + step) - defense.transform(x - step)) * probe.numpy()).sum(dtype=np.float64)
        slope = 2 * (gradient.numpy().astype(np.float64) * step).sum()
        assert abs(rise - slope) <= 0.05 * abs(slope) + 1e-4, f"{name}.relaxed is not exact: say `bpda` in `gradient`"
