"""Certificates: the union of all proofs, a seeded share attacked all the same, and the stop when a proof is wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from auditor.plugins.attacks.fgsm import FGSM
from auditor.plugins.attacks.fmn import FMN
from auditor.plugins.certifiers.affine import AffineCertifier

from auditor.bench import Bench, linear_bench
from auditor.certificates import ATTACKED, Certified, certify
from auditor.certify import Certificates, Certifier
from auditor.errors import SelfContradiction
from auditor.ledger import Ledger
from auditor.observe import observe
from auditor.outcomes import settle
from auditor.record import Outcome, Status
from auditor.samples import Samples
from auditor.search import Search
from auditor.suite import Stage
from auditor.threat import Norm, Region, ThreatModel
from auditor.twin import Twin


@dataclass(frozen=True, kw_only=True)
class Gullible(Certifier):
    """Certifies everything. It is wrong."""

    name: ClassVar[str] = "gullible"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    def certify(self, twin: Twin, samples: Samples, threat: ThreatModel, region: Region) -> Certificates | None:
        return Certificates(np.ones(len(samples), bool), {"faith": np.ones(1)})


@dataclass(frozen=True, kw_only=True)
class Even(Gullible):
    name: ClassVar[str] = "even"

    def certify(self, twin: Twin, samples: Samples, threat: ThreatModel, region: Region) -> Certificates | None:
        return Certificates(samples.ids % 2 == 0, {"ids": samples.ids})


@dataclass(frozen=True, kw_only=True)
class Near(Gullible):
    """Certifies nothing at epsilon, and the odd ones up to 0.005."""

    name: ClassVar[str] = "near"
    reach: ClassVar[float] = 0.005

    def certify(self, twin: Twin, samples: Samples, threat: ThreatModel, region: Region) -> Certificates | None:
        return Certificates(np.zeros(len(samples), bool), {}, self.reach * (samples.ids % 2))


@dataclass(frozen=True, kw_only=True)
class Far(Near):
    name: ClassVar[str] = "far"
    reach: ClassVar[float] = 0.5


@dataclass(frozen=True, kw_only=True)
class Refusing(Gullible):
    name: ClassVar[str] = "refusing"

    def certify(self, twin: Twin, samples: Samples, threat: ThreatModel, region: Region) -> Certificates | None:
        return None


def run(bench: Bench, *certifiers: type[Certifier], twin: bool = True, **job: Any) -> Certified:
    host: Any = SimpleNamespace(certifiers={kind.name: kind for kind in certifiers})
    told = {"certify": True, "threat": bench.threat, "seed": 0, "target": bench.target}
    asked: Any = SimpleNamespace(**(told | job))
    region = bench.threat.region(bench.samples)
    return certify(asked, host, bench.target.twin() if twin else None, bench.samples, region)


def audited(bench: Bench, search: Search, *certifiers: type[Certifier]) -> list[Outcome]:
    """What a scan does with the proofs: spare, attack, settle."""
    found = run(bench, *certifiers)
    observation = observe(bench.target, bench.samples)
    ledger = Ledger.of(bench.samples, observation.clean_labels == bench.samples.labels, spared=found.spared)
    suite = [Stage(attack=FGSM(), title="fgsm")]
    rows = search.play(suite, ledger)
    return settle(bench.samples, bench.threat, observation, ledger, rows, found)


def test_the_union_of_all_proofs() -> None:
    bench = linear_bench(n=10).at(0.01)
    found = run(bench, Even, Refusing)
    assert found.certified.tolist() == [True, False] * 5
    assert found.names == ["even"]
    assert list(found.witness) == ["even.ids"]
    both = run(bench, Even, Gullible)
    assert both.certified.all()
    assert both.names == ["even", "gullible"]


def test_the_largest_radius_of_all_and_epsilon_where_certified() -> None:
    bench = linear_bench(n=4).at(0.01)
    assert run(bench, Even, Near).radii.tolist() == [0.01, 0.005, 0.01, 0.005]
    assert run(bench, Near, Far, Refusing).radii.tolist() == [0, 0.5, 0, 0.5]
    assert run(bench, Far, Gullible).radii.tolist() == [0.01, 0.5, 0.01, 0.5]
    assert run(bench, Even).radii.tolist() == [0.01, 0, 0.01, 0]
    assert not run(bench, Refusing).radii.any()


@pytest.mark.parametrize(("twin", "job"), [(False, {}), (True, {"certify": False})])
def test_nothing_without_a_twin_or_when_told_so(twin: bool, job: dict[str, Any]) -> None:
    found = run(linear_bench(n=5), Gullible, twin=twin, **job)
    assert not found.certified.any()
    assert found.names == []


def test_another_norm_is_not_asked_about() -> None:
    assert run(linear_bench(n=5, threat=ThreatModel(norm=Norm.L2)), Gullible).names == []


def test_a_seeded_share_is_attacked_all_the_same() -> None:
    bench = linear_bench(n=2000).at(0.01)
    found = run(bench, Gullible)
    attacked = found.certified & ~found.spared
    assert 0.07 < attacked.mean() < 0.13
    assert ATTACKED == 0.1
    np.testing.assert_array_equal(run(bench, Gullible).spared, found.spared)
    assert not np.array_equal(run(bench, Gullible, seed=1).spared, found.spared)
    assert not (run(bench, Even).spared & ~run(bench, Even).certified).any(), "only the certified are spared"


def test_right_proofs_and_attacks_agree(tmp_path: Any) -> None:
    bench = linear_bench(n=60, seed=5)
    bench = bench.at(float(np.median(bench.target.radii(bench.samples, bench.threat))))  # type: ignore[attr-defined]
    outcomes = audited(bench, bench.search(tmp_path), AffineCertifier)
    statuses = [outcome.status for outcome in outcomes]
    assert set(statuses) <= {Status.CERTIFIED, Status.BROKEN, Status.WITHSTOOD}
    assert statuses.count(Status.CERTIFIED) > 20
    assert statuses.count(Status.BROKEN) > 20
    spared = [outcome for outcome in outcomes if outcome.status is Status.CERTIFIED and not outcome.spent.forwards]
    attacked = [outcome for outcome in outcomes if outcome.status is Status.CERTIFIED and outcome.spent.forwards]
    assert len(spared) > len(attacked) > 0


def test_a_wrong_proof_stops_the_audit(tmp_path: Any) -> None:
    bench = linear_bench(n=60, distance=0.1).at(0.2)
    with pytest.raises(SelfContradiction, match="were certified and broken at once"):
        audited(bench, bench.search(tmp_path), AffineCertifier, Gullible)
    assert audited(bench, bench.search(tmp_path), AffineCertifier)


def test_a_wrong_radius_stops_the_audit_and_a_right_one_is_in_the_outcomes(tmp_path: Any) -> None:
    bench = linear_bench(n=20, distance=0.1).at(0.01)
    search = bench.search(tmp_path)
    observation = observe(bench.target, bench.samples)
    ledger = Ledger.of(bench.samples, observation.clean_labels == bench.samples.labels)
    rows = search.play([Stage(attack=FMN(), title="fmn", distance=True)], ledger)
    assert not ledger.broken.any()
    found = run(bench, AffineCertifier)
    for outcome in settle(bench.samples, bench.threat, observation, ledger, rows, found):
        assert outcome.nearest is not None
        assert 0.0999 < outcome.radius <= outcome.nearest < 0.102
    with pytest.raises(SelfContradiction, match="10 samples"):
        settle(bench.samples, bench.threat, observation, ledger, rows, run(bench, AffineCertifier, Far))


@pytest.mark.parametrize(("grid", "proved"), [(None, False), (1 / 255, True), (1 / 100, False)])
def test_a_file_that_rounds_its_inputs_is_proved_only_where_the_threat_knows_its_steps(
    grid: float | None, proved: bool
) -> None:
    bench = linear_bench(n=6)
    steps = np.rint(bench.samples.inputs * 255) / 255 if grid != 1 / 100 else np.rint(bench.samples.inputs * 100) / 100
    bench = replace(bench, samples=replace(bench.samples, inputs=steps.astype(np.float32)))
    bench = replace(bench, threat=ThreatModel(epsilon=0.1, bounds=(0.0, 1.0), grid=grid))
    assert run(bench, Gullible).certified.all()
    bench.target.integral, bench.target.preprocess = True, replace(bench.target.preprocess, scale=255.0)
    assert run(bench, Gullible).certified.all() == proved
    assert run(bench, Gullible).radii.any() == proved
