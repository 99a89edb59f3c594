"""Writes reports: asks the named reporters and puts their files where they belong."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from auditor.entry import Entry
from auditor.errors import PluginError, RecordError, UsageError
from auditor.folder import OURS
from auditor.host import Content, Host, Reporter
from auditor.journal import write_whole


def check_formats(host: Host, formats: Iterable[str]) -> None:
    """Raise UsageError for a format that no plugin renders, before anything expensive runs."""
    for name in formats:
        if name not in host.reporters:
            raise UsageError(f"A report format is one of {', '.join(sorted(host.reporters))}, got {name!r}.")


def render(host: Host, entries: list[Entry], formats: Iterable[str], folder: Path) -> list[Path]:
    """Write each format below the folder: a file, or a folder of files where a reporter returns names and contents.

    Returns the path of each. A file is there whole or not at all. Raises PluginError where a reporter fails or names a
    file elsewhere, before any of its files is written, and RecordError where the disk refuses; the record stays whole.
    """
    formats = list(formats)
    check_formats(host, formats)
    paths = []
    for name in formats:
        reporter = host.reporters[name]
        for path, content in _files(host, name, reporter, entries).items():
            _write(folder, path, content)
        paths.append(folder / reporter.filename)
    return paths


def _files(host: Host, name: str, reporter: Reporter, entries: list[Entry]) -> dict[PurePosixPath, bytes]:
    """What a reporter makes of the entries, by its place below the record's folder."""
    top = _below(name, reporter.filename)
    try:
        content = _content(host, reporter, entries)
        if not isinstance(content, Mapping):
            return {top: _bytes(content)}
        return {top / _below(name, inner): _bytes(text) for inner, text in content.items()}
    except (PluginError, RecordError):
        raise
    except (Exception, SystemExit) as error:  # a plugin must not end the scan, by exit() either
        raise PluginError(
            f"The report format {name} failed ({type(error).__name__}: {error}); the record is complete, "
            "`advaudit report` can render it again."
        ) from error


def _content(host: Host, reporter: Reporter, entries: list[Entry]) -> Content:
    """The rendering, with the plugins' sections in it where the reporter takes them."""
    if "sections" in inspect.signature(reporter.render).parameters:
        return reporter.render(entries, sections=tuple(host.sections.values()))
    return reporter.render(entries)


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else bytes(memoryview(content))


def _below(name: str, path: str) -> PurePosixPath:
    """A relative path that stays below where it begins, on any system, and is none of the record's own."""
    posix, windows = PurePosixPath(str(path)), PureWindowsPath(str(path))
    elsewhere = not posix.parts or posix.is_absolute() or windows.anchor or ".." in windows.parts
    if not isinstance(path, str) or elsewhere or posix.parts[0] in OURS:
        raise PluginError(
            f"The report format {name} should name a file below the record's folder that is none of the record's own, "
            f"got {path!r}; the record is complete."
        )
    return posix


def _write(folder: Path, path: PurePosixPath, content: bytes) -> None:
    target = folder / path
    try:
        # a link inside a record that came from elsewhere must not lead our files out of it
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise RecordError(f"{target.parent} is a link that leads out of {folder}; take it away.")
        write_whole(target, content)
    except OSError as error:
        raise RecordError(f"{target} can't be written ({error.strerror or error}).") from error
