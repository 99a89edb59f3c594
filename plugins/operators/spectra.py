"""Fourier transforms and what surrounds them: windows and the mel scale. Transforms are computed in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Builder, Function, Node, Operators, check_size

HANN = (0.5, 0.5, 0.0)
HAMMING = (25 / 46, 21 / 46, 0.0)
BLACKMAN = (0.42, 0.5, 0.08)
"""Weights of the first three cosines."""
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def _as_complex(x: Tensor) -> Tensor:
    """A last axis of length 2 is real and imaginary part, one of length 1 the real part."""
    if x.shape[-1] not in (1, 2):
        raise ValueError(f"the last axis should hold a real or a complex number, it has length {x.shape[-1]}")
    x = x.double()
    return torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x.squeeze(-1)


def dft(node: Node) -> Function:
    """Since opset 20 the axis is an input."""
    fixed = node.attributes.get("axis", 1) if node.opset < 20 else -2
    inverse, onesided = bool(node.attributes.get("inverse", 0)), bool(node.attributes.get("onesided", 0))

    def run(x: Tensor, length: Tensor | None = None, axis: Tensor | None = None) -> Tensor:
        along = (fixed if axis is None else int(axis.item())) % x.ndim
        signal = _as_complex(x)
        number = x.shape[along] if length is None else int(length.item())
        if inverse and onesided:
            number = 2 * (x.shape[along] - 1) if length is None else number
            real: Tensor = torch.fft.irfft(signal, number, along)
            return real.unsqueeze(-1).to(x.dtype)
        check_size((*x.shape[:along], number, *x.shape[along + 1 :]), 16)
        if inverse:
            spectrum = torch.fft.ifft(signal, number, along)
        elif onesided:
            if signal.is_complex():
                raise ValueError("a one-sided transform is of a real signal")
            spectrum = torch.fft.rfft(signal, number, along)
        else:
            spectrum = torch.fft.fft(signal, number, along)
        return torch.view_as_real(spectrum.resolve_conj()).to(x.dtype)

    return run


def stft(node: Node) -> Function:
    onesided = bool(node.attributes.get("onesided", 1))

    def run(x: Tensor, step: Tensor, window: Tensor | None = None, length: Tensor | None = None) -> Tensor:
        signal = _as_complex(x if x.ndim == 3 else x.unsqueeze(-1))
        size = signal.shape[1] if window is None else window.shape[0]
        size = size if length is None else int(length.item())
        frames = signal.unfold(1, size, int(step.item()))
        if window is not None:
            frames = frames * window.to(torch.float64)
        if onesided and not signal.is_complex():
            spectrum = torch.fft.rfft(frames)
        elif onesided:
            raise ValueError("a one-sided transform is of a real signal")
        else:
            spectrum = torch.fft.fft(frames)
        return torch.view_as_real(spectrum).to(x.dtype)

    return run


def window(weights: Sequence[float]) -> Builder:
    """A sum of cosines over a period, or symmetric: from one end to the other."""

    def build(node: Node) -> Function:
        periodic = bool(node.attributes.get("periodic", 1))
        _check_type(node)

        def run(size: Tensor) -> Tensor:
            number = int(size.item())
            check_size((number,), 8)
            turns = torch.arange(number, dtype=torch.float64) / max(number if periodic else number - 1, 1)
            cosines = [torch.cos(2 * torch.pi * k * turns) * (-1) ** k for k in range(len(weights))]
            return sum((w * c for w, c in zip(weights, cosines, strict=True)), torch.zeros(())).float()

        return run

    return build


def mel_weights(node: Node) -> Function:
    """Triangles of equal width on the mel scale, `[bins of the spectrum, bins of the mel scale]`."""
    _check_type(node)

    def run(number: Tensor, length: Tensor, rate: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
        bins, size = int(number.item()), int(length.item())
        check_size((size // 2 + 1, bins), 8)
        low, high = (2595 * np.log10(1 + float(edge.item()) / 700) for edge in (lowest, highest))
        mels = low + np.arange(bins + 2) * (high - low) / (bins + 2)
        points = np.floor((size + 1) * 700 * (10 ** (mels / 2595) - 1) / int(rate.item())).astype(int)
        matrix = np.zeros((size // 2 + 1, bins), np.float32)
        for column in range(bins):
            left, top, right = points[column : column + 3]
            matrix[left : top + 1, column] = np.arange(top - left + 1) / max(top - left, 1) if top > left else 1
            if right > top:
                matrix[top:right, column] = np.arange(right - top, 0, -1) / (right - top)
        return torch.from_numpy(matrix)

    return run


def _check_type(node: Node) -> None:
    if node.attributes.get("output_datatype", TensorProto.FLOAT) not in FLOATS:
        raise node.unsupported("an output that is not of floats")


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("DFT", dft, since=17, host=[1, 2])
    operators.register("STFT", stft, since=17, host=[1, 3])
    operators.register("HannWindow", window(HANN), since=17, host=[0])
    operators.register("HammingWindow", window(HAMMING), since=17, host=[0])
    operators.register("BlackmanWindow", window(BLACKMAN), since=17, host=[0])
    operators.register("MelWeightMatrix", mel_weights, since=17, host=[0, 1, 2, 3, 4])
