"""The affine certifier's radii: the distance of the nearest adversarial example, from below, whatever epsilon is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.fmn import FMN
from auditor.plugins.certifiers.affine import AffineCertifier
from click.testing import CliRunner
from linear import radius
from models import labelled, linear_model
from torch import nn

from auditor.access import OutputKind
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.cli import main
from auditor.entry import read_record
from auditor.preprocess import Preprocess
from auditor.record import Status
from auditor.samples import Samples
from auditor.threat import Goal, Norm, ThreatModel
from auditor.twin import Twin

DUAL = {Norm.LINF: 1, Norm.L2: 2}
WEIGHTS = np.exp(np.random.default_rng(1).uniform(-2, 2, 12))
FROZEN = np.arange(12) % 3 == 0
FREE: dict[str, dict[str, Any]] = {
    "linf": {},
    "l2": {"norm": Norm.L2},
    "linf weighted, frozen": {"weights": WEIGHTS, "frozen": FROZEN},
    "l2 weighted, frozen": {"norm": Norm.L2, "weights": WEIGHTS, "frozen": FROZEN},
}
BOUNDED = {f"{name}, bounded": options | {"bounds": (0, 1)} for name, options in FREE.items()}


def bench_of(threat: ThreatModel, *, classes: int = 3, n: int = 60, bias: float = 2.0, seed: int = 3) -> Bench:
    """A linear model that leans on its bias, of samples some of which the bounds stop: they lie all over [0, 1], and
    some values on its edge."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(classes, 12))
    target = LinearTarget(weight, bias * rng.normal(size=classes) - weight.sum(axis=1) / 2)
    inputs = np.clip(rng.uniform(-0.3, 1.3, size=(n, 12)), 0, 1).astype(np.float32)
    labels = target.labels(inputs, batch=1).astype(np.int64)
    return Bench(target=target, samples=Samples(inputs=inputs, labels=labels, ids=np.arange(n)), threat=threat)


