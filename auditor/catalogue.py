"""The page of operators that a twin can be built from: `python -m auditor.catalogue > docs/operators.md`."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from textwrap import wrap

import onnx

from auditor.hookspecs import PROJECT
from auditor.host import Host
from auditor.operators import Operator, Operators, Surrogate

WIDTH = 120
DOMAINS = {"": "ai.onnx: the default domain", "ai.onnx.ml": "ai.onnx.ml: classical models"}
"""Headings of the domains that ONNX itself defines, in this order before all others."""
SOMETIMES = "a stand-in, in some variants"
"""What is said of a surrogate that depends on the node and does not say how."""

HEAD = """# Operators of the twin

White-box attacks climb the gradients of the *twin*, a differentiable copy that is built from the file node by
node. This page lists the operators that it can be built from; `python -m auditor.catalogue > docs/operators.md`
writes it. `advaudit plugins operators` prints the same for an installation, with what its plugins add, and
`advaudit doctor MODEL` says which of them a file needs and which are lacking.

**Opset** is the first from which an operator is supported; a further number is a later definition that the twin
tells from the one before. **Gradient** is empty where the backward pass is the operator's own derivative.
Elsewhere it names the *surrogate*, the stand-in that attacks follow because the derivative is zero almost
everywhere or does not exist. The forward pass is always the operator itself, and every surrogate that a scan used
is listed in its report.

A variant that is not covered (an attribute, a type, a rank) is refused with a sentence that names the node; no
operator returns a value that is silently wrong.
"""

TAIL = """## What is not here

A file with an operator that is lacking is audited gradient-free, and the report says which one it was. A plugin
supplies it with [`register_operators`](plugins.md#register_operatorsoperators): a function of torch functions, or
a later definition of an operator that is listed here, from an opset of its own on.
"""


@dataclass(frozen=True)
class Family:
    """The operators that one plugin registers. title, text: the first clause of its docstring, and the rest."""

    title: str
    text: str
    operators: Operators


def page(host: Host) -> str:
    """The whole page for the operators of this host, as Markdown."""
    families = sorted(_families(host), key=lambda family: family.title.casefold())
    found = {domain for family in families for domain, _ in family.operators.table} - {PROJECT}  # no file has that
    domains = [*(domain for domain in DOMAINS if domain in found), *sorted(found - set(DOMAINS))]
    everything = host.operators or Operators()
    lines = [HEAD]
    for domain in domains:
        lines += _domain(domain, families, everything)
    lines += [*_expanded(set(everything.table)), TAIL]
    return "\n".join(lines)


def _families(host: Host) -> Iterator[Family]:
    """Each plugin's operators in a registry of their own."""
    for implementation in host.manager.hook.register_operators.get_hookimpls():
        operators = Operators()
        with contextlib.suppress(Exception):  # the host has named this plugin with its error
            implementation.function(operators=operators)
        doc = " ".join((inspect.getdoc(implementation.plugin) or implementation.plugin_name).split())
        ends = [place for mark in (". ", ": ") if (place := doc.find(mark)) >= 0]
        title, text = (doc[: min(ends)], doc[min(ends) + 2 :]) if ends else (doc.rstrip("."), "")
        yield Family(title, text[:1].upper() + text[1:], operators)


def _domain(domain: str, families: list[Family], everything: Operators) -> Iterator[str]:
    count = sum(1 for own, _ in everything.table if own == domain)
    yield f"## {DOMAINS.get(domain, domain)}\n"
    yield f"{count} operators.\n"
    for family in families:
        own = sorted((name, entries) for (where, name), entries in family.operators.table.items() if where == domain)
        if not own:
            continue
        yield f"### {family.title}\n"
        if family.text:
            yield from wrap(family.text, WIDTH)
            yield ""
        yield "| Operator | Opset | Gradient |"
        yield "| --- | --- | --- |"
        for name, entries in own:
            yield f"| `{name}` | {_opsets(domain, name, entries, everything)} | {_gradient(entries)} |"
        yield ""


def _opsets(domain: str, name: str, entries: list[Operator], everything: Operators) -> str:
    """Where each entry begins; not before ONNX has the operator, unless the registry itself tells the two apart."""
    defined = _first().get((domain, name), 1)
    begins = [entry.since for entry in everything.table.get((domain, name), entries)]
    first = 1 if min(begins) < defined <= max(begins) else defined
    return ", ".join(str(since) for since in sorted({max(entry.since, first) for entry in entries}))


@cache
def _first() -> dict[tuple[str, str], int]:
    """The opset in which ONNX first had each operator."""
    schemas = onnx.defs.get_all_schemas_with_history()
    return {(s.domain, s.name): s.since_version for s in sorted(schemas, key=lambda s: -s.since_version)}


def _gradient(entries: list[Operator]) -> str:
    return "; ".join(dict.fromkeys(text for entry in entries if (text := _words(entry.surrogate))))


def _words(surrogate: Surrogate) -> str:
    """A surrogate in words: its name, or what the function that decides says of itself."""
    if not callable(surrogate):
        return surrogate or ""
    doc = " ".join((inspect.getdoc(surrogate) or SOMETIMES).split()).rstrip(".")
    return doc[:1].lower() + doc[1:]


def _expanded(known: set[tuple[str, str]]) -> Iterator[str]:
    """What ONNX defines by simpler operators."""
    schemas = [s for s in onnx.defs.get_all_schemas() if s.has_function or s.has_context_dependent_function]
    names = sorted(s.name for s in schemas if not s.deprecated and s.domain == "" and (s.domain, s.name) not in known)
    if not names:
        return
    yield "## Expanded\n"
    listed = ", ".join(f"`{name}`" for name in names)
    yield from wrap(f"ONNX defines these by simpler operators, and the twin is built from those: {listed}.", WIDTH)
    yield ""


if __name__ == "__main__":
    print(page(Host.load(installed=False)), end="")
