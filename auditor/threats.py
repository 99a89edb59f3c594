"""The threat models of a scan: what options and audit.toml say, checked, with what they leave out filled in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from auditor.config import Config, ThreatTable, read_array
from auditor.errors import UsageError
from auditor.spatial import reach
from auditor.threat import Goal, Norm, ThreatModel, parse_epsilon

LARGEST = 1e9
"""Epsilon up to which float32 arithmetic on inputs makes sense."""


def threats(
    config: Config, options: dict[str, Any], folder: Path, *, pixels: bool, boxes: bool, shape: tuple[int, ...]
) -> list[ThreatModel]:
    """The threat models: those of audit.toml, or the one that the options name. Raises UsageError.

    pixels: the samples are pictures, so their bounds are 0 and 1. boxes: the samples bring their own. shape: of one.
    """
    given = [name for name in ("norm", "epsilon") if options[name]]
    tables = config.threat
    if boxes:
        if given or any(table.epsilon is not None for table in tables):
            raise UsageError(
                "The samples have `lower` and `upper` arrays, which are the threat by themselves; "
                "drop the norm and epsilon, or take the arrays out."
            )
        first = tables[0] if tables else ThreatTable()
        more = [name for name in ("bounds", "weights", "frozen", "grid") if getattr(first, name) is not None]
        more += ["bounds"] if options["bounds"] else []
        if more or len(tables) > 1:
            what = more[0] if more else "a second [[threat]]"
            raise UsageError(
                f"The samples' own boxes are the whole threat, {what} beside them is not; put it into them."
            )
        return [ThreatModel(name=first.name, epsilon=1.0, boxes=True, goal=Goal.parse(options["goal"] or first.goal))]
    if given or not tables:
        first = tables[0] if tables else ThreatTable()
        tables = [
            msgspec.structs.replace(
                first,
                name="",
                norm=options["norm"] or first.norm,
                epsilon=options["epsilon"] or first.epsilon,
            )
        ]
    return [_spatial(table, _threat(table, options, folder, pixels), shape) for table in tables]


def _threat(table: ThreatTable, options: dict[str, Any], folder: Path, pixels: bool) -> ThreatModel:
    if table.epsilon is None:
        raise UsageError(
            "How far may an input be changed? Give --epsilon, in the samples' units (8/255 or 0.3 are common for "
            "pictures under linf, 0.5 under l2); there is no default, since it is the whole question."
        )
    if not 0 < parse_epsilon(table.epsilon) <= LARGEST:
        raise UsageError(f"epsilon is above 0 and at most {LARGEST:g}, got {table.epsilon}; at 0 nothing can be found.")
    if table.norm not in list(Norm):
        raise UsageError(f"The norms are {', '.join(Norm)}, got {table.norm!r}.")
    bounds = options["bounds"] or table.bounds or ((0.0, 1.0) if pixels else None)
    if table.norm == Norm.L0 and bounds is None:
        raise UsageError("l0 needs bounds, the values that a feature may have; give --bounds LO HI.")
    if table.norm == Norm.L0 and parse_epsilon(table.epsilon) % 1:
        raise UsageError(f"Under l0 epsilon counts features, so it is a whole number, got {table.epsilon}.")
    frozen = read_array(table.frozen, folder, "frozen")
    return ThreatModel(
        name=table.name,
        norm=Norm(table.norm),
        epsilon=parse_epsilon(table.epsilon),
        epsilon_text=(table.epsilon if isinstance(table.epsilon, str) else f"{table.epsilon:g}").replace(" ", ""),
        bounds=_pair(bounds),
        goal=Goal.parse(options["goal"] or table.goal),
        weights=read_array(table.weights, folder, "weights"),
        frozen=None if frozen is None else frozen.astype(bool),
        grid=None if table.grid is None else parse_epsilon(table.grid),
    )


def _spatial(table: ThreatTable, threat: ThreatModel, shape: tuple[int, ...]) -> ThreatModel:
    """The threat with its rotation and translation, where it has them; what is not given is filled in."""
    given = {name: getattr(table, name) for name in ("rotation", "translation") if getattr(table, name) is not None}
    if threat.norm is not Norm.SPATIAL:
        if given:
            raise UsageError(f"{next(iter(given))} is of the norm spatial, this threat's is {threat.norm}.")
        return threat
    return replace(threat, **{"translation": reach(shape)} | given)


def _pair(bounds: Any) -> tuple[float, float] | None:
    if bounds is None:
        return None
    if len(bounds) != 2:
        raise UsageError(f"bounds are two numbers, the lowest and the highest value, got {list(bounds)}.")
    return float(bounds[0]), float(bounds[1])
