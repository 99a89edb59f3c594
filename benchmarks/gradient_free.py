"""Attacks without gradients in four libraries: same deployed model, samples, threats and query budgets, in one run.

    python -m benchmarks.gradient_free --shared FOLDER [--files …] [--samples 25] [--budgets 1000 2500] [--attacks …]

Every library asks the same function, the deployed file on onnxruntime with one thread, which counts points. Square is
compared by the share of samples broken at epsilon (as our verifier sees it), HopSkipJump by the l2 distance of the
nearest adversarial point among the first queries that the budget allows: peers are stopped there, ours keeps within
it, the queries for verification included. Foolbox and torchattacks get all samples as one batch, ART takes them one by
one as it always does. Ours is timed with everything that a scan does. Times are processor time, less our counting.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auditor.execution import Execution
from auditor.host import Host
from auditor.suite import make_stage
from auditor.threat import Norm, ThreatModel, parse_epsilon
from benchmarks.peers import Prepared, play, verified
from benchmarks.shared import Case, add_shared, load

FILES = {
    "mnist-undefended-logits": ("0.1", 1.5),
    "mnist-cnn-a-adv": ("0.3", 2.0),
    "mnist-kw": ("0.1", 1.5),
    "cifar-marabou-small": ("2/255", 0.25),
    "cifar-sri-resnet-a": ("0.0035", 0.25),
}
"""Entries of files.toml, with an epsilon of linf at which some samples stand and some fall, and one of l2."""
DEFAULT = ("mnist-undefended-logits", "mnist-cnn-a-adv", "cifar-marabou-small")
VERIFICATION = 25
"""Queries of a distance stage at its end, at most: they are part of the budget."""


class Spent(Exception):
    """The budget of every sample is used up."""


class Asked(nn.Module):
    """The deployed model as a module from [0, 1] inputs to scores, which counts, and watches l2 distances.

    ids: the samples that rows of a call belong to, in turn. budget: points a
    sample, after which it stops. queries: points so far. nearest: least distance of a misclassified one, by sample.
    """

    def __init__(self, case: Case, budget: int | None = None):
        super().__init__()
        self.case, self.budget = case, budget
        self.unused = nn.Parameter(torch.zeros(1))  # whose device some ask for
        self.ids: np.ndarray | None = None
        self.queries, self.watching = 0, 0.0
        self.count = np.zeros(len(case.samples), np.int64)
        self.nearest = np.full(len(case.samples), np.inf)

    def forward(self, x: Tensor) -> Tensor:
        points = np.ascontiguousarray(back(self.case, x.detach()).numpy(), np.float32)
        scores = self.case.target.scores(points)
        began = time.process_time()
        self.queries += len(points)
        if self.ids is not None and self.budget is not None:
            self._watch(points, scores, self.ids, self.budget)
        self.watching += time.process_time() - began
        return torch.from_numpy(scores)

    def _watch(self, points: np.ndarray, scores: np.ndarray, own: np.ndarray, budget: int) -> None:
        ids = np.resize(own, len(points))
        turns = self.count[ids] + np.arange(len(points)) // len(own)
        np.add.at(self.count, ids, 1)
        wrong = (scores.argmax(axis=1) != self.case.samples.labels[ids]) & (turns < budget)
        gaps = (points - self.case.samples.inputs[ids]).reshape(len(points), -1)[wrong]
        np.minimum.at(self.nearest, ids[wrong], np.linalg.norm(gaps, axis=1))
        if (self.count[own] >= budget).all():
            raise Spent


def ahead(case: Case, x: Tensor) -> Tensor:
    """Inputs as the other libraries want them, `[n, channels, height, width]`."""
    shape = case.samples.shape
    if len(shape) == 2:
        return x[:, None]
    return x.permute(0, 3, 1, 2).contiguous() if shape[-1] in (1, 3) and shape[0] not in (1, 3) else x


def back(case: Case, x: Tensor) -> Tensor:
    """Their points as the deployed model takes them."""
    shape = case.samples.shape
    moved = len(shape) == 3 and shape[-1] in (1, 3) and shape[0] not in (1, 3)
    return (x.permute(0, 2, 3, 1) if moved else x).reshape(len(x), *shape)


@dataclass(frozen=True)
class Result:
    """What one attack of one library did. value: which samples it broke, or how near it came, by sample."""

    value: np.ndarray
    queries: int
    seconds: float


Generate = Callable[[Tensor, Tensor], Any]
Build = Callable[[Asked, Case, int], Generate]


def _classifier(net: Asked, case: Case) -> object:
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        net,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(ahead(case, torch.from_numpy(case.samples.inputs[:1])).shape[1:]),
        nb_classes=case.target.classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def torchattacks_square(net: Asked, case: Case, budget: int) -> Generate:
    """torchattacks' Square."""
    import torchattacks

    norm = "Linf" if case.threat.norm is Norm.LINF else "L2"
    attack = torchattacks.Square(net, norm=norm, eps=case.threat.epsilon, n_queries=budget, n_restarts=1, seed=0)
    return lambda x, y: attack(x, y)


