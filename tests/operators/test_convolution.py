import numpy as np
import pytest

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE, BIAS = normal(2, 4, 7, 8), normal(6)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 3]},
        {"pads": [1, 2, 1, 2]},
        {"pads": [0, 1, 2, 0], "strides": [2, 2]},
        {"dilations": [2, 2], "pads": [1, 1, 1, 1]},
        {"auto_pad": "VALID"},
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
        {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
        {"auto_pad": "SAME_UPPER", "kernel_shape": [3, 2]},
    ],
)
@pytest.mark.parametrize("group", [1, 2])
def test_conv(check, attributes, group):
    check("Conv", IMAGE, normal(6, 4 // group, 3, 2), BIAS, group=group, **attributes)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_of_each_rank(check, rank):
    x, weight = normal(2, 3, *[5] * rank), normal(4, 3, *[3] * rank)
    check("Conv", x, weight, pads=[1] * rank + [0] * rank, opset=11, gradient=True)


def test_depthwise_conv(check):
    check("Conv", IMAGE, normal(8, 1, 3, 3), normal(8), group=4, pads=[1, 1, 1, 1], gradient=True)


def test_conv_of_a_computed_weight(check):
    check("Conv", IMAGE, normal(6, 4, 3, 2), BIAS, dynamic=1, mapped=False, gradient=True)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 3]},
        {"strides": [2, 2], "output_padding": [1, 1]},
        {"pads": [1, 1, 1, 1]},
        {"pads": [1, 0, 0, 1], "strides": [2, 2]},
        {"dilations": [2, 1], "strides": [2, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"auto_pad": "VALID", "strides": [2, 2]},
        {"output_shape": [14, 16], "strides": [2, 2]},
        {"output_shape": [14, 16], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ],
)
@pytest.mark.parametrize("group", [1, 2])
def test_transposed_conv(check, attributes, group):
    check("ConvTranspose", IMAGE, normal(4, 6 // group, 3, 3), BIAS, group=group, **attributes)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_conv_of_each_rank(check, rank):
    x, weight = normal(1, 3, *[3] * rank), normal(3, 2, *[3] * rank)
    check("ConvTranspose", x, weight, strides=[2] * rank, pads=[1] * rank + [0] * rank, gradient=True)


@pytest.mark.parametrize(
    "attributes",
    [{}, {"strides": [2, 1]}, {"pads": [1, 0, 1, 1]}, {"dilations": [1, 2]}, {"strides": [2, 2], "pads": [1, 1, 1, 1]}],
)
def test_col2im(check, attributes):
    image, block = (5, 6), (2, 3)
    pads, strides = attributes.get("pads", [0] * 4), attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    counts = [
        (image[i] + pads[i] + pads[i + 2] - (block[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(2)
    ]
    x = np.cos(np.arange(2 * 3 * 6 * np.prod(counts), dtype=np.float32)).reshape(2, 18, -1)
    sizes = np.array(image, np.int64), np.array(block, np.int64)
    check("Col2Im", x, *sizes, opset=18, tolerance=1e-5, **attributes)
    check("Col2Im", x[:1, :6], *sizes, opset=18, tolerance=1e-5, gradient=True, **attributes)


def test_col2im_of_volumes(check):
    x = np.cos(np.arange(10 * 12, dtype=np.float32)).reshape(1, 10, 12)
    check("Col2Im", x, np.array([3, 4, 5], np.int64), np.array([1, 1, 5], np.int64), opset=18)


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("output_shape", [[9, 8], [8, 9], [7, 9], [9, 9]])
@pytest.mark.parametrize("kernel", [(2, 3), (3, 3), (4, 4)])
def test_transposed_conv_to_a_shape(check, auto_pad, output_shape, kernel):
    x = np.cos(np.arange(32, dtype=np.float32)).reshape(1, 2, 4, 4)
    weight, bias = np.sin(np.arange(6 * np.prod(kernel), dtype=np.float32)).reshape(2, 3, *kernel), np.ones(3, "f")
    given = {"strides": [2, 2], "auto_pad": auto_pad, "output_shape": output_shape, "tolerance": 1e-5}
    check("ConvTranspose", x, weight, bias, opset=11, **given)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_transposed_conv_with_strides_beyond_its_kernel(check, auto_pad):
    x = np.cos(np.arange(32, dtype=np.float32)).reshape(1, 2, 4, 4)
    weight = np.sin(np.arange(24, dtype=np.float32)).reshape(2, 3, 2, 2)
    check("ConvTranspose", x, weight, np.ones(3, "f"), opset=11, strides=[3, 3], auto_pad=auto_pad, tolerance=1e-5)
