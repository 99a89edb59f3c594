"""Single stages side by side, each on every correctly classified sample: what does a suite gain by which of them?

    python -m benchmarks.portfolio --shared FOLDER --stages odi:restarts=8 pma:restarts=2 [--files …] [--samples 100]

Stages are given as to `--attack`. Each is played as a scan plays it, verified by our verifier, and meets all samples,
also those that others break: so what it breaks, what it alone breaks (unique), and what it spends can be compared. For
a stage with several restarts `--curve` plays 1, 2, 4, … of them too, and says how many samples fall to so many; the
other numbers are those of all. Passes are per sample; a backward counts as two forwards in the sum. Suites are tuned on
the samples of even place (`--half even`, the default); the odd ones are for reporting.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from auditor.cli import quiet_threads
from auditor.execution import Execution
from auditor.host import Host
from auditor.suite import Stage, make_stage, parse_attack
from benchmarks.evaluators import BACKWARD, FILES, case_of, part_of
from benchmarks.peers import Prepared, play
from benchmarks.shared import Case, add_shared, load

SMALL = ("mnist-cnn-a-adv", "cifar-cnn-a-adv", "mnist-kw", "mnist-rsl18a")


@dataclass(frozen=True)
class Played:
    """What a stage did: broken, bool `[seeds, n]`; forwards, backwards and queries of all samples and seeds, `[3]`;
    seconds of a seed; curve: of the first so many restarts, how many samples fell in the mean of the seeds."""

    broken: np.ndarray
    spent: np.ndarray
    seconds: float
    curve: dict[int, float]

    @property
    def cost(self) -> float:
        """Forward-equivalents of a sample in the mean."""
        return float(self.spent @ [1, BACKWARD, 1]) / self.broken.size


def stages_of(texts: list[str], host: Host) -> dict[str, Stage]:
    """The stages by what they were given as."""
    return {text: make_stage(parse_attack(text), host.attacks) for text in texts}


def prepared_of(name: str, arguments: argparse.Namespace, host: Host, execution: Execution) -> Prepared:
    """A file with the chosen half of its first correctly classified samples."""
    known: dict[str, Any] = {"threads": arguments.threads}
    case: Case
    if name in FILES:
        case = case_of(name, arguments.shared, host, samples=arguments.samples, **known)
    else:
        case = load(name, arguments.shared, host, limit=arguments.samples, **known)
    return Prepared.of(part_of(case, arguments.half), execution)


def measure(prepared: Prepared, execution: Execution, stage: Stage, seeds: list[int], curved: bool) -> Played:
    """One stage on all samples, with each seed; fewer restarts of it for the curve."""
    curve = {}
    for restarts in doublings(stage.restarts) if curved else [stage.restarts]:
        parts = [play(prepared, execution, [replace(stage, restarts=restarts)], seed) for seed in seeds]
        broken = np.stack([ledger.broken for ledger, _ in parts])
        curve[restarts] = float(broken.sum(axis=1).mean())
    for _, (row,) in parts:
        if row.status != "ran":
            raise SystemExit(f"{row.name} did not run: {row.reason}")
    spent = np.sum([ledger.spent.sum(axis=0) for ledger, _ in parts], axis=0)
    return Played(broken, spent, float(np.mean([row.seconds for _, (row,) in parts])), curve)


def doublings(most: int) -> Iterator[int]:
    """1, 2, 4, … and the last."""
    restarts = 1
    while restarts < most:
        yield restarts
        restarts *= 2
    yield most


def lines(results: dict[str, Played]) -> Iterator[str]:
    """The table of one file."""
    broken = np.stack([result.broken for result in results.values()])
    width = max(len(text) for text in results)
    yield f"{'':{width}}  robust  broken  unique  forwards  backwards  queries     sum  seconds  curve"
    for text, result in results.items():
        alone = (result.broken & (broken.sum(axis=0) == 1)).sum(axis=1).mean()
        fell, passes = result.broken.sum(axis=1).mean(), result.spent / result.broken.size
        curve = " ".join(f"{restarts}:{count:.4g}" for restarts, count in result.curve.items())
        yield (
            f"{text:{width}}  {1 - result.broken.mean():6.1%}  {fell:6.4g}  {alone:6.4g}  {passes[0]:8.1f}  "
            f"{passes[1]:9.1f}  {passes[2]:7.1f}  {result.cost:6.0f}  {result.seconds:7.1f}  {curve}"
        )
    union = broken.any(axis=0)
    yield f"{'all together':{width}}  {1 - union.mean():6.1%}  {union.sum(axis=1).mean():6.4g}"


def main() -> None:
    quiet_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser)
    parser.add_argument("--stages", nargs="+", required=True, help="NAME or NAME:option=value,option=value")
    parser.add_argument("--files", nargs="+", default=list(SMALL))
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--half", choices=("even", "odd", "all"), default="even")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="several are averaged")
    parser.add_argument("--curve", action="store_true", help="breaks by the number of restarts; takes twice as long")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    host = Host.load(installed=False)
    stages = stages_of(arguments.stages, host)
    execution = Execution(device="cpu", threads=arguments.threads)
    everything: dict[str, list[Played]] = {text: [] for text in stages}
    for name in arguments.files:
        prepared = prepared_of(name, arguments, host, execution)
        n, threat = len(prepared.case.samples), prepared.case.threat
        results = {
            text: measure(prepared, execution, stage, arguments.seed, arguments.curve) for text, stage in stages.items()
        }
        print(f"\n{name}: {threat.title}, {n} correctly classified samples ({arguments.half})")
        print("\n".join(lines(results)), flush=True)
        for text, result in results.items():
            everything[text].append(result)
    if len(arguments.files) > 1:
        print(f"\n{len(arguments.files)} files together")
        print("\n".join(lines({text: together(parts) for text, parts in everything.items()})))


def together(parts: list[Played]) -> Played:
    """A stage's results on several files as one."""
    return Played(
        np.concatenate([part.broken for part in parts], axis=1),
        np.sum([part.spent for part in parts], axis=0),
        sum(part.seconds for part in parts),
        {restarts: sum(part.curve[restarts] for part in parts) for restarts in parts[0].curve},
    )


if __name__ == "__main__":
    main()
