"""Small models that are what they seem, and others that deceive attacks: what obscurity indicators are calibrated on.

    python -m benchmarks.zoo [--shared FOLDER] [--only NAME …] [--again] [--build]

Trains what is missing with one thread, writes every member as an ONNX file under `.benchmarks/zoo`, measures it on 200
held-out pictures and prints a table. Nets, files and numbers are kept, so that a second run only prints; `--again`
measures anew, `--build` measures nothing. About 15 minutes of one core for all.

An honest net's robust accuracy under 40 steps of PGD on the cross-entropy and on the margin are alike, and near what a
scan finds. Of a deceiver the table says what its base withstands at the same epsilon; what an attack finds that takes
the file's own gradients for true (`naive`); what is known to break it (`known`): by how much the first is too high is
how much the file deceives.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from auditor.cli import quiet_threads
from auditor.errors import AdvauditError
from auditor.host import Host
from auditor.resolve import make_defense
from benchmarks.shared import add_shared
from benchmarks.zoo_data import SAMPLES, Pictures, pictures
from benchmarks.zoo_deceivers import disguise
from benchmarks.zoo_file import save
from benchmarks.zoo_measure import Measured, Opened, deceiver, honest
from benchmarks.zoo_members import CACHE, MEMBERS, Member, by_name, side_of
from benchmarks.zoo_training import cached

DECEIVES = 0.2
"""By how much a naive attack on a deceiver has to be too optimistic."""
Tell = Callable[[str], None]


@dataclass
class Zoo:
    """Builds members where they are missing. shared: the folder with the pictures."""

    shared: Path
    tell: Tell = lambda text: None
    _pictures: dict[int, Pictures] = field(default_factory=dict)

    def data(self, side: int) -> Pictures:
        """The pictures of one size."""
        if side not in self._pictures:
            self._pictures[side] = pictures(self.shared, side)
        return self._pictures[side]

    def net(self, member: Member) -> nn.Sequential:
        """What stands in the member's file without its disguise: its own net, trained if need be, or its base's."""
        if member.recipe is None:
            return self.net(by_name(member.base or ""))
        return cached(
            member.recipe,
            self.data(member.recipe.side),
            member.weights,
            lambda text: self.tell(f"{member.name} {text}"),
        )

    def build(self, member: Member) -> None:
        """Write the member's file and samples where they are missing, or made by another recipe."""
        if member.file is not None:
            return
        data = self.data(side_of(member))
        if not member.samples.is_file():
            data.save(member.samples)
        made = repr((member.recipe, by_name(member.base).recipe if member.base else None, member.disguise))
        if not member.path.is_file() or onnx.load(member.path).doc_string != made:
            name, options = member.disguise
            model = disguise(name, **options)(self.net(member), data)
            model.doc_string = made
            save(model, member.path)

    def measure(self, member: Member, host: Host) -> Measured:
        """The member's numbers on its samples. Raises AdvauditError where its file or a defence can't be loaded."""
        x, labels = samples_of(member)
        defenses = [make_defense(table, host) for table in member.defenses]
        file = Opened.of(member.path, defenses, tuple(x.shape[1:]), host)
        if member.kind == "honest":
            net = None if member.recipe is None else self.net(member)
            return honest(net, file, x, labels, member.epsilon)
        base = self.net(by_name(member.base or ""))
        net = base if member.recipe is None else self.net(member)
        return deceiver(net, base, file, x, labels, member.epsilon, member.naive_steps)


def samples_of(member: Member) -> tuple[Tensor, Tensor]:
    """The member's samples as tensors."""
    with np.load(member.samples) as arrays:
        x, y = arrays["x"][:SAMPLES], arrays["y"][:SAMPLES].astype(np.int64)
    return torch.from_numpy(x.astype(np.float32) / np.float32(255)), torch.from_numpy(y)


def numbers(member: Member) -> Path:
    """Where a member's measurements are kept."""
    return CACHE / f"{member.name}.json"


def known(member: Member) -> Measured | None:
    """The measurements that are kept, or None; those of another file or threat don't count."""
    path = numbers(member)
    kept = json.loads(path.read_text()) if path.is_file() and member.path.is_file() else {}
    return Measured(**kept["measured"]) if kept.get("key") == key_of(member) else None


def key_of(member: Member) -> str:
    """What measurements depend on, but for our own code."""
    rest = repr((member.epsilon, member.defenses, member.naive_steps, SAMPLES))
    return hashlib.sha256(member.path.read_bytes() + member.samples.read_bytes() + rest.encode()).hexdigest()


def measured(zoo: Zoo, member: Member, host: Host, *, again: bool) -> Measured:
    """The measurements that are kept, else new ones."""
    found = None if again else known(member)
    if found is None:
        found = zoo.measure(member, host)
        kept = {"key": key_of(member), "measured": asdict(found)}
        numbers(member).write_text(json.dumps(kept, indent=1) + "\n")
    return found


def row(member: Member, seen: Measured) -> str:
    """A line of the table, in Markdown."""
    rates = (seen.clean, seen.entropy, seen.margin, seen.base, seen.naive, seen.known)
    cells = [member.name, member.family, member.half, member.kind, f"{member.epsilon:.3g}", *map(percent, rates)]
    note = member.cause or ""
    if seen.optimism is not None and seen.optimism < DECEIVES:
        note += "; deceives too little"
    return f"| {' | '.join([*cells, note])} |"


def percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%}"


def main() -> None:
    quiet_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser)
    parser.add_argument("--only", nargs="+", help="names of members or families")
    parser.add_argument("--again", action="store_true", help="measure anew")
    parser.add_argument("--build", action="store_true", help="build, and measure nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    host = Host.load(installed=False)
    zoo = Zoo(arguments.shared)
    if not arguments.build:
        print("| member | family | half | kind | ε | clean | CE | margin | base | naive | known | cause |")
        print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for member in MEMBERS:
        if arguments.only and not {member.name, member.family} & set(arguments.only):
            continue
        began = time.perf_counter()
        try:
            zoo.build(member)
            if not arguments.build:
                print(row(member, measured(zoo, member, host, again=arguments.again)), flush=True)
        except AdvauditError as error:
            print(f"| {member.name} | {member.family} | could not be measured: {error} |", flush=True)
            continue
        except Exception as error:  # one that fails says so, and the rest goes on
            print(f"| {member.name} | {member.family} | failed: {type(error).__name__}: {error} |", flush=True)
            continue
        print(f"{member.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
