"""DI: momentum behind a random resizing, which no two rows share and nobody is judged through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.di import DI, shrunk
from auditor.plugins.attacks.mi import MIRows
from looks import SHAPE, seen, smooth_bench
from torch import Tensor
from walks import check_threats

from auditor.attack import Query, Reply
from auditor.bench import linear_bench
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class Watched(DI):
    """Keeps what each row was told, by id."""

    told: dict[int, Tensor]

    def step(self, problem: Problem, rows: MIRows, reply: Reply) -> MIRows:
        self.told.update(zip(problem.ids.tolist(), reply.need_gradient(), strict=True))
        return super().step(problem, rows, reply)


@pytest.mark.parametrize("width", [2, 7, 64])
def test_the_gradient_comes_back_through_each_rows_own_view(width: int) -> None:
    """For a linear model it is the transposed view of its weights: worked out here picture by picture."""
    bench = smooth_bench(0.01, width)
    attack = Watched(told={}, steps=1, smallest=0.5, chance=1.0)
    bench.play(attack)
    problem = bench.problem()
    basis = torch.eye(64).reshape(64, *SHAPE)
    gradients = set()
    for i, label in enumerate(bench.samples.labels):
        own = problem.at(problem.ages, 1).take(torch.full((64,), i))
        slope = torch.from_numpy(bench.target.weight[1 - label] - bench.target.weight[label])  # type: ignore[attr-defined]
        wanted = seen(attack, own, basis).flatten(1) @ slope
        assert torch.nn.functional.cosine_similarity(attack.told[i].flatten(), wanted, dim=0) > 0.999999
        gradients.add(tuple(np.round(wanted.tolist(), 6)))
    assert len(gradients) == 9


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 9), (6, 9, 3), (6, 9)])
@pytest.mark.parametrize("options", [{"chance": 0.0}, {"smallest": 1.0, "chance": 1.0}])
def test_the_view_of_no_resizing_is_the_picture_bit_by_bit(shape: tuple[int, ...], options: dict[str, float]) -> None:
    problem = linear_bench(shape=shape).problem()
    assert torch.equal(seen(DI(**options), problem, problem.inputs), problem.inputs)


def test_a_picture_of_half_the_size_is_where_it_was_put() -> None:
    """Ones, shrunk to 4 of 8 pixels with 1 of the 4 free rows above and 3 of the 4 free columns to the left."""
    share = torch.tensor([0.5], dtype=torch.float64)
    made = shrunk(torch.ones(1, 1, 8, 8), share, torch.tensor([0.25]).double(), torch.tensor([0.75]).double())[0, 0]
    wanted = torch.zeros(8, 8)
    wanted[1:5, 3:7] = 1
    assert torch.equal(made, wanted)


def test_a_slope_is_steeper_once_it_is_shrunk() -> None:
    share, middle = torch.tensor([0.5], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    made = shrunk(torch.arange(8.0).expand(1, 1, 8, 8), share, middle, middle)[0, 0]
    np.testing.assert_allclose(made[4], [0, 0, 0.5, 2.5, 4.5, 6.5, 0, 0], atol=1e-6)


def test_sizes_and_chances_are_the_papers() -> None:
    problem = linear_bench(shape=(1, 20, 20), n=400).problem()
    ones = torch.ones_like(problem.inputs)
    made = seen(DI(), problem, ones)
    changed = (made != ones).flatten(1).any(dim=1)
    assert abs(float(changed.double().mean()) - 0.5) < 0.08
    area = made.flatten(1).mean(dim=1)[changed].sqrt()
    assert float(area.min()) > 0.88
    assert float(area.max()) < 1
    assert abs(float(area.mean()) - 0.95) < 0.02


def test_views_differ_by_row_by_age_and_by_restart() -> None:
    problem = linear_bench(shape=SHAPE, n=6).problem()
    picture = problem.inputs[:1].expand(6, *SHAPE)
    attack = DI(chance=1.0, copies=2)
    first = seen(attack, problem.at(problem.ages, 1), picture)
    again = seen(attack, problem.at(problem.ages, 1), picture)
    later = seen(attack, problem.at(problem.ages + 1, 1), picture)
    restarted = seen(attack, replace(problem, restarts=problem.restarts + 1).at(problem.ages, 1), picture)
    assert torch.equal(first, again)
    assert len({tuple(row.flatten().tolist()) for row in torch.cat([first, later, restarted])}) == 18


def test_it_breaks_at_the_distance_without_views_and_a_little_further_out_with_them() -> None:
    bench = smooth_bench()
    radii = bench.target.radii(bench.samples, bench.threat)  # type: ignore[attr-defined]
    for index, radius in enumerate(radii):
        one = replace(bench, samples=bench.samples.take([index]))
        assert one.at(1.01 * radius).play(DI(chance=0.0)).broken.all()
        assert not one.at(0.99 * radius).play(DI()).broken.any()
    far = bench.at(1.1 * float(radii.max())).play(DI(chance=0.7, smallest=0.75))
    assert far.broken.all()
    assert far.row.rejected == {}


def test_what_is_seen_through_a_view_is_not_judged() -> None:
    """The view turns every picture into one of the other class: nothing is claimed, and no margin is kept from it."""

    @dataclass(frozen=True, kw_only=True)
    class Turned(DI):
        def query(self, problem: Problem, rows: MIRows) -> Query:
            return Query(
                points=rows.x, view=lambda points: torch.where(problem.wide(problem.labels == 0), 0, 1) + 0 * points
            )

    trial = smooth_bench(1e-3).play(Turned())
    assert not trial.broken.any()
    assert trial.row.rejected == {"unchanged input": 9}
    assert (trial.ledger.margin > 0).all()


def test_rows_do_not_depend_on_their_company() -> None:
    one, other = (smooth_bench(0.05, width).play(DI(copies=2)).ledger for width in (64, 1))
    assert np.array_equal(one.broken, other.broken)
    assert np.allclose(one.best, other.best, atol=1e-6)


def test_with_scales_it_shrinks_first_and_divides_then() -> None:
    problem = linear_bench(shape=SHAPE, n=6).problem()
    ages = torch.arange(6)
    one, other = (
        seen(attack, problem.at(ages, 1), problem.inputs) for attack in (DI(chance=1.0), DI(chance=1.0, scales=2))
    )
    assert torch.equal(other, one * problem.wide(0.5 ** (ages % 2)))


@pytest.mark.parametrize(("attack", "cost"), [(DI(), (11, 10)), (DI(steps=2, copies=3, scales=2), (13, 12))])
def test_what_a_row_costs(attack: DI, cost: tuple[int, int]) -> None:
    assert attack.cost(2) == cost
    assert (smooth_bench(1e-5).play(attack).ledger.spent[:, :2] == cost).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"smallest": 0}, "smallest is a share"),
        ({"smallest": 1.1}, "smallest is a share"),
        ({"chance": 1.5}, "chance is a probability"),
        ({"copies": 0}, "copies is a number"),
        ({"scales": 0}, "scales is a number"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"di: {words}"):
        DI(**options)


def test_what_is_no_picture_has_nothing_to_resize() -> None:
    made = linear_bench(n=6, threat=ThreatModel(norm=Norm.L2, epsilon=0.1))
    problem = made.problem()
    assert seen(DI(chance=1.0), problem, problem.inputs) is problem.inputs


def test_it_is_right() -> None:
    check_attack(DI(steps=5), seeds=1)
    check_threats(DI(steps=4))
