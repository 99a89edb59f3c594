import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from auditor.errors import SamplesError, UsageError
from auditor.samples import PREDICTED, Samples, SamplesOptions, as_inputs, as_labels, chosen

X = np.random.default_rng(0).random((6, 2, 3), np.float32)


def samples(**changes: Any) -> Samples:
    given: dict[str, Any] = {"inputs": X, "labels": np.arange(6) % 3, "ids": np.arange(6) + 10, "source": "s.npz"}
    return Samples(**{**given, **changes})


def changed(place: tuple[int, ...], value: float, array: np.ndarray = X) -> np.ndarray:
    copy = array.copy()
    copy[place] = value
    return copy


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"inputs": X[:0], "labels": np.zeros(0, int), "ids": np.zeros(0, int)}, "no samples"),
        ({"labels": np.zeros(5, int)}, "6 inputs and labels of shape"),
        ({"inputs": changed((2, 0, 0), np.nan)}, r"1 of 6 inputs .* number 12"),
        ({"inputs": changed((2, 0, 0), np.inf)}, "not finite"),
        ({"labels": np.array([0, 1, -2, 0, 0, 0])}, "label -2"),
        ({"class_names": ("a", "b")}, "label 2, but names for 2"),
        ({"lower": X}, "only one of"),
        ({"lower": X[:5], "upper": X}, "shape of the inputs"),
        ({"lower": X, "upper": changed((4, 0, 0), np.nan)}, "not numbers"),
        ({"lower": changed((4, 0, 0), 5.0), "upper": X}, r"`lower` above `upper` for 1 of 6 .* number 14"),
        ({"lower": X * 255, "upper": X * 255}, "far outside"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(SamplesError, match=match) as caught:
        samples(**changes)
    assert str(caught.value).startswith("s.npz")


def test_an_input_may_lie_a_little_outside_its_box() -> None:
    lower = X - 0.01
    assert samples(lower=lower, upper=X - 1e-9).lower is lower


def test_taking_keeps_ids_and_boxes_with_their_samples() -> None:
    found = samples(lower=X - 1, upper=X + 1).take([4, 1])
    np.testing.assert_array_equal(found.ids, [14, 11])
    np.testing.assert_array_equal(found.inputs, X[[4, 1]])
    assert found.lower is not None
    assert found.upper is not None
    np.testing.assert_array_equal(found.lower, X[[4, 1]] - 1)
    np.testing.assert_array_equal(found.upper, X[[4, 1]] + 1)
    np.testing.assert_array_equal(samples().take(np.arange(6) > 3).ids, [14, 15])


def test_dropping_is_counted() -> None:
    found = samples(skipped={"unreadable": 2}).drop(np.arange(6) == 3, "of the target class")
    np.testing.assert_array_equal(found.ids, [10, 11, 12, 14, 15])
    assert found.skipped == {"unreadable": 2, "of the target class": 1}
    with pytest.raises(SamplesError, match="6 all of them"):
        samples().drop(np.ones(6, bool), "all of them")


def test_limits_nest_and_depend_on_ids_alone() -> None:
    ids = np.arange(1000)
    small, large = chosen(ids, 50, 3), chosen(ids, 200, 3)
    assert (small.sum(), large.sum()) == (50, 200)
    assert (large | ~small).all()
    order = np.random.default_rng(0).permutation(1000)
    np.testing.assert_array_equal(chosen(ids[order], 50, 3), small[order])
    assert (chosen(ids, 50, 4) != small).any()
    # a sample that is gone leaves its place to the next; nobody else moves
    without = np.delete(ids, np.flatnonzero(small)[:5])
    kept = set(without[chosen(without, 45, 3)].tolist())
    assert kept == set(ids[small].tolist()) - set(np.flatnonzero(small)[:5].tolist())


def test_limits_are_uniform() -> None:
    ids = np.arange(2000)
    hits = sum(chosen(ids, 200, seed).astype(int) for seed in range(400))
    assert isinstance(hits, np.ndarray)
    # each id is drawn Binomial(400, 0.1) times: mean 40, deviation 6
    assert abs(hits.mean() - 40) < 1e-9
    assert abs(hits.std() - 6) < 0.5
    assert np.abs(hits - 40).max() < 36


def test_a_limited_set_stays_in_the_order_of_ids() -> None:
    found = samples().limit(4, 0)
    assert len(found) == 4
    assert (np.diff(found.ids) > 0).all()
    assert len(samples().limit(100, 0)) == 6


def test_digests_tell_contents_apart() -> None:
    reference = samples().digest
    assert len(reference) == 64
    assert samples(source="elsewhere").digest == reference
    assert samples(inputs=X.astype(">f4")).digest == reference
    for changes in (
        {"inputs": changed((0, 0, 0), 0.25)},
        {"inputs": X.reshape(6, 3, 2)},
        {"labels": np.arange(6) % 2},
        {"ids": np.arange(6)},
        {"lower": X - 1, "upper": X + 1},
    ):
        assert samples(**changes).digest != reference


def test_predicted_labels_take_the_place_of_given_ones() -> None:
    waiting = samples(labels=np.full(6, PREDICTED), labels_source="predicted")
    found = waiting.with_labels(np.array([2, 0, 0, 0, 0, 1]))
    np.testing.assert_array_equal(found.labels, [2, 0, 0, 0, 0, 1])
    assert found.labels_source == "predicted"


def test_labels_follow_the_names_of_the_model() -> None:
    named = samples(class_names=("ant", "cat", "dog"))
    found = named.aligned(("dog", "ant", "bee", "cat"))
    np.testing.assert_array_equal(found.labels, np.array([1, 3, 0])[named.labels])
    assert found.class_names == ("dog", "ant", "bee", "cat")
    for unchanged in (None, ("ant", "cat", "dog"), ("0", "1", "2")):
        assert named.aligned(unchanged) is named
    assert samples().aligned(("ant",)).class_names is None
    with pytest.raises(SamplesError, match="'dog'"):
        named.aligned(("ant", "cat", "cow"))
    waiting = samples(labels=np.full(6, PREDICTED), labels_source="predicted", class_names=("ant", "cat"))
    assert (waiting.aligned(("cat", "ant")).labels == PREDICTED).all()


def test_bytes_become_fractions_and_nothing_else_changes() -> None:
    np.testing.assert_array_equal(as_inputs("x", np.array([0, 51, 255], np.uint8)), np.array([0, 0.2, 1], np.float32))
    np.testing.assert_array_equal(as_inputs("x", np.array([0, 51, 255])), np.array([0, 51, 255], np.float32))
    with pytest.raises(SamplesError, match="<U1"):
        as_inputs("x", np.array(["a"]))
    with pytest.raises(SamplesError, match="complex"):
        as_inputs("x", np.array([1j]))


def test_labels_are_whole_numbers() -> None:
    np.testing.assert_array_equal(as_labels("y", np.array([[0.0], [2.0]])), [0, 2])
    for array, match in (
        (np.eye(3), "argmax"),
        (np.array([0.5]), "not whole"),
        (np.array([np.nan]), "not whole"),
        (np.array(["cat"]), "<U3"),
    ):
        with pytest.raises(SamplesError, match=match):
            as_labels("y", array)


@pytest.mark.parametrize(
    "options",
    [{"labels": "guessed"}, {"size": (0, 5)}, {"channels": 2}, {"limit": 0}, {"classes": ("a", "b", "a")}],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        SamplesOptions(**options)


def test_samples_need_no_torch() -> None:
    code = "import sys, auditor.samples, auditor.target, auditor.preprocess; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
