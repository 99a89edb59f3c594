"""The plugin host: loads bundled, installed and local plugins through one door, and checks their contracts."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from auditor import hookspecs
from auditor.errors import AdvauditError, PluginError
from auditor.record import Plugin
from auditor.registration import fault
from auditor.section import Section
from auditor.section import fault as section_fault

if TYPE_CHECKING:
    from auditor.attack import AnyAttack
    from auditor.certify import Certifier
    from auditor.check import Check
    from auditor.defense import Defense
    from auditor.operators import Operators
    from auditor.samples import Samples, SamplesOptions
    from auditor.target import Target, TargetOptions

GROUP = "advaudit"
REPORTERS = tuple(
    f"auditor.reports.{name}"
    for name in ("html", "markdown", "tables", "junit", "sarif", "github", "annotations", "gate_text")
)


def _modules(package: str) -> list[str]:
    """Every module of a package, by its files."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    stems = {path.stem for folder in folders for path in Path(folder).glob("*.py")} - {"__init__"}
    return [f"{package}.{stem}" for stem in sorted(stems)]


BUNDLED = (
    *_modules("auditor.plugins.attacks"),
    *(f"auditor.plugins.targets.{name}" for name in ("onnx_", "torch_")),
    *(f"auditor.plugins.samples.{name}" for name in ("npz", "images", "csv_")),
    *_modules("auditor.plugins.checks"),
    *_modules("auditor.plugins.defenses"),
    "auditor.plugins.certifiers.affine",
    *REPORTERS,
)
OPERATORS = "auditor.plugins.operators"
"""The package whose every module supplies differentiable operators."""

Content = str | bytes | Mapping[str, str | bytes]
Render = Callable[..., Content]


@dataclass(frozen=True)
class Reporter:
    """A report format: how to render entries, and the usual name of the file, or of the folder where it makes many."""

    render: Render
    filename: str


