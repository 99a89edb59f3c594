"""The suite: which attacks run in which order, as data that a user can read, copy and edit."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from auditor.errors import UsageError

if TYPE_CHECKING:
    from auditor.attack import AnyAttack

OWN = ("name", "attack", "restarts", "share", "title")
Attacks = Mapping[str, "type[AnyAttack]"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a suite: an attack with its options, on a share of the samples still standing.

    restarts: rows per sample. share: of the survivors, those of smallest margin so far. title: what the report calls
    it.
    """

    attack: AnyAttack
    restarts: int = 1
    share: float = 1.0
    title: str = ""

    def __post_init__(self) -> None:
        if self.restarts < 1:
            raise UsageError(f"restarts of {self.title} is at least 1, got {self.restarts}.")
        if not 0 < self.share <= 1:
            raise UsageError(f"share of {self.title} is above 0 and at most 1, got {self.share}.")

    def table(self) -> dict[str, Any]:
        """The stage as it would be written in audit.toml, all options spelt out."""
        own = {"name": self.attack.name, "restarts": self.restarts, "share": self.share}
        return own | self.attack.parameters()


def bundled_suites() -> dict[str, list[dict[str, Any]]]:
    """The suites that come with advaudit, by name."""
    text = (files("auditor") / "suites.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def find_suite(name: str, attacks: Attacks) -> list[Stage]:
    """The stages of a bundled suite. Raises UsageError for another name."""
    suites = bundled_suites()
    if name not in suites:
        raise UsageError(f"A suite is one of {', '.join(suites)}, got {name!r}.")
    return [make_stage(table, attacks) for table in suites[name]]


def parse_attack(text: str) -> dict[str, Any]:
    """`pgd:steps=100,loss=margin` as a table. Raises UsageError."""
    name, _, options = text.partition(":")
    table: dict[str, Any] = {"name": name.strip()}
    for pair in filter(None, (part.strip() for part in options.split(","))):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--attack is NAME or NAME:option=value,option=value, got {text!r}.")
        table[key.strip()] = value.strip()
    return table


def make_stage(table: Mapping[str, Any], attacks: Attacks) -> Stage:
    """A stage from a table of audit.toml. Raises UsageError for an unknown attack or option, or a value that no
    option takes."""
    name = str(table.get("name", ""))
    if name not in attacks:
        raise UsageError(f"There is no attack {name!r}; `advaudit plugins list` shows them: {', '.join(attacks)}.")
    kind = attacks[name]
    options = {key: value for key, value in table.items() if key not in OWN}
    known = [f.name for f in dataclasses.fields(kind)]
    if unknown := [key for key in options if key not in known]:
        raise UsageError(f"{name} has no option {unknown[0]!r}; it takes {', '.join([*known, 'restarts', 'share'])}.")
    try:
        attack = msgspec.convert(options, kind, strict=False)
        restarts = msgspec.convert(table.get("restarts", 1), int, strict=False)
        share = msgspec.convert(table.get("share", 1.0), float, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"{name}: {error}; it takes {', '.join(_described(kind))}.") from error
    if getattr(attack, "steps", 1) < 1:
        raise UsageError(f"{name}: steps is at least 1, got {getattr(attack, 'steps', None)}.")
    if (loss := getattr(attack, "loss", None)) is not None:
        from auditor.losses import find_loss

        find_loss(loss)
    return Stage(attack=attack, restarts=restarts, share=share, title=_title(table, name, options))


def _title(table: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> str:
    if given := table.get("title"):
        return str(given)
    parts = [str(options["loss"])] if "loss" in options else []
    restarts = int(table.get("restarts", 1))
    return " ".join([name, *parts]) + (f" ×{restarts}" if restarts > 1 else "")


def _described(kind: type[Any]) -> list[str]:
    return [f"{f.name}={f.default!r}" for f in dataclasses.fields(kind)]
