"""Who fools whom: attacks on each MNIST file, judged by every other, by the two published protocols.

    python -m benchmarks.transfer [--shared FOLDER] [--samples 200] [--epsilon 0.1] [--norm linf] [--attacks fgsm …]

The bundled nets, and the third-party ones of `files.toml` where the shared folder is there. Each attack runs to its
end on the twin of each file, on all samples, also those that the file gets wrong; every deployed file then judges the
points that it ended on. Printed: for each attack the error of each target by source, with what the diagonal says; for
each target the worst that any attack on any other file did (Tramèr); for each attack the share of examples that fool
their source and go over to others (Kurakin); and how alike the twins' gradients are, with the smoothness and the bound
that follows, which is a diagnostic only.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from auditor.asked import climbed
from auditor.attack import Attack
from auditor.bench import Bench
from auditor.cli import quiet_threads
from auditor.execution import Execution
from auditor.host import Host
from auditor.matrix import Matrix
from auditor.oracle import TwinOracle
from auditor.preprocess import Preprocess
from auditor.protocols import TransferCounts, count, worst_black_box
from auditor.rates import percent
from auditor.samples import Samples, SamplesOptions
from auditor.similarity import NOTE, alignment, bound, slopes, smoothness
from auditor.suite import make_stage, parse_attack
from auditor.target import Target, TargetOptions
from auditor.threat import Norm, ThreatModel, parse_epsilon
from auditor.twin import Twin
from benchmarks.shared import add_shared, entries

BUNDLED = Path(__file__).parents[1] / "examples" / "mnist"
OWN = ("natural", "robust", "int8")
OTHERS = ("mnist-undefended-logits", "mnist-kw", "mnist-rsl18a", "mnist-cnn-a-adv")
ATTACKS = ("fgsm", "bim", "mi", "ti", "di", "si", "bsr")
CHUNK = 100
EUCLIDEAN = 0.05
"""Epsilon of the bound on fooling two files at once: at larger ones it says nothing about nets like these."""


@dataclass(frozen=True)
class Model:
    """A file and its twin, and which of the clean samples it classifies rightly, bool `[n]`."""

    target: Target
    twin: Twin
    right: np.ndarray


def files(shared: Path) -> Iterator[tuple[str, Path, str]]:
    """Name, path and preprocessing of each file that is here."""
    for name in OWN:
        yield name, BUNDLED / f"{name}.onnx", "none"
    for name in OTHERS:
        entry = entries()[name]
        if (shared / entry["model"]).exists():
            yield name, shared / entry["model"], entry.get("preprocess", "none")
        else:
            print(f"{name}: not here, skipped", flush=True)


def load(path: Path, preprocess: str, samples: Samples, host: Host) -> Model:
    options = TargetOptions(preprocess=Preprocess.preset(preprocess), operators=host.operators, threads=1)
    target = host.load_target(str(path), options)
    target.fit(samples.shape)
    return Model(target, target.twin(), target.labels(samples.inputs, batch=1) == samples.labels)


def crafted(model: Model, samples: Samples, threat: ThreatModel, attack: Attack, seed: int) -> np.ndarray:
    """The points that an attack ends on, `[n, *shape]`: it goes on where the model has long been fooled."""
    execution = Execution(device="cpu", threads=1, width=CHUNK)
    oracle = TwinOracle(model.twin, execution)
    parts = []
    for start in range(0, len(samples), CHUNK):
        part = samples.take(slice(start, start + CHUNK))
        problem = Bench(target=model.target, samples=part, threat=threat, seed=seed).problem()
        rows = attack.start(problem)
        for age in range(attack.replies):
            ages = torch.full_like(problem.ages, age)
            asked = problem.at(ages, 1)
            query = attack.query(asked, rows)
            reply = oracle.ask(query, climbed(attack, query, problem.at(ages, 3), rows))
            rows = attack.step(problem.at(ages, 2), rows, reply)
        parts.append(rows.x.numpy())
    return np.concatenate(parts)


def counted(
    models: dict[str, Model], samples: Samples, threat: ThreatModel, attack: Attack, seed: int
) -> dict[tuple[str, str], TransferCounts]:
    """Counts of one attack by (source, target)."""
    counts = {}
    for source, model in models.items():
        points = crafted(model, samples, threat, attack, seed)
        wrong = {name: one.target.labels(points, batch=1) != samples.labels for name, one in models.items()}
        for target, one in models.items():
            counts[source, target] = count(model.right, one.right, wrong[source], wrong[target])
    return counts


def show_protocols(results: dict[str, dict[tuple[str, str], TransferCounts]], names: tuple[str, ...], n: int) -> None:
    print("\nTramèr: error of each target, clean, on its own gradients at worst, and on held-out files' at worst\n")
    print("| target | clean | own, worst attack | held out, worst | by |\n|---|---|---|---|---|")
    for target in names:
        row = {(source, attack): c[source, target] for attack, c in results.items() for source in names}
        own = max(row[target, attack].error or 0 for attack in results)
        clean = row[target, next(iter(results))].both_right / n
        found = worst_black_box(row, target)
        held, by = ("not computed", "") if found is None else (percent(found[1], n), " on ".join(reversed(found[0])))
        print(f"| {target} | {percent(1 - clean, n)} | {percent(own, n)} | {held} | {by} |")
    print("\nKurakin: of the examples that fool their source, those that fool the target too; all pairs of two files\n")
    print("| attack | fool the source | go over | natural → int8 | natural → robust |\n|---|---|---|---|---|")
    for attack, counts in results.items():
        pairs = [one for (source, target), one in counts.items() if source != target]
        fooled, both, right = (
            sum(getattr(one, k) for one in pairs) for k in ("fooled_source", "fooled_both", "both_right")
        )
        cells = [percent(fooled / right if right else None, right), percent(both / fooled if fooled else None, fooled)]
        cells += [percent(counts["natural", target].transferred, n) for target in ("int8", "robust")]
        print(f"| {attack} | {' | '.join(cells)} |")


def show_similarity(models: dict[str, Model], samples: Samples) -> None:
    """Each pair's gradients side by side, at the clean samples."""
    x, y = torch.from_numpy(samples.inputs), torch.from_numpy(samples.labels)
    at = {name: slopes(model.twin, x, y) for name, model in models.items()}
    beta = {name: float(smoothness(m.twin, x, y, radius=EUCLIDEAN).max()) for name, m in models.items()}
    print("\nGradients of two twins at the clean samples: mean cosine S (least to most)\n")
    print(f"| | {' | '.join(models)} | β |\n{'|---' * (len(models) + 2)}|")
    for one in models:
        cells = []
        for other in models:
            made = alignment(at[one], at[other])
            cells.append("none" if made.mean is None else f"{made.mean:.2f} ({made.least:.2f} to {made.most:.2f})")
        print(f"| {one} | {' | '.join(cells)} | {beta[one]:.3g} |")
    print(f"\nOf samples, those at which one change of l2 {EUCLIDEAN} fools both, at most (and not ruled out here)")
    print(f"{NOTE}\n")
    print(f"| | {' | '.join(models)} |\n{'|---' * (len(models) + 1)}|")
    for one in models:
        bounds = [bound(at[one], at[o], epsilon=EUCLIDEAN, betas=(beta[one], beta[o])) for o in models]
        print(f"| {one} | {' | '.join(f'{b.probability:.3f} ({b.share:.3f})' for b in bounds)} |")


