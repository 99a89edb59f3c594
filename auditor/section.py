"""A section that a plugin adds to the HTML report: data, for auditor never imports a report format.

The contract. `register_sections` (auditor/hookspecs.py) fills `host.sections`, name to Section.
`auditor.rendering.render` hands `tuple(host.sections.values())`, in the order of registration, to every reporter whose
render function takes a parameter `sections`:

    def render(entries: list[Entry], *, sections: Sequence[Section] = ()) -> str

A reporter without it is called as before, and knows no sections. For each section the HTML report calls `build(entry)`
once a record; None means that there is nothing to show, and the section is left out. Anything else maps names to
values: `template`, found in the directory `templates`, is rendered with them as `section`, escaped as the report's own
templates are, under the heading `title`, in an element whose id ends in `-section-<name>`. A section that raises is
named there with its error, and the rest of the page stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.entry import Entry

NAME = re.compile(r"[a-z][a-z0-9-]*")
Build = Callable[[Entry], Mapping[str, Any] | None]


@dataclass(frozen=True, eq=False)
class Section:
    """name: of the section, unique, fit for an id in HTML. title: its heading. templates: a directory; template: a file
    in it. build: what the template shows of a record; None where it shows nothing."""

    name: str
    title: str
    templates: Path
    template: str
    build: Build


def fault(section: Section) -> str | None:
    """Why this section can't be registered, in a sentence to its author; None where it can."""
    name: Any = section.name
    title: Any = section.title
    templates: Any = section.templates
    template: Any = section.template
    build: Any = section.build
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"A section's name is of small letters, digits and `-`, as an id in HTML is; got {name!r}."
    if not isinstance(title, str) or not title.strip():
        return f"The section {name} takes its heading as `title`, in words; got {title!r}."
    if not isinstance(templates, Path) or not templates.is_absolute() or not templates.is_dir():
        return (
            f"The section {name} takes `templates`, the absolute Path of a directory, such as "
            f'Path(__file__).parent / "templates"; {templates!r} is none.'
        )
    inside = isinstance(template, str) and (templates / template).resolve().is_relative_to(templates.resolve())
    if not inside or not (templates / template).is_file():
        return f"The section {name} takes `template`, a file in {templates}; {template!r} is none."
    if not callable(build):
        return f"The section {name} takes `build`, a function of an Entry; got {build!r}."
    return None
