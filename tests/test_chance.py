from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from auditor.chance import CHANCE, Chance, normal_like, uniform_like


def drawn(chance: Chance) -> list[np.ndarray]:
    return [chance.uniform((3,)), chance.normal((2, 2)), chance.integers(0, 9, (5,))]


def test_the_same_key_starts_the_same_stream_and_another_key_another() -> None:
    chance = Chance()
    keys: list[tuple[Any, ...]] = [
        (0, "unit", 1, 2),
        (1, "unit", 1, 2),
        (0, "unit", 2, 1),
        (0, "unit", 12),
        (0, "a", 1),
    ]
    streams = []
    for key in keys:
        chance.begin(*key)
        streams.append(drawn(chance))
        drawn(chance)
    chance.begin(*keys[0])
    for again, first in zip(drawn(chance), streams[0], strict=True):
        assert np.array_equal(again, first)
    assert len({stream[0].tobytes() for stream in streams}) == len(keys)
    assert np.array_equal(drawn(Chance())[0], drawn(Chance())[0])


def test_numbers_have_the_distribution_they_are_named_for() -> None:
    chance, n = Chance(), 200_000
    uniform, normal, whole = chance.uniform((n,)), chance.normal((n,)), chance.integers(3, 6, (n,))
    assert [str(drawn.dtype) for drawn in (uniform, normal, whole)] == ["float32", "float32", "int64"]
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert (uniform.mean(), uniform.var()) == pytest.approx((0.5, 1 / 12), abs=3e-3)
    assert (normal.mean(), normal.var()) == pytest.approx((0, 1), abs=1.5e-2)
    values, counts = np.unique(whole, return_counts=True)
    assert values.tolist() == [3, 4, 5, 6]
    assert counts / n == pytest.approx([0.25] * 4, abs=6e-3)


def test_every_precision_gets_the_same_numbers() -> None:
    x = torch.zeros(4, 5)
    for like in (uniform_like, normal_like):
        CHANCE.begin(3)
        single = like(x)
        CHANCE.begin(3)
        double = like(x.double())
        assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
        assert torch.equal(single.double(), double)
        assert like(x, (2, 1)).shape == (2, 1)


def test_still_draws_depend_on_the_last_axis_alone_and_leave_the_stream_where_it_is() -> None:
    chance = Chance()
    chance.begin(1)
    chance.uniform((2,))
    follows = chance.uniform((3,))
    chance.begin(1)
    chance.uniform((2,))
    with chance.still():
        wide, row = chance.uniform((4, 3, 6)), chance.uniform((6,))
        assert np.array_equal(wide, np.broadcast_to(row, (4, 3, 6)))
        assert len(np.unique(row)) == 6
        assert np.isfinite(chance.normal((1000,))).all()
        assert [chance.uniform(shape).shape for shape in ((), (0, 3), (3, 0))] == [(), (0, 3), (3, 0)]
    assert chance.normal(()).shape == ()
    chance.begin(1)
    chance.uniform((2,))
    assert np.array_equal(chance.uniform((3,)), follows)
