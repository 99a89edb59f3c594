"""Papernot's hardness and the cells of pairs, against closed forms and counting by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import spearmanr
from statsmodels.stats.proportion import proportion_confint

from auditor.hardness import Pair, Runs
from auditor.pairs import ENOUGH, MULTIPLES, PAPERNOT, budgets, hardness, median, pairs, prediction


def test_hardness_of_the_fixture() -> None:
    assert hardness((0, 0.2, 0.7, 1), (0, 0.02, 0.04, 0.06)) == pytest.approx(0.032)


def test_constant_distortion_costs_itself_times_what_the_rate_gains() -> None:
    assert hardness((0.1, 0.5, 0.9), (0.3, 0.3, 0.3)) == pytest.approx(0.3 * 0.8)


def test_distortion_equal_to_the_rate_is_a_half() -> None:
    tau = np.linspace(0, 1, 7)
    assert hardness(tau.tolist(), tau.tolist()) == pytest.approx(0.5)


def test_a_rate_that_falls_by_chance_gives_no_negative_width() -> None:
    assert hardness((0, 0.7, 0.2, 1), (0, 0.04, 0.02, 0.06)) == pytest.approx(0.032)


def runs(
    cells: dict[tuple[int, int], Sequence[float | None]], saliency: float | None = 0.5
) -> tuple[Runs, dict[int, int]]:
    """One run of a new sample for every distance of every cell."""
    ids, targets, distances, labels = [], [], [], {}
    for (source, target), found in cells.items():
        for distance in found:
            labels[len(ids)] = source
            ids.append(len(ids))
            targets.append(target)
            distances.append(distance)
    return Runs(ids=ids, targets=targets, distances=distances, saliency=[saliency] * len(ids)), labels


def test_a_cell_by_hand() -> None:
    made, labels = runs({(0, 1): [0.05, 0.1, 0.3, None], (1, 0): [0.2]})
    first, second = pairs(made, labels, "linf", 0.1, 4)
    assert (first.source, first.target, first.n, first.broken, first.reached) == (0, 1, 4, 2, 3)
    assert first.distance == pytest.approx(0.2)
    assert first.mean_distance == pytest.approx(0.15)
    assert first.adversarial_distance == 0.5
    assert (second.broken, second.distance) == (0, 0.2)
    # budgets 0 .0125 .025 .05 .075 .1 …: rates 0 0 0 .25 .25 .5 … .75, mean distances 0 0 0 .05 .05 .075 … .15
    by_hand = 0.25 * 0.05 / 2 + 0.25 * (0.05 + 0.075) / 2 + 0.25 * (0.075 + 0.15) / 2
    assert first.hardness == pytest.approx(by_hand)


def test_what_was_never_reached_is_no_easy_pair() -> None:
    made, labels = runs({(0, 1): [None, None]}, saliency=None)
    (cell,) = pairs(made, labels, "linf", 0.1, 4)
    assert (cell.hardness, cell.distance, cell.mean_distance, cell.adversarial_distance) == (None, None, None, None)
    assert (cell.n, cell.broken, cell.reached) == (2, 0, 0)


def test_intervals_are_wilsons() -> None:
    made, labels = runs({(0, 1): [0.05] * 3 + [0.5] * 8})
    low, high = proportion_confint(3, 11, method="wilson")
    assert pairs(made, labels, "linf", 0.1, 4)[0].interval == pytest.approx((low, high))


def test_in_l0_distortion_is_the_share_of_features_as_published() -> None:
    assert budgets("l0", 20, 784) == pytest.approx([784 * share for share in PAPERNOT])
    made, labels = runs({(0, 1): [10.0, 20.0]})
    whole = pairs(made, labels, "l0", 20, 1000)[0].hardness
    # budgets 0 3 13 26 …: rates 0 0 .5 1, mean shares 0 0 .01 .015
    assert whole == pytest.approx(0.5 * 0.01 / 2 + 0.5 * (0.01 + 0.015) / 2)


def test_elsewhere_budgets_are_multiples_of_epsilon() -> None:
    assert budgets("l2", 0.5, 784) == [0.5 * share for share in MULTIPLES]


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, np.inf], [5.0]])
def test_the_median_is_numpys(values: list[float]) -> None:
    assert median(np.array(values)) == np.median(values)


@pytest.mark.parametrize("values", [[], [1.0, np.inf], [np.inf], [1.0, np.inf, np.inf]])
def test_a_median_beyond_what_was_found_is_none(values: list[float]) -> None:
    assert median(np.array(values)) is None


def cell(number: int, saliency: float, h: float | None, distance: float | None) -> Pair:
    return Pair(
        source=number, target=99, n=5, broken=1, interval=None, reached=5, distance=distance, mean_distance=distance,
        hardness=h, adversarial_distance=saliency,
    )  # fmt: skip


def test_the_prediction_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    a, h, d = rng.random((3, 20))
    found = prediction([cell(i, a[i], h[i], d[i]) for i in range(20)])
    assert found.hardness == pytest.approx(spearmanr(a, h).statistic)
    assert found.distance == pytest.approx(spearmanr(a, d).statistic)
    assert found.over == 20


def test_a_pair_that_was_not_reached_is_the_farthest_and_has_no_hardness() -> None:
    cells = [cell(i, i / 20, i / 10, float(i)) for i in range(ENOUGH)] + [cell(99, 1.0, None, None)]
    found = prediction(cells)
    assert (found.over, found.hardness, found.distance) == (ENOUGH, pytest.approx(1), pytest.approx(1))


def test_too_few_pairs_or_no_variation_predict_nothing() -> None:
    assert prediction([cell(i, i / 20, i / 10, 1.0 + i) for i in range(ENOUGH - 1)]).hardness is None
    assert prediction([cell(i, 0.5, i / 10, 1.0 + i) for i in range(20)]).distance is None


def test_a_pair_that_no_budget_is_enough_for_has_no_hardness_and_predicts_nothing() -> None:
    made, labels = runs({(0, 1): [0.9, 1.0], (1, 0): [0.5, 0.9]})
    far, near = pairs(made, labels, "linf", 0.1, 4)
    assert (far.reached, far.distance, far.hardness) == (2, pytest.approx(0.95), None)
    assert near.hardness is not None
    assert prediction([far, near]).over == 1
