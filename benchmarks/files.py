"""Scan every entry of files.toml and print one table.

    python -m benchmarks.files --shared FOLDER [--samples 100] [--suite standard] [--form fp32] [--only NAME]

Where a file's ground truth is known it is held against the result: a broken box that is proven free of counterexamples
is a bug in the tool, and so is a robust error beyond a certified bound; sat boxes left unbroken are weakness.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from auditor.cli import quiet_threads
from auditor.errors import AdvauditError
from auditor.events import silent
from auditor.flow import audit
from auditor.host import Host
from auditor.record import Record
from auditor.resolve import resolve
from benchmarks.shared import add_shared, entries, options, samples_of

UNSET = {
    "config": None, "data": None, "norm": None, "epsilon": None, "bounds": None, "suite": None, "attacks": (),
    "preprocess": None, "limit": None, "seed": None, "batch_size": None, "device": None, "access": None, "goal": None,
    "labels": None, "certify": None, "out": None, "resume": False, "overwrite": True, "fail_under": None,
    "trust_model": False, "go_on": True, "escalate": None, "hardness": None, "deep": False, "surrogates": (),
    "sequential": None,
}  # fmt: skip


def scan(entry: dict[str, Any], shared: Path, host: Host, samples: int, suite: str, out: Path) -> Record:
    """A whole scan of one entry. Raises AdvauditError as the command line would report it."""
    chosen = {**UNSET, **options(entry), "suite": suite, "out": out}
    if entry.get("boxes"):
        chosen |= {"norm": None, "epsilon": None}
    elif not entry.get("refused"):
        chosen |= {"limit": samples}
    plan = out.parent / "audit.toml"
    size = f"size = {entry['size']}\n" if entry.get("size") else ""
    plan.write_text(f"[samples]\n{size}", encoding="utf-8")
    chosen |= {"config": plan, "data": str(samples_of(entry, shared, out.parent))}
    jobs, _ = resolve(str(shared / entry["model"]), chosen, host)
    return audit(jobs[0], host, silent)


def truth(entry: dict[str, Any], record: Record, shared: Path) -> str:
    """What the known truth says of the result."""
    if entry.get("boxes"):
        with np.load(shared / entry["samples"], allow_pickle=False) as arrays:
            known = {i: int(t) for i, t in enumerate(arrays["truth"])}
        broken = {o.id for o in record.outcomes if o.status in ("broken", "misclassified")}
        unsat, sat = ([i for i, t in known.items() if t == wanted] for wanted in (0, 1))
        wrong = sum(i in broken for i in unsat)
        text = f"{wrong} of {len(unsat)} unsat broken" + (" (BUG)" if wrong else "")
        return text + (f"; {sum(i in broken for i in sat)} of {len(sat)} sat broken" if sat else "")
    bounds = entry.get("truth", {}).get("error")
    if bounds is None or record.metrics.robust_accuracy is None:
        return ""
    error = 1 - record.metrics.robust_accuracy
    return f"error {error:.1%}, known {bounds[0]:.1%}–{bounds[1]:.1%} on the whole test set"


def row(name: str, record: Record, seconds: float, note: str) -> str:
    """A line of the table, in Markdown."""
    metrics = record.metrics
    clean = "–" if metrics.clean_accuracy is None else f"{metrics.clean_accuracy:.1%}"
    robust = "–" if metrics.robust_accuracy is None else f"{metrics.robust_accuracy:.1%}"
    ran = [attack for attack in record.attacks if attack.status == "ran"]
    batch = next((f for f in record.findings if f.id == "companions" and f.status == "raised"), None)
    note = "; ".join(filter(None, (note, batch and batch.explanation)))
    access = "white-box" if any(attack.access == "gradient" for attack in ran) else "gradient-free"
    belief = f"{record.masking}, {record.trust}"
    cells = (name, record.samples.n, record.threat.name, clean, robust, access, belief, f"{seconds:.0f}", note)
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    quiet_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--form", action="append", help="fp32, trees, int8, fp16; default fp32 and trees")
    parser.add_argument("--only", action="append", help="names of entries")
    arguments = parser.parse_args()
    forms = arguments.form or ["fp32", "trees"]
    host = Host.load(installed=False)
    print("| entry | n | threat | clean | robust ≤ | access | masking, trust | seconds | known truth |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, entry in entries().items():
        refused = bool(entry.get("refused"))
        if arguments.only and name not in arguments.only:
            continue
        if not arguments.only and not refused and entry.get("form") not in forms:
            continue
        if refused:
            entry = {**entry, "samples": "data/mnist_test.npz", "epsilon": "0.1"}
        with TemporaryDirectory() as folder:
            began = time.perf_counter()
            try:
                record = scan(entry, arguments.shared, host, arguments.samples, arguments.suite, Path(folder) / "out")
            except AdvauditError as error:
                print(f"| {name} | could not run (exit code {error.exit_code}): {error} |", flush=True)
                continue
            seconds = time.perf_counter() - began
            print(row(name, record, seconds, truth(entry, record, arguments.shared)), flush=True)


if __name__ == "__main__":
    main()
