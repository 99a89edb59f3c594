from pathlib import Path
from types import SimpleNamespace

import pytest
from advaudit_sizes.sizes import build, wilson

from auditor.host import Host


def entry(statuses: list[str]) -> SimpleNamespace:
    outcomes = [SimpleNamespace(status=status) for status in statuses]
    return SimpleNamespace(record=SimpleNamespace(outcomes=outcomes))


@pytest.mark.parametrize(
    ("k", "n", "interval"), [(0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (81, 263, (0.2553, 0.3662))]
)
def test_the_interval_is_the_published_one(k: int, n: int, interval: tuple[float, float]) -> None:
    """The last from Newcombe, Statistics in Medicine 17, 1998, table I."""
    assert wilson(k, n) == pytest.approx(interval, abs=5e-5)


def test_each_row_takes_its_share_of_the_samples() -> None:
    built = build(entry(["broken", "withstood"] * 20))  # every second one alone is broken
    assert built is not None
    assert [(row["n"], row["robust"]) for row in built["rows"]] == [
        ("10", "≤ 0.0%"),
        ("20", "≤ 0.0%"),
        ("40", "≤ 50.0%"),
    ]
    assert built["rows"][-1]["width"] == "30 points"


def test_what_was_not_attacked_counts_as_robust() -> None:
    built = build(entry(["unattacked", "error", "certified", "withstood", "misclassified"] * 4))
    assert built is not None
    assert built["rows"][-1]["robust"] == "≤ 80.0%"


def test_too_few_samples_are_not_compared() -> None:
    assert build(entry(["withstood"] * 18)) is None
    assert build(entry(["withstood"] * 19)) is not None


def test_it_is_found() -> None:
    folder = Path(__file__).parents[1] / "advaudit_sizes"
    host = Host.load(bundled=(), installed=False, folder=folder)
    assert host.errors == []
    assert host.sections["sizes"].template == "sizes.html"
