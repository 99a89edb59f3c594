from __future__ import annotations

import numpy as np
import pytest
import torch

from auditor import Defense, OutputKind, UsageError
from auditor.fidelity import agree
from auditor.host import Host
from auditor.resolve import make_defense
from auditor.testing import Bench, LinearTarget, check_defense, linear_bench

HOST = Host.load(bundled=["auditor.plugins.defenses.bit_depth", "auditor.plugins.attacks.fgsm"], installed=False)


def bit_depth(bits: int) -> Defense:
    return make_defense({"name": "bit_depth", "bits": bits}, HOST)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_it_keeps_its_contract(bits: int) -> None:
    check_defense(bit_depth(bits))


@pytest.mark.parametrize(
    ("bits", "levels"),
    [(1, [0, 1]), (2, [0, 1 / 3, 2 / 3, 1]), (3, [i / 7 for i in range(8)])],
)
def test_inputs_end_on_the_levels_of_so_many_bits(bits: int, levels: list[float]) -> None:
    x = np.linspace(0, 1, 1001, dtype=np.float32)[None]
    y = bit_depth(bits).transform(x)
    assert np.unique(y) == pytest.approx(levels, abs=1e-7)
    assert np.abs(y - x).max() <= 0.5 / (2**bits - 1) + 1e-6
    assert np.array_equal(bit_depth(bits).transform(y), y)


def test_eight_bits_change_no_8_bit_picture() -> None:
    pixels = (np.arange(256, dtype=np.uint8).astype(np.float32) / np.float32(255))[None]
    assert np.array_equal(bit_depth(8).transform(pixels), pixels)


@pytest.mark.parametrize("bits", [1, 3, 5])
def test_the_twin_sees_the_same_bit_for_bit_and_a_gradient_of_one(bits: int) -> None:
    x = np.random.default_rng(0).uniform(size=(1, 10_000)).astype(np.float32)
    point = torch.from_numpy(x).requires_grad_()
    relaxed = bit_depth(bits).relaxed(point)
    assert np.array_equal(relaxed.detach().numpy(), bit_depth(bits).transform(x))
    (gradient,) = torch.autograd.grad(relaxed.sum(), point)
    assert gradient.unique().tolist() == [1.0]


@pytest.mark.parametrize("bits", [0, 17, -1])
def test_bits_that_can_not_be_are_refused(bits: int) -> None:
    with pytest.raises(UsageError, match=f"bit_depth takes bits from 1 to 16, got {bits}"):
        bit_depth(bits)


def test_the_pair_is_what_is_audited() -> None:
    """Target and twin both stand behind it, the stand-in gradient is named, and the pair alone decides."""
    inner = linear_bench(n=8)
    defense = bit_depth(2)
    target = defense.wrap_target(inner.target)
    target.fit(inner.samples.shape)
    x = inner.samples.inputs
    assert np.array_equal(target.scores(x), inner.target.scores(defense.transform(x)))
    twin = target.twin()
    assert twin.surrogates == ("defence bit_depth: bpda",)
    assert agree(target, twin, x, inner.execution).labels == 1.0
    assert target.output is OutputKind.LOGITS


def test_changes_below_half_a_level_are_lost_and_larger_ones_are_not() -> None:
    """One feature at 0.45 of 2 levels: the decision moves only where the input rounds to 1, at 0.5."""
    weight, bias = np.array([[0.0], [1.0]]), np.array([0.3, 0.0])
    inner = LinearTarget(weight, bias)
    defended = bit_depth(1).wrap_target(LinearTarget(weight, bias))
    bench = linear_bench(n=1, shape=(1,))
    samples = type(bench.samples)(inputs=np.full((1, 1), 0.45, np.float32), labels=np.array([0]), ids=np.arange(1))
    made = Bench(target=defended, samples=samples, threat=bench.threat)
    attack = HOST.attacks["fgsm"]()
    assert inner.labels(samples.inputs).tolist() == [1]
    assert not made.at(0.049).play(attack).broken.any()
    assert made.at(0.051).play(attack).broken.all()
