"""What a class has to look like to be registered: told at start-up, in a sentence, to its author."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
BASES = {
    "attack": ("auditor.attack", ("Attack", "LibraryAttack")),
    "check": ("auditor.check", ("Check",)),
    "certifier": ("auditor.certify", ("Certifier",)),
    "defence": ("auditor.defense", ("Defense",)),
}
GRADIENTS = ("exact", "bpda", "random")


def fault(kind: str, thing: Any) -> str | None:
    """Why this can't be registered as an attack, check, certifier or defence; None where it can."""
    module, names = BASES[kind]
    bases = tuple(getattr(import_module(module), name) for name in names)
    if not isinstance(thing, type) or not issubclass(thing, bases):
        return f"{thing!r} is registered as {kind}, but is no subclass of {' or '.join(names)}; register the class."
    own = thing.__name__
    if missing := sorted(getattr(thing, "__abstractmethods__", ())):
        return f"{own} does not define {', '.join(missing)}; every {kind} does."
    parameters = vars(thing).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        return f"{own} should be a frozen dataclass; decorate it with @dataclass(frozen=True, kw_only=True)."
    name = getattr(thing, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"{own} should have a class attribute `name` of letters, digits, `-`, `_` and `.`, it is {name!r}."
    return _attributes(kind, own, thing)


def _attributes(kind: str, own: str, thing: Any) -> str | None:
    """Why the class attributes that say what it is can't be used; None where they can."""
    from auditor.access import Access
    from auditor.record import Severity
    from auditor.threat import Norm

    wanted: dict[str, tuple[str, bool]] = {}
    if kind == "attack":
        wanted["access"] = ("an Access, such as Access.GRADIENT", isinstance(getattr(thing, "access", None), Access))
    if kind in ("attack", "certifier"):
        norms = getattr(thing, "norms", None)
        good = isinstance(norms, frozenset) and bool(norms) and all(isinstance(norm, Norm) for norm in norms)
        wanted["norms"] = ("a frozenset of Norm, such as frozenset({Norm.LINF})", good)
    if kind == "check":
        wanted |= {
            "title": ("one line of text", isinstance(getattr(thing, "title", None), str)),
            "source": ("the paper or standard, as text", isinstance(getattr(thing, "source", None), str)),
            "severity": (
                "a Severity, such as Severity.WARNING",
                isinstance(getattr(thing, "severity", None), Severity),
            ),
        }
    if kind == "defence":
        wanted["gradient"] = (f"one of {', '.join(GRADIENTS)}", getattr(thing, "gradient", None) in GRADIENTS)
    for attribute, (description, good) in wanted.items():
        if not good:
            given = getattr(thing, attribute, None)
            return f"{own} should have a class attribute `{attribute}`, {description}; it is {given!r}."
    return None
