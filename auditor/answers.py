"""The answers to doubts, as data: lists of stages under the names that checks give."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from auditor.errors import UsageError
from auditor.suite import Attacks, Stage, make_stage

if TYPE_CHECKING:
    from auditor.search import Search

CONFIRMATION = "confirmation"
"""What has a last try after the answers."""

WORDS = {
    "margin": "losses that do not saturate, with many restarts",
    "expected": "gradients averaged over the model's randomness (EOT)",
    "smooth": "gradients of a copy with the operators that hide them replaced (BPDA)",
    "square": "attacks that see scores alone, with more restarts",
    "decision": "attacks that see labels alone",
    "transfer": "examples found on stand-ins for the model",
    "blind": "unrelated attacks without gradients",
    CONFIRMATION: "a last try by attacks of other kinds, or with draws of their own",
}
"""What the answers are, in words."""


@cache
def answers() -> dict[str, list[dict[str, Any]]]:
    """The stages of every answer by its name, in the order in which they are played."""
    return tomllib.loads((files("auditor") / "answers.toml").read_text(encoding="utf-8"))


def fitting(name: str, attacks: Attacks, search: Search) -> list[Stage]:
    """The stages of an answer that can be played in this search; those of attacks that are not loaded are left out."""
    stages = []
    for table in answers()[name]:
        try:
            stage = make_stage(table, attacks)
        except UsageError:
            continue
        if (not stage.norms or search.threat.norm in stage.norms) and search.unfit(stage) is None:
            stages.append(stage)
    return stages
