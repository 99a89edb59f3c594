import numpy as np
import pytest
import torch

from auditor.errors import ModelError, UnsupportedOperator
from auditor.operators import Node

RNG = np.random.default_rng(0)
WINDOWS = [
    {},
    {"strides": [2, 3]},
    {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"strides": [2, 2], "pads": [0, 1, 1, 0]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    {"auto_pad": "VALID", "strides": [2, 2]},
    {"strides": [2, 2], "ceil_mode": 1},
    {"strides": [3, 3], "ceil_mode": 1},
    {"strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"strides": [3, 2], "pads": [1, 0, 0, 1], "ceil_mode": 1},
]


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE = normal(2, 3, 8, 9)


@pytest.mark.parametrize("attributes", WINDOWS)
@pytest.mark.parametrize("kernel", [[2, 2], [3, 3]])
def test_max_pool(check, attributes, kernel):
    check("MaxPool", IMAGE, opset=12, kernel_shape=kernel, **attributes)


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [2, 2, 2, 2], [1, 0, 0, 1]])
def test_dilated_max_pool(check, pads):
    check("MaxPool", IMAGE, opset=12, kernel_shape=[3, 3], dilations=[2, 2], pads=pads)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pool_of_each_rank(check, rank):
    check("MaxPool", normal(2, 2, *[6] * rank), kernel_shape=[3] * rank, strides=[2] * rank, gradient=True)


@pytest.mark.parametrize("attributes", [*WINDOWS, {"dilations": [2, 1]}])
@pytest.mark.parametrize("storage_order", [0, 1])
def test_max_pool_indices(check, attributes, storage_order):
    given = {"kernel_shape": [3, 2], "storage_order": storage_order, "outputs": 2, "mapped": False}
    check("MaxPool", IMAGE, opset=12, **given, **attributes)
    check("MaxPool", IMAGE[:1, :1], opset=12, **{**given, "mapped": storage_order == 0}, **attributes)


@pytest.mark.parametrize("rank", [1, 3])
def test_max_pool_indices_of_each_rank(check, rank):
    window = {"kernel_shape": [2] * rank, "strides": [2] * rank, "pads": [1] * 2 * rank}
    check("MaxPool", normal(2, 2, *[5] * rank), outputs=2, mapped=False, **window)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_max_pool_of_small_integers(check, dtype):
    given = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}
    check("MaxPool", (IMAGE * 40).clip(0, 127).astype(dtype), opset=12, **given)


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 0, 1]])
def test_max_unpool(check, pads):
    x = normal(1, 2, 3, 3)
    indices = np.stack([np.arange(9).reshape(3, 3) * 2, 36 + np.arange(9).reshape(3, 3)])[None].astype(np.int64)
    window = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": pads}
    check("MaxUnpool", x, indices, mapped=False, gradient=True, **window)


def test_max_unpool_into_another_shape_is_refused(operators):
    node = Node(
        op_type="MaxUnpool",
        domain="",
        opset=11,
        name="u",
        inputs=("x", "i", "s"),
        outputs=("y",),
        attributes={"kernel_shape": (2, 2), "strides": (2, 2)},
    )
    run = operators.find(node).build(node)
    x, indices = torch.ones(1, 1, 2, 2), torch.tensor([[[[0, 2], [8, 10]]]])
    assert run(x, indices, torch.tensor([1, 1, 4, 4])).shape == (1, 1, 4, 4)
    with pytest.raises(UnsupportedOperator, match="output_shape"):
        run(x, indices, torch.tensor([1, 1, 5, 5]))


@pytest.mark.parametrize("attributes", WINDOWS)
@pytest.mark.parametrize("kernel", [[2, 2], [3, 3]])
@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_average_pool(check, attributes, kernel, count_include_pad):
    check("AveragePool", IMAGE, opset=19, kernel_shape=kernel, count_include_pad=count_include_pad, **attributes)


@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_dilated_average_pool(check, count_include_pad):
    window = {"kernel_shape": [2, 3], "dilations": [3, 2], "pads": [1, 2, 0, 1]}
    check("AveragePool", IMAGE, opset=19, count_include_pad=count_include_pad, **window)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_average_pool_of_each_rank(check, rank):
    window = {"kernel_shape": [3] * rank, "strides": [2] * rank}
    check("AveragePool", normal(2, 2, *[5] * rank), gradient=True, **window)
    check("AveragePool", normal(2, 2, *[5] * rank), gradient=True, pads=[1] * rank + [0] * rank, **window)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("attributes", [{}, {"pads": [0, 1, 1, 1], "strides": [2, 2]}])
def test_lp_pool(check, p, attributes):
    check("LpPool", IMAGE, kernel_shape=[3, 2], p=p, gradient=p > 1, tolerance=1e-5, **attributes)


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_pools(check, op_type, rank):
    check(op_type, normal(2, 3, *[4] * rank), gradient=True)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize(
    ("kernel", "strides", "dilations"),
    [([3, 3], [1, 1], [2, 2]), ([2, 3], [2, 1], [3, 2]), ([1, 2], [3, 3], [3, 2]), ([2, 1], [3, 3], [1, 1])],
)
def test_automatic_padding_is_the_runtimes(check, op_type, auto_pad, ceil_mode, kernel, strides, dilations):
    given = {"auto_pad": auto_pad, "kernel_shape": kernel, "strides": strides, "dilations": dilations}
    if op_type == "MaxPool" and max(dilations) == 1:  # the runtime takes no negative padding here
        return
    if op_type == "AveragePool" and ceil_mode and max(dilations) > 1:
        with pytest.raises(UnsupportedOperator, match="automatic padding and dilations"):
            check(op_type, IMAGE, opset=19, ceil_mode=ceil_mode, **given)
        return
    for sizes in ((8, 9), (6, 8), (9, 7)):
        check(op_type, normal(1, 2, *sizes), opset=19 if op_type != "LpPool" else 18, ceil_mode=ceil_mode, **given)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_windows_without_end_are_refused(check, op_type, outputs):
    if outputs == 2 and op_type != "MaxPool":
        return
    for kernel, message in ((6000, "1e\\+09 entries"), (40000, "broken or hostile")):
        pads = [kernel // 2, kernel // 2, kernel // 2 - 1, kernel // 2 - 2]
        with pytest.raises(ModelError, match=message):
            check(op_type, normal(1, 1, 28, 28), opset=12, outputs=outputs, kernel_shape=[kernel, kernel], pads=pads)


def test_padding_that_takes_all_memory_is_refused(operators):
    attributes = {
        "kernel_shape": [2, 2],
        "strides": [30000] * 2,
        "dilations": [29999] * 2,
        "pads": [29999, 29999, 0, 0],
    }
    node = Node(op_type="MaxPool", domain="", opset=12, name="n", inputs=("x",), outputs=("y",), attributes=attributes)
    with pytest.raises(ModelError, match="broken or hostile"):
        operators.find(node).build(node)(torch.zeros(1, 1, 8, 8))