def art_square(net: Asked, case: Case, budget: int) -> Generate:
    """The Adversarial Robustness Toolbox's Square."""
    from art.attacks.evasion import SquareAttack

    norm: float = np.inf if case.threat.norm is Norm.LINF else 2
    made = _classifier(net, case)
    attack = SquareAttack(made, norm=norm, eps=case.threat.epsilon, max_iter=budget, batch_size=128, verbose=False)
    return lambda x, y: torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def art_hop(net: Asked, case: Case, budget: int) -> Generate:
    """The Adversarial Robustness Toolbox's HopSkipJump, until it is stopped."""
    from art.attacks.evasion import HopSkipJump

    attack = HopSkipJump(_classifier(net, case), norm=2, max_iter=1000, max_eval=10_000, init_eval=100, verbose=False)
    return lambda x, y: attack.generate(x.numpy(), y.numpy())


def foolbox_hop(steps: int) -> Build:
    """Foolbox's HopSkipJump, until it is stopped; its own start takes 1000 queries, with fewer it gets further."""

    def build(net: Asked, case: Case, budget: int) -> Generate:
        import foolbox

        model = foolbox.PyTorchModel(net.eval(), bounds=(0, 1), device="cpu")
        start = foolbox.attacks.LinearSearchBlendedUniformNoiseAttack(steps=steps)
        attack = foolbox.attacks.HopSkipJumpAttack(init_attack=start, steps=1000)
        return lambda x, y: attack(model, x, y, epsilons=None)

    return build


SQUARE: dict[str, Build] = {"torchattacks": torchattacks_square, "art": art_square}
HOP: dict[str, Build] = {"foolbox": foolbox_hop(1000), "foolbox, short start": foolbox_hop(50), "art": art_hop}


def ours(case: Case, table: dict[str, Any], host: Host, execution: Execution) -> Result:
    """A stage of ours as a scan plays it."""
    prepared = Prepared.of(case, execution)
    began = time.process_time()
    ledger, rows = play(prepared, execution, [make_stage(table, host.attacks)], 0)
    seconds = time.process_time() - began
    if rows[0].status != "ran":
        raise RuntimeError(rows[0].reason)
    value = ledger.nearest if table.get("distance") else ledger.broken
    return Result(value, int(ledger.spent[:, 2].sum()), seconds)


