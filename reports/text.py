"""Words that come from elsewhere: class, file and plugin names, explanations. They stay text, and stay visible."""

from __future__ import annotations

import re

from auditor.foreign import spell

from .numbers import JOINER

INTERVAL = re.compile(f"(?<=[0-9]){JOINER}–{JOINER}(?=[0-9])")
"""How our own pages write `37–46` that keeps to one line; anywhere else what joins is hidden like the rest."""
NAME = 60
"""Characters that a name may take in a table."""


def clean(text: str) -> str:
    """The text with every hidden character spelt out (`auditor.foreign.spell`), except within our own intervals."""
    return f"{JOINER}–{JOINER}".join(map(spell, INTERVAL.split(text)))


def shorten(text: str, most: int = NAME) -> str:
    """The text in one line, cut to `most` characters with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