@dataclass
class Host:
    """Everything that plugins brought, by name, and what was loaded (for the record).

    A plugin that can't be imported or raises while registering is listed with its error and the rest goes on; one that
    implements a hook which does not exist stops the start with PluginError, since its author would wait in vain.
    """

    manager: pluggy.PluginManager
    attacks: dict[str, type[AnyAttack]] = field(default_factory=dict)
    checks: dict[str, type[Check]] = field(default_factory=dict)
    certifiers: dict[str, type[Certifier]] = field(default_factory=dict)
    defenses: dict[str, type[Defense]] = field(default_factory=dict)
    reporters: dict[str, Reporter] = field(default_factory=dict)
    sections: dict[str, Section] = field(default_factory=dict)
    plugins: list[Plugin] = field(default_factory=list)
    operators: Operators | None = None

    @classmethod
    def load(
        cls, *, folder: Path | None = None, bundled: Iterable[str] = BUNDLED, installed: bool = True, extra: Any = ()
    ) -> Host:
        """Load plugins: the bundled modules, installed ones (entry points `advaudit`), and every `.py` in `folder`.

        extra: modules or objects with hookimpls, already imported. Raises PluginError for a misspelt hook or a folder
        that is not there.
        """
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        host = cls(manager)
        ours = version("advaudit")
        names = list(bundled)
        if any(name.startswith("auditor.plugins.targets") for name in names):
            names += _modules(OPERATORS)
        for name in names:
            host._admit(name, ours, lambda name=name: importlib.import_module(name))  # type: ignore[misc]
        if installed:
            for point in entry_points(group=GROUP):
                host._admit(point.name, point.dist.version if point.dist else "?", point.load)
        if folder is not None:
            if not folder.is_dir():
                raise PluginError(f"--plugins-dir takes a directory of .py files, {folder} is none.")
            for path in sorted(folder.glob("*.py")):
                host._admit(path.stem, "local", lambda path=path: import_file(path))  # type: ignore[misc]
        for plugin in extra:
            host._admit(getattr(plugin, "__name__", repr(plugin)), "given", lambda plugin=plugin: plugin)  # type: ignore[misc]
        return host

    def _admit(self, name: str, version_: str, load: Callable[[], Any]) -> None:
        try:
            plugin = load()
        except (Exception, SystemExit) as error:
            self.plugins.append(Plugin(name=name, version=version_, sha256="", error=_sentence(error)))
            return
        digest = _digest(plugin)
        self._check_hooks(name, plugin)
        error_text = None
        try:
            self.manager.register(plugin, name=name)
            self._collect(plugin)
        except pluggy.PluginValidationError as error:
            raise PluginError(f"Plugin {name}: {_sentence(error)}") from error
        except (Exception, SystemExit) as error:
            error_text = _sentence(error)
        self.plugins.append(Plugin(name=name, version=version_, sha256=digest, error=error_text))

    def _check_hooks(self, name: str, plugin: Any) -> None:
        known = [hook for hook in vars(hookspecs) if hook.startswith(("register_", "load_"))]
        for attribute in dir(plugin):
            marked = getattr(getattr(plugin, attribute, None), f"{hookspecs.PROJECT}_impl", None)
            if marked is not None and attribute not in known:
                close = difflib.get_close_matches(attribute, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"the hooks are {', '.join(known)}."
                raise PluginError(f"Plugin {name} implements the hook {attribute}, which does not exist; {hint}")

    def _collect(self, plugin: Any) -> None:
        """Call this plugin's own register hooks, so that an error is known to be its own."""
        for name, table, kind in (
            ("register_attacks", self.attacks, "attack"),
            ("register_checks", self.checks, "check"),
            ("register_certifiers", self.certifiers, "certifier"),
            ("register_defenses", self.defenses, "defence"),
        ):
            for function in self._implementations(name, plugin):
                function(register=lambda thing, t=table, k=kind: _enter_class(t, thing, k))
        for function in self._implementations("register_reporters", plugin):
            function(
                register=lambda name, render, filename: _enter(
                    self.reporters, name, Reporter(render, filename), "report format"
                )
            )
        for function in self._implementations("register_sections", plugin):
            function(register=lambda *parts, **named: _enter_section(self.sections, Section(*parts, **named)))
        for function in self._implementations("register_operators", plugin):
            if self.operators is None:
                from auditor.operators import Operators

                self.operators = Operators()
            function(operators=self.operators)

    def _implementations(self, hook: str, plugin: Any) -> list[Callable[..., None]]:
        return [impl.function for impl in getattr(self.manager.hook, hook).get_hookimpls() if impl.plugin is plugin]

    def load_target(self, ref: str, options: TargetOptions) -> Target:
        """The target for a reference. Raises UsageError where no plugin knows it, ModelError where it can't be run."""
        from auditor.errors import ModelError

        target: Target | None = self.manager.hook.load_target(ref=ref, options=options)
        if target is None:
            raise ModelError(
                f"A model is an .onnx, .pt2 or TorchScript file or module:factory, got {ref!r}; "
                "export it to ONNX, or install a plugin that loads it."
            )
        return target

    def load_samples(self, ref: str, options: SamplesOptions) -> Samples:
        """The samples for a reference. Raises SamplesError where no plugin knows it."""
        from auditor.errors import SamplesError

        samples: Samples | None = self.manager.hook.load_samples(ref=ref, options=options)
        if samples is None:
            raise SamplesError(
                f"Samples are an .npz (x, y), a directory with one folder a class, or a .csv, got {ref!r}."
            )
        return samples

    @property
    def errors(self) -> list[Plugin]:
        """Plugins that could not be used."""
        return [plugin for plugin in self.plugins if plugin.error]


def _enter_class(table: dict[str, Any], thing: Any, kind: str) -> None:
    if problem := fault(kind, thing):
        raise PluginError(problem)
    _enter(table, thing.name, thing, kind)


def _enter_section(table: dict[str, Section], section: Section) -> None:
    if problem := section_fault(section):
        raise PluginError(problem)
    _enter(table, section.name, section, "section")


def _enter(table: dict[str, Any], name: str | None, thing: Any, kind: str) -> None:
    if not name or not isinstance(name, str):
        raise PluginError(f"{thing!r} is registered as {kind} without a name; give it one.")
    if name in table:
        raise PluginError(f"The {kind} {name!r} is registered twice; rename one.")
    table[name] = thing


def import_file(path: Path) -> ModuleType:
    """The module in a .py file, under a name of its own. Raises whatever its code raises."""
    name = f"advaudit_local_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} can't be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for the names in annotations
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _digest(plugin: Any) -> str:
    path = getattr(plugin, "__file__", None)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path and Path(path).is_file() else ""


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, AdvauditError) else f"{type(error).__name__}: {text}"
