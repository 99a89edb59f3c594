"""Everything that can stop an audit, as one tree; each class carries the exit code that the command line returns.

    AdvauditError                  2
    ├── UsageError                 2   the command line, audit.toml or an option's value
    ├── SamplesError               2   the data: missing, malformed, mislabelled
    ├── ModelError                 2   the file under audit can't be loaded or run
    │   ├── UnsupportedOperator    -   no gradients: the audit goes on gradient-free
    │   ├── NotRun                 -   only the file without optimisations can't be run: a diagnosis says so
    │   └── TargetUnavailable      -   the target was lost while running: its rows become `error`
    ├── OutOfMemory                -   the search goes on with half as many rows side by side
    ├── PluginError                2   a plugin breaks its contract
    ├── RecordError                2   a record that can't be read, or belongs to another plan
    ├── SelfContradiction          2   certified and broken at once: a bug in the tool, never a result
    └── Interrupted              130   stopped on request; the record can be resumed

A message is one sentence in three parts: what was expected, what came, what to do.
"""

from __future__ import annotations

from typing import ClassVar

from auditor.foreign import unobeyed


def first_line(error: Exception) -> str:
    """What an error says first; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def printable(text: str, kept: str = "") -> str:
    """The text without what a terminal obeys: escapes, controls, marks of direction. kept: those that stay."""
    return "".join(c if c.isprintable() or c in kept else "\N{REPLACEMENT CHARACTER}" for c in text)


class AdvauditError(Exception):
    """An audit could not be run as asked.

    As text it holds nothing that a terminal or a build server obeys, since it may quote a file that nobody vouches for.
    """

    exit_code: ClassVar[int] = 2

    def __str__(self) -> str:
        return unobeyed(printable(super().__str__(), "\n"))


class UsageError(AdvauditError):
    """An option, an argument or a key of audit.toml can't be used."""


class SamplesError(AdvauditError):
    """The samples can't be read, or don't fit the model."""


class ModelError(AdvauditError):
    """The model file can't be loaded or run."""


class UnsupportedOperator(ModelError):
    """The file runs, but the differentiable twin lacks one of its operators."""


class NotRun(ModelError):
    """Without optimisations the runtime crashes on the file, or takes too long or too much."""


class TargetUnavailable(ModelError):
    """The target stopped answering."""


class OutOfMemory(AdvauditError):
    """So many rows side by side do not fit into memory; fewer may."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, whoever raised it: Python, torch on any device, or the runtime."""
    told = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate memory")
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in told)


class PluginError(AdvauditError):
    """A plugin breaks its contract; the message names it."""


class RecordError(AdvauditError):
    """A record can't be read, is torn, or belongs to another plan."""


class SelfContradiction(AdvauditError):
    """A sample was certified and broken at once: the tool is wrong, and says so instead of reporting."""


class Interrupted(AdvauditError):
    """The audit was stopped; `--resume` goes on from the journal."""

    exit_code: ClassVar[int] = 130