def proved(bench: Bench, twin: Twin | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Radii and mask."""
    region = bench.threat.region(bench.samples)
    twin = twin or bench.target.twin()
    found = AffineCertifier().certify(twin, bench.samples, bench.threat, region)
    assert found is not None
    assert found.radii is not None
    assert found.radii.shape == found.certified.shape == (len(bench.samples),)
    assert found.radii.dtype == np.float64
    return found.radii, found.certified


def radii_of(bench: Bench) -> np.ndarray:
    """Of epsilon 0, which leaves them as they are: what is certified reaches further, all else has none."""
    return proved(bench.at(0.0))[0]


def leads(bench: Bench) -> tuple[np.ndarray, np.ndarray]:
    """How far each label's score leads each class, `[n, classes]`, and by which slope, `[n, classes, features]`."""
    weight, bias = bench.target.weight.astype(float), bench.target.bias.astype(float)  # type: ignore[attr-defined]
    own = bench.samples.labels
    slopes = weight[own][:, None] - weight
    return np.einsum("nkd,nd->nk", slopes, bench.samples.inputs.astype(float)) + bias[own][:, None] - bias, slopes


def nearest(bench: Bench, classes: list[int] | None = None) -> np.ndarray:
    """Distance of the nearest adversarial example by a search along each class's worst ray, bounds and all."""
    threat = bench.threat
    low, high = threat.bounds or (-np.inf, np.inf)
    frozen = np.zeros(12, bool) if threat.frozen is None else threat.frozen
    lead, slopes = leads(bench)
    found = np.full(lead.shape, np.inf)
    for i, x in enumerate(bench.samples.inputs.astype(float)):
        limits = {"low": np.where(frozen, x, low), "high": np.where(frozen, x, high)}
        limits |= {} if threat.weights is None else {"weights": threat.weights}
        for k in range(lead.shape[1]) if classes is None else classes:
            if k != bench.samples.labels[i]:
                found[i, k] = radius(slopes[i, k], lead[i, k], x, threat.norm, **limits)
    return np.asarray(found.min(axis=1))


def widest(bench: Bench) -> np.ndarray:
    """The largest change that the bounds 0 and 1 allow."""
    x, threat = bench.samples.inputs.astype(float), bench.threat
    change = np.maximum(x, 1 - x) / (1.0 if threat.weights is None else threat.weights)
    change *= 1.0 if threat.frozen is None else ~threat.frozen
    return np.asarray(change.max(axis=1) if threat.norm is Norm.LINF else np.linalg.norm(change, axis=1))


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("name", FREE)
def test_without_bounds_it_is_lead_by_size_of_the_slope(name: str, classes: int) -> None:
    bench = bench_of(ThreatModel(**FREE[name]), classes=classes)
    lead, slopes = leads(bench)
    scale = (WEIGHTS if "weighted" in name else 1.0) * (~FROZEN if "frozen" in name else np.ones(12))
    size = np.linalg.norm(slopes * scale, ord=DUAL[bench.threat.norm], axis=2)
    truth = np.divide(lead, size, out=np.full_like(lead, np.inf), where=size > 0).min(axis=1)
    radii = radii_of(bench)
    assert (radii < truth).all()
    clear = truth > 0.1 * np.median(truth)  # nearer to the boundary rounding has its share
    assert clear.sum() > 40
    np.testing.assert_allclose(radii[clear], truth[clear], rtol=2e-3)


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_take_it_further_and_where_nothing_breaks_it_to_their_end(name: str) -> None:
    bench = bench_of(ThreatModel(**BOUNDED[name]), n=150)
    truth, radii = nearest(bench), radii_of(bench)
    breakable = np.isfinite(truth)
    unbounded = radii_of(replace(bench, threat=replace(bench.threat, bounds=None)))
    assert (radii[breakable] < truth[breakable]).all()
    assert (radii[breakable] > 1.05 * unbounded[breakable]).mean() > 0.2, "no bound is in the way"
    clear = breakable & (truth > 0.1 * np.median(truth[breakable]))
    assert clear.sum() > 40
    np.testing.assert_allclose(radii[clear], truth[clear], rtol=2e-3)
    np.testing.assert_allclose(radii[~breakable], widest(bench)[~breakable], rtol=1e-5)
    assert "frozen" not in name or (~breakable).sum() > 10, "what is not frozen reaches all of them"


@pytest.mark.parametrize("name", [*FREE, *BOUNDED])
def test_it_is_where_the_mask_turns(name: str) -> None:
    bench = bench_of(ThreatModel(**(FREE | BOUNDED)[name]), n=25)
    radii = radii_of(bench)
    limit = widest(bench) if bench.threat.bounds else np.full(25, np.inf)
    near = 5e-4 if "weighted, frozen, bounded" in name else 1e-4  # rounding of features that are stopped
    turned = 0
    for i, own in enumerate(radii):
        one = replace(bench, samples=bench.samples.take([i]))
        assert proved(one.at(own * (1 - 2e-6)))[1].all()
        if own < 0.999 * limit[i]:
            assert not proved(one.at(own * (1 + near)))[1].any()
            turned += 1
    assert turned > 5


@pytest.mark.parametrize("name", [*FREE, *BOUNDED])
def test_it_agrees_with_the_mask(name: str) -> None:
    bench = bench_of(ThreatModel(**(FREE | BOUNDED)[name]))
    own = radii_of(bench)
    for epsilon in (0.0, *np.quantile(own, [0.2, 0.5, 0.8]), *own[:5]):
        radii, certified = proved(bench.at(float(epsilon)))
        assert (radii[certified] >= epsilon).all()
        assert (radii[~certified] <= epsilon).all()
        clear = (own < 0.999 * epsilon) | (own > 1.001 * epsilon)
        far = np.where(certified, np.maximum(own, epsilon), np.minimum(own, epsilon))
        np.testing.assert_allclose(radii[clear], far[clear], rtol=1e-5, err_msg="epsilon has no other say")


@pytest.mark.parametrize("bounds", [None, (0, 1)])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_a_goal_is_about_one_class(norm: Norm, bounds: tuple[float, float] | None) -> None:
    for goal in range(3):
        bench = bench_of(ThreatModel(norm=norm, bounds=bounds, goal=Goal(goal)), bias=0.3)
        radii, truth = radii_of(bench), nearest(bench, [goal])
        own = bench.samples.labels == goal
        assert (radii[own] == 0).all()
        assert 5 < own.sum() < 55
        far = ~own & (truth > 0.1)
        np.testing.assert_allclose(radii[far], truth[far], rtol=2e-3)


@pytest.mark.parametrize("name", [*FREE, *BOUNDED])
def test_what_is_wrong_when_clean_has_none(name: str) -> None:
    bench = bench_of(ThreatModel(**(FREE | BOUNDED)[name]), n=20)
    wrong = replace(bench, samples=replace(bench.samples, labels=(bench.samples.labels + 1) % 3))
    assert not radii_of(wrong).any()
    assert radii_of(bench).all()


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_boxes_and_grids_have_none(norm: Norm) -> None:
    inputs = np.full((2, 12), 0.5, np.float32)
    bench = linear_bench(n=2)
    boxed = replace(bench.samples, inputs=inputs, lower=inputs - 0.1, upper=inputs + 0.1)
    for threat in (ThreatModel(norm=norm, epsilon=1, boxes=True), ThreatModel(norm=norm, epsilon=0.1, grid=0.25)):
        found = AffineCertifier().certify(bench.target.twin(), boxed, threat, threat.region(boxed))
        assert found is not None
        assert found.radii is None


class Rough(LinearTarget):
    """Adds one term to the next in float32."""

    def _run(self, x: np.ndarray) -> np.ndarray:
        terms = x.reshape(len(x), 1, -1).astype(np.float32) * self.weight
        first = np.broadcast_to(self.bias[:, None], (*terms.shape[:2], 1))
        return np.asarray(np.cumsum(np.concatenate([first, terms], axis=2), axis=2, dtype=np.float32)[:, :, -1])


@pytest.mark.parametrize("bounds", [None, (0, 1)])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_rounding_of_the_deployed_model_is_left_room_for(norm: Norm, bounds: tuple[float, float] | None) -> None:
    rng = np.random.default_rng(0)
    bias = 2000 + rng.uniform(-0.1, 0.1, 2)  # float32 has steps of 1e-4 here
    target = Rough(rng.normal(size=(2, 12)) / 3, bias)
    inputs = rng.uniform(0.2, 0.8, size=(400, 12)).astype(np.float32)
    labels = target.labels(inputs, batch=1).astype(np.int64)
    samples = Samples(inputs=inputs, labels=labels, ids=np.arange(400))
    bench = Bench(target=target, samples=samples, threat=ThreatModel(norm=norm, bounds=bounds))
    radii, (lead, slopes) = radii_of(bench), leads(bench)
    slope = slopes[np.arange(400), 1 - labels]
    size = np.linalg.norm(slope, ord=DUAL[norm], axis=1)
    fall = -np.sign(slope) if norm is Norm.LINF else -slope / size[:, None]
    truth = np.maximum(lead[np.arange(400), 1 - labels], 0) / size
    early = 0
    for share in np.linspace(0.5, 1, 51):
        for distance, held in ((radii, True), (truth, False)):
            moved = (inputs + share * distance[:, None] * fall).astype(np.float32)
            change = moved.astype(float) - inputs
            reached = np.abs(change).max(axis=1) if norm is Norm.LINF else np.linalg.norm(change, axis=1)
            broken = target.labels(moved, batch=1) != labels
            if held:
                assert not (broken & (reached < radii)).any()
            else:
                early += int((broken & (reached < 0.999 * truth)).sum())
    assert early > 10, "rounding did break some of them before their time"
    assert (radii > 0.5 * truth).mean() > 0.5


def test_a_half_precision_file_gets_more_room() -> None:
    bench = bench_of(ThreatModel(), bias=0.1, n=20)
    target = bench.target
    target.weight = target.weight.astype(np.float16).astype(np.float32)  # type: ignore[attr-defined]
    target.bias = target.bias.astype(np.float16).astype(np.float32)  # type: ignore[attr-defined]
    coarse = radii_of(bench)
    target.bias = target.bias * np.float32(1 + 1e-6)  # type: ignore[attr-defined]
    assert (coarse < 0.998 * radii_of(bench)).all()


@pytest.mark.parametrize("name", BOUNDED)
def test_no_attack_finds_anything_nearer_and_one_nearly_gets_there(name: str) -> None:
    threat = ThreatModel(epsilon=0.05, **BOUNDED[name])
    bench = bench_of(threat, n=16, bias=0.3)
    found = bench.play(FMN(steps=200), restarts=3, distance=True).ledger.nearest
    radii = radii_of(bench)
    assert not (found < radii).any()
    reached = np.isfinite(found) & (radii > 0.05 * np.median(radii))
    assert reached.sum() > 10
    assert np.quantile(found[reached] / radii[reached], 0.9) < 1.01


def torch_bench(weight: np.ndarray, bias: np.ndarray, threat: ThreatModel) -> tuple[Bench, Twin]:
    bench = linear_bench(classes=len(bias), n=5, threat=threat)
    module = nn.Linear(12, len(bias))
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weight))
        module.bias.copy_(torch.from_numpy(bias))
    labels = np.full(5, int(bias.argmax()))
    preprocess = Preprocess().fit((12,), (12,))
    twin = Twin(module=module, preprocess=preprocess, output=OutputKind.LOGITS)
    return replace(bench, samples=replace(bench.samples, labels=labels)), twin


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize("rows", ["all zero", "all the same"])
def test_a_model_of_one_answer_has_a_finite_radius(norm: Norm, rows: str) -> None:
    weight = np.zeros((2, 12)) if rows == "all zero" else np.ones((2, 12))
    bench, twin = torch_bench(weight, np.array([1.0, 0.0]), ThreatModel(norm=norm, epsilon=0.1))
    radii, certified = proved(bench, twin)
    assert certified.all()
    assert np.isfinite(radii).all()
    assert (radii > 10).all()
    bounded = replace(bench, threat=replace(bench.threat, bounds=(0, 1)))
    np.testing.assert_allclose(proved(bounded, twin)[0], widest(bounded), rtol=1e-5)


