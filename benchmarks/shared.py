"""The third-party files of `files.toml`: where they are, and a scan's parts for one of them."""

from __future__ import annotations

import argparse
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from auditor.host import Host
from auditor.preprocess import Preprocess
from auditor.samples import Samples, SamplesOptions
from auditor.target import Target, TargetOptions
from auditor.threat import Norm, ThreatModel, parse_epsilon

HERE = Path(__file__).parent


def add_shared(parser: argparse.ArgumentParser) -> None:
    """`--shared FOLDER`, or ADVAUDIT_SHARED, or `../shared` beside the checkout."""
    default = os.environ.get("ADVAUDIT_SHARED", str(HERE.parents[1] / "shared"))
    parser.add_argument("--shared", type=Path, default=Path(default), help="folder with models/ and data/")


def entries() -> dict[str, dict[str, Any]]:
    """Every table of files.toml by name."""
    with (HERE / "files.toml").open("rb") as file:
        return {table["name"]: table for table in tomllib.load(file)["file"]}


@dataclass(frozen=True)
class Case:
    """One entry, loaded: the deployed model, its samples, its threat."""

    name: str
    target: Target
    samples: Samples
    threat: ThreatModel


def options(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry as the options of `advaudit scan`."""
    return {
        "preprocess": entry.get("preprocess", "none"),
        "epsilon": entry.get("epsilon"),
        "norm": entry.get("norm"),
        "bounds": tuple(entry["bounds"]) if entry.get("bounds") else None,
    }


def samples_of(entry: dict[str, Any], shared: Path, folder: Path) -> Path:
    """The entry's samples; single pictures, listed with their labels, are put into one file in a folder."""
    if isinstance(entry["samples"], str):
        return shared / entry["samples"]
    pictures = [np.asarray(Image.open(shared / name).convert("RGB")) for name in entry["samples"]]
    np.savez(folder / "pictures.npz", x=np.stack(pictures), y=np.array(entry["labels"]))
    return folder / "pictures.npz"


def load(name: str, shared: Path, host: Host, *, limit: int, threads: int, samples: str | None = None) -> Case:
    """The entry's target, its first `limit` correctly classified samples (or those of another file), its threat."""
    entry = entries()[name]
    size = tuple(entry["size"]) if entry.get("size") else None
    loaded = host.load_samples(str(shared / (samples or entry["samples"])), SamplesOptions(size=size))  # type: ignore[arg-type]
    target = host.load_target(
        str(shared / entry["model"]),
        TargetOptions(
            preprocess=Preprocess.preset(entry.get("preprocess", "none")), operators=host.operators, threads=threads
        ),
    )
    target.fit(loaded.shape)
    head = loaded.take(slice(0, 3 * limit))
    correct = (target.labels(head.inputs, batch=1) == head.labels).nonzero()[0][:limit]
    bounds = entry.get("bounds")
    boxes = bool(entry.get("boxes"))
    threat = ThreatModel(
        norm=Norm(entry.get("norm", "linf")),
        epsilon=1.0 if boxes else parse_epsilon(entry["epsilon"]),
        epsilon_text=str(entry.get("epsilon", "")),
        bounds=(bounds[0], bounds[1]) if bounds else None,
        boxes=boxes,
    )
    return Case(name, target, head.take(correct), threat)
