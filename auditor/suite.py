"""The suite: which attacks run in which order, as data that a user can read, copy and edit."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from auditor.access import Access
from auditor.errors import PluginError, UsageError
from auditor.threat import Norm

if TYPE_CHECKING:
    from auditor.attack import AnyAttack


TWIN = "twin"
"""The source of gradients that an attack has unless its stage says otherwise."""


class StageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage's table may say of the stage itself."""

    restarts: int = 1
    share: float = 1.0
    near: float = 1.0
    rounds: int = 1
    distance: bool = False
    norms: tuple[Norm, ...] = ()
    source: str = TWIN
    sample: int = 0


MOST = 100_000
"""Restarts and rounds beyond which a suite is a slip of the pen."""
STAGE = tuple(field.name for field in msgspec.structs.fields(StageOptions))
OWN = ("name", "attack", "title", *STAGE)
OPTIONS = ("restarts", "share", "rounds", "distance", "source", "sample")
"""What a plan says of a stage, besides its attack's own options."""
Attacks = Mapping[str, "type[AnyAttack]"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a suite: an attack with its options, on a share of the samples still standing.

    restarts: rows per sample. share: of the survivors, those of smallest margin so far. near: those whose margin so
    far is at most so much of their clean one, 1 for all; a sample that has no margin enters. rounds: how often the
    stage is played at most, each time with new restarts on who still stands: it ends with the first that breaks nobody.
    distance: every correctly classified sample gets the same budget, broken or not, and keeps its nearest adversarial
    example, for a minimum-norm attack. norms: where it is played, everywhere if empty. source: whose gradients it
    follows, a name of `auditor.sources`. sample: meet at most so many, drawn uniformly; 0 for all. title: what the
    report calls it.
    """

    attack: AnyAttack
    restarts: int = 1
    share: float = 1.0
    near: float = 1.0
    rounds: int = 1
    distance: bool = False
    norms: tuple[Norm, ...] = ()
    source: str = TWIN
    sample: int = 0
    title: str = ""

    def __post_init__(self) -> None:
        for name in ("restarts", "rounds"):
            if not 1 <= getattr(self, name) <= MOST:
                raise UsageError(f"{name} of {self.title} is from 1 to {MOST}, got {getattr(self, name)}.")
        for name in ("share", "near"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"{name} of {self.title} is above 0 and at most 1, got {getattr(self, name)}.")
        if self.sample < 0:
            raise UsageError(f"sample of {self.title} is a number of samples, 0 for all, got {self.sample}.")
        if self.source != TWIN and self.attack.access is not Access.GRADIENT:
            raise UsageError(f"{self.title} follows no gradients, so it has no source, got {self.source!r}.")
        if not self.distance:
            return
        if self.source != TWIN:
            raise UsageError(f"{self.title} looks for distances (distance), which the twin alone leads to; no source.")
        from auditor.attack import Attack

        if not (isinstance(self.attack, Attack) and self.attack.minimum_norm):
            raise UsageError(
                f"{self.title} has a fixed budget; looking for distances (distance = true, [search] distances) takes a "
                "minimum-norm attack, such as fmn."
            )
        if self.share < 1 or self.near < 1 or self.rounds > 1:
            raise UsageError(f"{self.title} gives everybody the same budget (distance): no share, no near, no rounds.")

    def table(self) -> dict[str, Any]:
        """The stage as it would be written in audit.toml, all options spelt out; near where it leaves somebody out."""
        own: dict[str, Any] = {name: getattr(self, name) for name in OPTIONS}
        own |= {"near": self.near} if self.near < 1 else {}  # so plans made before there was one keep their digest
        return {"name": self.attack.name} | own | self.attack.parameters()

    def budget(self, classes: int) -> tuple[int, int, int]:
        """Forwards, backwards and queries that a sample costs which enters and withstands every round; 0 for an attack
        that owns its loop."""
        from auditor.attack import Attack

        if not isinstance(self.attack, Attack):
            return 0, 0, 0
        forwards, backwards = _counts(self.attack, "cost", self.attack.cost(classes))
        first, again = _counts(self.attack, "survey_cost", self.attack.survey_cost(classes))
        forwards, backwards = (
            self.rounds * (self.restarts * forwards + first),
            self.rounds * (self.restarts * backwards + again),
        )
        judged = 0
        if self.distance:
            from auditor.nearest import FURTHER, HALVINGS

            judged = len(FURTHER) + HALVINGS + 1  # along the line to the nearest point; a randomised target votes
        return (forwards, backwards, judged) if self.attack.access is Access.GRADIENT else (0, 0, forwards + judged)


def _counts(attack: Any, name: str, given: Any) -> tuple[int, int]:
    """What an attack says of its cost. Raises PluginError where those are no two whole numbers."""
    good = isinstance(given, tuple) and len(given) == 2 and all(isinstance(n, int) and n >= 0 for n in given)
    if not good:
        raise PluginError(f"{attack.name}.{name} should return two whole numbers from 0 on, it returned {given!r}.")
    return given  # type: ignore[no-any-return]


def bundled_suites() -> dict[str, list[dict[str, Any]]]:
    """The suites that come with advaudit, by name."""
    text = (files("auditor") / "suites.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def find_suite(name: str, attacks: Attacks) -> list[Stage]:
    """The stages of a bundled suite, those for every norm. Raises UsageError for another name."""
    suites = bundled_suites()
    if name not in suites:
        raise UsageError(f"A suite is one of {', '.join(suites)}, got {name!r}.")
    return [make_stage(table, attacks) for table in suites[name]]


def for_norm(suite: list[Stage], norm: Norm) -> list[Stage]:
    """The stages that are meant for a norm. Raises UsageError where none is."""
    meant = [stage for stage in suite if not stage.norms or norm in stage.norms]
    if suite and not meant:
        hint = "--suite spatial is" if norm is Norm.SPATIAL else "--suite standard is"
        raise UsageError(f"No stage of the suite is meant for {norm}; {hint}, or give --attack.")
    return meant


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
        raise UsageError(f"{name} has no option {unknown[0]!r}; it takes {', '.join([*known, *STAGE])}.")
    try:
        attack = msgspec.convert(options, kind, strict=False)
        own = msgspec.convert({key: table[key] for key in STAGE if key in table}, StageOptions, strict=False)
    except msgspec.ValidationError as error:
        if "$.norms" in str(error):
            raise UsageError(
                f"{name}: norms is a list of {', '.join(Norm)}, got {table['norms']!r}; --attack can't give it."
            ) from error
        raise UsageError(f"{name}: {error}; it takes {', '.join([*_described(kind), *STAGE])}.") from error
    if getattr(attack, "steps", 1) < 1:
        raise UsageError(f"{name}: steps is at least 1, got {getattr(attack, 'steps', None)}.")
    losses = getattr(kind, "losses", None)
    if losses is not None and (loss := getattr(attack, "loss", None)) not in losses:
        raise UsageError(f"{name}: loss is one of {', '.join(losses)}, got {loss!r}.")
    return Stage(attack=attack, **msgspec.structs.asdict(own), title=_title(table, name, options))


def _title(table: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> str:
    if given := table.get("title"):
        return str(given)
    parts = [str(options["loss"])] if "loss" in options else []
    restarts = int(table.get("restarts", 1))
    source = str(table.get("source", TWIN))
    where = "" if source == TWIN else f" on {source}"
    return " ".join([name, *parts]) + (f" ×{restarts}" if restarts > 1 else "") + where


def _described(kind: type[Any]) -> list[str]:
    return [f"{f.name}={f.default!r}" for f in dataclasses.fields(kind)]
