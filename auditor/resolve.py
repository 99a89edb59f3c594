"""From the command line and audit.toml to jobs: every option checked before anything runs."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from auditor.access import Access
from auditor.config import Config, find_config, read_config
from auditor.defense import Defense
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.host import Host
from auditor.job import Job, slug
from auditor.prepare import open_parts
from auditor.preprocess import Preprocess
from auditor.risk import Confusion
from auditor.samples import SamplesOptions
from auditor.scope import check_classes, label_of
from auditor.sources import RESERVED
from auditor.stand_ins import named
from auditor.suite import Stage, find_suite, make_stage, parse_attack
from auditor.target import Target, TargetOptions
from auditor.threat import ThreatModel
from auditor.threats import threats
from auditor.watch import check_sequential

BY_ACCESS = {Access.GRADIENT: "standard", Access.SCORE: "score", Access.DECISION: "decision"}
"""The suite of an audit that names none."""


def resolve(model: str, options: dict[str, Any], host: Host) -> tuple[list[Job], Path]:
    """A job for each threat, and the directory that the report goes to. Options win over audit.toml.

    Raises UsageError for whatever is missing or can't be used, saying how to give it.
    """
    path = options["config"] or find_config(model)
    config = read_config(path) if path else Config()
    folder = path.parent if path else Path()
    data = options["data"] or (str(folder / config.samples.path) if config.samples.path else None)
    if data is None:
        raise UsageError(
            f"A scan needs labelled samples: give --data FILE, or run `advaudit init {model} --data FILE` once, "
            "which writes an audit.toml beside the model."
        )
    out = options["out"] or Path("advaudit-out") / slug(Path(model).stem or model)
    execution = Execution.choose(
        options["device"] or config.run.device,
        width=options["batch_size"] or config.run.batch_size,
        threads=config.run.threads,
        precision=config.run.precision,
        compile=config.run.compile,
    )
    classes = tuple(config.samples.classes) if config.samples.classes else None
    labels = _labels(options["labels"] or config.samples.labels)
    wanted = TargetOptions(
        preprocess=preprocess(config, options["preprocess"], folder),
        output=config.model.output,
        deployed_batch=config.model.batch,
        device=execution.device,
        trust=options["trust_model"],
        operators=None if host.operators is None else replace(host.operators, leak=config.search.leak),
        threads=execution.threads,
        classes=len(classes) if classes else None,
        timeout=config.run.timeout,
        memory=config.run.memory,
    )
    defenses = [make_defense(table, host) for table in config.defense]
    access = _access(options["access"] or config.search.access)
    stages = suite(config, options, host, access)
    samples = SamplesOptions(size=_size(config.samples.size), classes=classes, labels=labels)
    target, loaded = open_parts(model, data, wanted, samples, defenses, host)
    boxes = loaded.lower is not None
    outside = surrogates(config, options, folder, wanted, loaded.shape, target, host)
    check_sources(stages, outside)
    models = threats(config, options, folder, pixels=loaded.pixels, boxes=boxes, shape=loaded.shape)
    policy = config.rules(path, options["fail_under"])
    sequential = config.search.sequential if options["sequential"] is None else options["sequential"]
    if sequential:
        check_sequential(policy, stages)
    check_classes(policy, loaded.class_names or target.class_names or (), target.classes)
    policy.check_threats([(threat.title, str(threat.norm)) for threat in models])
    base = Job(
        model=legible(model),
        data=legible(data),
        target=target,
        samples=loaded,
        threat=models[0],
        suite=stages,
        execution=execution,
        out=out,
        output=config.model.output,
        seed=config.search.seed if options["seed"] is None else options["seed"],
        access=access,
        labels=labels,
        limit=options["limit"] or config.samples.limit,
        leak=config.search.leak,
        memory=config.run.memory,
        certify=config.search.certify if options["certify"] is None else options["certify"],
        escalate=by_default(config, options, options["escalate"], config.search.escalate),
        hardness=by_default(config, options, options["hardness"], config.search.hardness) and not sequential,
        sequential=sequential,
        asked=bool(options["hardness"] or (options["hardness"] is None and config.search.hardness)),
        distances=distances(config.search.distances, models, host),
        confusions=confusions(config, loaded.class_names or target.class_names, target.classes),
        suite_name=suite_name(config, options, access),
        config=legible(str(path)) if path else "",
        deep=options["deep"] or config.search.deep,
        surrogates=outside,
        go_on=options["go_on"],
        resume=options["resume"],
        overwrite=options["overwrite"],
        defenses=defenses,
        policy=policy,
        command=legible(shlex.join(["advaudit", *sys.argv[1:]])),
        plugins=host.plugins,
    )
    if len(models) == 1:
        return [base.for_threat(models[0], out)], out
    return [base.for_threat(threat, out / f"{i}-{slug(threat.title)}") for i, threat in enumerate(models, 1)], out


def by_default(config: Config, options: dict[str, Any], *said: bool | None) -> bool:
    """Whether doubts are answered, and distances looked for: as the command line says, else the plan, else with a
    suite; who names the attacks gets these and no more."""
    known = [answer for answer in said if answer is not None]
    return known[0] if known else bool(suite_name(config, options, Access.GRADIENT))


def suite_name(config: Config, options: dict[str, Any], access: Access) -> str:
    """The name of the suite that is played, empty for stages of the user's own."""
    if options["attacks"]:
        return ""
    if not options["suite"] and config.attack:
        return ""
    return str(options["suite"] or config.search.suite or BY_ACCESS[access])


