"""docs/obscurity.md is what the checks say, and every check says all that a reader needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from auditor.host import Host
from auditor.indicators import page
from auditor.limits import limits

HOST = Host.load(installed=False)
PAGE = Path(__file__).resolve().parents[1] / "docs" / "obscurity.md"


def test_the_page_is_what_the_checks_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(HOST), (
        "docs/obscurity.md is not what the checks say; run `python -m auditor.indicators > docs/obscurity.md`"
    )


@pytest.mark.parametrize("name", sorted(HOST.checks))
def test_a_check_says_all_that_a_reader_needs(name: str) -> None:
    kind = HOST.checks[name]
    assert kind.raised_if, "raised if what?"
    assert kind.advice, "what should a reader do?"
    assert kind.source
    assert re.fullmatch(r"AML\.T\d{4}(\.\d{3})?", kind.technique)
    assert (kind.__doc__ or "").strip(), "why does it matter?"
    entry = page(HOST).partition(f"### {name}\n")[2].partition("\n### ")[0]
    for part in ("**Raised if**", "**Why.**", "**What to do.**", "**Answers:**", "**Source:**"):
        assert part in entry


def test_every_threshold_belongs_to_a_check_and_has_a_source() -> None:
    for name, one in limits().items():
        assert name.partition(".")[0] in HOST.checks, f"{name} of limits.toml is of no check"
        assert one.source
        assert (one.honest is None) == (one.alarms is None)


def test_every_indicator_of_the_literature_is_there() -> None:
    """The list that a reader of the papers would look for."""
    assert set(HOST.checks) >= {
        *("no_gradients", "surrogates", "gradients", "vanishing", "saturation", "shattered", "differences"),
        *("randomised", "companions", "probabilities", "one_step", "gradient_free", "gradient_free_gap"),
        *("hard_label_gap", "random_gap", "transfer_gap", "unbounded", "monotone", "convergence", "fosc", "silent"),
        *("refusals", "fidelity", "label_leaking", "random_step", "linearity", "binarisation", "rounding", "steps"),
    }
