"""bfloat16 search against float32: how much faster a pass is, and whether attacks lose strength.

    python -m benchmarks.precision [--shared FOLDER] [--samples 200] [--only speed|strength]

Speed: forward and backward of the twin of a ResNet-18-like net on 32 x 32 pictures, random weights, batch 64, taking
turns with the other precision and with the torch module itself; medians. Strength: the suite `standard` on robust nets,
the same samples and draws in both precisions; how many samples either broke and the other did not. Third-party nets are
skipped where they are absent.
"""

from __future__ import annotations

import argparse
import copy
import io
import warnings
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import onnx
import torch
from torch import Tensor, nn

from auditor.access import OutputKind
from auditor.build import build_twin
from auditor.cli import quiet_threads
from auditor.events import silent
from auditor.flow import audit
from auditor.host import Host
from auditor.job import Job
from auditor.mixed import PAYS, in_hardware, mixed, seconds_each
from auditor.preprocess import Preprocess
from auditor.resolve import resolve
from benchmarks.files import UNSET
from benchmarks.shared import add_shared, entries, options

BUNDLED = Path(__file__).parents[1] / "examples" / "mnist"
ROBUST = ("mnist-cnn-a-adv", "cifar-cnn-a-adv", "cifar-sri-resnet-a")
SHAPE = (3, 32, 32)


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))
        self.two = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        same = before == after and stride == 1
        self.around = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.two(self.one(x).relu()) + self.around(x)
        return y.relu()


def resnet() -> nn.Module:
    """The layers of ResNet-18 behind a 3 x 3 stem, as usual for small pictures."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    before = 64
    for width, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        layers.append(Block(before, width, stride))
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)).eval()


def exported(net: nn.Module) -> onnx.ModelProto:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.rand(1, *SHAPE),), file, dynamo=False, opset_version=17, input_names=["x"],
            output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
        )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def speed(host: Host) -> None:
    if host.operators is None:
        raise SystemExit("No operators are loaded.")
    net = resnet().requires_grad_(False)
    twin = build_twin(
        exported(net), output="y", kind=OutputKind.LOGITS, preprocess=Preprocess().fit(SHAPE, SHAPE),
        operators=host.operators, fixed_batch=False,
    )  # fmt: skip
    half = copy.deepcopy(net).bfloat16().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def halved(x: Tensor) -> Tensor:
        scores: Tensor = half(x.bfloat16().contiguous(memory_format=torch.channels_last))
        return scores.float()

    batch = torch.rand((64, *SHAPE), generator=torch.Generator().manual_seed(0))
    names = ("twin", "twin, mixed", "module", "module, all bfloat16")
    seconds = seconds_each([twin.logits, mixed(twin).logits, net, halved], batch)
    units = "in hardware" if in_hardware("cpu") else "emulated"
    print(f"ResNet-18-like, 32 x 32, batch 64, {torch.get_num_threads()} thread(s), bfloat16 {units}; "
          f"mixed is chosen from {PAYS} times the twin's speed:")  # fmt: skip
    for name, taken in zip(names, seconds, strict=True):
        print(f"  {name:21} {1000 * taken:6.0f} ms, {seconds[0] / taken:.2f} times the twin's speed", flush=True)


def jobs(host: Host, shared: Path, samples: int, out: Path) -> list[tuple[str, Job]]:
    """A job for each robust net that is here."""
    found = [
        ("bundled-robust", resolve(str(BUNDLED / "robust.onnx"), {**UNSET, "limit": samples, "out": out}, host)[0][0])
    ]
    for name in ROBUST:
        entry = entries()[name]
        if not (shared / entry["model"]).exists():
            print(f"{name}: not here, skipped", flush=True)
            continue
        chosen = {**UNSET, **options(entry), "limit": samples, "data": str(shared / entry["samples"]), "out": out}
        found.append((name, resolve(str(shared / entry["model"]), chosen, host)[0][0]))
    return found


def strength(host: Host, shared: Path, samples: int) -> None:
    print(
        "| net | n | standing in float32 | in bfloat16 | only float32 broke | only bfloat16 broke |\n"
        "|---|---|---|---|---|---|"
    )
    with TemporaryDirectory() as folder:
        for name, job in jobs(host, shared, samples, Path(folder) / "out"):
            broken = {}
            for precision in ("float32", "bfloat16"):
                execution = msgspec.structs.replace(job.execution, precision=precision)
                record = audit(replace(job, execution=execution, overwrite=True), host, silent)
                broken[precision] = {o.id for o in record.outcomes if o.status in ("broken", "misclassified")}
            n, one, two = len(record.outcomes), broken["float32"], broken["bfloat16"]
            print(
                f"| {name} | {n} | {n - len(one)} | {n - len(two)} | {len(one - two)} | {len(two - one)} |", flush=True
            )


def main() -> None:
    quiet_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("speed", "strength"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    host = Host.load(installed=False)
    if arguments.only != "strength":
        speed(host)
    if arguments.only != "speed":
        strength(host, arguments.shared, arguments.samples)


if __name__ == "__main__":
    main()
