"""Scan the zoo: which indicator is raised on which model, and how often on honest ones?

    python -m benchmarks.obscurity [--only NAME …] [--half tuning|report] [--jobs 2] [--samples 100] [--suite standard]

Every member of `benchmarks.zoo` goes through the scan that `advaudit scan` makes, once without escalation and once with
it. What a scan says is kept under `.benchmarks/obscurity`, one file a member, so that a rerun only fills gaps;
`--again` scans anew, `--print` scans nothing. A member that fails says why, and the rest goes on. Thresholds may be
set on the families of the tuning half; what is reported is the other. Build the zoo first (`python -m benchmarks.zoo`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from auditor.cli import quiet_threads
from auditor.events import silent
from auditor.flow import audit
from auditor.host import Host
from auditor.record import Record
from auditor.resolve import resolve
from benchmarks.files import UNSET
from benchmarks.obscurity_table import MODES, STORE, matrix, stored, verdicts
from benchmarks.zoo import percent
from benchmarks.zoo_measure import own_gradients
from benchmarks.zoo_members import MEMBERS, Member, by_name


def scan(member: Member, escalate: bool, samples: int, suite: str, host: Host) -> dict[str, Any]:
    """One scan of a member, as plain data. Raises whatever a scan raises."""
    with TemporaryDirectory() as folder:
        plan = Path(folder) / "audit.toml"
        tables = "".join(f"[[defense]]\n{_toml(table)}\n" for table in member.defenses)
        plan.write_text(f"{tables}[run]\nthreads = 1\n", encoding="utf-8")
        wanted = {
            "config": plan, "data": str(member.samples), "norm": member.norm, "epsilon": repr(member.epsilon),
            "suite": suite, "limit": samples, "device": "cpu", "out": Path(folder) / "out",
        }  # fmt: skip
        began = time.perf_counter()
        with nullcontext() if member.straight_through else own_gradients():
            jobs, _ = resolve(str(member.path), {**UNSET, **wanted}, host)
            record = audit(replace(jobs[0], escalate=escalate), host, silent)
        return {**told(record), "seconds": round(time.perf_counter() - began, 1)}


def told(record: Record) -> dict[str, Any]:
    """What is kept of a record."""
    return {
        "n": record.samples.n,
        "clean": record.metrics.clean_accuracy,
        "robust": record.metrics.robust_accuracy,
        "masking": record.masking,
        "trust": record.trust,
        "findings": {
            f.id: {"status": str(f.status), "severity": str(f.severity), "value": f.value, "masks": f.masks}
            for f in record.findings
        },
    }


def _toml(table: dict[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


def key_of(member: Member, samples: int, suite: str) -> str:
    """What a kept scan depends on, but for our own code."""
    parts = (member.path.read_bytes(), member.samples.read_bytes())
    rest = repr((member.epsilon, member.norm, member.defenses, member.straight_through, samples, suite))
    return hashlib.sha256(b"".join(parts) + rest.encode()).hexdigest()


def fill(name: str, samples: int, suite: str, again: bool) -> str:
    """Make a member's scans that are missing; what happened, in a line. Never raises for what a scan does."""
    quiet_threads()
    member, lines = by_name(name), []
    if not member.path.is_file():
        return f"{name}: not built, see python -m benchmarks.zoo"
    kept, key, host = stored(name), key_of(member, samples, suite), Host.load(installed=False)
    for mode, escalate in MODES.items():
        if not again and kept.get(mode, {}).get("key") == key and "error" not in kept[mode]:
            continue
        try:
            kept[mode] = {"key": key, **scan(member, escalate, samples, suite, host)}
            seen = kept[mode]
            lines.append(f"{mode} {percent(seen['robust'])}, masking {seen['masking']}, {seen['seconds']:.0f} s")
        except Exception as error:  # one that fails says so, and the rest goes on
            kept[mode] = {"key": key, "error": f"{type(error).__name__}: {error}"}
            lines.append(f"{mode} failed: {kept[mode]['error']}")
        STORE.mkdir(parents=True, exist_ok=True)
        partial = STORE / f"{name}.partial"
        partial.write_text(json.dumps(kept, indent=1) + "\n")
        partial.rename(STORE / f"{name}.json")
    return f"{name}: {'; '.join(lines) or 'kept'}"


def fill_all(names: list[str], arguments: argparse.Namespace) -> None:
    """Fill the gaps of all, in as many processes as were asked for."""
    options = (arguments.samples, arguments.suite, arguments.again)
    if arguments.jobs == 1:
        for name in names:
            print(fill(name, *options), flush=True)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(fill, name, *options) for name in names]):
            print(future.result(), flush=True)


def chosen(arguments: argparse.Namespace) -> list[Member]:
    """The members that were asked for."""
    wanted = set(arguments.only or ())
    return [
        member
        for member in MEMBERS
        if (not wanted or wanted & {member.name, member.family, member.kind}) and arguments.half in (None, member.half)
    ]


def main() -> None:
    quiet_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="names of members or families, or honest, deceiver")
    parser.add_argument("--half", choices=("tuning", "report"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--again", action="store_true", help="scan anew")
    parser.add_argument("--print", action="store_true", help="print what is kept, and scan nothing")
    arguments = parser.parse_args()
    members = chosen(arguments)
    if not arguments.print:
        fill_all([member.name for member in members], arguments)
    for half in ("tuning", "report"):
        part = [member for member in members if member.half == half]
        if not part:
            continue
        print(f"\n## {half}: {', '.join(dict.fromkeys(member.family for member in part))}\n")
        for mode in MODES:
            print(f"\nescalation {mode}\n\n" + "\n".join(matrix(part, mode)) + "\n")
            print("\n".join(verdicts(part, mode)), flush=True)


if __name__ == "__main__":
    main()
