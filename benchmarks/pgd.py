"""The same PGD in four libraries, on the same twin, samples, threat and threads, in one run.

    python -m benchmarks.pgd --shared FOLDER [--samples 256] [--repeats 5]

All get our differentiable twin of the ONNX file, since none of them loads one. Ours is timed with everything that a
scan does: dropping, best points, and verification of every break on onnxruntime at batch 1. The others are timed for
the attack alone, and their examples are verified afterwards, untimed, by our verifier. Libraries take turns within each
repeat; medians are printed, and the ratio of medians to the fastest of the others. bfloat16 is ours alone, shown apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from auditor.execution import Execution
from auditor.host import Host
from auditor.suite import make_stage
from benchmarks.peers import Net, Prepared, play, verified
from benchmarks.shared import Case, add_shared, load

JPEG = "data/cifar10_jpeg_4000.npz"
FILES = {
    "mnist-undefended-logits": None,
    "mnist-cnn-a-adv": None,
    "cifar-cnn-a-adv": JPEG,
    "cifar-sri-resnet-a": JPEG,
}
"""Entries of files.toml, and other samples where the entry has too few."""
STEPS, REL_STEP = 40, 0.1


def ours(prepared: Prepared, execution: Execution, host: Host, seed: int) -> np.ndarray:
    """A whole PGD stage of a scan: search, journal, and verification of every break."""
    table = {"name": "pgd", "loss": "ce", "steps": STEPS, "rel_step": REL_STEP}
    return play(prepared, execution, [make_stage(table, host.attacks)], seed)[0].broken


def peers(case: Case, net: Net, batch: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Each other library's PGD as a function from inputs and labels to candidates. Missing ones are left out."""
    epsilon = case.threat.epsilon
    found: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
    try:
        import foolbox

        model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
        pgd = foolbox.attacks.LinfPGD(rel_stepsize=REL_STEP, steps=STEPS, random_start=True)
        found["foolbox"] = lambda x, y: pgd(model, x, y, epsilons=epsilon)[1]
    except ImportError:
        print("foolbox is not installed: left out")
    try:
        import torchattacks

        attack = torchattacks.PGD(net, eps=epsilon, alpha=REL_STEP * epsilon, steps=STEPS, random_start=True)
        found["torchattacks"] = lambda x, y: attack(x, y)
    except ImportError:
        print("torchattacks is not installed: left out")
    try:
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

        classifier = PyTorchClassifier(
            net,
            loss=nn.CrossEntropyLoss(),
            input_shape=case.samples.shape,
            nb_classes=case.target.classes,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        art = ProjectedGradientDescentPyTorch(
            classifier,
            norm=np.inf,
            eps=epsilon,
            eps_step=REL_STEP * epsilon,
            max_iter=STEPS,
            num_random_init=1,
            batch_size=batch,
            verbose=False,
        )
        found["art"] = lambda x, y: torch.from_numpy(art.generate(x.numpy(), y.numpy()))
    except ImportError:
        print("art is not installed: left out")
    return found


def timed(run: Callable[[], object]) -> tuple[float, object]:
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result


def compare(case: Case, host: Host, *, batch: int, repeats: int, threads: int) -> None:
    """Print the table of one file."""
    torch.set_num_threads(threads)
    x, y = torch.from_numpy(case.samples.inputs), torch.from_numpy(case.samples.labels)
    others = peers(case, Net(case), batch)

    def whole(attack: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
        parts = [attack(x[i : i + batch], y[i : i + batch]) for i in range(0, len(x), batch)]
        return torch.cat(parts).detach().numpy()

    plain = Execution(device="cpu", threads=threads, width=batch)
    prepared = Prepared.of(case, plain)
    runs: dict[str, Callable[[int], object]] = {"advaudit": lambda seed: ours(prepared, plain, host, seed)}
    runs |= {name: lambda seed, attack=attack: whole(attack) for name, attack in others.items()}  # type: ignore[misc]
    runs["advaudit bf16"] = lambda seed: ours(prepared, replace_precision(plain), host, seed)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    robust: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            torch.manual_seed(repeat)
            np.random.seed(repeat)
            took, result = timed(partial(run, repeat))
            if repeat == 0:
                continue  # the first round warms up
            broken = result if name.startswith("advaudit") else verified(prepared, result)  # type: ignore[arg-type]
            seconds[name].append(took)
            robust[name].append(1 - float(np.mean(broken)))  # type: ignore[arg-type]
    fastest = min(statistics.median(seconds[name]) for name in others) if others else float("nan")
    print(
        f"\n{case.name}: {case.threat.title}, {len(x)} correctly classified samples, batch {batch}, {threads} threads"
    )
    print(f"{'':16}{'robust accuracy':>24}{'seconds':>24}{'ratio to fastest peer':>24}")
    for name in runs:
        rates, times = robust[name], seconds[name]
        spread = f"{statistics.median(rates):.3f} ({min(rates):.3f}–{max(rates):.3f})"
        took = f"{statistics.median(times):.2f} ({min(times):.2f}–{max(times):.2f})"
        print(f"{name:16}{spread:>24}{took:>24}{statistics.median(times) / fastest:>24.2f}")


def replace_precision(execution: Execution) -> Execution:
    """The same execution with the search in bfloat16."""
    import msgspec

    return msgspec.structs.replace(execution, precision="bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--files", nargs="*", default=list(FILES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    host = Host.load(installed=False)
    for name in arguments.files:
        case = load(
            name, arguments.shared, host, limit=arguments.samples, threads=arguments.threads, samples=FILES.get(name)
        )
        compare(case, host, batch=arguments.batch, repeats=arguments.repeats, threads=arguments.threads)


if __name__ == "__main__":
    main()
