"""`advaudit init`: looks at a model, finds out with data what it expects, and writes a commented audit.toml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from auditor.config import FILE
from auditor.conventions import Convention, find_conventions, suggest_permutation
from auditor.errors import SamplesError, UsageError
from auditor.host import Host
from auditor.journal import write_whole
from auditor.prepare import open_parts
from auditor.preprocess import Preprocess
from auditor.samples import Samples, SamplesOptions
from auditor.target import Target, TargetOptions, check_classes

SHOWN = 5


def start(
    model: str,
    data: str | None,
    out: Path | None,
    *,
    overwrite: bool = False,
    trust: bool = False,
    plugins_dir: Path | None = None,
) -> Iterator[str]:
    """Write the plan, and say line by line what was found.

    Without data the input convention can't be known, and its keys are left as comments. A permutation of the labels is
    suggested where one would explain the accuracy, never applied. Raises UsageError where the plan is there already,
    ModelError and SamplesError as a scan would.
    """
    path = out or Path(model).parent / FILE
    if path.exists() and not overwrite:
        raise UsageError(f"{path} is there already; give --overwrite to replace it, or --out for another name.")
    host = Host.load(folder=plugins_dir)
    options = TargetOptions(trust=trust, operators=host.operators)
    samples, found = None, list[Convention]()
    if data is None:
        target = host.load_target(model, options)
    else:
        target, samples = open_parts(model, data, options, SamplesOptions(), [], host)
    yield f"{target.name}: input {list(target.shape)}, {target.classes} classes, {target.output}."
    if samples is not None:
        check_classes(samples.labels, target.classes)
        found = find_conventions(target, samples)
        if not found:
            raise SamplesError(
                f"{target.name} takes inputs of shape {list(target.shape)} and could not be run on the samples, of "
                f"shape {list(samples.shape)}; give samples of that shape."
            )
        for convention in found[:SHOWN]:
            yield f"  {convention.accuracy:6.1%} clean accuracy with {convention.name} ({convention.n} samples)"
        target.preprocess = found[0].preprocess
        target.fit(samples.shape)
        if (renumbered := suggest_permutation(target, samples)) is not None:
            moved = ", ".join(f"{old} → {new}" for old, new in enumerate(renumbered) if old != new)
            yield f"The labels look renumbered ({moved}); correct them in the data if that is so."
    try:
        write_whole(path, plan(model, data, path.parent, target, samples, found).encode())
    except OSError as error:
        raise UsageError(f"{path} can't be written ({error.strerror or error}); give another --out.") from error
    yield f"Wrote {path}. Next: advaudit scan {model}" + (
        "" if samples and samples.lower is not None else " --epsilon …"
    )


def plan(
    model: str, data: str | None, folder: Path, target: Target, samples: Samples | None, found: list[Convention]
) -> str:
    """The text of the audit.toml."""
    return "\n".join(
        [
            "# The plan of an audit. `advaudit scan` finds it beside the model; the command line wins over it.",
            "",
            *_model(model, target, found),
            "",
            *_data(data, folder, samples),
            "",
            *_threat(samples),
            "",
            "[search]",
            'suite = "standard" # quick, standard, thorough, autoattack, distance; or [[attack]] tables of your own',
            "seed = 0",
            "",
            "# [[gate]]",
            '# metric = "robust_accuracy"',
            "# at_least = 0.4",
            "",
        ]
    )


def _model(model: str, target: Target, found: list[Convention]) -> list[str]:
    lines = ["[model]", f"path = {json.dumps(Path(model).name)} # input {list(target.shape)}, {target.output}"]
    if not found:
        return [*lines, "# What stands before the file can't be known without data: init with --data finds it."]
    best = found[0]
    lines.append(f"# Clean accuracy {best.accuracy:.1%} on {best.n} samples with this convention ({best.name}).")
    return lines + _keys(best.preprocess)


def _keys(preprocess: Preprocess) -> list[str]:
    lines = [f"scale = {preprocess.scale!r}"]
    lines += [f"mean = {list(preprocess.mean)}"] if preprocess.mean else []
    lines += [f"std = {list(preprocess.std)}"] if preprocess.std else []
    lines += [f"layout = {json.dumps(preprocess.layout)}"] if preprocess.layout else []
    lines += [f"channels = {json.dumps(preprocess.channels)}"] if preprocess.channels != "rgb" else []
    return lines


def _data(data: str | None, folder: Path, samples: Samples | None) -> list[str]:
    if data is None or samples is None:
        return ["[samples]", '# path = "samples.npz" # x and y; or a directory with one folder a class, or a .csv']
    where = Path(data).resolve()
    near = where.relative_to(folder.resolve()) if where.is_relative_to(folder.resolve()) else where
    lines = ["[samples]", f"path = {json.dumps(near.as_posix())} # {len(samples)} samples"]
    if Path(data).is_dir() and len(samples.shape) == 3:
        lines.append(f"size = {list(samples.shape[:2])}")
    return [*lines, "# limit = 200 # a quicker look, with a wider interval"]


def _threat(samples: Samples | None) -> list[str]:
    if samples is not None and samples.lower is not None:
        return ["# The samples bring their own boxes (lower, upper), which are the threat by themselves."]
    lines = [
        "[[threat]]",
        'norm = "linf" # or "l2", "l1", "l0", "spatial"',
        '# epsilon = "8/255" # how far an input may be changed, in the units of the samples: the question is yours',
    ]
    if samples is not None and samples.pixels:
        return [*lines, "bounds = [0.0, 1.0]", '# grid = "1/255" # where the deployed input is 8-bit']
    return [*lines, "# bounds = [0.0, 1.0] # values that an input may have"]
