import pytest

from auditor.errors import UnsupportedOperator
from auditor.operators import Node
from auditor.windows import Window, interleaved, split_padding


def window(kernel, **attributes):
    node = Node(op_type="MaxPool", domain="", opset=12, name="pool", inputs=(), outputs=(), attributes=attributes)
    return Window.of(node, kernel)


def test_explicit_padding_is_listed_beginnings_first():
    assert window([3, 3], pads=[1, 2, 3, 4]).padding([8, 8]) == ((1, 2), (3, 4))


@pytest.mark.parametrize(("auto_pad", "expected"), [("SAME_UPPER", ((1,), (2,))), ("SAME_LOWER", ((2,), (1,)))])
def test_the_odd_one_goes_where_the_name_says(auto_pad, expected):
    assert window([5], auto_pad=auto_pad, strides=[2]).padding([8]) == expected


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_keeps_the_length_over_the_stride(stride):
    for size in range(3, 12):
        for auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            assert window([3], auto_pad=auto_pad, strides=[stride]).lengths([size]) == (-(-size // stride),)


def test_valid_pads_nothing():
    assert window([3], auto_pad="VALID").lengths([7]) == (5,)


def test_dilation_widens_the_window():
    assert window([3], dilations=[3]).extents == (7,)
    assert window([3], dilations=[3]).lengths([9]) == (3,)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads", "length"),
    [(6, 3, 2, (0, 0), 3), (7, 3, 2, (0, 0), 3), (4, 2, 4, (0, 1), 1), (4, 2, 3, (0, 1), 2), (5, 2, 2, (1, 1), 3)],
)
def test_ceil_mode_counts_a_partial_window_unless_it_starts_in_the_padding(size, kernel, stride, pads, length):
    assert window([kernel], strides=[stride], pads=list(pads), ceil_mode=1).lengths([size]) == (length,)


def test_unknown_auto_pad_is_named():
    with pytest.raises(UnsupportedOperator, match=r"'pool'.*auto_pad 'SAME'"):
        window([2], auto_pad="SAME")


def test_padding_in_the_order_of_torch():
    assert interleaved([1, 2], [3, 4]) == [2, 4, 1, 3]
    assert split_padding([3], "NOTSET") == ((2,), (1,))
