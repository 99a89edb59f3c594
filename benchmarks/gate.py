"""Sequential scans beside whole ones: the same verdict, at which share of the cost?

    python -m benchmarks.gate --shared FOLDER [--samples 2000] [--seeds 3] [--suite standard]

Each file is scanned whole once; its record is judged by each rule, then the same rule is scanned for sequentially, with
several seeds. Cost is in forward equivalents: of the attacks, and of everything with the checks and what they called
for, which a failed gate does without. Time is of the scan without loading and rendering.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from auditor.allowance import equivalents
from auditor.cli import quiet_threads
from auditor.events import silent
from auditor.flow import audit
from auditor.gate import judged
from auditor.host import Host
from auditor.record import Record
from auditor.resolve import resolve
from auditor.rule import Policy, Rule
from benchmarks.files import UNSET
from benchmarks.shared import add_shared, entries, options, samples_of

GATES = {"mnist-cnn-a-adv": (0.5, 0.9), "mnist-kw": (0.9,)}
BOUNDS = ("certain", "drawn", "mixture", "sprt")


def rule(at_least: float, bound: str) -> Rule:
    over: Any = "samples" if bound in ("certain", "drawn") else "population"
    named: Any = bound
    return Rule(metric="robust_accuracy", at_least=at_least, over=over, bound=named)


def scan(
    entry: dict[str, Any], args: argparse.Namespace, host: Host, folder: Path, **more: Any
) -> tuple[Record, float]:
    """A scan of one entry, and how long it took."""
    policy = more.pop("policy", Policy())
    chosen = {**UNSET, **options(entry), "suite": args.suite, "hardness": False} | more
    plan = folder / "audit.toml"
    table = "".join(
        f'[[gate]]\nmetric = "{one.metric}"\nat_least = {one.at_least}\nover = "{one.over}"\nbound = "{one.bound}"\n'
        for one in policy.rules
    )
    plan.write_text(table, encoding="utf-8")
    with np.load(samples_of(entry, args.shared, folder), allow_pickle=False) as arrays:  # the first, whatever the seed
        np.savez(folder / "samples.npz", **{name: array[: args.samples] for name, array in arrays.items()})
    chosen |= {"config": plan, "data": str(folder / "samples.npz"), "out": folder / "out"}
    jobs, _ = resolve(str(args.shared / entry["model"]), chosen, host)
    began = time.perf_counter()
    return audit(jobs[0], host, silent), time.perf_counter() - began


def costs(record: Record) -> tuple[float, float]:
    """Forward equivalents of the suite, and of everything."""
    suite = [row for row in record.attacks if row.phase == "suite"]
    attacks, every = (
        sum(equivalents(row.forwards, row.backwards, row.queries) for row in rows) for rows in (suite, record.attacks)
    )
    checks = record.checks
    return attacks, every + equivalents(checks.forwards, checks.backwards, checks.queries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--only", choices=GATES, help="one file")
    parser.add_argument("--bounds", nargs="+", choices=BOUNDS, default=BOUNDS)
    args = parser.parse_args()
    quiet_threads()
    host = Host.load()
    print("| file | gate | bound | whole: verdict | sequential: verdict | drawn | attacks | with checks | time |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, gates in GATES.items():
        if args.only not in (None, name):
            continue
        entry = entries()[name]
        with TemporaryDirectory() as folder:
            whole, seconds = scan(entry, args, host, Path(folder))
        spent = costs(whole)
        accuracy = whole.metrics.robust_accuracy
        print(f"| {name}, robust accuracy ≤ {accuracy:.4f} | | | | | {whole.n} | 1 | 1 | 1 |", flush=True)
        for at_least in gates:
            for bound in args.bounds:
                policy = Policy(rules=[rule(at_least, bound)])
                verdict = judged(whole, policy).verdict
                for seed in range(1 if bound == "certain" else args.seeds):
                    with TemporaryDirectory() as folder:
                        found, took = scan(entry, args, host, Path(folder), policy=policy, sequential=True, seed=seed)
                    own = costs(found)
                    drawn = found.drawn.ids if found.drawn else []
                    ratios = " | ".join(f"{a / b:.3f}" for a, b in zip((*own, took), (*spent, seconds), strict=True))
                    print(
                        f"| {name} | {at_least:g} | {bound} | {verdict} | {found.verdict} | {len(drawn)} | {ratios} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
