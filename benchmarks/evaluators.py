"""Our suites and other libraries' evaluators on the same twin, samples and threat: who leaves how many standing?

    python -m benchmarks.evaluators run --shared FOLDER [--evaluators standard autoattack …] [--files …] [--seeds 0 1 2]
    python -m benchmarks.evaluators report
    python -m benchmarks.evaluators time [--survivors 64]

`run` stores what each evaluator broke, sample by sample, under .benchmarks/evaluators, and skips what is there already:
a long baseline is run once and goes on where it was stopped. All get our differentiable twin of the ONNX file, since
none of the others loads one, and everything that anybody claims is judged by our verifier on onnxruntime. `report` sets
them against each other and against the union of all that was ever broken. Suites were tuned on samples of even number
(`--half even`); what is reported is the odd half. `time` takes samples that nothing ever broke, in float32 and, where
it is chosen, in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from auditor.execution import Execution
from auditor.host import Host
from auditor.mixed import AUTO, settled
from auditor.preprocess import Preprocess
from auditor.samples import SamplesOptions
from auditor.suite import Stage, bundled_suites, find_suite, for_norm
from auditor.target import TargetOptions
from auditor.threat import ThreatModel, parse_epsilon
from benchmarks.libraries import LIBRARIES
from benchmarks.peers import Net, Prepared, play, verified
from benchmarks.shared import Case, add_shared, load

STORE = Path(".benchmarks/evaluators")
JPEG = "data/cifar10_jpeg_4000.npz"
FILES: dict[str, tuple[str, str | None]] = {
    "mnist-cnn-a-adv": ("0.3", None),
    "mnist-kw": ("0.1", None),
    "mnist-rsl18a": ("0.1", None),
    "cifar-cnn-a-adv": ("2/255", JPEG),
    "cifar-cnn-a-mix": ("2/255", JPEG),
    "cifar-sri-resnet-a": ("4/255", JPEG),
    "cifar-resnet-2b": ("2/255", JPEG),
    "cifar-vit": ("2/255", JPEG),
    "bundled-robust": ("0.3", None),
}
"""Entries of files.toml and the bundled net: epsilon (linf), and other samples where the entry has too few."""
BACKWARD = 2.0
"""Forward passes that a backward pass is counted as: more than the 1.4 to 1.6 that were measured, so to our cost."""
MANY = 200
"""Samples from which a count needs no `of`: each file has nearly 250 in one half."""
BUNDLED = Path(__file__).parents[1] / "examples" / "mnist"


@dataclass(frozen=True)
class Result:
    """What one evaluator did to one file with one seed. Arrays are by sample, in the order of ids."""

    ids: np.ndarray
    broken: np.ndarray
    forwards: np.ndarray
    backwards: np.ndarray
    seconds: float
    stages: list[dict[str, Any]]

    def on(self, ids: np.ndarray) -> Result:
        """The same for some of its samples."""
        place = np.searchsorted(self.ids, ids)
        arrays = {key: getattr(self, key)[place] for key in ("ids", "broken", "forwards", "backwards")}
        return replace(self, **arrays)

    @property
    def cost(self) -> np.ndarray:
        """Forward-equivalents of each sample; queries of the target are forwards."""
        return self.forwards + BACKWARD * self.backwards


def case_of(name: str, shared: Path, host: Host, samples: int, threads: int) -> Case:
    """A file with its first correctly classified samples and its epsilon."""
    epsilon, other = FILES[name]
    if name == "bundled-robust":
        options = TargetOptions(preprocess=Preprocess(), operators=host.operators, threads=threads)
        target = host.load_target(str(BUNDLED / "robust.onnx"), options)
        loaded = host.load_samples(str(BUNDLED / "samples.npz"), SamplesOptions())
        target.fit(loaded.shape)
        right = np.flatnonzero(target.labels(loaded.inputs, batch=1) == loaded.labels)[:samples]
        case = Case(name, target, loaded.take(right), ThreatModel(bounds=(0.0, 1.0)))
    else:
        case = load(name, shared, host, limit=samples, threads=threads, samples=other)
    return replace(case, threat=replace(case.threat, epsilon=parse_epsilon(epsilon), epsilon_text=epsilon))


def part_of(case: Case, half: str) -> Case:
    """The samples of even or odd place, or all."""
    n = len(case.samples)
    step = {"all": slice(0, n), "even": slice(0, n, 2), "odd": slice(1, n, 2)}[half]
    return replace(case, samples=case.samples.take(np.arange(n)[step]))


def play_ours(prepared: Prepared, execution: Execution, suite: list[Stage], seed: int) -> Result:
    """One of our suites."""
    began = time.perf_counter()
    ledger, rows = play(prepared, execution, suite, seed)
    keep = ("name", "entered", "broken", "forwards", "backwards", "queries", "rounds", "seconds", "status", "reason")
    stages = [{key: getattr(row, key) for key in keep} for row in rows]
    spent = ledger.spent.astype(float)
    return Result(
        prepared.case.samples.ids,
        ledger.broken,
        spent[:, 0] + spent[:, 2],
        spent[:, 1],
        time.perf_counter() - began,
        stages,
    )


def play_theirs(prepared: Prepared, name: str, seed: int, width: int) -> Result:
    """Another library's evaluator, sample by sample charged with the mean of its batch."""
    case, net = prepared.case, Net(prepared.case)
    attack = LIBRARIES[name](net, case, seed)
    x, y = torch.from_numpy(case.samples.inputs), torch.from_numpy(case.samples.labels)
    x = x[:, None] if x.ndim == 3 else x
    found, forwards, backwards = [], np.zeros(len(x)), np.zeros(len(x))
    torch.manual_seed(seed)
    np.random.seed(seed)
    began = time.perf_counter()
    for start in range(0, len(x), width):
        part = slice(start, start + width)
        net.forwards = net.backwards = 0
        found.append(attack(x[part], y[part]).detach().numpy())
        forwards[part], backwards[part] = net.forwards / len(x[part]), net.backwards / len(x[part])
    seconds = time.perf_counter() - began
    return Result(
        case.samples.ids,
        verified(prepared, np.concatenate(found).reshape(case.samples.inputs.shape)),
        forwards,
        backwards,
        seconds,
        [],
    )