@pytest.mark.parametrize("bounds", [None, (0, 1)])
def test_where_all_is_frozen_there_is_no_change(bounds: tuple[float, float] | None) -> None:
    bench = bench_of(ThreatModel(frozen=np.ones(12, bool), bounds=bounds), n=5)
    assert not proved(bench)[0].any()
    assert (proved(bench.at(0.3))[0] == 0.3).all(), "certified there, and so said"


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_both_ends_of_the_curve_meet_on_a_linear_file(norm: str, tmp_path: Path) -> None:
    labelled(tmp_path / "samples.npz", *linear_model(tmp_path / "model.onnx"), n=12)
    arguments = ["scan", str(tmp_path / "model.onnx"), "--data", str(tmp_path / "samples.npz"), "--norm", norm]
    arguments += ["--epsilon", "0.05", "--bounds", "0", "1", "--out", str(tmp_path / "out"), "--no-hardness"]
    result = CliRunner().invoke(
        main, [*arguments, "--attack", "fgsm", "--attack", "fmn:steps=200,restarts=3,distance=true"]
    )
    assert result.exit_code == 0, result.output
    record = read_record(tmp_path / "out")
    assert {outcome.status for outcome in record.outcomes} <= {Status.BROKEN, Status.CERTIFIED}
    for outcome in record.outcomes:
        assert outcome.nearest is not None
        assert outcome.radius <= outcome.nearest <= 1.01 * outcome.radius + 1e-4
    assert len(record.curve) > 8
    for point in record.curve:
        near = [other.robust_accuracy for other in record.curve if other.epsilon >= 1.02 * point.epsilon + 2e-4]
        assert point.certified <= point.robust_accuracy + 1 / 12
        assert point.certified >= max(near, default=0.0)
