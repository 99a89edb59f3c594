"""Quantised twins side by side with onnxruntime: agreement, gradients, and whether attacks through them are strong.

`python -m benchmarks.quantised [--shared FOLDER] [--samples N] [--nets NAME ...]`

Six nets are trained on MNIST and quantised by onnxruntime's tool in three forms. PGD is run through the quantised twin,
through the twin of the unquantised file (transfer), and through the quantised twin without straight-through gradients;
onnxruntime judges each result at batch 1. Epsilon is chosen for each net on its unquantised file, by a short attack on
the first 100 of the images. The images are the bundled ones; those of FOLDER/data/mnist_test.npz that are not among
them train the nets. Without that file half of the bundled images do, and the other half is attacked. Nets are kept in
`.benchmarks/quantised/`.

agreement: of labels, with onnxruntime as it runs by default; unfused: at its level BASIC, where it computes the file's
own nodes rather than what it fuses them into. Both over the clean images and what PGD made of them.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from auditor.plugins.operators import bundled
from torch import Tensor

from auditor.batching import Batched, Batching
from auditor.graph import Graph
from auditor.program import read_program

from .nets import NETS, exported, trained
from .shared import add_shared

HERE = Path(__file__).parent
CACHE = HERE.parent / ".benchmarks" / "quantised"
SAMPLES = HERE.parent / "examples" / "mnist" / "samples.npz"
FORMS = ("QDQ", "QOperator", "dynamic")
EPSILONS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
STEPS, REL_STEP = 40, 0.1
OPERATORS = bundled()


@dataclass(frozen=True)
class Images:
    """Images `[n, 1, 28, 28]` in [0, 1] and labels."""

    x: np.ndarray
    y: np.ndarray

    def first(self, n: int) -> Images:
        return Images(self.x[:n], self.y[:n])


def images(shared: Path) -> tuple[Images, Images]:
    """To train on, to attack."""
    with np.load(SAMPLES) as file:
        own = Images(file["x"].astype(np.float32) / 255, file["y"])
        taken = file["test_index"]
    path = shared / "data" / "mnist_test.npz"
    if not path.exists():
        print(f"{path} is not there: half of the bundled images train the nets")
        half = len(own.y) // 2
        return own.first(half), Images(own.x[half:], own.y[half:])
    with np.load(path) as file:
        rest = np.setdiff1d(np.arange(len(file["y"])), taken)
        return Images(file["x"][rest, None].astype(np.float32) / 255, file["y"][rest].astype(np.int64)), own


class Calibration:
    """Images one by one, as onnxruntime's tool asks for them."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = iter(rows)

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self.rows, None)
        return None if row is None else {"x": row[None]}


def files(name: str, training: Images) -> dict[str, Path]:
    """The net's file in float32 and in each quantised form, made where they are not there yet."""
    from onnxruntime import quantization as tool

    CACHE.mkdir(parents=True, exist_ok=True)
    paths = {form: CACHE / f"{name}-{form}-{len(training.y)}.onnx" for form in ("float32", *FORMS)}
    if all(path.exists() for path in paths.values()):
        return paths
    model = exported(name, trained(name, training.x, training.y))
    onnx.save(model, paths["float32"])
    logging.disable(logging.WARNING)  # the tool recommends a preparation that these files don't need
    for form in ("QDQ", "QOperator"):
        tool.quantize_static(
            paths["float32"], paths[form], Calibration(in_layout(model, training.first(200).x)),
            quant_format=tool.QuantFormat[form], per_channel=True, weight_type=tool.QuantType.QInt8,
        )  # fmt: skip
    tool.quantize_dynamic(paths["float32"], paths["dynamic"], weight_type=tool.QuantType.QUInt8)
    logging.disable(logging.NOTSET)
    return paths


def in_layout(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """The images as the file wants them; with one channel a reshape is a transposition."""
    shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim][1:]
    return x.reshape(len(x), *shape)


