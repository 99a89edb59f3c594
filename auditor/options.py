"""The options of a scan for whoever has no command line: those of `advaudit scan`, with its defaults and its checks."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import click

from auditor.cli import scan as command
from auditor.errors import UsageError

ELSEWHERE = ("progress", "plugins_dir")
"""Options of the command that are not of the scan itself."""


def scan_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of `advaudit scan`, by the names of its parameters: as given, else as the command has it.

    None is as good as not given. Raises UsageError for one that the command hasn't or that it would refuse.
    """
    with command.make_context("scan", ["model"], resilient_parsing=False) as context:
        options = {name: value for name, value in context.params.items() if name not in (*ELSEWHERE, "model")}
        known = _parameters()
        for name, value in given.items():
            if name not in options:
                raise UsageError(f"A scan's options are {', '.join(options)}; it has none called {name!r}.")
            try:
                options[name] = known[name].process_value(context, value)
            except click.BadParameter as error:
                raise UsageError(f"A scan's {name}: {error.message.rstrip('.')}.") from error
            except TypeError as error:
                raise UsageError(f"A scan's {name} can't be {value!r}.") from error
    return options


def scan_command(model: str, given: Mapping[str, Any]) -> str:
    """The command line that scans as these options do."""
    words = ["advaudit", "scan", model]
    known = _parameters()
    for name, value in given.items():
        if value is None or name not in known:
            continue
        option = known[name]
        if isinstance(value, bool):
            words += (option.opts if value else option.secondary_opts)[:1]
        elif option.multiple:
            words += [word for one in value for word in (option.opts[0], str(one))]
        else:
            words += [option.opts[0], *map(str, value if option.nargs > 1 else [value])]
    return shlex.join(words)


def _parameters() -> dict[str, click.Option]:
    return {option.name or "": option for option in command.params if isinstance(option, click.Option)}
