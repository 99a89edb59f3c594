"""What can't be told is inconclusive, and a file that takes one sample at a time has no companions to fear."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auditor import Check, Evidence, FindingStatus
from auditor.host import Host
from auditor.testing import evidence, linear_bench

HOST = Host.load(installed=False)


def look(name: str, seen: Evidence) -> FindingStatus:
    check: Check = HOST.checks[name]()
    return check.look(seen).status


def test_one_sample_has_no_company() -> None:
    assert look("companions", evidence(linear_bench(n=1))) is FindingStatus.INCONCLUSIVE


def test_company_can_not_be_told_from_randomness() -> None:
    seen = evidence(linear_bench(n=4))
    noisy = replace(seen, observation=replace(seen.observation, repeat_difference=0.5, companion_difference=0.5))
    assert look("companions", noisy) is FindingStatus.INCONCLUSIVE


def test_a_file_that_takes_one_at_a_time_has_none() -> None:
    bench = linear_bench(n=1)
    bench.target.batch = 1
    assert look("companions", evidence(bench)) is FindingStatus.CLEAR


@pytest.mark.parametrize("name", ["fidelity", "gradients", "surrogates", "gradient_free", "gradient_free_gap"])
def test_without_a_twin_nothing_is_known(name: str) -> None:
    seen = replace(evidence(linear_bench(n=4)), twin=None, why_no_twin="it is a forest", fidelity=None)
    finding = HOST.checks[name]().look(seen)
    assert finding.status is FindingStatus.INCONCLUSIVE
    assert name in ("surrogates", "gradient_free", "gradient_free_gap") or "it is a forest" in finding.explanation


def test_the_bundled_checks_that_speak_of_the_model() -> None:
    assert {name for name, kind in HOST.checks.items() if kind.masks} == {
        *("gradients", "vanishing", "saturation", "shattered", "steps", "differences", "binarisation"),
        *("randomised", "one_step", "random_step", "label_leaking", "random_gap", "gradient_free_gap"),
    }
