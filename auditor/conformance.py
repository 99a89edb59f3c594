"""`advaudit plugins check MODULE`: is this plugin well formed, documented, and right where the answer is known?"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from auditor import hookspecs
from auditor.errors import AdvauditError, PluginError
from auditor.host import Host, import_file
from auditor.listing import sentence

HOOKS = tuple(name for name in vars(hookspecs) if name.startswith(("register_", "load_")))
LENIENT = 1.1
"""Times the true distance at which a sound but coarse attack has to break everything."""


@dataclass(frozen=True)
class Line:
    """One thing that was looked at, in words, and whether it is as it should be."""

    text: str
    ok: bool = True


def check_module(module: str) -> Iterator[Line]:
    """Load a module (an import path or a .py file) as the host would, and check all that it registers.

    Yields a line as soon as it is known; playing attacks takes seconds each. Raises nothing for a bad plugin.
    """
    try:
        plugin = _imported(module)
        host = Host.load(bundled=(), installed=False, extra=(plugin,))
    except (Exception, SystemExit) as error:
        yield Line(f"FAIL  {module}: {_sentence(error)}", ok=False)
        return
    yield Line(f"ok    {module} can be imported, and its hooks exist")
    for plug in host.errors:
        yield Line(f"FAIL  {plug.error}", ok=False)
    yield from _hooks(plugin, host)
    taken = Host.load(installed=False)
    yield from _each("attack", host.attacks, taken.attacks, _play_attack)
    yield from _each("check", host.checks, taken.checks, _try_check)
    yield from _each("certifier", host.certifiers, taken.certifiers, _try_certifier)
    yield from _each("defence", host.defenses, taken.defenses, _try_defense)


def _imported(module: str) -> ModuleType:
    if module.endswith(".py"):
        path = Path(module)
        if not path.is_file():
            raise PluginError(f"There is no file {module}; give a .py file or an import path.")
        return import_file(path)
    here = str(Path.cwd())
    if here not in sys.path:  # a plugin that is being written is often not installed yet
        sys.path.insert(0, here)
    return import_module(module)


def _hooks(plugin: ModuleType, host: Host) -> Iterator[Line]:
    """Hooks that are there by name but not marked, and plugins that bring nothing."""
    marked = [name for name in HOOKS if hasattr(getattr(plugin, name, None), f"{hookspecs.PROJECT}_impl")]
    for name in sorted(set(dir(plugin)) - set(marked)):
        function = getattr(plugin, name, None)
        looks = re.fullmatch(r"(register|load)_\w+", name) and getattr(function, "__module__", "") == plugin.__name__
        if looks and name in HOOKS:
            yield Line(f"FAIL  {name} is not marked with @hookimpl, so nobody calls it", ok=False)
        elif looks and callable(function):
            yield Line(f"note  {name} looks like a hook and is none; the hooks are {', '.join(HOOKS)}")
    if not marked:
        yield Line("FAIL  it implements no hook, so it brings nothing", ok=False)
        return
    classes = [*host.attacks, *host.checks, *host.certifiers, *host.defenses]
    brought = len(classes) + len(host.reporters) + len(host.sections)
    brought += len(host.operators.table if host.operators else ())
    loaders = [name for name in marked if name.startswith("load_")]
    if not brought and not loaders and not host.errors:
        yield Line(f"FAIL  {', '.join(marked)} registers nothing", ok=False)


def _each(
    kind: str, found: dict[str, Any], taken: dict[str, Any], play: Callable[[Any], Iterator[Line]]
) -> Iterator[Line]:
    """The lines of every class of one kind, each behind its name."""
    for name, thing in found.items():
        if name in taken and taken[name] is not thing:
            yield Line(f"FAIL  {kind} {name}: the name is taken by one of advaudit's own; choose another", ok=False)
        for line in (*_told(thing), *_options(kind, thing)):
            yield _behind(line, f"{kind} {name}")
        try:
            made = thing()
        except Exception as error:
            text = f"FAIL  {kind} {name}: it can't be made with its defaults: {_sentence(error)}"
            yield Line(text, ok=False)
            continue
        for line in play(made):
            yield _behind(line, f"{kind} {name}")


def _told(thing: Any) -> Iterator[Line]:
    """Whether the docstring says what it is, when to choose it and what it costs."""
    text = (thing.__doc__ or "") if sentence(thing) else ""
    if not text:
        yield Line("FAIL  it has no docstring; say what it does, when to choose it and what it costs", ok=False)
        return
    words = text.lower()
    unsaid = []
    if hasattr(thing, "access"):
        if len([part for part in re.split(r"\.\s", text) if part.strip()]) < 2:
            unsaid.append("when to choose it")
        if "cost" not in words:
            unsaid.append("what it costs")
    undescribed = [f.name for f in dataclasses.fields(thing) if f.name != "steps" and f.name not in words]
    if undescribed:
        unsaid.append(f"what {', '.join(undescribed)} {'is' if len(undescribed) == 1 else 'are'}")
    yield Line(
        f"note  its docstring does not say {', nor '.join(unsaid)}" if unsaid else "ok    its docstring is complete"
    )


def _options(kind: str, thing: Any) -> Iterator[Line]:
    """Whether a user can set every option: an attack's by text (`--attack name:option=value`), others as values."""
    import msgspec

    fields = dataclasses.fields(thing)
    bad = [f"{field.name} has no default" for field in fields if field.default is dataclasses.MISSING]
    for field in () if bad else fields:
        value = str(field.default) if kind == "attack" else field.default
        try:
            msgspec.convert({field.name: value}, thing, strict=kind != "attack")
        except Exception as error:
            bad.append(f"{field.name}={value}: {_sentence(error)}")
    if bad:
        yield Line(f"FAIL  options that can't be given: {'; '.join(bad)}", ok=False)
    elif fields:
        yield Line(f"ok    options {', '.join(field.name for field in fields)}")


