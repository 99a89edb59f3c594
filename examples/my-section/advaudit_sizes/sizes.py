"""A section of the report: would fewer samples have done?"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

from auditor import Entry, hookimpl

EVERY = (8, 4, 2, 1)
LEAST = 10
"""Fewer samples than this say nothing."""
WRONG = ("misclassified", "broken")


def wilson(k: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The score interval at 95 % for k of n. Wilson, Journal of the American Statistical Association 22, 1927."""
    middle, width = (k + z * z / 2) / (n + z * z), z / (n + z * z) * sqrt(k * (n - k) / n + z * z / 4)
    return middle - width, middle + width


def build(entry: Entry) -> Mapping[str, Any] | None:
    """A row for every eighth, fourth and second sample, and for all; None where there are too few to compare.

    A template prints words, so that what it shows is decided here.
    """
    rows = []
    for every in EVERY:
        part = entry.record.outcomes[::every]
        if len(part) < LEAST:
            continue
        robust = sum(outcome.status not in WRONG for outcome in part)
        low, high = wilson(robust, len(part))
        rows.append(
            {
                "n": f"{len(part):,}",
                "robust": f"≤ {robust / len(part):.1%}",
                "interval": f"{low:.1%} to {high:.1%}",
                "width": f"{100 * (high - low):.0f} points",
            }
        )
    return {"rows": rows} if len(rows) > 1 else None


@hookimpl
def register_sections(register) -> None:
    register("sizes", "Would fewer samples have done?", Path(__file__).parent / "templates", "sizes.html", build)