def main() -> None:
    quiet_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--epsilon", default="0.1")
    parser.add_argument("--norm", choices=("linf", "l2"), default="linf")
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), help="NAME or NAME:option=value,option=value")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--brief", action="store_true", help="leave the matrices of single attacks out")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    host = Host.load(installed=False)
    samples = host.load_samples(str(BUNDLED / "samples.npz"), SamplesOptions()).take(slice(0, arguments.samples))
    models = {name: load(path, preprocess, samples, host) for name, path, preprocess in files(arguments.shared)}
    threat = ThreatModel(
        norm=Norm(arguments.norm),
        epsilon=parse_epsilon(arguments.epsilon),
        epsilon_text=arguments.epsilon,
        bounds=(0, 1),
    )
    names, n = tuple(models), len(samples)
    print(f"{threat.title}, {n} samples, {len(names)} files")
    results = {}
    for text in arguments.attacks:
        attack = make_stage(parse_attack(text), host.attacks).attack
        if not isinstance(attack, Attack):
            raise SystemExit(f"{text} owns its loop, so there is nothing that it ends on.")
        began = time.monotonic()
        results[text] = counted(models, samples, threat, attack, arguments.seed)
        if not arguments.brief:
            print(f"\n{text}: error of the target, {time.monotonic() - began:.0f} s\n")
            print("\n".join(Matrix.of(results[text], names).table()), flush=True)
    show_protocols(results, names, n)
    show_similarity(models, samples)


if __name__ == "__main__":
    main()
