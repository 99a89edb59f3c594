"""Sections of other people: each builds its own mapping and has a template of its own, beside ours and never over them.

One that fails is named in a sentence, and costs nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from markupsafe import Markup

from auditor.entry import Entry
from auditor.section import Section

from .text import shorten

DELIMITER = ":"
"""Between a section's name and the name of its template."""


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
    """The sections that have something to show of this record. key: prefix of anchors; context: what templates see."""
    shown = []
    for section in sections:
        body, fault = Markup(""), ""
        try:
            built = section.build(entry)
            if built is None:
                continue
            template = environment.get_template(f"{section.name}{DELIMITER}{section.template}")
            body = Markup(template.render(section=dict(built), **context))
        except Exception as error:  # whatever a stranger's code raises, the report stands
            why = shorten(f"{type(error).__name__}: {error}", 300)
            fault = f"The section {section.name} of a plugin could not be made ({why})."
        shown.append(Added(id=f"{key}-section-{section.name}", title=section.title, body=body, fault=fault))
    return shown
