"""audit.toml: every table as a typed struct. An error names the file, the key and what it takes. Loads no torch."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from auditor.errors import UsageError
from auditor.rule import ALPHA, Policy, Rule

if TYPE_CHECKING:
    import numpy as np

FILE = "audit.toml"


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of audit.toml; a key that it doesn't have is an error."""


class ModelTable(Table, frozen=True, kw_only=True):
    """[model] what stands before the file. preprocess: a preset's name or a TOML file, instead of the other keys.

    batch: how many samples share a batch where the file is deployed.
    """

    path: str | None = None
    preprocess: str | None = None
    scale: float | None = None
    mean: list[float] | float | None = None
    std: list[float] | float | None = None
    layout: str | None = None
    channels: str | None = None
    output: str | None = None
    batch: Annotated[int, Meta(ge=1)] | None = None


class SamplesTable(Table, frozen=True, kw_only=True):
    """[samples] classes: names in the order of the labels. size: [height, width] that pictures are brought to."""

    path: str | None = None
    classes: list[str] | None = None
    labels: str = "given"
    size: list[int] | None = None
    limit: Annotated[int, Meta(ge=1)] | None = None


class ThreatTable(Table, frozen=True, kw_only=True):
    """[[threat]] weights, frozen: a list with one value per feature, or the path of an .npy file.

    rotation, translation: degrees and pixels to either side that epsilon is a multiple of, for the spatial norm.
    """

    name: str = ""
    norm: str = "linf"
    epsilon: str | float | None = None
    bounds: list[float] | None = None
    goal: str = "untargeted"
    weights: str | list[float] | None = None
    frozen: str | list[bool | int] | None = None
    grid: str | float | None = None
    rotation: Annotated[float, Meta(ge=0, le=180)] | None = None
    translation: Annotated[float, Meta(ge=0)] | None = None


class SearchTable(Table, frozen=True, kw_only=True):
    """[search] leak: share of a gradient that passes where a quantised value saturates. suite: by the access where it
    is left out. escalate: whether doubts are answered with further attacks; where it is left out, with a suite but not
    with stages of one's own. deep: whether checks that cost much run. surrogates: files to transfer from.
    hardness: whether each class's distances and confusions are looked for; where it is left out, as for escalate.
    distances: the minimum-norm attack that does so, `NAME:option=value,…` as for --attack; the one that fits the norm
    where it is left out. sequential: draw samples in random order until the gate is settled.
    """

    suite: str | None = None
    seed: Annotated[int, Meta(ge=0, le=2**62)] = 0
    access: str = "gradient"
    certify: bool = True
    leak: Annotated[float, Meta(ge=0, le=1)] = 0.0
    escalate: bool | None = None
    deep: bool = False
    surrogates: list[str] = []
    hardness: bool | None = None
    distances: str = ""
    sequential: bool = False


class ProtectTable(Table, frozen=True, kw_only=True):
    """[[protect]] a confusion that must not happen. label: a class, by its name or number; into: another, any if left
    out. cost: of one such error, where every other costs 1."""

    label: str | int
    into: str | int | None = None
    cost: Annotated[float, Meta(gt=0, le=1e9)] = 10.0


class RunTable(Table, frozen=True, kw_only=True):
    """[run] timeout (seconds) and memory (bytes) limit one run of the file under audit, memory also one of its twin."""

    device: str = "auto"
    batch_size: int | None = None
    threads: int | None = None
    precision: str = "auto"
    compile: bool = False
    timeout: Annotated[float, Meta(gt=0, le=1e6)] = 60.0
    memory: Annotated[int, Meta(ge=1 << 20, le=1 << 50)] = 8 << 30


class PolicyTable(Table, frozen=True, kw_only=True):
    """[policy] alpha: the chance that the rules which speak of chance share, see `auditor.gate`."""

    alpha: Annotated[float, Meta(ge=1e-9, lt=0.5)] = ALPHA


class Config(Table, frozen=True, kw_only=True):
    """A whole audit.toml."""

    model: ModelTable = field(default_factory=ModelTable)
    samples: SamplesTable = field(default_factory=SamplesTable)
    threat: list[ThreatTable] = field(default_factory=list)
    search: SearchTable = field(default_factory=SearchTable)
    attack: list[dict[str, Any]] = field(default_factory=list)
    defense: list[dict[str, Any]] = field(default_factory=list)
    protect: list[ProtectTable] = field(default_factory=list)
    run: RunTable = field(default_factory=RunTable)
    policy: PolicyTable = field(default_factory=PolicyTable)
    gate: list[Rule] = field(default_factory=list)

    def rules(self, path: Path | None, fail_under: float | None) -> Policy:
        """The gate's policy. path: of the file that this was read from. fail_under: of the command line."""
        also = [] if fail_under is None else [Rule(metric="robust_accuracy", at_least=fail_under)]
        return Policy(
            rules=list(self.gate),
            alpha=self.policy.alpha,
            protected=[table.label for table in self.protect],
            path=os.fsencode(path).decode("utf-8", "replace") if path else "",
            also=also,
        )


def read_config(path: Path) -> Config:
    """The configuration in a TOML file. Raises UsageError where it can't be read or a key is unknown."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The plan {path} can't be read ({type(error).__name__}); give an audit.toml.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}.") from error
    check_gates(path, tables.get("gate", []))
    try:
        return msgspec.convert(tables, Config)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}; docs/config.md lists the keys.") from error


def check_gates(path: Path, gates: Any) -> None:
    """Raise UsageError for a [[gate]] table that makes no sense, with its number."""
    if isinstance(gates, dict):
        raise UsageError(f"{path}: rules are written [[gate]], with two brackets, one table a rule; got [gate].")
    for place, table in enumerate(gates if isinstance(gates, list) else [], 1):
        try:
            msgspec.convert(table, Rule)
        except (msgspec.ValidationError, UsageError) as error:
            keys = ", ".join(key.name for key in msgspec.structs.fields(Rule))
            known = "" if isinstance(error, UsageError) else f"; its keys are {keys}"
            raise UsageError(f"{path}, [[gate]] {place}: {str(error).removesuffix('.')}{known}.") from error


def find_config(model: str) -> Path | None:
    """The audit.toml beside the model, else the one in the working directory, else None."""
    for folder in (Path(model).parent, Path()):
        if (folder / FILE).is_file():
            return folder / FILE
    return None


def read_array(value: str | list[Any] | None, folder: Path, key: str) -> np.ndarray | None:
    """A list, or the `.npy` file it names. Raises UsageError where the file can't be read."""
    if value is None:
        return None
    import numpy as np  # the gate starts without it

    if not isinstance(value, str):
        return np.asarray(value)
    try:
        return np.asarray(np.load(folder / value, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(
            f"{key} is a list or an .npy file, {value!r} can't be read ({type(error).__name__})."
        ) from error
