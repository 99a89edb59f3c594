"""The plugin API: everything a plugin may import, and nothing else is promised.

`API` counts its breaking changes: names may be added under the same number, anything else raises it. Nothing is loaded
before it is asked for, so that `import auditor` is instant and the command line starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditor.access import Access, OutputKind
    from auditor.attack import Attack, LibraryAttack, Query, Reply, Rows, choose, take
    from auditor.certify import Certificates, Certifier
    from auditor.check import Check, Evidence
    from auditor.defense import Defense
    from auditor.draws import Draws
    from auditor.entry import Entry, read_record
    from auditor.errors import (
        AdvauditError,
        ModelError,
        PluginError,
        RecordError,
        SamplesError,
        TargetUnavailable,
        UnsupportedOperator,
        UsageError,
    )
    from auditor.hookspecs import Register, hookimpl
    from auditor.lab import Lab
    from auditor.operators import Node, Operators, straight_through
    from auditor.preprocess import Preprocess
    from auditor.problem import Problem
    from auditor.record import Finding, FindingStatus, Record, Severity
    from auditor.samples import Samples, SamplesOptions
    from auditor.target import Target, TargetOptions
    from auditor.threat import Goal, Norm, Region, ThreatModel
    from auditor.twin import Twin

API = 1

__all__ = [
    "API",
    "Access",
    "AdvauditError",
    "Attack",
    "Certificates",
    "Certifier",
    "Check",
    "Defense",
    "Draws",
    "Entry",
    "Evidence",
    "Finding",
    "FindingStatus",
    "Goal",
    "Lab",
    "LibraryAttack",
    "ModelError",
    "Node",
    "Norm",
    "Operators",
    "OutputKind",
    "PluginError",
    "Preprocess",
    "Problem",
    "Query",
    "Record",
    "RecordError",
    "Region",
    "Register",
    "Reply",
    "Rows",
    "Samples",
    "SamplesError",
    "SamplesOptions",
    "Severity",
    "Target",
    "TargetOptions",
    "TargetUnavailable",
    "ThreatModel",
    "Twin",
    "UnsupportedOperator",
    "UsageError",
    "choose",
    "hookimpl",
    "read_record",
    "straight_through",
    "take",
]

HOMES = {
    "access": ("Access", "OutputKind"),
    "attack": ("Attack", "LibraryAttack", "Query", "Reply", "Rows", "choose", "take"),
    "certify": ("Certificates", "Certifier"),
    "check": ("Check", "Evidence"),
    "defense": ("Defense",),
    "draws": ("Draws",),
    "errors": (
        "AdvauditError",
        "ModelError",
        "PluginError",
        "RecordError",
        "SamplesError",
        "TargetUnavailable",
        "UnsupportedOperator",
        "UsageError",
    ),
    "hookspecs": ("Register", "hookimpl"),
    "lab": ("Lab",),
    "operators": ("Node", "Operators", "straight_through"),
    "preprocess": ("Preprocess",),
    "problem": ("Problem",),
    "entry": ("Entry", "read_record"),
    "record": ("Finding", "FindingStatus", "Record", "Severity"),
    "samples": ("Samples", "SamplesOptions"),
    "target": ("Target", "TargetOptions"),
    "threat": ("Goal", "Norm", "Region", "ThreatModel"),
    "twin": ("Twin",),
}
"""The module that each name lives in."""


def __getattr__(name: str) -> Any:
    for home, names in HOMES.items():
        if name in names:
            value = getattr(import_module(f"auditor.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'auditor' has no attribute {name!r}; the plugin API is {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