class Deployed:
    """A file as onnxruntime runs it, one sample at a time: by default, or without fusing quantised operators."""

    def __init__(self, path: Path, *, fused: bool = True) -> None:
        options = ort.SessionOptions()
        if not fused:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def scores(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([self.session.run(None, {"x": row[None]})[0] for row in x])

    def correct(self, x: Tensor, y: Tensor) -> np.ndarray:
        return np.asarray(self.scores(x.numpy()).argmax(1) == y.numpy())


def twin(path: Path) -> Batched:
    """The file's twin; samples are kept apart, since a dynamic scale is that of a batch."""
    program = read_program(onnx.load(path), OPERATORS)
    graph = Graph(program, program.outputs[0], OPERATORS)
    return Batched(graph, Batching.MAPPED if "dynamic" in path.stem else Batching.PLAIN)


@contextmanager
def without_straight_through() -> Iterator[None]:
    """Rounding with its own derivative, which is zero."""
    with (
        mock.patch("auditor.levels.straight_through", lambda x, hard: hard.detach()),
        mock.patch("auditor.plugins.operators.quantisation.straight_through", lambda x, hard: hard.detach()),
    ):
        yield


def gradient(net: Batched, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    loss = F.cross_entropy(net(x), y, reduction="sum")
    if not loss.requires_grad:
        return torch.zeros_like(x)
    found = torch.autograd.grad(loss, x, allow_unused=True)[0]
    return torch.zeros_like(x) if found is None else found


def pgd(net: Batched, x: Tensor, y: Tensor, epsilon: float, steps: int = STEPS) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    low, high = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    point = (x + epsilon * (2 * torch.rand(x.shape, generator=generator) - 1)).clamp(0, 1)
    for _ in range(steps):
        step = REL_STEP * epsilon * gradient(net, point, y).sign()
        point = torch.minimum(torch.maximum(point + step, low), high)
    return point


def middle(net: Batched, x: Tensor, y: Tensor) -> float:
    """The epsilon at which a short attack on the unquantised net breaks about half of the samples."""

    def robust(epsilon: float) -> float:
        return float((net(pgd(net, x, y, epsilon, steps=20)).argmax(1) == y).float().mean())

    return min(EPSILONS, key=lambda epsilon: abs(robust(epsilon) - 0.5))


def report(name: str, paths: dict[str, Path], samples: Images) -> None:
    """Print the rows of one net."""
    x = torch.from_numpy(in_layout(onnx.load(paths["float32"]), samples.x))
    y = torch.from_numpy(samples.y)
    sibling = twin(paths["float32"])
    epsilon = middle(sibling, x[:100], y[:100])
    transferred = pgd(sibling, x, y, epsilon)
    clean, robust = (Deployed(paths["float32"]).correct(points, y).mean() for points in (x, transferred))
    print(f"{name:12}{'float32':10}{epsilon:8}{'':12}{'':9}{'':12}{clean:9.3f}{robust:9.3f}", flush=True)
    for form in FORMS:
        began, deployed, net = time.perf_counter(), Deployed(paths[form]), twin(paths[form])
        points = pgd(net, x, y, epsilon)
        both = torch.cat([x, points])
        with torch.no_grad():
            ours = net(both).numpy()
        theirs = deployed.scores(both.numpy())
        agreement = float((ours.argmax(1) == theirs.argmax(1)).mean())
        unfused = Deployed(paths[form], fused=False).scores(both.numpy())
        alike = float((ours.argmax(1) == unfused.argmax(1)).mean())
        exact = float(np.isclose(ours, theirs, rtol=1e-4, atol=1e-4).all(1).mean())
        found = gradient(net, x, y).flatten(1)
        alive = float((found.isfinite().all(1) & found.ne(0).any(1)).float().mean())
        own, other = deployed.correct(points, y), deployed.correct(transferred, y)
        with without_straight_through():
            off = deployed.correct(pgd(net, x, y, epsilon), y)
        clean = deployed.correct(x, y)
        print(
            f"{'':12}{form:10}{epsilon:8}{agreement:12.4f}{alike:9.4f}{exact:12.3f}{clean.mean():9.3f}{own.mean():9.3f}"
            f"{other.mean():10.3f}{off.mean():9.3f}{(other & ~own).sum():9}{(own & ~other).sum():10}{alive:9.3f}"
            f"{time.perf_counter() - began:7.0f}s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--nets", nargs="*", default=list(NETS), choices=list(NETS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    training, samples = images(arguments.shared)
    samples = samples.first(arguments.samples)
    print(f"{len(training.y)} images to train on, {len(samples.y)} to attack; linf PGD-{STEPS}")
    print(
        f"{'net':12}{'form':10}{'epsilon':>8}{'agreement':>12}{'unfused':>9}{'same scores':>12}{'clean':>9}{'PGD':>9}"
        f"{'transfer':>10}{'no STE':>9}{'only PGD':>9}{'only tr.':>10}{'gradient':>9}{'took':>8}"
    )
    for name in arguments.nets:
        report(name, files(name, training), samples)


if __name__ == "__main__":
    main()
