"""Sections of other people: each builds its own mapping and has a template of its own, beside ours and never over them.

One that fails, or tries to end the program, is named in a sentence, and costs nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import msgspec
from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from markupsafe import Markup

from auditor.entry import Entry
from auditor.errors import printable
from auditor.record import Record
from auditor.section import Section

from .text import shorten

DELIMITER = ":"
"""Between a section's name and the name of its template."""
COPIED = ("audit",)
"""What of the context holds data, of which each section has its own."""
LONGEST = 400
"""Characters of a line on stderr."""


@dataclass(frozen=True, kw_only=True)
class Added:
    """A section as it is shown. fault: in place of its body, why there is none."""

    id: str
    title: str
    body: Markup
    fault: str


def loader(ours: BaseLoader, sections: Sequence[Section]) -> BaseLoader:
    """Finds our templates, and those of each section behind its name: `NAME:template.html`."""
    theirs = {section.name: FileSystemLoader(section.templates) for section in sections}
    return ChoiceLoader([ours, PrefixLoader(theirs, delimiter=DELIMITER)])


def added(
    entry: Entry, key: str, sections: Sequence[Section], environment: Environment, context: dict[str, Any]
) -> list[Added]:
    """The sections that have something to show of this record. key: prefix of anchors; context: what templates see.

    Each has a copy of the record and of what the page shows of it, so that none can change what others are rendered
    from. What it prints goes to stderr, for stdout may be read by a machine.
    """
    shown = []
    encoded = msgspec.json.encode(entry.record) if sections else b""
    for section in sections:
        body, fault = Markup(""), ""
        try:
            with redirect_stdout(sys.stderr):
                built = section.build(Entry(msgspec.json.decode(encoded, type=Record), entry.folder))
                if built is None:
                    continue
                template = environment.get_template(f"{section.name}{DELIMITER}{section.template}")
                own = context | {name: deepcopy(context[name]) for name in COPIED if name in context}
                body = Markup(template.render(section=dict(built), **own))
        except (Exception, SystemExit) as error:  # whatever a stranger's code raises, report and exit code stand
            fault = _fault(section, error)
        shown.append(Added(id=f"{key}-section-{section.name}", title=section.title, body=body, fault=fault))
    return shown


def _fault(section: Section, error: BaseException) -> str:
    """What the page says of it. The message may hold what is not for the page's readers: it goes to stderr alone."""
    what = f"The section {section.name} of a plugin could not be made"
    kind = type(error).__name__
    try:
        said = str(error).strip().splitlines()
    except Exception:  # an error's own text can fail too
        said = []
    print(printable(shorten(f"{what} ({': '.join([kind, *said[:1]])}).", LONGEST)), file=sys.stderr, flush=True)
    return f"{what} ({shorten(kind)}); what it said is on stderr."