def store(path: Path, result: Result) -> None:
    """Write a result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {key: getattr(result, key).tolist() for key in ("ids", "broken", "forwards", "backwards")}
    table |= {"seconds": result.seconds, "stages": result.stages}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(table))
    part.replace(path)


def restore(path: Path) -> Result:
    """A result that was stored."""
    table = json.loads(path.read_text())
    arrays = {key: np.array(table[key]) for key in ("ids", "broken", "forwards", "backwards")}
    return Result(**arrays, seconds=table["seconds"], stages=table["stages"])


def path_of(evaluator: str, name: str, half: str, seed: int) -> Path:
    return STORE / half / name / f"{evaluator}-{seed}.json"


def run(arguments: argparse.Namespace) -> None:
    """Play every evaluator on every file, seed by seed."""
    host = Host.load(installed=False)
    torch.set_num_threads(arguments.threads)
    for name in arguments.files:
        wanted = [
            (evaluator, seed, path_of(evaluator, name, arguments.half, seed))
            for seed in arguments.seeds
            for evaluator in arguments.evaluators
        ]
        missing = [(evaluator, seed, path) for evaluator, seed, path in wanted if arguments.again or not path.exists()]
        if not missing:
            continue
        case = part_of(case_of(name, arguments.shared, host, arguments.samples, arguments.threads), arguments.half)
        execution = Execution(device=arguments.device, threads=arguments.threads, precision=arguments.precision)
        prepared = Prepared.of(case, execution)
        for evaluator, seed, path in missing:
            if evaluator in bundled_suites():
                suite = for_norm(find_suite(evaluator, host.attacks), case.threat.norm)
                result = play_ours(prepared, execution, suite, seed)
            else:
                result = play_theirs(prepared, evaluator, seed, arguments.width)
            store(path, result)
            standing = (~result.broken).sum()
            print(
                f"{name} {evaluator} seed {seed}: {standing} of {len(result.ids)} stand, {result.seconds:.1f} s",
                flush=True,
            )


def report(arguments: argparse.Namespace) -> None:
    """The tables: standing by file and evaluator, distance to the union, cost of a survivor against the baseline."""
    union: dict[str, np.ndarray] = {}
    ids: dict[str, np.ndarray] = {}
    found: dict[tuple[str, str], list[Result]] = {}
    for name in arguments.files:
        for path in sorted((STORE / arguments.half / name).glob("*.json")):
            found.setdefault((path.stem.rpartition("-")[0], name), []).append(restore(path))
        ids[name] = max(
            (r.ids for (_, file), rs in found.items() if file == name for r in rs), key=len, default=np.zeros(0)
        )
        broken = [r.ids[r.broken] for (_, file), rs in found.items() if file == name for r in rs]
        union[name] = np.isin(ids[name], np.concatenate([*broken, np.zeros(0, np.int64)]))
    evaluators = sorted({evaluator for evaluator, _ in found})
    print(f"Standing (mean over seeds) of the {arguments.half} half; union: what nothing ever broke\n")
    print("| file | n | union |" + "".join(f" {evaluator} |" for evaluator in evaluators))
    print("|---|---|---|" + "---|" * len(evaluators))
    for name in union:
        cells = [_standing(found.get((evaluator, name), [])) for evaluator in evaluators]
        print(f"| {name} | {len(union[name])} | {int((~union[name]).sum())} | " + " | ".join(cells) + " |")
    print(
        f"\nA survivor of the union costs, in forward-equivalents (a backward counts {BACKWARD:g}); seconds for all\n"
    )
    print("| file |" + "".join(f" {evaluator} |" for evaluator in evaluators))
    print("|---|" + "---|" * len(evaluators))
    for name in union:
        cells = [_cost(found.get((evaluator, name), []), ids[name][~union[name]]) for evaluator in evaluators]
        print(f"| {name} | " + " | ".join(cells) + " |")
    _pooled(found, {name: ids[name][~union[name]] for name in union}, evaluators, arguments.baseline)
    _stages(found, union, arguments.baseline)


def _standing(results: list[Result]) -> str:
    if not results:
        return "–"
    counts = [int((~result.broken).sum()) for result in results]
    few = f" of {len(results[0].ids)}" if len(results[0].ids) < MANY else ""
    return f"{statistics.mean(counts):.1f} ({'/'.join(str(count) for count in counts)}){few}"


def _cost(results: list[Result], survivors: np.ndarray) -> str:
    alive = [result.on(np.intersect1d(result.ids, survivors)) for result in results]
    if not results or not len(survivors):
        return "–"
    cost = statistics.mean(float(result.cost.mean()) for result in alive)
    return f"{cost:,.0f}; {statistics.median(result.seconds for result in results):.0f} s"


def _pooled(
    found: dict[tuple[str, str], list[Result]], survivors: dict[str, np.ndarray], evaluators: list[str], baseline: str
) -> None:
    """Sums over the files and samples that both an evaluator and the baseline have been played on, seed by seed."""
    print(f"\nPooled over files, against {baseline}: the same files and seeds\n")
    print("| evaluator | files | standing | of the baseline | worst file | cost ratio of survivors | seconds ratio |")
    print("|---|---|---|---|---|---|---|")
    for evaluator in evaluators:
        common = [name for name in survivors if (evaluator, name) in found and (baseline, name) in found]
        if not common or evaluator == baseline:
            continue
        ours, theirs, worst, ratios, seconds = 0.0, 0.0, [], [], []
        for name in common:
            pairs = [_shared(a, b) for a, b in zip(found[evaluator, name], found[baseline, name], strict=False)]
            stand = [statistics.mean(float((~pair[side].broken).sum()) for pair in pairs) for side in (0, 1)]
            ours, theirs = ours + stand[0], theirs + stand[1]
            worst.append((stand[0] - stand[1], name))
            alive = [(a.on(s), b.on(s)) for a, b in pairs if len(s := np.intersect1d(a.ids, survivors[name]))]
            ratios.append(statistics.mean(float(a.cost.mean() / b.cost.mean()) for a, b in alive))
            seconds.append(statistics.median(a.seconds / b.seconds for a, b in pairs))
        gap, where = max(worst)
        print(
            f"| {evaluator} | {len(common)} | {ours:.1f} | {theirs:.1f} | {gap:+.1f} ({where}) | "
            f"{statistics.median(ratios):.3f} (at most {max(ratios):.3f}) | {statistics.median(seconds):.3f} |"
        )


def _shared(one: Result, other: Result) -> tuple[Result, Result]:
    ids = np.intersect1d(one.ids, other.ids)
    return one.on(ids), other.on(ids)


def _stages(found: dict[tuple[str, str], list[Result]], union: dict[str, np.ndarray], baseline: str) -> None:
    """Survivors after each stage of the baseline."""
    print(f"\nStanding after each stage of {baseline}\n")
    for name in union:
        for result in found.get((baseline, name), []):
            left, trail = len(result.ids), []
            for stage in result.stages:
                left -= stage["broken"]
                trail.append(f"{stage['name']} {left}")
            print(f"- {name}: {', '.join(trail)}")


def time_survivors(arguments: argparse.Namespace) -> None:
    """Wall time of each suite on samples that nothing ever broke, turn by turn; float32, and bfloat16 where it pays."""
    host = Host.load(installed=False)
    torch.set_num_threads(arguments.threads)
    print("| file | n | precision | " + " | ".join(f"{e}, s" for e in arguments.evaluators) + " | ratios to the last |")
    print("|---|---|---|" + "---|" * (len(arguments.evaluators) + 1))
    for name in arguments.files:
        case = part_of(case_of(name, arguments.shared, host, arguments.samples, arguments.threads), arguments.half)
        stored = sorted((STORE / arguments.half / name).glob("*.json"))
        alive = ~np.any([restore(path).broken for path in stored], axis=0)
        case = replace(case, samples=case.samples.take(np.flatnonzero(alive)[: arguments.survivors]))
        plain = Execution(device=arguments.device, threads=arguments.threads)
        chosen = settled(msgspec.structs.replace(plain, precision=AUTO), case.target.twin(), case.samples.inputs)
        for precision in dict.fromkeys(("float32", chosen.precision)):
            execution = msgspec.structs.replace(plain, precision=precision)
            prepared = Prepared.of(case, execution)
            suites = {e: for_norm(find_suite(e, host.attacks), case.threat.norm) for e in arguments.evaluators}
            runs = {e: partial(play_ours, prepared, execution, suite, 0) for e, suite in suites.items()}
            seconds = _turns(runs, arguments.repeats)
            last = seconds[arguments.evaluators[-1]]
            print(
                f"| {name} | {len(case.samples)} | {precision} | "
                + " | ".join(f"{seconds[e]:.2f}" for e in runs)
                + " | "
                + ", ".join(f"{seconds[e] / last:.3f}" for e in runs)
                + " |",
                flush=True,
            )


def _turns(runs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, play_one in runs.items():
            began = time.perf_counter()
            play_one()
            took[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in took.items()}


def main(given: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report", "time"))
    add_shared(parser)
    parser.add_argument("--files", nargs="*", default=list(FILES))
    parser.add_argument("--evaluators", nargs="*", default=["quick", "standard", "thorough", "autoattack"])
    parser.add_argument("--samples", type=int, default=500, help="correctly classified ones, before they are halved")
    parser.add_argument("--half", choices=("even", "odd", "all"), default="odd")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--again", action="store_true", help="play what is stored already once more")
    parser.add_argument("--baseline", default="autoattack")
    parser.add_argument("--survivors", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--width", type=int, default=64, help="batch of the other libraries")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args(None if given is None else list(given))
    warnings.simplefilter("ignore")
    {"run": run, "report": report, "time": time_survivors}[arguments.what](arguments)


if __name__ == "__main__":
    main()
