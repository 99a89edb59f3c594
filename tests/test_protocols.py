"""Transfer by the two published protocols: every count, and the rates that differ by their denominators."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from auditor.errors import UsageError
from auditor.protocols import TransferCounts, count, worst_black_box


def masks(*columns: str) -> list[np.ndarray]:
    """`x` is true."""
    return [np.array([letter == "x" for letter in column], bool) for column in columns]


def made(errors: int, n: int = 10) -> TransferCounts:
    return TransferCounts(n=n, both_right=n, fooled_source=0, fooled_both=0, fooled_target=errors, errors=errors)


def test_the_counts_by_hand() -> None:
    """Ten samples; the source is wrong about the last, the target about the last two, before they are changed."""
    counts = count(*masks("xxxxxxxxx.", "xxxxxxxx..", "xxxxx...x.", "xx...x..x."))
    assert counts == TransferCounts(n=10, both_right=8, fooled_source=5, fooled_both=2, fooled_target=3, errors=4)
    assert counts.transferred == pytest.approx(2 / 5)
    assert counts.error == pytest.approx(4 / 10)
    assert counts.source_success == pytest.approx(5 / 8)
    assert counts.target_success == pytest.approx(3 / 8)


def test_to_itself_a_model_transfers_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        right, wrong = rng.uniform(size=(2, 30)) < 0.5
        counts = count(right, right, wrong, wrong)
        assert counts.transferred == (1.0 if counts.fooled_source else None)
        assert counts.fooled_source == counts.fooled_both == counts.fooled_target == int((right & wrong).sum())


def test_turning_it_round_swaps_source_and_target() -> None:
    rng = np.random.default_rng(1)
    one, other, fooled, foiled = rng.uniform(size=(4, 50)) < 0.6
    there, back = count(one, other, fooled, foiled), count(other, one, foiled, fooled)
    assert (there.both_right, there.fooled_both) == (back.both_right, back.fooled_both)
    assert (there.fooled_source, there.fooled_target) == (back.fooled_target, back.fooled_source)


@pytest.mark.parametrize(
    ("counts", "missing"),
    [
        (count(*masks("", "", "", "")), ("transferred", "error", "source_success", "target_success")),
        (count(*masks("xx", "..", "xx", "xx")), ("transferred", "source_success", "target_success")),
        (count(*masks("xx", "xx", "..", "xx")), ("transferred",)),
    ],
)
def test_a_rate_of_nothing_is_none(counts: TransferCounts, missing: tuple[str, ...]) -> None:
    for name in ("transferred", "error", "source_success", "target_success"):
        assert (getattr(counts, name) is None) == (name in missing), name


def test_every_count_is_kept_in_a_record() -> None:
    counts = count(*masks("xxxx", "xxx.", "xx..", "x..x"))
    assert msgspec.json.decode(msgspec.json.encode(counts), type=TransferCounts) == counts


@pytest.mark.parametrize(
    "wrong",
    [
        [np.ones(3, bool)] * 3 + [np.ones(4, bool)],
        [np.ones(3, bool)] * 3 + [np.ones(3, int)],
        [np.ones((3, 1), bool)] * 4,
    ],
)
def test_masks_of_other_shapes_are_refused(wrong: list[np.ndarray]) -> None:
    with pytest.raises(UsageError, match=r"four masks of the same samples, each bool \[n\], got"):
        count(*wrong)


def test_the_worst_is_over_held_out_sources_and_all_attacks() -> None:
    """Tramèr's figure: what was crafted on the target itself does not count, however much it fools it."""
    counts = {
        ("target", "fgsm"): made(9),
        ("a", "fgsm"): made(3),
        ("a", "bim"): made(5),
        ("b", "fgsm"): made(5),
        ("b", "bim"): made(2),
    }
    assert worst_black_box(counts, "target") == (("a", "bim"), 0.5)
    assert worst_black_box(counts, "a") == (("target", "fgsm"), 0.9)
    assert worst_black_box({("target", "fgsm"): made(9)}, "target") is None
    assert worst_black_box({("a", "fgsm"): made(0, n=0)}, "target") is None