def distances(text: str, models: list[ThreatModel], host: Host) -> str:
    """The attack that `[search] distances` names, checked before anything runs; empty for the one that fits. Raises
    UsageError for one that is not loaded, looks for no distances, or not in the norm of every threat."""
    if not text:
        return ""
    stage = make_stage(parse_attack(text) | {"distance": True}, host.attacks)
    for threat in models:
        if threat.norm not in stage.attack.norms:
            fitting = [
                name
                for name, kind in host.attacks.items()
                if threat.norm in kind.norms and getattr(kind, "minimum_norm", False)
            ]
            raise UsageError(
                f"[search] distances names an attack that looks for {threat.norm} distances, such as "
                f"{', '.join(fitting)}; {stage.attack.name} knows {', '.join(sorted(stage.attack.norms))}."
            )
    return text


def confusions(config: Config, names: tuple[str, ...] | None, classes: int) -> list[Confusion]:
    """The confusions that the user protects. Raises UsageError for a class that the model hasn't."""

    found = []
    for table in config.protect:
        label = label_of(table.label, names or (), classes, "[[protect]]")
        into = None if table.into is None else label_of(table.into, names or (), classes, "[[protect]]")
        if label == into:
            raise UsageError(f"[[protect]] label and into are two classes, got {table.label!r} twice.")
        found.append(Confusion(label=label, into=into, cost=table.cost))
    return found


def surrogates(
    config: Config,
    options: dict[str, Any],
    folder: Path,
    wanted: TargetOptions,
    shape: tuple[int, ...],
    target: Target,
    host: Host,
) -> list[Target]:
    """The models to transfer from, behind the same preprocessing. Raises UsageError for one that does not fit."""
    paths = [*options["surrogates"]] or [str(folder / path) for path in config.search.surrogates]
    found = []
    for path in paths:
        surrogate = host.load_target(path, replace(wanted, output=None))
        surrogate.fit(shape)
        if surrogate.classes != target.classes:
            raise UsageError(
                f"A surrogate has the model's {target.classes} classes, {path} has {surrogate.classes}; give another."
            )
        found.append(surrogate)
    named(found)
    return found


def check_sources(stages: list[Stage], surrogates: list[Target]) -> None:
    """Raise UsageError for a stage that follows a source which does not exist."""
    names = RESERVED | named(surrogates).keys()
    if unknown := [stage for stage in stages if stage.source not in names]:
        raise UsageError(
            f"A source is one of {', '.join(sorted(names))}, or the stem of a --surrogate file; {unknown[0].title} has "
            f"{unknown[0].source!r}."
        )


def suite(config: Config, options: dict[str, Any], host: Host, access: Access) -> list[Stage]:
    """The stages: --attack, else --suite, else those of the plan, else the suite of the access."""
    if name := suite_name(config, options, access):
        return find_suite(name, host.attacks)
    if options["attacks"]:
        return [make_stage(parse_attack(text), host.attacks) for text in options["attacks"]]
    return [make_stage(table, host.attacks) for table in config.attack]


def preprocess(config: Config, name: str | None, folder: Path) -> Preprocess:
    """What stands before the file: --preprocess, else [model] preprocess, else its single keys."""
    table = config.model
    single = ("scale", "mean", "std", "layout", "channels")
    given = {key: getattr(table, key) for key in single if getattr(table, key) is not None}
    if name is None and table.preprocess is not None:
        if given:
            raise UsageError(f"[model] has both preprocess and {next(iter(given))}; give one of them.")
        name = table.preprocess
    if name is not None:
        if name.endswith(".toml"):
            return Preprocess.from_file(folder / name if not Path(name).exists() else Path(name))
        return Preprocess.preset(name)
    for key in ("mean", "std"):
        if key in given:
            given[key] = tuple(given[key]) if isinstance(given[key], list) else (float(given[key]),)
    return Preprocess(**given)


def make_defense(table: dict[str, Any], host: Host) -> Defense:
    """An inference-time defence from a [[defense]] table. Raises UsageError for an unknown name or option."""
    import dataclasses

    name = table.get("name")
    if name not in host.defenses:
        raise UsageError(f"[[defense]] knows {', '.join(host.defenses)}, got {name!r}.")
    kind = host.defenses[name]
    options = {key: value for key, value in table.items() if key != "name"}
    known = [f.name for f in dataclasses.fields(kind)]
    if unknown := [key for key in options if key not in known]:
        raise UsageError(f"The defence {name} has no option {unknown[0]!r}; it takes {', '.join(known)}.")
    try:
        return msgspec.convert(options, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"The defence {name}: {error}.") from error


def legible(text: str) -> str:
    """A path or command as text that can be written: bytes that are no UTF-8 are replaced."""
    return os.fsencode(text).decode("utf-8", "replace")


def _access(text: str) -> Access:
    if text not in list(Access):
        raise UsageError(f"access is gradient, score or decision, got {text!r}.")
    return Access(text)


def _labels(text: str) -> str:
    if text not in ("given", "predicted"):
        raise UsageError(f"labels is given or predicted, got {text!r}.")
    return text


def _size(size: list[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    if len(size) != 2 or min(size) < 1:
        raise UsageError(f"[samples] size is [height, width] in pixels, got {size}.")
    return size[0], size[1]
