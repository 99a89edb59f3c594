"""One self-contained HTML page: no script, no request, its own content policy. For reading, mailing and archiving.

Costs well under a second beyond its pictures, and at most 3 MB.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined
from markupsafe import Markup, escape

from auditor.entry import Entry
from auditor.hookspecs import hookimpl
from auditor.section import Section

from .page import build
from .sections import added, loader
from .text import clean

FILENAME = "report.html"
CODE = re.compile(r"`([^`]+)`")


def render(entries: list[Entry], *, sections: Sequence[Section] = ()) -> str:
    """The page of these records: one audit, or a table over several and then each. sections: of plugins."""
    style, page, made = stylesheet(), build(entries), environment(tuple(sections))
    parts = made.get_template("parts.html").module
    level = 2 if len(page.audits) != 1 else 1
    more = {
        audit.key: added(entry, audit.key, sections, made, {"audit": audit, "parts": parts, "level": level + 2})
        for entry, audit in zip(entries, page.audits, strict=True)
    }
    return made.get_template("page.html").render(page=page, added=more, level=level, style=style, policy=policy(style))


def policy(style: str) -> str:
    """The page's own content policy: pictures inside it, this one style sheet, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def stylesheet() -> Markup:
    """The style sheet as it stands in the page, byte for byte."""
    return Markup((files("auditor.reports.templates") / "page.css").read_text(encoding="utf-8"))


@lru_cache(maxsize=8)
def environment(sections: tuple[Section, ...] = ()) -> Environment:
    """Templates that escape everything, and refuse whatever a context did not turn into words."""
    made = Environment(
        loader=loader(PackageLoader("auditor.reports", "templates"), sections),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["marked"] = marked
    return made


def marked(text: str) -> Markup:
    """Text, escaped, with what stands between backticks set as code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(clean(text)))))


def _printable(value: Any) -> Any:
    if isinstance(value, (Markup, Undefined)):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"a template prints words and whole numbers, got {value!r}")


@hookimpl
def register_reporters(register: Any) -> None:
    register("html", render, FILENAME)
