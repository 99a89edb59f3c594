"""The seam. Everything that advaudit can do beyond its flow enters through these hooks, ours like a stranger's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.operators import Operators
    from auditor.samples import Samples, SamplesOptions
    from auditor.section import Build
    from auditor.target import Target, TargetOptions

PROJECT = "advaudit"
Register = Callable[[type[Any]], None]
"""What a `register_*` hook is handed: call it with each class."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_attacks(register: Register) -> None:
    """Call register(AttackClass) for each attack this plugin offers."""


@hookspec
def register_checks(register: Register) -> None:
    """Call register(CheckClass) for each obscurity check: it looks at the outcomes and may raise a finding."""


@hookspec
def register_certifiers(register: Register) -> None:
    """Call register(CertifierClass) for each certifier: it proves that samples can't be broken."""


@hookspec
def register_defenses(register: Register) -> None:
    """Call register(DefenseClass) for each inference-time defence: it wraps the target and its twin."""


@hookspec
def register_operators(operators: Operators) -> None:
    """Call operators.register(op_type, build, ...) for each ONNX operator this plugin makes differentiable."""


@hookspec
def register_reporters(register: Callable[[str, Callable[..., Any], str], Any]) -> None:
    """Call register(name, render, filename) for each report format: render turns entries into a file, or a folder's."""


@hookspec
def register_sections(register: Callable[[str, str, Path, str, Build], Any]) -> None:
    """Call register(name, title, templates, template, build) for each section this plugin adds to the HTML report."""


@hookspec(firstresult=True)
def load_target(ref: str, options: TargetOptions) -> Target | None:
    """Return a Target for this reference, or None to let another plugin try."""


@hookspec(firstresult=True)
def load_samples(ref: str, options: SamplesOptions) -> Samples | None:
    """Return Samples for this reference, or None to let another plugin try."""
