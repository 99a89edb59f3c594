"""Frozen stages: which part of its clean margin stands for a share of the survivors, and what a frozen suite achieves.

    python -m benchmarks.frozen fit --shared FOLDER [--suite standard] [--files …] [--samples 300] [--half even]
    python -m benchmarks.frozen compare --shared FOLDER [--suite standard] [--files …] [--samples 300] [--half odd]
    python -m benchmarks.frozen masked --shared FOLDER [--files …] [--samples 200] [--half odd]

`fit` plays every stage on everybody that stands, all rounds, so that nothing hides what a share would have left out. It
prints for each stage with a share the quantiles of margin over clean margin among those that stand when it begins, the
ratio below which the share lies (cut), and the ratios of those that it then breaks. `compare` plays the suite as a scan
does, and frozen, where no sample's budget hangs on another: what both break, and what a survivor costs, in forward
passes, of which a backward is two. `masked` does so behind a twin whose gradient is a lie, where only stages without
gradients find much; and once more with thresholds for those too. Fit on the even samples, compare on the odd.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from auditor.bench import Bench
from auditor.clean import clean_margins
from auditor.cli import quiet_threads
from auditor.execution import Execution
from auditor.frozen import frozen, near_of
from auditor.host import Host
from auditor.ledger import Ledger
from auditor.search import Search
from auditor.suite import Stage, find_suite, for_norm
from benchmarks.evaluators import BACKWARD, FILES, case_of, part_of
from benchmarks.peers import Prepared
from benchmarks.shared import add_shared

COST = np.array([1, BACKWARD, 1])
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
Player = Callable[[Search, list[Stage], Ledger], None]


class Lying(nn.Module):
    """A twin's module with the scores that it has, and the slope of a random direction that says nothing."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.inner(x.detach())
        way = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(0))
        lie = (x * way).flatten(1).sum(dim=1, keepdim=True) * torch.linspace(-1, 1, scores.shape[1])
        return scores + lie - lie.detach()


@dataclass(frozen=True)
class Played:
    """What a suite did, by sample: broken, and forward-equivalents."""

    broken: np.ndarray
    cost: np.ndarray


def played(prepared: Prepared, execution: Execution, suite: list[Stage], seed: int, player: Player) -> Played:
    """A suite by one of the players below."""
    case = prepared.case
    bench = Bench(target=case.target, samples=case.samples, threat=case.threat, seed=seed, execution=execution)
    ledger = Ledger.of(case.samples, np.ones(len(case.samples), bool))
    with TemporaryDirectory() as folder:
        search = replace(bench.search(Path(folder)), twin=prepared.twin, doubt=prepared.doubt)
        player(search, suite, ledger)
    return Played(ledger.broken, ledger.spent @ COST)


def as_a_scan(search: Search, suite: list[Stage], ledger: Ledger) -> None:
    """Stage by stage, another round while the last one broke somebody."""
    for row in search.play(suite, ledger):
        if row.status != "ran":
            raise SystemExit(f"{row.name} did not run: {row.reason or row.rejected}")


def each_alone(search: Search, suite: list[Stage], ledger: Ledger) -> None:
    """Stage by stage, every round on whom it meets by then."""
    for number, stage in enumerate(suite):
        one_stage(search, number, stage, ledger)


def one_stage(search: Search, number: int, stage: Stage, ledger: Ledger) -> None:
    size = search.execution.chunk(search.samples.inputs[0].size)
    for turn in range(1, stage.rounds + 1):
        entrants = search.entrants(stage, ledger)
        for start in range(0, len(entrants), size):
            result = search.unit(number, stage, entrants[start : start + size], ledger, turn)
            if result.error:
                raise SystemExit(f"{stage.title} did not run: {result.error}")
            ledger.apply(number, result)


