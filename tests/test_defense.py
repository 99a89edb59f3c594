"""What every defence does to a target and its twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor import Defense, ThreatModel
from auditor.access import OutputKind
from auditor.host import Host
from auditor.testing import LinearTarget, linear_bench
from auditor.twin import Twin


@dataclass(frozen=True, kw_only=True)
class Doubled(Defense):
    """Every feature twice."""

    name: ClassVar[str] = "doubled"
    gradient: ClassVar[str] = "exact"

    def shaped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (2 * shape[0], *shape[1:])

    def transform(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, x], axis=1)

    def relaxed(self, x: Tensor) -> Tensor:
        return torch.cat([x, x], dim=1)


def made(gradient: str) -> Defense:
    kind: Any = type("Made", (Doubled,), {"gradient": gradient})
    defense: Defense = kind()
    return defense


class Late(LinearTarget):
    """A target that learns what it is once it has seen the shape of a sample."""

    def __init__(self) -> None:
        super().__init__(np.ones((1, 1)), np.zeros(1))
        self.deployed_batch = 8

    def fit(self, sample_shape: tuple[int, ...]) -> None:
        self.weight, self.bias = np.ones((3, *sample_shape), np.float32), np.zeros(3, np.float32)
        self.classes, self.shape, self.output = 3, sample_shape, OutputKind.LOG_PROBABILITIES
        super().fit(sample_shape)


def test_what_the_target_learns_late_its_defended_self_knows_too() -> None:
    target = Doubled().wrap_target(Late())
    target.fit((5,))
    assert (target.classes, target.shape, target.output) == (3, (10,), OutputKind.LOG_PROBABILITIES)
    assert target.preprocess.sample_shape == (10,)
    assert target.deployed_batch == 8
    x = np.ones((2, 5), np.float32)
    assert target.scores(x).tolist() == [[10] * 3] * 2
    assert target.twin().logits(torch.from_numpy(x)).tolist() == [[10] * 3] * 2


@pytest.mark.parametrize(
    ("gradient", "surrogates", "random"),
    [("exact", (), False), ("bpda", ("defence doubled: bpda",), False), ("random", (), True)],
)
def test_the_twin_says_what_its_gradient_is(gradient: str, surrogates: tuple[str, ...], random: bool) -> None:
    inner = linear_bench().target
    twin = made(gradient).wrap_twin(inner.twin())
    assert (twin.surrogates, twin.random) == (surrogates, random)
    again = made("exact").wrap_twin(twin)
    assert (again.surrogates, again.random) == (surrogates, random)


def test_nothing_is_certified_where_the_model_is_random() -> None:
    certifier = Host.load(bundled=["auditor.plugins.certifiers.affine"], installed=False).certifiers["affine"]()
    bench = linear_bench(threat=ThreatModel(epsilon=1e-6))
    sure = bench.target.twin()
    region = bench.threat.region(bench.samples)
    bench.target.fit(bench.samples.shape)
    random = Twin(module=sure.module, preprocess=sure.preprocess, output=sure.output, random=True)
    assert certifier.certify(sure, bench.samples, bench.threat, region).certified.all()  # type: ignore[union-attr]
    assert certifier.certify(random, bench.samples, bench.threat, region) is None
