"""Convolutions and pools in the blocked layout of a file that onnxruntime saved at its highest optimisation level.

There channels lie in blocks as wide as a register of the processor, and are filled up to whole blocks. The twin keeps
such values in their usual layout and only fills up the channels, so that everything between them can stay as it is.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators

from .fused import fused_convolution
from .pooling import average_pool, global_average, global_max, max_pool
from .resize import resize

DOMAIN = "com.microsoft.nchwc"


@lru_cache(maxsize=1)
def block_size() -> int:
    """How many channels one block has on this machine, 0 where its runtime has no such layout.

    The file does not say it, and the runtime reads any file with its own. A one-node model tells; takes a millisecond.
    """
    import onnxruntime as ort

    node = helper.make_node("ReorderInput", ["x"], ["y"], domain=DOMAIN)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 1, 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(helper.make_graph([node], "block", [x], [y]), opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        size = int(session.run(None, {"x": np.zeros((1, 4, 1, 1), np.float32)})[0].shape[1])
    except Exception:  # the runtime's errors have no common base
        return 0
    return size if size > 1 else 0


def _block(node: Node) -> int:
    if not block_size():
        raise node.unsupported("a machine whose runtime has no blocked layout")
    return block_size()


def unblocked(weight: Tensor, block: int) -> Tensor:
    """A weight `[out, in, ...]` whose entries lie in blocks of output channels, and of input channels if it fills any.

    Memory holds `[out / block, in / block, ..., block, block]`, or `[out / block, in, ..., block]` where fewer input
    channels than a block go into each output.
    """
    out, into, *kernel = weight.shape
    if out % block or (into > block and into % block):
        raise ValueError(f"a weight of shape {list(weight.shape)} does not consist of blocks of {block}")
    if into < block:
        return weight.reshape((out // block, into, *kernel, block)).movedim(-1, 1).reshape(weight.shape)
    parts = weight.reshape((out // block, into // block, *kernel, block, block))
    return parts.movedim(-1, 1).movedim(-1, 3).reshape(weight.shape)


def reorder_input(node: Node) -> Function:
    block, last = _block(node), bool(node.attributes.get("channels_last", 0))

    def run(x: Tensor) -> Tensor:
        x = x.movedim(-1, 1) if last else x
        return F.pad(x, (0, 0) * (x.ndim - 2) + (0, -x.shape[1] % block))

    return run


def reorder_output(node: Node) -> Function:
    channels, last = node.attributes["channels"], bool(node.attributes.get("channels_last", 0))

    def run(x: Tensor) -> Tensor:
        x = x.narrow(1, 0, channels)
        return x.movedim(1, -1) if last else x

    return run


def convolution(node: Node) -> Function:
    block, convolve = _block(node), fused_convolution(node)
    return lambda x, weight, bias=None, added=None: convolve(x, unblocked(weight, block), bias, added)


def upsample(node: Node) -> Function:
    """By whole numbers, which an attribute holds."""
    get = node.attributes.get
    mode, scales = get("mode", "nearest"), tuple(float(scale) for scale in node.attributes["scales"])
    coordinates = "asymmetric" if mode == "nearest" else get("coordinate_transformation_mode", "asymmetric")
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": "floor"}
    function = resize(replace(node, attributes=attributes))
    return lambda x: function(x, None, Tensor(scales))


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("ReorderInput", reorder_input, domain=DOMAIN)
    operators.register("ReorderOutput", reorder_output, domain=DOMAIN)
    operators.register("Conv", convolution, domain=DOMAIN, product=True)
    operators.register("MaxPool", max_pool, domain=DOMAIN)
    operators.register("AveragePool", average_pool, domain=DOMAIN)
    operators.register("GlobalAveragePool", global_average, domain=DOMAIN)
    operators.register("GlobalMaxPool", global_max, domain=DOMAIN)
    operators.register("Upsample", upsample, domain=DOMAIN)
