"""How near is the nearest adversarial example that each tool finds, in the same budget, in all four norms?

    python -m benchmarks.distances --shared FOLDER [--norms l2 l1 l0 linf] [--files …] [--samples 50] [--budget 1000]
                                   [--alone bisection fmn …] [--no-peers]

Ours is the bundled suite `distance`, its steps scaled to the budget (forward and backward passes a sample). Foolbox and
ART get our twin and the same budget for each of their attacks, and the best of their attacks, sample by sample, counts:
they may spend it several times over. What they claim is judged by our verifier on onnxruntime, at whatever distance.
With `--alone` each of these attacks of ours gets the whole budget to itself as well.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from auditor.execution import Execution
from auditor.host import Host
from auditor.preprocess import Preprocess
from auditor.samples import SamplesOptions
from auditor.suite import Stage, find_suite, for_norm, make_stage
from auditor.target import TargetOptions
from auditor.threat import Norm, ThreatModel
from auditor.verify import Verifier
from benchmarks.evaluators import BUNDLED, FILES, case_of
from benchmarks.libraries import MINIMUM_NORM
from benchmarks.peers import Net, Prepared, play
from benchmarks.shared import Case, add_shared

NATURAL = "bundled-natural"
WANTED = ("mnist-cnn-a-adv", "mnist-kw", "cifar-cnn-a-adv", "cifar-sri-resnet-a", "bundled-robust")


def scaled(suite: list[Stage], budget: int) -> list[Stage]:
    """The stages with their steps scaled so that all of them together take so many steps."""
    total = sum(stage.attack.steps * stage.restarts for stage in suite)  # type: ignore[union-attr]
    return [
        replace(stage, attack=replace(stage.attack, steps=max(round(stage.attack.steps * budget / total), 2)))  # type: ignore[union-attr, type-var]
        for stage in suite
    ]


def case_for(name: str, shared: Path, host: Host, samples: int, threads: int) -> Case:
    """A file of `benchmarks.evaluators`, or the naturally trained net that comes with the examples."""
    if name != NATURAL:
        return case_of(name, shared, host, samples, threads)
    options = TargetOptions(preprocess=Preprocess(), operators=host.operators, threads=threads)
    target = host.load_target(str(BUNDLED / "natural.onnx"), options)
    loaded = host.load_samples(str(BUNDLED / "samples.npz"), SamplesOptions())
    target.fit(loaded.shape)
    right = np.flatnonzero(target.labels(loaded.inputs, batch=1) == loaded.labels)[:samples]
    return Case(name, target, loaded.take(right), ThreatModel(bounds=(0.0, 1.0)))


def ours(case: Case, suite: list[Stage], budget: int, threads: int) -> tuple[np.ndarray, float, str]:
    """Distance of each sample's nearest verified example, seconds, and what a sample cost."""
    execution = Execution(device="cpu", threads=threads)
    prepared = Prepared.of(case, execution)
    suite = scaled(suite, budget)
    began = time.perf_counter()
    ledger, rows = play(prepared, execution, suite, 0)
    n = len(case.samples)
    spent = f"{sum(r.forwards for r in rows) / n:.0f} F + {sum(r.backwards for r in rows) / n:.0f} B"
    return ledger.nearest, time.perf_counter() - began, spent


