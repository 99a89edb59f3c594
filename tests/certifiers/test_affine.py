"""The affine certifier proves what can't be broken, nothing else, and only for models that are affine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from auditor.plugins.attacks.apgd import APGD
from auditor.plugins.certifiers.affine import AffineCertifier, climb
from auditor.plugins.operators import bundled
from linear import radius, worst_drop
from models import linear_model, save
from onnx import helper
from scipy.optimize import LinearConstraint, NonlinearConstraint, minimize
from torch import nn

from auditor.access import OutputKind
from auditor.build import build_twin
from auditor.certify import Certificates
from auditor.host import Host
from auditor.preprocess import Preprocess
from auditor.samples import Samples
from auditor.testing import check_certifier, linear_bench
from auditor.threat import Goal, Norm, ThreatModel
from auditor.twin import Twin

RNG = np.random.default_rng(0)
WEIGHTS = np.exp(np.random.default_rng(1).uniform(-2, 2, 12))
FROZEN = np.arange(12) % 4 == 0
THREATS: dict[str, dict[str, Any]] = {
    "linf": {},
    "linf bounded": {"bounds": (0, 1)},
    "linf weighted, frozen, bounded": {"weights": WEIGHTS, "frozen": FROZEN, "bounds": (0, 1)},
    "l2": {"norm": Norm.L2},
    "l2 bounded": {"norm": Norm.L2, "bounds": (0.1, 0.9)},
    "l2 weighted, frozen, bounded": {"norm": Norm.L2, "weights": WEIGHTS, "frozen": FROZEN, "bounds": (0.1, 0.9)},
}


def certify(twin: Twin, samples: Samples, threat: ThreatModel) -> Certificates | None:
    return AffineCertifier().certify(twin, samples, threat, threat.region(samples))


def certified(twin: Twin, samples: Samples, threat: ThreatModel) -> list[bool]:
    found = certify(twin, samples, threat)
    assert found is not None
    return [bool(value) for value in found.certified]


def limits_of(threat: ThreatModel, x: np.ndarray) -> dict[str, np.ndarray]:
    low, high = threat.bounds or (-np.inf, np.inf)
    frozen = np.zeros(x.shape, bool) if threat.frozen is None else threat.frozen
    limits = {"low": np.where(frozen, x, low), "high": np.where(frozen, x, high)}
    return limits if threat.weights is None else limits | {"weights": np.asarray(threat.weights)}


def true_radii(bench: Any, threat: ThreatModel) -> np.ndarray:
    """Distance of each sample to its nearest adversarial example, over all classes, bounds and all."""
    weight, bias = bench.target.weight.astype(float), bench.target.bias.astype(float)
    found = []
    for x, y in zip(
        bench.samples.inputs.reshape(len(bench.samples), -1).astype(float), bench.samples.labels, strict=True
    ):
        leads = [
            (weight[y] - weight[k], (weight[y] - weight[k]) @ x + bias[y] - bias[k]) for k in range(len(bias)) if k != y
        ]
        found.append(min(radius(slope, lead, x, threat.norm, **limits_of(threat, x)) for slope, lead in leads))
    return np.array(found)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", THREATS)
def test_certified_is_what_can_not_be_broken(name: str, classes: int) -> None:
    bench = linear_bench(classes=classes, n=12, seed=4)
    radii = true_radii(bench, ThreatModel(**THREATS[name]))
    twin = bench.target.twin()
    for epsilon in (0.01, 0.05, 0.2, 0.6):
        assert certified(twin, bench.samples, ThreatModel(epsilon=epsilon, **THREATS[name])) == list(radii > epsilon)
    for i, own in enumerate(radii):
        if not np.isfinite(own):
            continue
        one = bench.samples.take([i])
        for factor, safe in ((0.999, True), (1.001, False)):
            threat = ThreatModel(epsilon=factor * own, **THREATS[name])
            assert certified(twin, one, threat) == [safe], f"sample {i} at {factor} of its radius"


@pytest.mark.parametrize("name", THREATS)
def test_no_attack_breaks_what_is_certified_and_breaks_the_rest(name: str) -> None:
    options = THREATS[name]
    bench = linear_bench(n=40, seed=9)
    radii = true_radii(bench, ThreatModel(**options))
    threat = ThreatModel(epsilon=float(np.median(radii)) * 1.0001, **options)
    bench = linear_bench(n=40, seed=9, threat=threat)
    proven = np.array(certified(bench.target.twin(), bench.samples, threat))
    broken = bench.play(APGD()).broken
    assert 5 < proven.sum() < 35
    assert not (proven & broken).any()
    assert broken[radii < 0.99 * threat.epsilon].all()


def test_rounding_is_left_room_for() -> None:
    bench = linear_bench(n=1, seed=0)
    threat = ThreatModel(epsilon=float(true_radii(bench, ThreatModel())[0]) * (1 - 1e-8))
    found = certify(bench.target.twin(), bench.samples, threat)
    assert found is not None
    other = 1 - int(bench.samples.labels[0])
    assert 0 < found.witness["bounds"][0, other] < found.witness["slack"][0, other]
    assert not found.certified.any()


def test_a_half_precision_file_gets_more_room() -> None:
    bench = linear_bench(n=1, seed=0)
    threat = ThreatModel(epsilon=0.01)
    fine = certify(bench.target.twin(), bench.samples, threat)
    twin = bench.target.twin()
    for value in twin.module.parameters():
        value.copy_(value.half().float())
    coarse = certify(twin, bench.samples, threat)
    assert fine is not None
    assert coarse is not None
    assert (coarse.witness["slack"] > 20 * fine.witness["slack"]).all()


def test_boxes_are_the_whole_threat() -> None:
    bench = linear_bench(n=1, seed=0)
    x, y = bench.samples.inputs[0].astype(float), int(bench.samples.labels[0])
    slope = (bench.target.weight[y] - bench.target.weight[1 - y]).astype(float)  # type: ignore[attr-defined]
    lead = slope @ x + float(bench.target.bias[y] - bench.target.bias[1 - y])  # type: ignore[attr-defined]
    half = RNG.uniform(0.5, 1.5, 12)
    for factor, safe in ((0.99, True), (1.01, False)):
        reach = factor * lead / (np.abs(slope) * half).sum() * half
        boxed = Samples(
            inputs=bench.samples.inputs,
            labels=bench.samples.labels,
            ids=bench.samples.ids,
            lower=(x - reach)[None].astype(np.float32),
            upper=(x + reach)[None].astype(np.float32),
        )
        assert certified(bench.target.twin(), boxed, ThreatModel(epsilon=1, boxes=True)) == [safe]


def test_a_goal_asks_for_one_class_only() -> None:
    bench = linear_bench(classes=3, n=30, seed=2)
    twin, all_classes = bench.target.twin(), np.ones(30, bool)
    epsilon = float(np.median(true_radii(bench, ThreatModel())))
    for goal in range(3):
        found = np.array(certified(twin, bench.samples, ThreatModel(epsilon=epsilon, goal=Goal(goal))))
        assert not found[bench.samples.labels == goal].any()
        all_classes &= found | (bench.samples.labels == goal)
    assert all_classes.tolist() == certified(twin, bench.samples, ThreatModel(epsilon=epsilon))


def test_what_is_wrong_when_clean_is_never_certified() -> None:
    bench = linear_bench(n=5)
    wrong = Samples(inputs=bench.samples.inputs, labels=1 - bench.samples.labels, ids=bench.samples.ids)
    assert certified(bench.target.twin(), wrong, ThreatModel(epsilon=0.0)) == [False] * 5
    assert certified(bench.target.twin(), bench.samples, ThreatModel(epsilon=0.0)) == [True] * 5


@pytest.mark.parametrize("seed", range(20))
def test_climb_against_a_general_solver_and_its_own_dual(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slope, reach = rng.normal(size=6), rng.uniform(0.05, 1, 6)
    low, high = -reach * rng.uniform(0, 1, 6), reach
    size = float(rng.uniform(0.2, 1.5))
    best, multiplier = climb(slope[None], low[None], high[None], size)
    solved = minimize(
        lambda z: -slope @ z,
        np.zeros(6),
        jac=lambda z: -slope,
        method="SLSQP",
        constraints=[
            NonlinearConstraint(lambda z: z @ z, -np.inf, size**2, jac=lambda z: 2 * z),
            LinearConstraint(np.eye(6), low, high),
        ],
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert best[0] == pytest.approx(-solved.fun, abs=1e-7)
    # the bound that the witness proves: the dual at this multiplier, maximised coordinate by coordinate
    m = max(float(multiplier[0]), 1e-12)
    z = np.clip(slope / (2 * m), low, high)
    assert slope @ z - m * z @ z + m * size**2 == pytest.approx(best[0], abs=1e-9)


def test_the_yardstick_agrees_with_a_general_solver() -> None:
    slope, x = RNG.normal(size=5), RNG.uniform(0.2, 0.8, 5)
    weights = RNG.uniform(0.5, 2, 5)
    limits = {"weights": weights, "low": np.zeros(5), "high": np.ones(5)}
    best, _ = climb((-slope * weights)[None], (-x / weights)[None], ((1 - x) / weights)[None], 0.7)
    assert worst_drop(slope, x, Norm.L2, 0.7, **limits) == pytest.approx(best[0], rel=1e-9)


@pytest.mark.parametrize(("softmax", "batch"), [(False, "N"), (True, "N"), (True, 1)])
def test_it_reads_onnx_files_through_their_preprocessing(tmp_path: Path, softmax: bool, batch: int | str) -> None:
    weight, bias = linear_model(tmp_path / "m.onnx", features=8, classes=3, softmax=softmax, batch=batch)
    kind = OutputKind.PROBABILITIES if softmax else OutputKind.LOGITS
    preprocess = Preprocess(mean=(0.5,), std=(0.25,)).fit((8,), (8,))
    twin = build_twin(
        onnx.load(tmp_path / "m.onnx"),
        output="p" if softmax else "z",
        kind=kind,
        preprocess=preprocess,
        operators=bundled(),
        fixed_batch=batch == 1,
    )
    x = RNG.uniform(0, 1, (20, 8)).astype(np.float32)
    labels = (x @ weight / 0.25 + bias - 2 * weight.sum(axis=0)).argmax(axis=1)
    samples = Samples(inputs=x, labels=labels, ids=np.arange(20))
    found = certify(twin, samples, ThreatModel(epsilon=0.01))
    assert found is not None
    np.testing.assert_allclose(found.witness["weight"], weight.T / 0.25, rtol=1e-6)
    np.testing.assert_allclose(found.witness["bias"], bias - 2 * weight.sum(axis=0), rtol=1e-5)
    assert found.certified.any()


def test_one_logit_becomes_two_classes(tmp_path: Path) -> None:
    weight, _ = linear_model(tmp_path / "m.onnx", features=4, classes=1)
    twin = build_twin(
        onnx.load(tmp_path / "m.onnx"),
        output="z",
        kind=OutputKind.LOGITS,
        preprocess=Preprocess().fit((4,), (4,)),
        operators=bundled(),
        fixed_batch=False,
    )
    found = certify(twin, linear_bench(shape=(4,)).samples, ThreatModel(epsilon=0.01))
    assert found is not None
    np.testing.assert_allclose(found.witness["weight"], np.stack([np.zeros(4), weight[:, 0]]), rtol=1e-6)


CURVED = {
    "a threshold on top": [("Relu", ["z"], "r"), ("Add", ["z", "r"], "y")],
    "a square": [("Mul", ["x", "x"], "s"), ("MatMul", ["s", "w"], "y")],
    "a hidden step": [
        ("Greater", ["x", "edge"], "g"),
        ("Cast", ["g"], "c"),
        ("MatMul", ["c", "w"], "s"),
        ("Add", ["z", "s"], "y"),
    ],
    "a quotient": [("Add", ["x", "three"], "p"), ("Div", ["z", "p"], "y")],
    "a product of two": [("Add", ["z", "z"], "q"), ("Mul", ["z", "q"], "y")],
    "a tiny kink": [("Abs", ["z"], "a"), ("Mul", ["a", "tiny"], "t"), ("Add", ["z", "t"], "y")],
    "a rounding": [("Round", ["z"], "y")],
}


@pytest.mark.parametrize("name", CURVED)
def test_anything_else_is_refused(name: str, tmp_path: Path) -> None:
    constants = {
        "w": RNG.normal(size=(3, 3)).astype(np.float32),
        "edge": np.float32([1e6]),  # far from every sample: only the structure gives it away
        "three": np.float32([3]),
        "tiny": np.float32([1e-12]),
    }
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"])]
    for op_type, inputs, output in CURVED[name]:
        nodes.append(helper.make_node(op_type, inputs, [output], **({"to": 1} if op_type == "Cast" else {})))
    used = {name: value for name, value in constants.items() if any(name in node.input for node in nodes)}
    save(tmp_path / "m.onnx", nodes, used, inputs=["N", 3], output=("y", ["N", 3]))
    twin = build_twin(
        onnx.load(tmp_path / "m.onnx"),
        output="y",
        kind=OutputKind.LOGITS,
        preprocess=Preprocess().fit((3,), (3,)),
        operators=bundled(),
        fixed_batch=False,
    )
    assert certify(twin, linear_bench(shape=(3,)).samples, ThreatModel(epsilon=0.01)) is None


class Sneaky(nn.Linear):
    """A linear layer that computes behind torch's back."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) + float(input.numpy().max() > 100)


