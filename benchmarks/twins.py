"""Our twin of twenty timm architectures, exported both ways, against the torch modules that they were exported from.

    python -m benchmarks.twins [--only NAME]… [--exporter legacy|dynamo] [--seconds 6] [--again]

Needs timm and onnxscript; `make bench-twins` runs it in an environment of its own. Exports and rows are kept in
`.benchmarks/twins`, so a run that was stopped goes on where it was; `--again` measures anew.

forward: largest difference from onnxruntime, as a share of the largest score. gradient: the same of the gradient of a
random combination of scores with respect to the input, from that of the torch module; where float32 decides a ReLU or a
maximum differently, in float64, and at the best of three inputs. time: of forward and backward to the input, of the
twin relative to the module; both frozen, taking turns, CPU time of one thread, ratio of medians.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch
from auditor.plugins.operators import bundled
from torch import Tensor, nn

from auditor.cli import quiet_threads
from auditor.fusion import fused
from auditor.graph import Graph
from auditor.operators import Operators
from auditor.program import read_program
from benchmarks.timm_models import ARCHITECTURES, BATCH, EXPORTERS, export, images, make

FOLDER = Path(".benchmarks/twins")
FORWARD, GRADIENT, MEDIAN, WORST = 2e-6, 1e-5, 1.0, 1.2
"""What is aimed at."""
INPUTS = 3


@dataclass(frozen=True)
class Row:
    """What was measured of one export; the note says why nothing was."""

    architecture: str
    exporter: str
    forward: float | None = None
    gradient: float | None = None
    double: bool = False
    milliseconds: float | None = None
    ratio: float | None = None
    note: str = ""

    def cells(self) -> str:
        """A line of the table, in Markdown."""
        if self.ratio is None:
            return f"| {self.architecture} | {self.exporter} | – | – | – | {self.note} |"
        precision = " (float64)" if self.double else ""
        return (
            f"| {self.architecture} | {self.exporter} | {self.forward:.1e} | {self.gradient:.1e}{precision} "
            f"| {self.milliseconds:.0f} | {self.ratio:.2f} |"
        )


def exported(architecture: str, exporter: str, net: nn.Module, x: Tensor) -> Path:
    """The export, made where it is not there yet. Raises what the exporter raises."""
    path = FOLDER / f"{architecture}-{exporter}.onnx"
    if not path.exists():
        export(net, x, exporter, path)
    return path


def load_twin(path: Path, operators: Operators) -> Graph:
    """The twin of a file's first output as an audit builds it, but for its batching; frozen."""
    program = read_program(onnx.load(path), operators)
    output = program.outputs[0]
    graph = Graph(fused(program, [output], operators), output, operators)
    graph.requires_grad_(False)
    return graph


def run_deployed(path: Path, x: Tensor) -> Tensor:
    """What onnxruntime makes of a batch, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def pull(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Scores, and the gradient of a fixed random combination of them with respect to x."""
    x = x.detach().requires_grad_(True)
    scores = module(x)
    weights = torch.randn(scores.shape, generator=torch.Generator().manual_seed(5)).to(scores.dtype)
    (gradient,) = torch.autograd.grad((scores * weights).sum(), x)
    return scores.detach(), gradient


def difference(found: Tensor, truth: Tensor) -> float:
    """The largest one, as a share of the largest entry."""
    return float((found - truth).abs().max() / truth.abs().max())


def gradient_error(graph: Graph, net: nn.Module, x: Tensor) -> tuple[float, bool]:
    """Difference of gradients, and whether it took float64 to see it."""
    error = difference(pull(graph, x)[1], pull(net, x)[1])
    if error <= GRADIENT:
        return error, False
    graph, net = copy.deepcopy(graph).double(), copy.deepcopy(net).double()
    for seed in range(INPUTS):
        y = images(len(x), x.shape[-1], 20 + seed).double()
        error = min(error, difference(pull(graph, y)[1], pull(net, y)[1]))
        if error <= GRADIENT:
            break
    return error, True


def take_turns(functions: list[Callable[[], object]], seconds: float, least: int = 9) -> list[float]:
    """Median CPU seconds of each function, run alternately for this long but at least so many times."""
    times: list[list[float]] = [[] for _ in functions]
    for function in functions * 2:
        function()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(times[0]) < least:
        order = list(zip(functions, times, strict=True))
        for function, taken in order if len(times[0]) % 2 else order[::-1]:
            start = time.process_time()
            function()
            taken.append(time.process_time() - start)
    return [statistics.median(taken) for taken in times]


def measure(architecture: str, exporter: str, net: nn.Module, x: Tensor, operators: Operators, seconds: float) -> Row:
    """Everything about one export."""
    try:
        path = exported(architecture, exporter, net, x)
    except Exception as error:
        return Row(architecture, exporter, note=f"not exported: {str(error).splitlines()[0][:80]}")
    try:
        graph = load_twin(path, operators)
        forward = difference(pull(graph, x)[0], run_deployed(path, x))
    except Exception as error:
        return Row(architecture, exporter, note=f"FAILED: {str(error).splitlines()[0][:200]}")
    gradient, double = gradient_error(graph, net, x)
    ours, theirs = take_turns([lambda: pull(graph, x), lambda: pull(net, x)], seconds)
    return Row(architecture, exporter, forward, gradient, double, theirs * 1e3, ours / theirs)


def summary(rows: list[Row]) -> str:
    """How the rows stand to what is aimed at."""
    there = [row for row in rows if not row.note.startswith("not exported")]
    done = [row for row in there if row.ratio is not None]
    if not done:
        return f"0 of {len(there)} exports converted"
    ratios = [row.ratio or 0.0 for row in done]
    forward, gradient = max(row.forward or 0.0 for row in done), max(row.gradient or 0.0 for row in done)
    return (
        f"{len(done)} of {len(there)} exports converted; forward at most {forward:.1e} (aim {FORWARD:.0e}), "
        f"gradient at most {gradient:.1e} (aim {GRADIENT:.0e}), "
        f"time: median {statistics.median(ratios):.2f} (aim {MEDIAN}), worst {max(ratios):.2f} (aim {WORST})"
    )


def main() -> None:
    quiet_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(ARCHITECTURES))
    parser.add_argument("--exporter", action="append", choices=EXPORTERS)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each pair is timed")
    parser.add_argument("--again", action="store_true", help="measure anew what was measured before")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    operators = bundled()
    rows = []
    print(f"| architecture | exporter | forward | gradient | module, ms (batch {BATCH}) | twin, relative |")
    print("|---|---|---|---|---|---|")
    for architecture in arguments.only or ARCHITECTURES:
        made: tuple[nn.Module, Tensor] | None = None
        for exporter in arguments.exporter or EXPORTERS:
            kept = FOLDER / f"{architecture}-{exporter}.json"
            if kept.exists() and not arguments.again:
                row = Row(**json.loads(kept.read_text(encoding="utf-8")))
            else:
                made = made or make(architecture)
                row = measure(architecture, exporter, *made, operators, arguments.seconds)
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(asdict(row)), encoding="utf-8")
            rows.append(row)
            print(row.cells(), flush=True)
    print(f"\n{summary(rows)}")


if __name__ == "__main__":
    main()