def whole_or_singly(attack: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> np.ndarray:
    """The attack on all samples, or one by one where that fails; the clean input where it fails on one."""
    try:
        return attack(x, y).detach().numpy()
    except (IndexError, RuntimeError):
        found = []
        for i in range(len(x)):
            try:
                found.append(attack(x[i : i + 1], y[i : i + 1]).detach().numpy())
            except (IndexError, RuntimeError):
                found.append(x[i : i + 1].numpy())
        return np.concatenate(found)


def theirs(
    case: Case, name: str, attack: Callable[[Net, Case, int], Callable[[Tensor, Tensor], Tensor]], budget: int
) -> tuple[np.ndarray, float, str]:
    """The same of another library's attack."""
    net = Net(case)
    x, y = torch.from_numpy(case.samples.inputs), torch.from_numpy(case.samples.labels)
    wide = x[:, None] if x.ndim == 3 else x
    endless = replace(case.threat, epsilon=float("inf"))
    verifier = Verifier(case.target, case.samples, endless, endless.region(case.samples))
    torch.manual_seed(0)
    np.random.seed(0)
    began = time.perf_counter()
    found = whole_or_singly(attack(net, case, budget), wide, y).reshape(case.samples.inputs.shape).astype(np.float32)
    seconds = time.perf_counter() - began
    found = np.where(np.isfinite(found), found, case.samples.inputs).clip(0, 1)
    rulings = [verifier.judge(i, point) for i, point in enumerate(found)]
    distances = np.array([r.distance if r.broken and r.distance is not None else np.inf for r in rulings])
    n = len(x)
    return distances, seconds, f"{net.forwards / n:.0f} F + {net.backwards / n:.0f} B"


def compare(case: Case, host: Host, budget: int, threads: int, alone: list[str], peers: bool) -> None:
    """One file in one norm."""
    norm = case.threat.norm
    mine, seconds, spent = ours(case, for_norm(find_suite("distance", host.attacks), norm), budget, threads)
    print(f"\n{case.name}, {case.threat.norm}, {len(mine)} samples, {budget} steps\n")
    print(
        "| attack | median | mean of found | found | ours is nearer / as near / further | seconds | passes a sample |"
    )
    print("|---|---|---|---|---|---|---|")
    print(f"| advaudit | {_row(mine)} | | {seconds:.1f} | {spent} |", flush=True)
    for name in alone:
        if norm in host.attacks[name].norms:
            stage = make_stage({"name": name, "distance": True}, host.attacks)
            distances, took, cost = ours(case, [stage], budget, threads)
            print(f"| our {name} | {_row(distances)} | {_against(mine, distances)} | {took:.1f} | {cost} |", flush=True)
    if not peers:
        return
    best = np.full(len(mine), np.inf)
    for name, attack in MINIMUM_NORM[str(norm)].items():
        try:
            distances, took, cost = theirs(case, name, attack, budget)
        except Exception as error:  # other people's code fails in its own ways
            print(f"| {name} | failed: {type(error).__name__} {str(error)[:60]} | | | | | |", flush=True)
            continue
        best = np.minimum(best, distances)
        print(f"| {name} | {_row(distances)} | {_against(mine, distances)} | {took:.1f} | {cost} |", flush=True)
    print(f"| best of theirs | {_row(best)} | {_against(mine, best)} | | |")
    ratio = np.median(mine) / np.median(best) if np.isfinite(np.median(best)) else float("nan")
    print(f"\nratio of medians, ours to the best of theirs: {ratio:.3f}")


def _row(distances: np.ndarray) -> str:
    finite = distances[np.isfinite(distances)]
    mean = f"{finite.mean():.4g}" if len(finite) else "–"
    return f"{np.median(distances):.4g} | {mean} | {len(finite)} of {len(distances)}"


def _against(mine: np.ndarray, other: np.ndarray) -> str:
    nearer, further = mine < other * (1 - 1e-3), mine > other * (1 + 1e-3)
    return f"{nearer.sum()} / {(~nearer & ~further).sum()} / {further.sum()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser)
    parser.add_argument("--norms", nargs="*", default=["l2", "l1", "l0", "linf"])
    parser.add_argument("--files", nargs="*", default=list(WANTED), choices=[*FILES, NATURAL])
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--alone", nargs="*", default=[], help="attacks of ours that get the budget to themselves too")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    host = Host.load(installed=False)
    for name in arguments.files:
        case = case_for(name, arguments.shared, host, arguments.samples, arguments.threads)
        for norm in arguments.norms:
            threat = ThreatModel(norm=Norm(norm), epsilon=0.0 if norm == "l0" else 1e-6, bounds=(0.0, 1.0))
            own = replace(case, threat=threat)
            compare(own, host, arguments.budget, arguments.threads, arguments.alone, not arguments.no_peers)


if __name__ == "__main__":
    main()
