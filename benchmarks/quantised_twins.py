"""Our twin of the same timm exports, quantised to 8 bits in three ways: is there a gradient, and does it point right?

    python -m benchmarks.quantised_twins [--only NAME]… [--exporter NAME]… [--form qdq|qoperator|dynamic]… [--again]

`benchmarks.twins` makes the exports. forward: largest difference from onnxruntime, as a share of the largest score;
beside it what onnxruntime differs from itself by when it optimises nothing, since rounding flips either way. agree:
share of samples with the same label. gradient: its cosine to that of the float module.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from auditor.plugins.operators import bundled
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from auditor.cli import quiet_threads
from auditor.operators import Operators
from benchmarks.timm_models import ARCHITECTURES, EXPORTERS, images, make
from benchmarks.twins import FOLDER, difference, exported, load_twin, pull, run_deployed

FORMS = ("qdq", "qoperator", "dynamic")
FLAT = 0.2
"""A cosine below this is no gradient to climb."""


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """A few batches of random images."""

    def __init__(self, name: str, size: int) -> None:
        self._batches: Iterator[Tensor] = (images(4, size, 30 + seed) for seed in range(4))
        self._name = name

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch.numpy()}


@dataclass(frozen=True)
class Row:
    """What was measured of one quantised export; the note says why nothing was."""

    architecture: str
    exporter: str
    form: str
    forward: float | None = None
    itself: float | None = None
    agree: float | None = None
    cosine: float | None = None
    note: str = ""

    def cells(self) -> str:
        """A line of the table, in Markdown."""
        head = f"| {self.architecture} | {self.exporter} | {self.form} "
        if self.cosine is None:
            return f"{head}| – | – | – | {self.note} |"
        return f"{head}| {self.forward:.1e} | {self.itself:.1e} | {self.agree:.2f} | {self.cosine:.3f} {self.note}|"


def quantised(source: Path, form: str, size: int) -> Path:
    """The file in 8 bits, made where it is not there yet. Raises what onnxruntime's quantisation raises."""
    path = source.with_name(f"{source.stem}-{form}.onnx")
    if path.exists():
        return path
    prepared, partial = source.with_suffix(".prepared"), path.with_suffix(".partial")
    model = onnx.load(source)
    model.graph.ClearField("value_info")  # what torch's exporter states there, the quantiser's shape inference refuses
    onnx.save(model, prepared)
    quant_pre_process(str(prepared), str(prepared), skip_symbolic_shape=True)
    if form == "dynamic":
        quantize_dynamic(str(prepared), str(partial), weight_type=QuantType.QInt8)
    else:
        quantize_static(
            str(prepared),
            str(partial),
            Calibration(model.graph.input[0].name, size),
            quant_format=QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    prepared.unlink()
    partial.replace(path)
    return path


def unoptimised(path: Path, x: Tensor) -> Tensor:
    """What onnxruntime makes of a batch when it fuses nothing."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def measure(architecture: str, exporter: str, form: str, net: nn.Module, x: Tensor, operators: Operators) -> Row:
    """Everything about one quantised export."""
    try:
        path = quantised(exported(architecture, exporter, net, x[:2]), form, x.shape[-1])
        deployed = run_deployed(path, x)
    except Exception as error:
        return Row(architecture, exporter, form, note=f"not quantised: {str(error).splitlines()[0][:80]}")
    try:
        graph = load_twin(path, operators)
        scores, gradient = pull(graph, x)
    except Exception as error:
        return Row(architecture, exporter, form, note=f"FAILED: {str(error).splitlines()[0][:200]}")
    cosine = torch.cosine_similarity(gradient.flatten(), pull(net, x)[1].flatten(), dim=0).nan_to_num(0.0)
    good = bool(gradient.isfinite().all()) and bool((gradient != 0).any())
    agree = (scores.argmax(1) == deployed.argmax(1)).float().mean()
    itself = difference(unoptimised(path, x), deployed)
    note = "" if good and cosine > FLAT else "NO GRADIENT "
    return Row(
        architecture, exporter, form, difference(scores, deployed), itself, float(agree), float(cosine), note
    )  # fmt: skip


def summary(rows: list[Row]) -> str:
    """How many have a gradient, by form."""
    parts = []
    for form in FORMS:
        there = [row for row in rows if row.form == form and not row.note.startswith("not quantised")]
        good = [row for row in there if row.cosine is not None and not row.note]
        parts.append(f"{form}: {len(good)} of {len(there)} have a gradient")
    return "; ".join(parts)


def main() -> None:
    quiet_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(ARCHITECTURES))
    parser.add_argument("--exporter", action="append", choices=EXPORTERS)
    parser.add_argument("--form", action="append", choices=FORMS)
    parser.add_argument("--again", action="store_true", help="measure anew what was measured before")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    operators = bundled()
    rows = []
    print("| architecture | exporter | form | forward | onnxruntime itself | agree | gradient |")
    print("|---|---|---|---|---|---|---|")
    for architecture in arguments.only or ARCHITECTURES:
        net = None
        for exporter in arguments.exporter or EXPORTERS:
            for form in arguments.form or FORMS:
                kept = FOLDER / f"{architecture}-{exporter}-{form}.json"
                if kept.exists() and not arguments.again:
                    row = Row(**json.loads(kept.read_text(encoding="utf-8")))
                else:
                    net = net or make(architecture)[0]
                    x = images(8, ARCHITECTURES[architecture][1], seed=4)
                    row = measure(architecture, exporter, form, net, x, operators)
                    kept.write_text(json.dumps(asdict(row)), encoding="utf-8")
                rows.append(row)
                print(row.cells(), flush=True)
    print(f"\n{summary(rows)}")


if __name__ == "__main__":
    main()
