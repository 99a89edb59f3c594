"""Draws: Random123's published vectors, independence from everything but the key, and the distributions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from auditor.draws import DRAWS, Draws, philox
from auditor.errors import PluginError

PI = ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0))
ONES = ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2)
ZEROS = ((0,) * 4, (0, 0))
KINDS: dict[str, Callable[[Draws], Tensor]] = {
    "uniform": lambda d: d.uniform(3, 5),
    "signs": lambda d: d.signs(7),
    "normal": lambda d: d.normal(2, 3),
    "integers": lambda d: d.integers(1000, 6),
}


def draws(ids: list[int], *, seed: int = 1, stage: int = 2, restart: int = 0, age: int = 0, phase: int = 0) -> Draws:
    rows = torch.tensor(ids)
    return Draws(seed, stage, rows, torch.full_like(rows, restart), torch.full_like(rows, age), phase)


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (ZEROS, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (ONES, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (PI, (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
)
def test_published_vectors(vector: tuple[tuple[int, ...], tuple[int, int]], expected: tuple[int, ...]) -> None:
    """kat_vectors of Random123, philox4x32 with 10 rounds."""
    counter, key = vector
    words = philox(tuple(torch.tensor([word]) for word in counter), key)  # type: ignore[arg-type]
    assert tuple(int(word) for word in words) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_draws_the_same_in_any_company(kind: str) -> None:
    ids = list(range(40, 60))
    draw = KINDS[kind]
    together = draw(draws(ids))
    order = [7, 3, 19, 0, 11]
    assert torch.equal(draw(draws([ids[i] for i in order])), together[order])
    assert torch.equal(draw(draws([ids[4]])), together[4:5])


def test_rows_of_one_batch_differ_in_restart_and_age() -> None:
    rows = torch.tensor([5, 5, 5])
    restarts, ages = torch.tensor([0, 1, 1]), torch.tensor([2, 2, 3])
    mixed = Draws(1, 2, rows, restarts, ages).uniform(4)
    for i in range(3):
        alone = draws([5], restart=int(restarts[i]), age=int(ages[i])).uniform(4)
        assert torch.equal(alone, mixed[i : i + 1])
    assert len(mixed.unique()) == 12


def test_every_part_of_the_key_counts() -> None:
    seen: set[int] = set()
    keys = list(product((0, 1, 2**32, 2**63), (0, 1, 9), (0, 1, 9), (0, 1, 77), range(4), (0, 3, 2**20)))
    for seed, stage, restart, age, phase, id_ in keys:
        source = draws([id_], seed=seed, stage=stage, restart=restart, age=age, phase=phase)
        seen |= {int(source.words(1)), int(source.words(1))}
    # 2 * 1296 words of 32 bits: a chance collision has probability 8e-4, and this key has none
    assert len(seen) == 2 * len(keys)


def test_the_same_values_in_every_dtype() -> None:
    for name in ("uniform", "signs"):
        single = getattr(draws([1, 2]), name)(100, dtype=torch.float32)
        double = getattr(draws([1, 2]), name)(100, dtype=torch.float64)
        assert double.dtype is torch.float64
        assert torch.equal(single.double(), double)
    single, double = draws([1, 2]).normal(100), draws([1, 2]).normal(100, dtype=torch.float64)
    assert torch.equal(double.float(), single)


def test_uniform_is_uniform() -> None:
    values = draws(list(range(50))).uniform(1000, dtype=torch.float64).numpy().ravel()
    assert values.min() >= 0
    assert values.max() < 1
    assert (values * 2**24 == np.floor(values * 2**24)).all()
    assert stats.kstest(values, "uniform").pvalue > 0.01


def test_normal_is_normal() -> None:
    values = draws(list(range(50))).normal(1001, dtype=torch.float64).numpy()
    assert values.shape == (50, 1001)
    assert stats.kstest(values.ravel(), "norm").pvalue > 0.01
    # the two halves come from the same pairs of uniforms: they must not be correlated
    assert abs(np.corrcoef(values[:, :500].ravel(), values[:, 501:].ravel())[0, 1]) < 0.03


def test_signs_are_balanced_and_nothing_else() -> None:
    values = draws(list(range(50))).signs(1000).numpy()
    assert set(np.unique(values)) == {-1.0, 1.0}
    assert stats.binomtest(int((values > 0).sum()), values.size).pvalue > 0.01


def test_integers_are_uniform_below_high() -> None:
    values = draws(list(range(50))).integers(7, 1000).numpy().ravel()
    counts = np.bincount(values, minlength=7)
    assert len(counts) == 7
    assert stats.chisquare(counts).pvalue > 0.01


def test_each_row_has_its_own_high() -> None:
    high = torch.tensor([1, 2, 1000])
    values = draws([1, 2, 3]).integers(high, 500)
    assert values.max(dim=1).values.tolist()[:2] == [0, 1]
    assert 900 < int(values[2].max()) < 1000
    assert draws([1, 2, 3]).integers(high).shape == (3,)


def test_scalar_draws_have_one_value_a_row() -> None:
    assert draws([1, 2, 3]).uniform().shape == (3,)
    assert draws([1, 2, 3]).normal().shape == (3,)


def test_too_many_draws_a_step_are_refused() -> None:
    source = draws([1])
    for _ in range(DRAWS):
        source.uniform()
    with pytest.raises(PluginError, match=f"{DRAWS} draws a step"):
        source.uniform()
