"""How soon the command line is there: `--help` and a gate, over an interpreter that is asked for nothing.

    python -m benchmarks.startup [--repeats 21] [--samples 500]

A synthetic record is made first (`benchmarks/synthetic.py`: 10 classes, 60 adversarial examples, a digest that holds),
and judged with `--fail-under`, a rule over the samples: once with its evidence, which is read and hashed, and once as
an `audit.json` by itself. The commands take turns, each a fresh process of this interpreter; one round before the
first counts for nothing. Ratios are taken within a round. An editable installation slows the idle interpreter too, by
the finder that it loads first: the same commands come to larger ratios where the package is installed from its wheel.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from msgspec import structs

from auditor.entry import digest_outcomes
from auditor.folder import write_arrays, write_record
from auditor.record import EVIDENCE
from benchmarks.synthetic import Case, evidence, synthetic

CLASSES, PICTURES = 10, 60
RULE = ("--fail-under", "0.1")
AIMS = {"--help": 6, "gate RECORD": 10}
"""The most that a command may take, in interpreters that do nothing."""


class Took(NamedTuple):
    """Seconds of one process: on the clock, and on all cores."""

    wall: float
    cpu: float


def make(folder: Path, samples: int, *, pictures: int | None) -> Path:
    """A record that a gate passes. pictures: None for an `audit.json` without evidence."""
    folder.mkdir()
    record = synthetic(Case(samples, CLASSES, pictures))
    if pictures is not None:
        arrays = evidence(record, pictures)
        record = structs.replace(record, outcomes_digest=digest_outcomes(record.outcomes, arrays))
        write_arrays(folder / EVIDENCE, arrays)
    write_record(folder, record)
    return folder


def run(arguments: Sequence[str], folder: Path) -> Took:
    """One process, in a folder of its own so that the installed package is what starts. Raises CalledProcessError."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def told(values: Sequence[float], digits: int = 1) -> str:
    """The median, with the least and the largest."""
    return f"{median(values):.{digits}f} [{min(values):.{digits}f}–{max(values):.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--samples", type=int, default=500)
    asked = parser.parse_args()
    with TemporaryDirectory() as at:
        folder = Path(at)
        whole = make(folder / "whole", asked.samples, pictures=PICTURES)
        alone = make(folder / "alone", asked.samples, pictures=None)
        commands = {
            "python -c pass": ("-c", "pass"),
            "--help": ("-m", "auditor", "--help"),
            "gate RECORD": ("-m", "auditor", "gate", str(whole), *RULE),
            "gate audit.json": ("-m", "auditor", "gate", str(alone / "audit.json"), *RULE),
        }
        rounds = [{name: run(command, folder) for name, command in commands.items()} for _ in range(asked.repeats + 1)]
    print("| command | wall, ms | CPU, ms | wall, times nothing | CPU, times nothing | aimed at |")
    print("|---|---|---|---|---|---|")
    rounds = rounds[1:]
    for name in commands:
        walls, cpus = ([1000 * getattr(took[name], kind) for took in rounds] for kind in Took._fields)
        ratios = (
            told([getattr(took[name], kind) / getattr(took["python -c pass"], kind) for took in rounds])
            for kind in Took._fields
        )
        aim = f"≤ {AIMS[name]}" if name in AIMS else ""
        print(f"| `{name}` | {told(walls, 0)} | {told(cpus, 0)} | {' | '.join(ratios)} | {aim} |")


if __name__ == "__main__":
    main()