def watched(lines: list[str]) -> Player:
    """Everybody meets everything; tells of every stage with a share who stood before it and who fell to it."""

    def play(search: Search, suite: list[Stage], ledger: Ledger) -> None:
        clean = clean_margins(search, np.arange(len(search.samples)))
        for number, stage in enumerate(suite):
            stood, ratio = ledger.standing, ledger.margin / clean
            one_stage(search, number, replace(stage, share=1.0), ledger)
            if stage.share < 1 and len(stood):
                cut = np.sort(ratio[stood])[int(np.ceil(stage.share * len(stood))) - 1]
                quantiles = " | ".join(f"{value:.2f}" for value in np.quantile(ratio[stood], QUANTILES))
                fell = ", ".join(f"{value:.2f}" for value in np.sort(ratio[stood[ledger.broken[stood]]]))
                lines.append(f"{stage.title} | {stage.share} | {len(stood)} | {quantiles} | {cut:.2f} | {fell or '–'}")

    return play


def fit(cases: Iterator[tuple[str, Prepared, list[Stage]]], execution: Execution, seed: int) -> None:
    print(f"| file | stage | share | stand | {' | '.join(f'{q:.0%}' for q in QUANTILES)} | cut | ratios of who fell |")
    print(f"|---|---|---|---|{'---|' * len(QUANTILES)}---|---|")
    cuts: dict[float, list[float]] = {}
    for name, prepared, suite in cases:
        lines: list[str] = []
        played(prepared, execution, suite, seed, watched(lines))
        for line in lines:
            print(f"| {name} | {line} |", flush=True)
            parts = line.split(" | ")
            cuts.setdefault(float(parts[1]), []).append(float(parts[-2]))
    for share, values in sorted(cuts.items()):
        low, middle, high = np.quantile(values, (0, 0.5, 1))
        print(f"share {share}: cut {low:.2f} to {high:.2f}, median {middle:.2f}; near_of {near_of(share):.2f}")


def ranked_too(stage: Stage) -> Stage:
    """Frozen with a threshold, also where the stage follows no gradients."""
    return replace(stage, share=1.0, near=near_of(stage.share))


def compare(cases: Iterator[tuple[str, Prepared, list[Stage]]], execution: Execution, seed: int, masked: bool) -> None:
    kinds = {"frozen": frozen} | ({"thresholds everywhere": ranked_too} if masked else {})
    print("| file | samples | scan: broken | cost | how | broken | missed | gained | cost | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    ratios: dict[str, list[float]] = {}
    for name, prepared, suite in cases:
        if masked:
            prepared = replace(prepared, twin=replace(prepared.twin, module=Lying(prepared.twin.module)))
        scan = played(prepared, execution, suite, seed, as_a_scan)
        for kind, freeze in kinds.items():
            other = played(prepared, execution, [freeze(stage) for stage in suite], seed, each_alone)
            stand = ~scan.broken & ~other.broken
            costs = scan.cost[stand].mean(), other.cost[stand].mean()
            ratios.setdefault(kind, []).append(costs[1] / costs[0])
            missed, gained = (scan.broken & ~other.broken).sum(), (other.broken & ~scan.broken).sum()
            cells = [name, len(stand), scan.broken.sum(), f"{costs[0]:,.0f}", kind, other.broken.sum(), missed, gained]
            cells += [f"{costs[1]:,.0f}", f"{ratios[kind][-1]:.2f}"]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
    for kind, values in ratios.items():
        print(f"{kind}: cost of a survivor {np.median(values):.2f} in the median, {max(values):.2f} at most")


def main() -> None:
    quiet_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fit", "compare", "masked"))
    add_shared(parser)
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--files", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--half", choices=("even", "odd", "all"), help="default: even to fit, odd to compare")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    execution = Execution(device="cpu", threads=arguments.threads)
    host = Host.load(installed=False)
    half = arguments.half or ("even" if arguments.what == "fit" else "odd")

    def cases() -> Iterator[tuple[str, Prepared, list[Stage]]]:
        for name in arguments.files:
            whole = case_of(name, arguments.shared, host, samples=arguments.samples, threads=arguments.threads)
            suite = for_norm(find_suite(arguments.suite, host.attacks), whole.threat.norm)
            yield name, Prepared.of(part_of(whole, half), execution), suite

    if arguments.what == "fit":
        fit(cases(), execution, arguments.seed)
    else:
        compare(cases(), execution, arguments.seed, masked=arguments.what == "masked")


if __name__ == "__main__":
    main()
