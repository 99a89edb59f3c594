"""A comparison in five forms: text for the terminal, markdown for a pull request, a page, and json and csv for scripts.

All of them in milliseconds; the same numbers in each.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from auditor.comparison import Comparison, Contrast, Distances
from auditor.paired import Change

from .comparison_text import text
from .comparison_view import view
from .tables import cell

COLUMNS = (
    *("baseline", "other", "scope", "label", "name", "rate", "n", "both", "only_baseline", "only_other", "neither"),
    *("baseline_rate", "other_rate", "difference", "low", "high", "p", "p_holm"),
    *("baseline_distance", "other_distance", "not_looked", "beyond"),
)


def render(comparison: Comparison, form: str) -> str:
    """The comparison as `text`, `markdown`, `html`, `csv` or `json`. Raises KeyError for another form."""
    return FORMS[form](comparison)


def _json(comparison: Comparison) -> str:
    return msgspec.json.format(msgspec.json.encode(comparison), indent=2).decode() + "\n"


def _text(comparison: Comparison) -> str:
    return text(view(comparison))


def _markdown(comparison: Comparison) -> str:
    from .comparison_markdown import markdown

    return markdown(view(comparison))


def _csv(comparison: Comparison) -> str:
    """A line for each rate, of all samples and of each class, and one for distances, in the threat's norm; rates are
    fractions, and cells are empty for what is not there."""
    sheet = io.StringIO(newline="")
    writer = csv.DictWriter(sheet, COLUMNS)
    writer.writeheader()
    for found in comparison.contrasts:
        for line in _lines(found):
            writer.writerow({key: cell(value) for key, value in line.items()})
    return sheet.getvalue()


def _lines(found: Contrast) -> Iterator[dict[str, Any]]:
    whole = [("robust", found.robust), ("clean", found.clean), ("certified", found.certified)]
    head = {"baseline": found.baseline, "other": found.other}
    for rate, one in whole:
        if one is not None:
            yield head | {"scope": "all", "rate": rate} | _numbers(one)
    if found.distances is not None:
        yield head | {"scope": "all", "rate": "distance"} | _far(found.distances)
    for row in found.classes:
        own = head | {"scope": "class", "label": row.label, "name": row.name}
        yield own | {"rate": "robust"} | _numbers(row.robust)
        yield own | {"rate": "clean"} | _numbers(row.clean)


def _numbers(one: Change) -> dict[str, Any]:
    told = msgspec.structs.asdict(one)
    low, high = told.pop("interval") or (None, None)
    return told | {"baseline_rate": told.pop("baseline"), "other_rate": told.pop("other"), "low": low, "high": high}


def _far(one: Distances) -> dict[str, Any]:
    told = msgspec.structs.asdict(one)
    low, high = told.pop("interval") or (None, None)
    del told["norm"]
    told |= {"baseline_distance": told.pop("baseline"), "other_distance": told.pop("other"), "low": low, "high": high}
    return told | {"beyond": "; ".join(f"{name}: {word}" for name, word in one.beyond.items())}


def _html(comparison: Comparison) -> str:
    from .html import environment, policy, stylesheet

    template, style = environment().get_template("comparison.html"), stylesheet()
    return template.render(page=view(comparison), style=style, policy=policy(style))


FORMS: dict[str, Callable[[Comparison], str]] = {
    "text": _text,
    "markdown": _markdown,
    "html": _html,
    "json": _json,
    "csv": _csv,
}
FILENAMES = {form: f"comparison.{'md' if form == 'markdown' else form}" for form in FORMS if form != "text"}
