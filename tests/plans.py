"""Plans for tests that scan the bundled models for real, as quickly as may be."""

from __future__ import annotations


def quick_plan(*, at_least: float) -> str:
    """30 samples, the suite `quick` and nothing after it, with a gate on robust accuracy."""
    return f"""
[samples]
path = "samples.npz"
limit = 30
[[threat]]
norm = "linf"
epsilon = 0.3
[search]
suite = "quick"
escalate = false
hardness = false
certify = false
[run]
threads = 1
[[gate]]
metric = "robust_accuracy"
at_least = {at_least}
"""