def twin_of(module: nn.Module, output: OutputKind = OutputKind.LOGITS, **more: Any) -> Twin:
    return Twin(module=module, preprocess=Preprocess().fit((12,), (12,)), output=output, **more)


@pytest.mark.parametrize(
    "twin",
    [
        twin_of(nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))),
        twin_of(nn.Sequential(nn.Linear(12, 2), nn.Softmax(1)), OutputKind.PROBABILITIES),
        twin_of(Sneaky(12, 2)),
        twin_of(nn.Linear(12, 2), surrogates=("Round: straight-through",)),
        twin_of(nn.Linear(12, 2), before=(lambda x: x,)),
    ],
    ids=["relu", "softmax left on", "own forward", "stand-in gradients", "a defence in front"],
)
def test_torch_modules_that_are_refused(twin: Twin) -> None:
    assert certify(twin, linear_bench().samples, ThreatModel(epsilon=0.01)) is None


def test_linear_layers_in_a_row_are_affine_and_left_as_they_were() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Identity(), nn.Linear(5, 2))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = certify(twin_of(module), linear_bench().samples, ThreatModel(epsilon=0.01))
    assert found is not None
    np.testing.assert_allclose(found.witness["weight"], (module[3].weight @ module[1].weight).detach(), atol=1e-6)
    for name, value in module.state_dict().items():
        assert value.dtype is torch.float32
        assert torch.equal(value, before[name])


def test_a_box_without_end_is_refused() -> None:
    bench = linear_bench(n=2)
    infinite = np.full((2, 12), np.inf, np.float32)
    boxed = Samples(
        inputs=bench.samples.inputs, labels=bench.samples.labels, ids=bench.samples.ids, lower=-infinite, upper=infinite
    )
    with np.errstate(invalid="ignore"):
        assert certify(bench.target.twin(), boxed, ThreatModel(epsilon=1, boxes=True)) is None


def test_it_keeps_the_contract() -> None:
    check_certifier(AffineCertifier())
    assert Host.load(installed=False).certifiers["affine"] is AffineCertifier