def _play_attack(attack: Any) -> Iterator[Line]:
    """Sound on linear models; strong there too, which a random attack may fall short of."""
    from auditor.access import Access
    from auditor.testing import check_attack

    norms = " ".join(sorted(attack.norms))
    if fault := _failure(lambda: check_attack(attack, must_break=False)):
        yield Line(f"FAIL  {fault.removeprefix(f'{attack.name} ')}", ok=False)
        return
    yield Line(f"ok    {attack.access} access; sound on linear models ({norms}): in the threat model, repeatable")
    coarse = (_failure(lambda: check_attack(attack)) or "").removeprefix(f"{attack.name} ")
    if not coarse:
        yield Line("ok    it breaks everything 1 % above the true distance")
    elif _failure(lambda: check_attack(attack, above=LENIENT)) is None:
        yield Line(f"ok    it breaks everything at {LENIENT:g} times the true distance, not at 1.01")
    elif attack.access is Access.GRADIENT:
        yield Line(f"FAIL  {coarse}; on two classes a gradient leads straight to the boundary", ok=False)
    else:
        yield Line(f"note  {coarse}: as may be, where it draws at random")


def _try_check(check: Any) -> Iterator[Line]:
    from auditor.testing import check_check

    yield _verdict(lambda: check_check(check), "it answers with and without a twin and attacks, twice the same")


def _try_certifier(certifier: Any) -> Iterator[Line]:
    from auditor.testing import check_certifier

    yield _verdict(lambda: check_certifier(certifier), "sound on linear models: nothing certified that can be broken")


def _try_defense(defense: Any) -> Iterator[Line]:
    from auditor.testing import check_defense

    yield _verdict(lambda: check_defense(defense), f"transform and relaxed agree; its gradient is {defense.gradient}")


def _verdict(call: Callable[[], None], praise: str) -> Line:
    fault = _failure(call)
    return Line(f"FAIL  {fault}", ok=False) if fault else Line(f"ok    {praise}")


def _failure(call: Callable[[], None]) -> str | None:
    """What a check says against a plugin, as a sentence; None where it says nothing."""
    try:
        call()
    except AssertionError as error:
        return str(error)
    except (Exception, SystemExit) as error:
        return _sentence(error)
    return None


def _behind(line: Line, name: str) -> Line:
    return Line(f"{line.text[:6]}{name}: {line.text[6:]}", line.ok)


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, AdvauditError) else f"{type(error).__name__}: {text}"
