"""Make the int8 member of the bundled example: `natural.onnx`, quantised as deployments do it.

    python quantize.py

Static quantisation by onnxruntime's own tool in QDQ form: uint8 activations, int8 weights with one scale a channel,
ranges calibrated on the 500 bundled images. Takes seconds; the same library versions give the same bytes again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

HERE = Path(__file__).resolve().parent
BATCH = 100


class Images(CalibrationDataReader):  # type: ignore[misc]
    """The bundled images in batches, as the quantiser asks for them."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches: Iterator[np.ndarray] = iter(np.array_split(images, len(images) // BATCH))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch}


def main() -> None:
    parser = argparse.ArgumentParser(description="Quantise the bundled natural net to int8.")
    parser.add_argument("--out", type=Path, default=HERE / "int8.onnx", help="file to write")
    out = parser.parse_args().out
    with np.load(HERE / "samples.npz") as samples:
        images, labels = samples["x"].astype(np.float32) / 255, samples["y"]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.onnx"
        quantize_static(
            HERE / "natural.onnx",
            made,
            Images(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        model = onnx.load(made)
    model.graph.name, model.producer_name = "mnist_int8", "quantize.py"
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, out)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": images})
    print(f"{out.name} {out.stat().st_size} bytes, clean {100 * np.mean(logits.argmax(axis=1) == labels):.2f} %")


if __name__ == "__main__":
    main()
