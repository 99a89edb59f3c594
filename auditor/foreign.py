"""Words from elsewhere: names of classes, files and plugins, reasons, explanations. They stay text, and stay visible.

One list of what is hidden for the terminal and every report. Loads nothing.
"""

from __future__ import annotations

import re

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufff9-\ufffb\ud800-\udfff\ufffe\uffff"
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Control characters, marks of direction, unpaired surrogates, and whatever Unicode draws as nothing
(Default_Ignorable_Code_Point): they can't be shown, change what is, or let two names look the same."""
BREAKS = re.compile(r"[\t\n\r\u2028\u2029]")
BRACKETED = re.compile(r"##(?=\w*\[)")
"""How `##[error]`, `##vso[…]` and `##teamcity[…]` begin, which servers obey anywhere in a line."""
LEADING = re.compile(r"^(\s*):(?=:)", re.MULTILINE)
"""How a workflow command of GitHub begins, which it obeys at the beginning of a line."""


def spell(text: str) -> str:
    """The text with every hidden character spelt out as `\\uXXXX`, so that it can be encoded and can't deceive."""
    return HIDDEN.sub(lambda match: _escape(ord(match[0])), text)


def one_line(text: str) -> str:
    """The text in one line, every hidden character spelt out; line breaks and tabs are spaces, and no two in a row."""
    return " ".join(spell(BREAKS.sub(" ", text)).split())


def unbracketed(text: str) -> str:
    """The text without the commands that a build server obeys anywhere in a line: `##[` is `## [`."""
    return BRACKETED.sub("## ", text)


def unobeyed(text: str) -> str:
    """The text, its own line breaks kept, with nothing that a build server obeys: `::error::` is `: :error::`."""
    return LEADING.sub(r"\1: ", unbracketed(text))


def harmless(text: str) -> str:
    """The text in one line that can be printed anywhere: nothing hidden, nothing that a terminal or a server obeys."""
    return unobeyed(one_line(text))


def harmless_json(text: str) -> str:
    """The same for JSON, which means what it meant: hidden characters and the beginnings of commands are escaped."""
    return BRACKETED.sub(r"#\\u0023", HIDDEN.sub(lambda match: _utf16(ord(match[0])), text))


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _utf16(code: int) -> str:
    """As JSON escapes it: beyond the first plane as a pair of surrogates."""
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
