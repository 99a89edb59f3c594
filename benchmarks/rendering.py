"""What a report of a large record costs: seconds, peak memory and size of each format, each in its own process.

    python -m benchmarks.rendering [--formats html markdown csv] [--repeats 3]

The records are those of `benchmarks/synthetic.py`. A format is rendered once a process, as `advaudit report` does it,
and written; `loaded` is the peak before that, with the record read. Decoding is msgspec's, of `audit.json` alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from auditor.entry import Entry, read_record
from auditor.host import REPORTERS, Host
from auditor.record import AUDIT, Record
from auditor.rendering import render
from benchmarks.synthetic import Case, write

FORMATS = ("html", "markdown", "csv")
CASES = (Case(10_000, 100, 60), Case(1_000, 1_000, 60), Case(10_000, 100, None))
MIB = 1 << 10  # of ru_maxrss, which is in KiB


def one(folder: Path, name: str) -> dict[str, float]:
    """One rendering of the record in this folder, in this process, the first of its life as a user's is."""
    host = Host.load(bundled=REPORTERS, installed=False)
    entry = Entry(read_record(folder), folder)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with TemporaryDirectory() as out:
        began = time.perf_counter()
        render(host, [entry], [name], Path(out))
        seconds = time.perf_counter() - began
        size = sum(path.stat().st_size for path in Path(out).rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "loaded": loaded / MIB, "peak": peak / MIB, "size": size / 2**20}


def decoding(folder: Path, repeats: int = 5) -> float:
    """Median seconds of reading the record without rendering anything."""
    raw, times = (folder / AUDIT).read_bytes(), []
    for _ in range(repeats):
        began = time.perf_counter()
        msgspec.json.decode(raw, type=Record)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measured(folder: Path, name: str, repeats: int) -> dict[str, float]:
    """Medians over processes."""
    command = [sys.executable, "-m", "benchmarks.rendering", "--one", str(folder), name]
    lines = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(repeats)]
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return {key: statistics.median(row[key] for row in found) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "FORMAT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(Path(arguments.one[0]), arguments.one[1])))
        return
    spawn = multiprocessing.get_context("spawn")
    print("| samples | classes | pictures | record | format | seconds | times decoding | loaded | peak | size |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        with TemporaryDirectory() as folder:
            path = Path(folder)
            # elsewhere, for the peak memory of this process is where its children's begins
            writer = spawn.Process(target=write, args=(case, path))
            writer.start()
            writer.join()
            decoded, weight = decoding(path), (path / AUDIT).stat().st_size / 2**20
            pictures = "all broken" if case.pictures is None else f"{case.pictures}"
            for name in arguments.formats:
                row = measured(path, name, arguments.repeats)
                print(
                    f"| {case.samples:,} | {case.classes:,} | {pictures} | {weight:.1f} MiB | {name} "
                    f"| {row['seconds']:.2f} | {row['seconds'] / decoded:.0f} | {row['loaded']:.0f} MiB "
                    f"| {row['peak']:.0f} MiB | {row['size']:.2f} MiB |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
