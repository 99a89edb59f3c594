"""Acceptance: on 200 linear models everything 1 % beyond the true distance falls, and nothing 1 % within it.

Each model is a row of one target, chosen by a frozen feature of its sample, and its offset is such that the sample's
true distance, bounds and all, is exactly the epsilon of the test: so one play per attack judges 200 models.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.apgd import APGD
from auditor.plugins.attacks.noise import Noise
from auditor.plugins.attacks.pgd import PGD
from auditor.plugins.attacks.square import Square
from linear import radius, worst_drop
from torch import Tensor, nn

from auditor.access import OutputKind
from auditor.attack import Attack
from auditor.bench import Bench, LinearTarget, Trial
from auditor.execution import Execution
from auditor.preprocess import Preprocess
from auditor.samples import Samples
from auditor.target import Target
from auditor.threat import Norm, ThreatModel
from auditor.twin import Twin

MODELS, FEATURES = 200, 16
EPSILON = {Norm.LINF: 0.25, Norm.L2: 0.6}
RNG = np.random.default_rng(0)
SLOPES = RNG.normal(size=(MODELS, FEATURES))
INPUTS = RNG.uniform(0.02, 0.98, (MODELS, FEATURES)).astype(np.float32)
INPUTS[:, :3] = RNG.choice([0, 1], (MODELS, 3))  # some features can move one way only
WEIGHTS = np.exp(RNG.uniform(-0.7, 0.7, FEATURES))
CASES: dict[str, dict[str, Any]] = {
    "linf": {"norm": Norm.LINF},
    "linf bounded": {"norm": Norm.LINF, "bounds": (0.0, 1.0)},
    "linf weighted": {"norm": Norm.LINF, "weights": WEIGHTS},
    "l2": {"norm": Norm.L2},
    "l2 bounded": {"norm": Norm.L2, "bounds": (0.0, 1.0)},
    "l2 weighted": {"norm": Norm.L2, "weights": WEIGHTS},
    "l2 weighted and bounded": {"norm": Norm.L2, "weights": WEIGHTS, "bounds": (0.0, 1.0)},
}


class Models(Target):
    """200 linear models with two classes; the last feature of a sample says which one it is for."""

    def __init__(self, slopes: np.ndarray, offsets: np.ndarray):
        self.slopes, self.offsets = slopes, offsets
        self.name, self.sha256, self.runtime = "models", "0" * 64, {}
        self.classes, self.shape = 2, (FEATURES + 1,)
        self.preprocess = Preprocess().fit(self.shape, self.shape)

    def _run(self, x: np.ndarray) -> np.ndarray:
        number = np.rint(x[:, -1] * MODELS).astype(int)
        lead = np.einsum("nd,nd->n", x[:, :-1].astype(float), self.slopes[number]) + self.offsets[number]
        return np.stack([lead / 2, -lead / 2], axis=1).astype(np.float32)

    def twin(self) -> Twin:
        return Twin(module=Rows(self.slopes, self.offsets), preprocess=self.preprocess, output=OutputKind.LOGITS)


class Rows(nn.Module):
    """The same in torch."""

    def __init__(self, slopes: np.ndarray, offsets: np.ndarray):
        super().__init__()
        self.slopes = nn.Parameter(torch.from_numpy(slopes).float())
        self.offsets = nn.Parameter(torch.from_numpy(offsets).float())

    def forward(self, x: Tensor) -> Tensor:
        number = (x[:, -1] * MODELS).round().long()
        lead = (x[:, :-1] * self.slopes[number]).sum(dim=1) + self.offsets[number]
        return torch.stack([lead / 2, -lead / 2], dim=1)


def limits(norm: Norm, weights: np.ndarray | None = None, bounds: tuple[float, float] | None = None) -> dict[str, Any]:
    box = {} if bounds is None else {"low": np.full(FEATURES, bounds[0]), "high": np.full(FEATURES, bounds[1])}
    return box if weights is None else box | {"weights": weights}


def true_models(name: str) -> Models:
    """Models whose samples' true distance is the case's epsilon, with leads of 1."""
    norm = CASES[name]["norm"]
    drops = [worst_drop(s, x, norm, EPSILON[norm], **limits(**CASES[name])) for s, x in pairs(SLOPES)]
    slopes = SLOPES / np.array(drops)[:, None]
    return Models(slopes, 1 - np.einsum("nd,nd->n", slopes, INPUTS.astype(float)))


def pairs(slopes: np.ndarray) -> zip[tuple[np.ndarray, np.ndarray]]:
    return zip(slopes, INPUTS.astype(float), strict=True)


def play(name: str, attack: Attack, factor: float) -> Trial:
    """The attack on all 200 models at a multiple of their true distance."""
    options = dict(CASES[name])
    if "weights" in options:
        options["weights"] = np.append(options["weights"], 1.0)
    number = (np.arange(MODELS, dtype=np.float32) / MODELS)[:, None]
    bench = Bench(
        target=true_models(name),
        samples=Samples(
            inputs=np.concatenate([INPUTS, number], axis=1), labels=np.zeros(MODELS, np.int64), ids=np.arange(MODELS)
        ),
        threat=ThreatModel(
            epsilon=factor * EPSILON[options["norm"]], frozen=np.arange(FEATURES + 1) == FEATURES, **options
        ),
        execution=Execution(device="cpu", threads=1, width=MODELS),
    )
    trial = bench.play(attack)
    assert trial.row.status == "ran", trial.row.reason
    assert trial.row.entered == MODELS
    assert set(trial.row.rejected) <= {"unchanged input", "not misclassified"}, "a point outside was proposed"
    return trial


@pytest.mark.parametrize("name", CASES)
def test_the_yardstick(name: str) -> None:
    """The distances that the models were built for, measured the other way round."""
    models = true_models(name)
    norm = CASES[name]["norm"]
    distances = [radius(s, 1.0, x, norm, **limits(**CASES[name])) for s, x in pairs(models.slopes)]
    np.testing.assert_allclose(distances, EPSILON[norm], rtol=1e-9)


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("kind", [PGD, APGD])
@pytest.mark.parametrize("name", CASES)
def test_everything_above_falls_and_nothing_below(name: str, kind: type[PGD] | type[APGD], loss: str) -> None:
    attack = kind(steps=100, loss=loss)
    above = play(name, attack, 1.01)
    assert above.broken.all(), f"{int((~above.broken).sum())} of {MODELS} stand 1 % beyond their true distance"
    assert not play(name, attack, 0.99).broken.any()


@pytest.mark.parametrize("attack", [Noise(steps=50), Square(steps=300)])
@pytest.mark.parametrize("name", CASES)
def test_nothing_falls_below_without_gradients(name: str, attack: Attack) -> None:
    if CASES[name]["norm"] in attack.norms:
        assert not play(name, attack, 0.99).broken.any()


def test_square_comes_close_from_above() -> None:
    assert play("linf bounded", Square(steps=600), 1.05).broken.mean() > 0.95


@pytest.mark.parametrize("name", CASES)
def test_what_is_found_lies_beyond_the_true_distance(name: str) -> None:
    trial = play(name, APGD(steps=100), 1.3)
    assert trial.broken.all()
    norm = CASES[name]["norm"]
    assert trial.ledger.distance.min() > EPSILON[norm] * (1 - 1e-6)
    assert trial.ledger.distance.max() <= 1.3 * EPSILON[norm]


FIXTURE = np.array([[1, -2, 0, 1], [0, 1, 1, -1], [-1, 0, 2, 0]], float), np.array([0.1, 0, -0.2])
FIXTURE_RADII = {Norm.LINF: 0.228571, Norm.L2: 0.413118}
"""Three classes: the sample (.9, .2, .4, .8) of class 0 first falls to class 1, at these distances without bounds."""


@pytest.mark.parametrize("kind", [PGD, APGD])
@pytest.mark.parametrize("norm", FIXTURE_RADII)
def test_the_fixture_of_three_classes(norm: Norm, kind: type[PGD] | type[APGD]) -> None:
    samples = Samples(
        inputs=np.array([[0.9, 0.2, 0.4, 0.8]], np.float32), labels=np.zeros(1, np.int64), ids=np.arange(1)
    )
    bench = Bench(target=LinearTarget(*FIXTURE), samples=samples, threat=ThreatModel(norm=norm))
    attack = kind(steps=100, loss="margin")
    above = bench.at(1.001 * FIXTURE_RADII[norm]).play(attack).ledger
    assert (above.broken.tolist(), above.label.tolist()) == ([True], [1])
    assert not bench.at(0.999 * FIXTURE_RADII[norm]).play(attack).broken.any()
