"""Rules in words, and rules that make no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from auditor.config import read_config
from auditor.errors import UsageError
from auditor.rule import Policy, Rule

WORDS: list[tuple[dict[str, Any], str]] = [
    ({"at_least": 0.5}, "robust accuracy at least 0.5"),
    ({"at_least": 0.5, "classes": ["cat", 3]}, "robust accuracy of cat, 3 at least 0.5"),
    (
        {"at_least": 0.5, "each_class": True, "over": "population"},
        "robust accuracy of each class at least 0.5 in the population",
    ),
    ({"at_least": 0.5, "protected": True}, "robust accuracy of the protected classes at least 0.5"),
    ({"at_least": 0.5, "threat": "l2"}, "robust accuracy at least 0.5 under l2"),
    ({"baseline": "runs/main", "margin": 0.01}, "robust accuracy at most 0.01 below the baseline main"),
    ({"metric": "distance", "at_least": 1.5}, "median distance at least 1.5"),
    ({"metric": "distance", "at_least": 1.5, "quantile": 0.1}, "0.1 quantile of the distance at least 1.5"),
    ({"metric": "trust"}, "trust sound"),
    ({"metric": "masking"}, "masking none"),
]


@pytest.mark.parametrize(("options", "text"), WORDS, ids=[text for _, text in WORDS])
def test_words(options: dict[str, Any], text: str) -> None:
    assert Rule(**{"metric": "robust_accuracy"} | options).text == text


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"metric": "accuracy", "at_least": 0.5}, "metric is one of robust_accuracy"),
    ({"metric": "robust_accuracy"}, "takes at_least or baseline"),
    ({"metric": "robust_accuracy", "at_least": 0.5, "baseline": "x"}, "takes at_least or baseline"),
    ({"metric": "clean_accuracy", "at_least": 50}, "fraction between 0 and 1, got 50"),
    ({"metric": "clean_accuracy", "at_least": float("nan")}, "got nan"),
    ({"metric": "distance", "at_least": float("inf")}, "distance from 0 on, got inf"),
    ({"metric": "distance", "at_least": -1}, "distance from 0 on, got -1"),
    ({"metric": "distance", "at_least": 1, "quantile": 1}, "quantile lies between"),
    ({"metric": "trust", "at_least": 0.5}, "asks for 'sound'"),
    ({"metric": "distance", "baseline": "x"}, "baseline is for"),
    ({"metric": "masking", "over": "population"}, "no classes and no population"),
    ({"metric": "coverage", "at_least": 0.5, "each_class": True}, "no classes and no population"),
    ({"metric": "robust_accuracy", "at_least": 0.5, "each_class": True, "protected": True}, "takes one of each_class"),
    ({"metric": "robust_accuracy", "at_least": 0.5, "minimum": 0}, "minimum"),
    ({"metric": "robust_accuracy", "at_least": 0.5, "coverage": 2}, "coverage from 0 to 1"),
    ({"metric": "robust_accuracy", "at_least": 0.5, "bound": "exact"}, "judged by certain or drawn, got 'exact'"),
    ({"metric": "robust_accuracy", "baseline": "x", "bound": "certain"}, "a test of its own"),
    (
        {"metric": "robust_accuracy", "at_least": 0.99, "over": "population", "bound": "sprt"},
        "leaves no rates on both sides",
    ),
]


@pytest.mark.parametrize(("options", "said"), NONSENSE, ids=[said for _, said in NONSENSE])
def test_nonsense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Rule(**options)
    with pytest.raises(UsageError, match=said):
        msgspec.convert(options, Rule)


def test_a_policy_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    path.write_text(
        '[policy]\nalpha = 0.01\n[[protect]]\nlabel = "stop"\n[[protect]]\nlabel = 3\n'
        '[[gate]]\nmetric = "trust"\n[[gate]]\nmetric = "robust_accuracy"\nat_least = 0.5\nthreat = "l2"\n'
    )
    policy = read_config(path).rules(path, 0.25)
    assert (policy.alpha, policy.protected, policy.path, policy.folder) == (0.01, ["stop", 3], str(path), tmp_path)
    assert [(rule.metric, place) for rule, place in policy.for_threat("linf 8/255", "linf")] == [
        ("trust", 1),
        ("robust_accuracy", None),
    ]
    assert len(policy.for_threat("x", "l2")) == 3
    assert Policy().for_threat("x", "l2") == []
