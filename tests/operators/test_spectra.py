import numpy as np
import pytest
import torch
from auditor.plugins.operators.spectra import HANN, dft, window
from onnx import TensorProto

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

RNG = np.random.default_rng(0)
REAL = RNG.standard_normal((2, 9, 6, 1)).astype(np.float32)
COMPLEX = RNG.standard_normal((2, 9, 6, 2)).astype(np.float32)
SIGNAL = RNG.standard_normal((2, 40, 1)).astype(np.float32)


def whole(value):
    return np.array(value, np.int64)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("x", [REAL, COMPLEX])
@pytest.mark.parametrize("inverse", [0, 1])
@pytest.mark.parametrize("length", [None, 5, 12])
def test_dft(check, axis, x, inverse, length):
    size = None if length is None else whole(length)
    optional = [size] if size is not None else []
    check("DFT", x, *optional, opset=17, axis=axis, inverse=inverse, tolerance=1e-5)
    check("DFT", x, size, whole(axis), opset=20, inverse=inverse, tolerance=1e-5, gradient=length is None)


@pytest.mark.parametrize("length", [None, 5, 12])
def test_one_sided(check, length):
    size = None if length is None else whole(length)
    graph = check("DFT", REAL, size, whole(1), opset=20, onesided=1, tolerance=1e-5, gradient=True)
    spectrum = graph.float()(torch.from_numpy(REAL))
    assert torch.allclose(torch.view_as_complex(spectrum), torch.fft.rfft(torch.from_numpy(REAL[..., 0]), length, 1))


def node(op_type, opset=20, **attributes):
    names = {"inputs": ("x",), "outputs": ("y",)}
    return Node(op_type=op_type, domain="", opset=opset, name="spectrum", attributes=attributes, **names)


def test_one_sided_inverse():
    signal = torch.from_numpy(REAL[..., 0])
    spectrum = torch.view_as_real(torch.fft.rfft(signal.double(), dim=1))
    found = dft(node("DFT", inverse=1, onesided=1))(spectrum, torch.tensor(9), torch.tensor(1))
    assert torch.allclose(found[..., 0], signal.double())


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("onesided", [0, 1])
def test_stft(check, windowed, onesided):
    optional = [np.hanning(16).astype(np.float32)] if windowed else [None, whole(12)]
    check("STFT", SIGNAL, whole(5), *optional, opset=17, onesided=onesided, tolerance=1e-5, gradient=True)


def test_a_last_axis_of_another_length_is_no_number():
    with pytest.raises(ValueError, match="complex number"):
        dft(node("DFT", opset=17))(torch.from_numpy(REAL[..., 0]))


def test_a_one_sided_transform_is_of_a_real_signal():
    with pytest.raises(ValueError, match="real signal"):
        dft(node("DFT", onesided=1))(torch.from_numpy(COMPLEX), None, torch.tensor(1))


@pytest.mark.parametrize("op_type", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize("size", [10, 11])
def test_windows(check, op_type, periodic, size):
    check(op_type, whole(size), opset=17, periodic=periodic, mapped=False, tolerance=1e-6)


def test_windows_of_integers_are_refused():
    with pytest.raises(UnsupportedOperator, match="not of floats"):
        window(HANN)(node("HannWindow", output_datatype=TensorProto.INT32))


@pytest.mark.parametrize(("bins", "size", "rate", "low", "high"), [(8, 16, 8192, 0, 4096), (20, 512, 16000, 80, 7600)])
def test_mel_weights(check, bins, size, rate, low, high):
    edges = np.array(low, np.float32), np.array(high, np.float32)
    check("MelWeightMatrix", whole(bins), whole(size), whole(rate), *edges, opset=17, mapped=False)