def theirs(case: Case, build: Build, budget: int, prepared: Prepared, *, distance: bool, singly: bool) -> Result:
    """The same of another library."""
    net = Asked(case, budget if distance else None)
    x, y = torch.from_numpy(case.samples.inputs), torch.from_numpy(case.samples.labels)
    x = ahead(case, x)
    torch.manual_seed(0)
    np.random.seed(0)
    attack = build(net, case, budget)
    found = case.samples.inputs.copy()
    parts = [[i] for i in range(len(x))] if singly else [list(range(len(x)))]
    began = time.process_time()
    for part in parts:
        net.ids = np.array(part)
        try:
            made = attack(x[part], y[part])
            found[part] = found[part] if distance else back(case, made.detach()).numpy()
        except Spent:
            pass
    seconds = time.process_time() - began - net.watching
    return Result(net.nearest if distance else verified(prepared, found), net.queries, seconds)


def row(name: str, result: Result, mine: Result, *, distance: bool) -> str:
    """A line of the table."""
    n, each = len(result.value), 1e3 * result.seconds / max(result.queries, 1)
    ratio = each / (1e3 * mine.seconds / max(mine.queries, 1))
    if distance:
        less, more = mine.value < result.value * (1 - 1e-3), mine.value > result.value * (1 + 1e-3)
        middle = np.median(result.value)
        text = f"{middle:.4g} | {middle / np.median(mine.value):.2f} | {less.sum()} / {more.sum()}"
    else:
        text = f"{result.value.mean():.0%} | {int(result.value.sum()) - int(mine.value.sum()):+d} | "
    return f"| {name} | {text} | {result.queries / n:.0f} | {each:.3f} | {ratio:.2f} |"


def compare(case: Case, attack: str, budget: int, host: Host) -> None:
    """One file, one attack, one budget."""
    execution = Execution(device="cpu", threads=1)
    distance = attack == "hopskipjump"
    if distance:
        table = {"name": "hopskipjump", "steps": budget - VERIFICATION, "distance": True}
        variants = {"advaudit": table, "advaudit, probes=100": table | {"probes": 100}}
        head = "median l2 distance | to ours | ours nearer / further"
    else:
        table = {"name": "square", "steps": budget}
        variants = {"advaudit": table}
        head = "broken | more than ours |"
    print(
        f"\n{case.name}, {attack}, {case.threat.norm} {case.threat.epsilon:.4g}, {len(case.samples)} samples, ", end=""
    )
    print(f"{budget} queries\n\n| library | {head} | queries a sample | ms a query | time a query to ours |")
    print("|---|---|---|---|---|---|---|")
    prepared = Prepared.of(case, execution)
    ours(case, table | {"steps": 5}, host, execution)  # what is loaded or compiled once is no part of the time
    results = {name: ours(case, dict(options), host, execution) for name, options in variants.items()}
    mine = results["advaudit"]
    for name, result in results.items():
        print(row(name, result, mine, distance=distance), flush=True)
    for name, build in (HOP if distance else SQUARE).items():
        try:
            result = theirs(case, build, budget, prepared, distance=distance, singly=distance and name == "art")
        except Exception as error:  # other people's code fails in its own ways
            print(f"| {name} | failed: {type(error).__name__} {str(error)[:80]} | | | | | |", flush=True)
            continue
        print(row(name, result, mine, distance=distance), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser)
    parser.add_argument("--files", nargs="*", default=list(DEFAULT), choices=list(FILES))
    parser.add_argument("--samples", type=int, default=25)
    parser.add_argument("--budgets", nargs="*", type=int, default=[1000, 2500])
    parser.add_argument("--attacks", nargs="*", default=["square", "square-l2", "hopskipjump"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    host = Host.load(installed=False)
    for name in arguments.files:
        case = load(name, arguments.shared, host, limit=arguments.samples, threads=1)
        linf, l2 = FILES[name]
        for attack in arguments.attacks:
            norm = Norm.LINF if attack == "square" else Norm.L2
            number = parse_epsilon(linf) if norm is Norm.LINF else l2
            threat = ThreatModel(norm=norm, epsilon=number, bounds=(0.0, 1.0))
            for budget in arguments.budgets:
                compare(replace(case, threat=threat), attack, budget, host)


if __name__ == "__main__":
    main()
