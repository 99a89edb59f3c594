"""The thresholds of the checks, as data: each with its source and with how often it is wrong about honest models."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from msgspec import Struct, convert


class Limit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A threshold. source: where the figure is from. honest, alarms: how many honest models it was measured on
    (`python -m benchmarks.obscurity`), and how many of those it was raised for; None where that was not measured."""

    value: float
    source: str
    honest: int | None = None
    alarms: int | None = None


@cache
def limits() -> dict[str, Limit]:
    """Every threshold by name: that of a check by the check's, further ones of it by `check.what`."""
    text = (files("auditor") / "limits.toml").read_text(encoding="utf-8")
    return convert(tomllib.loads(text), dict[str, Limit])


def limit(name: str) -> float:
    """The value of a threshold. Raises KeyError for one that limits.toml does not have."""
    return limits()[name].value
