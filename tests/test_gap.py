from __future__ import annotations

import numpy as np
import pytest
import torch

from auditor.gap import compare, shares, tolerance

INF, NAN = float("inf"), float("nan")


def test_the_largest_difference_is_found_with_both_values() -> None:
    gap = compare(torch.tensor([[1.0, 2.0], [3.5, 4.0]]), np.array([[1, 2], [3, 8]], np.float32))
    assert (gap.difference, gap.index, gap.twin, gap.runtime, gap.scale, gap.share) == (4.0, (1, 1), 4.0, 8.0, 8.0, 0.5)
    assert gap.text == "largest difference 4 at [1, 1], twin 4, runtime 8 (50.0% of the entries differ)"


def test_what_is_not_finite_is_the_same_only_as_itself() -> None:
    special = [INF, -INF, NAN, 0.0]
    assert compare(torch.tensor(special), np.array(special, np.float32)).difference == 0
    for other in (-INF, NAN, 1.0):
        gap = compare(torch.tensor([INF, 1.0]), np.array([other, 1.0], np.float32))
        assert gap.difference == INF
        assert not gap.rounding()
        assert gap.index == (0,)


def test_other_shapes_are_no_rounding() -> None:
    gap = compare(torch.zeros(2, 3), np.zeros((3, 2), np.float32))
    assert not gap.rounding()
    assert gap.text == "the twin has shape [2, 3], the runtime [3, 2]"


@pytest.mark.parametrize(("kind", "passes", "fails"), [("float32", 9e-5, 2e-4), ("float16", 3e-3, 5e-3)])
def test_floats_may_round_by_a_share_of_the_largest(kind: str, passes: float, fails: float) -> None:
    runtime = np.array([512.0, 0.0], kind)
    assert compare(torch.tensor([512 * (1 + passes), 0.0]), runtime).rounding()
    assert not compare(torch.tensor([512 * (1 + fails), 0.0]), runtime).rounding()


def test_where_terms_cancel_the_inputs_say_how_much_rounding_is() -> None:
    gap = compare(torch.tensor([1e-6]), np.array([3e-7], np.float32))
    assert not gap.rounding()
    assert gap.rounding(inputs=1.0)
    assert not gap.rounding(inputs=0.1)


def test_quantised_values_may_differ_by_one_step_in_few_places() -> None:
    runtime = np.zeros(1000, np.int8)
    few, many, far = torch.zeros(1000), torch.zeros(1000), torch.zeros(1000)
    few[:5], many[:50], far[0] = 1, 1, 2
    assert compare(few, runtime).rounding()
    assert not compare(many, runtime).rounding()
    assert not compare(far, runtime).rounding()
    assert not compare(few, runtime.astype(np.int64)).rounding()


def test_truth_text_and_sequences() -> None:
    assert compare(torch.tensor([1.0, 0.0]), np.array([True, False])).rounding()
    assert not compare(torch.tensor([1.0, 1.0]), np.array([True, False])).rounding()
    words = np.array(["a", "b"], object)
    assert compare(words, words).rounding()
    assert compare(words, words[::-1]).text == "the two are not the same"
    pair = [np.zeros(2, np.float32), np.ones(2, np.float32)]
    assert compare([torch.zeros(2), torch.ones(2)], pair).rounding()
    assert compare([torch.zeros(2), torch.zeros(2)], pair).difference == 1
    assert not compare([torch.zeros(2)], pair).rounding()


def test_narrower_floats_round_more() -> None:
    assert tolerance("float32") < tolerance("float16") < tolerance("bfloat16")


def test_scores_are_held_against_the_scale_of_their_own_class() -> None:
    runtime = np.array([[2.0, -1e6, 4.0, 8.0], [4.0, -1e6, 1.0, 2.0]], np.float32)
    found = shares(runtime + np.array([[1, 0, 0, 0], [0, 100, 0, 0]], np.float32), runtime)
    np.testing.assert_allclose(found, [[0.25, 0, 0, 0], [0, 1e-4, 0, 0]])


def test_a_class_close_to_zero_rounds_as_the_others_do() -> None:
    runtime = np.array([[1e-9, 5.0, 10.0]])
    np.testing.assert_allclose(shares(runtime + np.array([[1e-6, 0, 0]]), runtime), [[2e-6, 0, 0]])


def test_one_masked_class_of_two_hides_nothing() -> None:
    runtime = np.array([[1.0, -1e9]])
    assert shares(runtime + np.array([[0.1, 0]]), runtime).max() == pytest.approx(0.1)


def test_shares_of_what_is_zero_or_not_finite() -> None:
    runtime = np.array([[0.0, INF, NAN]])
    np.testing.assert_array_equal(shares(runtime, runtime), [[0, 0, 0]])
    np.testing.assert_array_equal(shares(np.ones((1, 3)), runtime), [[INF, INF, INF]])


def test_probabilities_have_one_scale() -> None:
    runtime = np.array([[1e-3, 0.5, 0.499]])
    found = shares(runtime + np.array([[5e-5, 0, 0]]), runtime, common=True)
    np.testing.assert_allclose(found, [[1e-4, 0, 0]], atol=1e-12)
