"""Words that come from elsewhere: class, file and plugin names, explanations. They stay text, and stay visible."""

from __future__ import annotations

import re

HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control characters, bidirectional overrides and unpaired surrogates: they can't be shown, or change what is."""
NAME = 60
"""Characters that a name may take in a table."""


def clean(text: str) -> str:
    """The text with every hidden character spelt out as `\\uXXXX`, so that it can be encoded and can't deceive."""
    return HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def shorten(text: str, most: int = NAME) -> str:
    """The text in one line, cut to `most` characters with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
