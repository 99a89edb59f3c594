"""What classes are called."""

from __future__ import annotations

from collections.abc import Callable

from auditor.metrics import class_name
from auditor.record import Record

from .text import NAME, shorten


def naming(record: Record, most: int = NAME) -> Callable[[int], str]:
    """What a record calls its labels: their names, cut to `most` characters, or their numbers."""
    names = record.names
    return lambda label: shorten(class_name(label, names), most)


def in_words(name: str) -> str:
    """The name in a sentence; a bare number says that it is a class."""
    return f"class {name}" if name.isdecimal() else name


def first(name: str) -> str:
    """The name as a sentence begins with it: as it is written, for it is a name."""
    return f"Class {name}" if name.isdecimal() else name


def capital(text: str) -> str:
    """The text with its first letter raised, as a sentence begins."""
    return text[:1].upper() + text[1:]
