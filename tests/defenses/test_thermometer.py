from __future__ import annotations

import numpy as np
import pytest
import torch

from auditor import Defense, Samples, UsageError
from auditor.fidelity import agree
from auditor.host import Host
from auditor.resolve import make_defense
from auditor.testing import Bench, LinearTarget, check_defense, linear_bench

HOST = Host.load(bundled=["auditor.plugins.defenses.thermometer", "auditor.plugins.attacks.pgd"], installed=False)


def thermometer(levels: int) -> Defense:
    return make_defense({"name": "thermometer", "levels": levels}, HOST)


def code(defense: Defense, value: float) -> str:
    return "".join(str(int(bit)) for bit in defense.transform(np.full((1, 1), value, np.float32))[0])


@pytest.mark.parametrize("levels", [2, 10, 256])
@pytest.mark.parametrize("shape", [(3, 8, 8), (8, 8, 1), (12,)])
def test_it_keeps_its_contract(levels: int, shape: tuple[int, ...]) -> None:
    check_defense(thermometer(levels), shape=shape)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "1111111111"),
        (0.13, "0111111111"),
        (0.66, "0000001111"),
        (0.92, "0000000001"),
        (1.0, "0000000001"),
    ],
)
def test_codes_are_those_of_the_paper(value: float, expected: str) -> None:
    assert code(thermometer(10), value) == expected


def test_codes_of_a_channel_stand_side_by_side() -> None:
    x = np.array([0.1, 0.9], np.float32).reshape(1, 1, 1, 2)
    assert thermometer(4).shaped((1, 1, 2)) == (4, 1, 2)
    assert thermometer(4).transform(x)[0, :, 0].T.tolist() == [[1, 1, 1, 1], [0, 0, 0, 1]]
    last = x.reshape(1, 2, 1, 1) * np.ones((1, 2, 2, 3), np.float32)
    assert thermometer(4).shaped((2, 2, 3)) == (2, 2, 12)
    assert thermometer(4).transform(last)[0, :, 0].tolist() == [[1] * 12, [0, 0, 0, 1] * 3]


def test_the_nearest_thresholds_count_most_and_the_last_bit_none() -> None:
    x = torch.full((1, 1), 0.52, requires_grad=True)
    bits = thermometer(4).relaxed(x)[0]
    slopes = [torch.autograd.grad(bit, x, retain_graph=True)[0].item() for bit in bits]
    assert max(slopes) <= 0
    assert np.argsort(slopes).tolist() == [1, 2, 0, 3]
    assert slopes[3] == 0


def test_the_model_behind_takes_more_features_and_the_pair_is_attacked() -> None:
    """Of 4 levels of one feature, a model says 1 where the third is reached; from 0.45 that takes more than 0.05."""
    inner = LinearTarget(np.array([[0, 1, 0, 0], [0, 0, 0, 0]]), np.array([0, 0.5]))  # class 0 while the code is 01..
    target = thermometer(4).wrap_target(inner)
    x = np.full((1, 1), 0.45, np.float32)
    samples = Samples(inputs=x, labels=np.array([0]), ids=np.arange(1))
    made = Bench(target=target, samples=samples, threat=linear_bench().threat)
    attack = HOST.attacks["pgd"]()
    assert not made.at(0.049).play(attack).broken.any()
    assert made.at(0.051).play(attack).broken.all()
    twin = target.twin()
    assert twin.surrogates == ("defence thermometer: bpda",)
    assert agree(target, twin, x, made.execution).labels == 1.0


@pytest.mark.parametrize("levels", [1, 257])
def test_levels_that_can_not_be_are_refused(levels: int) -> None:
    with pytest.raises(UsageError, match=f"levels from 2 to 256, got {levels}"):
        thermometer(levels)
