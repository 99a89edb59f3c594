"""Writes reports: asks the named reporters and puts their files where they belong."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from auditor.errors import PluginError, RecordError, UsageError
from auditor.host import Host
from auditor.journal import write_whole
from auditor.record import Entry


def check_formats(host: Host, formats: Iterable[str]) -> None:
    """Raise UsageError for a format that no plugin renders, before anything expensive runs."""
    for name in formats:
        if name not in host.reporters:
            raise UsageError(f"A report format is one of {', '.join(sorted(host.reporters))}, got {name!r}.")


def render(host: Host, entries: list[Entry], formats: Iterable[str], folder: Path) -> list[Path]:
    """Write each format's file into the folder. Raises PluginError where a reporter fails, the record stays whole."""
    formats = list(formats)
    check_formats(host, formats)
    paths = []
    for name in formats:
        reporter = host.reporters[name]
        try:
            content = reporter.render(entries)
        except RecordError:
            raise
        except Exception as error:
            raise PluginError(
                f"The report format {name} failed ({type(error).__name__}: {error}); the record is complete, "
                "`advaudit report` can render it again."
            ) from error
        path = folder / reporter.filename
        try:
            write_whole(path, content.encode() if isinstance(content, str) else content)
        except OSError as error:
            raise RecordError(f"{path} can't be written ({error.strerror or error}).") from error
        paths.append(path)
    return paths
