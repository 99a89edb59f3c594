"""`advaudit plugins list`: everything that is loaded, readable at 80 columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from auditor.host import BUNDLED, OPERATORS, Host
from auditor.record import Plugin

WIDTH = 80
COLUMN = 14
"""Where the text beside a name begins."""


def lines(host: Host) -> Iterator[str]:
    """The attacks with access, norms and options, then checks, certifiers, defences, formats, sections and plugins."""
    yield from _section("Attacks", (_attack(name, kind) for name, kind in host.attacks.items()))
    yield from _section("Checks", (_entry(name, kind.title) for name, kind in host.checks.items()))
    yield from _section("Certifiers", (_certifier(name, kind) for name, kind in host.certifiers.items()))
    yield from _section("Defences", (_defense(name, kind) for name, kind in host.defenses.items()))
    yield from _section("Report formats", (_entry(name, f"writes {r.filename}") for name, r in host.reporters.items()))
    if host.sections:
        yield from _section("Report sections", (_entry(name, part.title) for name, part in host.sections.items()))
    if host.operators is not None:
        types = {op_type for _, op_type in host.operators.table}
        yield from _section("Operators", [wrap(f"{len(types)} ONNX operators have a differentiable twin.", WIDTH - 2)])
    yield from _section("Plugins", _plugins(host.plugins))


def _section(title: str, entries: Any) -> Iterator[str]:
    yield title
    empty = True
    for entry in entries:
        empty = False
        yield from (f"  {line}" for line in entry)
    if empty:
        yield "  none"
    yield ""


def _entry(name: str, *texts: str) -> list[str]:
    """A name with paragraphs beside it; a long name takes a line of its own."""
    indent = " " * COLUMN
    beside = [line for text in texts for line in wrap(text, WIDTH - 2 - COLUMN)]
    if len(name) < COLUMN and beside:
        return [f"{name:{COLUMN}}{beside[0]}", *(indent + line for line in beside[1:])]
    return [name, *(indent + line for line in beside)]


def _attack(name: str, kind: type[Any]) -> list[str]:
    return _entry(name, f"{kind.access} access; {' '.join(sorted(kind.norms))}", sentence(kind), _options(kind))


def _certifier(name: str, kind: type[Any]) -> list[str]:
    return _entry(name, " ".join(sorted(kind.norms)), sentence(kind), _options(kind))


def _defense(name: str, kind: type[Any]) -> list[str]:
    return _entry(name, f"gradient: {kind.gradient}", sentence(kind), _options(kind))


def sentence(kind: type[Any]) -> str:
    """The first paragraph of a class's docstring, on one line; empty where nobody wrote one."""
    text = kind.__dict__.get("__doc__") or ""
    generated = text.startswith(f"{kind.__name__}(")  # a dataclass without a docstring gets its signature for one
    return "" if generated else " ".join(text.strip().split("\n\n")[0].split())


def _options(kind: type[Any]) -> str:
    """`steps=40 rel_step=0.075`; an option without a default stands alone."""
    pairs = []
    for field in dataclasses.fields(kind):
        given = field.default is not dataclasses.MISSING
        pairs.append(f"{field.name}={field.default}" if given else field.name)
    return " ".join(pairs)


def _plugins(plugins: list[Plugin]) -> Iterator[list[str]]:
    ours = [p for p in plugins if p.name in BUNDLED or p.name.startswith(f"{OPERATORS}.")]
    sound = [p for p in ours if not p.error]
    if sound:
        yield _entry("bundled", f"{len(sound)} modules of advaudit {sound[0].version}")
    for plugin in plugins:
        if plugin.error or plugin not in ours:
            yield _entry(plugin.name, plugin.version, *([f"can't be used: {plugin.error}"] if plugin.error else []))
