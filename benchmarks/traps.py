"""Files built by hand to hurt whoever reads or runs them: endless, huge, deep, contradicting themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.specimens import BOOL, FLOAT, INT64, PIXELS, classifier, graph, info, node

HEAD = [node("Flatten", "x", "f"), node("Gemm", "f w b", "z")]
"""What an honest file does, and `z` its scores."""


def behind(*nodes: onnx.NodeProto, kind: int = FLOAT, **arrays: Any) -> onnx.ModelProto:
    """An honest classifier with more nodes between its scores `z` and its output `y`, which is of this type."""
    model = classifier([*HEAD, *nodes], {name: np.asarray(array) for name, array in arrays.items()})
    model.graph.output[0].CopyFrom(info("y", None, kind))
    return model


def loop(rounds: int, *body: onnx.NodeProto, go: bool = True, **arrays: Any) -> onnx.ModelProto:
    """A Loop over `a`, which begins as the scores; the body computes `next`."""
    inner = graph(
        [*body, node("Identity", "c", "d")],
        [info("i", [], INT64), info("c", [], BOOL), info("a", None)],
        [info("d", [], BOOL), info("next", None)],
        {name: np.asarray(array) for name, array in arrays.items()},
    )
    return behind(node("Loop", "n go z", "y", body=inner), n=np.array(rounds), go=np.array(go))


def endless_loop() -> onnx.ModelProto:
    return loop(1 << 62, node("Add", "a one", "next"), one=np.float32([1]))


def slow_loop() -> onnx.ModelProto:
    """Quick enough for the runtime, slow for an interpreter."""
    return loop(20_000, node("Add", "a tiny", "next"), tiny=np.float32([1e-12]))


def doubling_loop() -> onnx.ModelProto:
    """Twice as large after every round."""
    return loop(48, node("Concat", "a a", "next", axis=1))


def nested_loops() -> onnx.ModelProto:
    """Ten thousand rounds of ten thousand rounds."""
    inner = graph(
        [node("Add", "g one", "h"), node("Identity", "e", "k")],
        [info("j", [], INT64), info("e", [], BOOL), info("g", None)],
        [info("k", [], BOOL), info("h", None)],
        {"one": np.float32([1])},
    )
    return loop(10_000, node("Loop", "m c a", "next", body=inner), m=np.array(10_000))


def slow_for_some() -> onnx.ModelProto:
    """Endless where the first class wins clearly, which an attack will reach."""
    inner = graph(
        [node("Identity", "a", "next"), node("Identity", "c", "d")],
        [info("i", [], INT64), info("c", [], BOOL), info("a", None)],
        [info("d", [], BOOL), info("next", None)],
        {},
    )
    nodes = [
        node("ReduceMax", "z", "top", keepdims=0),
        node("Less", "top limit", "slow"),
        node("Where", "slow many one", "n"),
        node("Loop", "n go z", "y", body=inner),
    ]
    arrays = {"limit": np.float32(0.3), "many": np.array(1 << 40), "one": np.array(1), "go": np.array(True)}
    return behind(*nodes, **arrays)


def asked(op_type: str, size: int, **attributes: Any) -> onnx.ModelProto:
    """A tensor of as many entries as `size` says, of which one is used."""
    sources = {
        "ConstantOfShape": node("ConstantOfShape", "shape", "big"),
        "Expand": node("Expand", "half shape", "big"),
        "Tile": node("Tile", "unit shape", "big"),
        "Range": node("Range", "from to by", "big"),
        "Pad": node("Pad", "unit pads", "big"),
        "OneHot": node("OneHot", "place depth values", "big"),
        "Resize": node("Resize", "block   sizes", "big"),
    }
    if op_type == "Resize":
        sources["Resize"] = helper.make_node("Resize", ["block", "", "", "sizes"], ["big"], mode="nearest")
    arrays = {
        "shape": np.array([size]),
        "half": np.float32(0.5),
        "unit": np.float32([1]),
        "from": np.float32(0),
        "to": np.float32(size),
        "by": np.float32(1),
        "pads": np.array([0, size]),
        "place": np.array([0]),
        "depth": np.array(size),
        "values": np.float32([0, 1]),
        "block": np.ones((1, 1, 1, 1), np.float32),
        "sizes": np.array([1, 1, 1, size]),
    }
    small = [
        node("ReduceMean", "big", "mean", keepdims=0),
        node("Mul", "mean none", "zero"),
        node("Add", "z zero", "y"),
    ]
    return behind(sources[op_type], *small, none=np.float32(0), **arrays)


def outer(times: int) -> onnx.ModelProto:
    """Every pixel beside every other: 784 times 784 times `times` entries a sample."""
    nodes = [
        node("Unsqueeze", "f two", "column"),
        node("Unsqueeze", "f one", "row"),
        node("Mul", "column row", "square"),
        *([node("Concat", " ".join(["square"] * times), "big", axis=1)]),
        node("ReduceMean", "big", "mean", axes=[1, 2], keepdims=0),
        node("Unsqueeze", "mean one", "m"),
        node("Mul", "m none", "zero"),
        node("Add", "z zero", "y"),
    ]
    return behind(*nodes, one=np.array([1]), two=np.array([2]), none=np.float32(0))


def deep(levels: int) -> onnx.ModelProto:
    """An If in an If in an If."""
    inner = graph([node("Identity", "z", "o0")], [], [info("o0", None)], {})
    for level in range(1, levels):
        other = graph([node("Neg", "z", f"n{level}")], [], [info(f"n{level}", None)], {})
        choice = node("If", "go", f"o{level}", then_branch=inner, else_branch=other)
        inner = graph([choice], [], [info(f"o{level}", None)], {})
    other = graph([node("Neg", "z", "n")], [], [info("n", None)], {})
    return behind(node("If", "go", "y", then_branch=inner, else_branch=other), go=np.array(True))


def bottomless() -> bytes:
    """Graphs inside graphs, deeper than protobuf itself writes them."""

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while True:
            length += bytes([size & 127 | (128 if size > 127 else 0)])
            size >>= 7
            if not size:
                return bytes([number << 3 | 2]) + length + content

    graph_bytes = b""
    for _ in range(5000):
        graph_bytes = field(1, field(5, field(6, graph_bytes)))
    return field(7, graph_bytes)


def functions(levels: int, calls: int) -> onnx.ModelProto:
    """Each function calls the one below several times."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made = [helper.make_function("own", "F0", ["a"], ["r"], [node("Identity", "a", "r")], opsets)]
    for level in range(1, levels):
        names = ["a", *(f"t{i}" for i in range(calls - 1)), "r"]
        body = [node(f"F{level - 1}", *pair, domain="own") for pair in itertools.pairwise(names)]
        made.append(helper.make_function("own", f"F{level}", ["a"], ["r"], body, opsets))
    return classifier([*HEAD, node(f"F{levels - 1}", "z", "y", domain="own")], functions=made)


def recursion() -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    own = helper.make_function("own", "F", ["a"], ["r"], [node("F", "a", "r", domain="own")], opsets)
    return classifier([*HEAD, node("F", "z", "y", domain="own")], functions=[own])


def long_chain(length: int) -> onnx.ModelProto:
    names = ["z", *(f"t{i}" for i in range(length - 1)), "y"]
    return behind(*(node("Neg", *pair) for pair in itertools.pairwise(names)))


def doubled_paths(length: int) -> onnx.ModelProto:
    """Two ways through every node: 2 ** length paths."""
    names = ["z", *(f"t{i}" for i in range(length))]
    sums = [node("Add", f"{a} {a}", b) for a, b in itertools.pairwise(names)]
    return behind(*sums, node("Mul", f"t{length - 1} small", "y"), small=np.float32(2.0**-length))


def odd_ending(*nodes: onnx.NodeProto, **arrays: Any) -> Callable[[], onnx.ModelProto]:
    return lambda: behind(*nodes, **arrays)


def nan_for_some() -> onnx.ModelProto:
    """No number where the first class does not reach a limit."""
    return behind(
        node("Slice", "z zero one last", "first"),
        node("Sub", "first limit", "gap"),
        node("Sqrt", "gap", "root"),
        node("Mul", "root none", "nought"),
        node("Add", "z nought", "y"),
        zero=np.array([0]),
        one=np.array([1]),
        last=np.array([1]),
        limit=np.float32(-0.2),
        none=np.float32(0),
    )


def batch_dependent() -> onnx.ModelProto:
    nodes = [
        node("ReduceMean", "z", "mean", axes=[0], keepdims=1),
        node("Sub", "z mean", "gap"),
        node("Add", "z gap", "y"),
    ]
    return behind(*nodes)


def other_width() -> onnx.ModelProto:
    """As many scores as there are bright pixels in the corner."""
    nodes = [
        node("ReduceMax", "z", "top", keepdims=0),
        node("Mul", "top many", "t"),
        node("Cast", "t", "k", to=INT64),
        node("Reshape", "k one", "k1"),
        node("Concat", "least k1", "both", axis=0),
        node("ReduceMax", "both", "end", keepdims=1),
        node("Slice", "z start end last", "y"),
    ]
    arrays = {"many": np.float32(30), "one": np.array([1]), "least": np.array([2]), "start": np.array([0])}
    return behind(*nodes, last=np.array([1]), **arrays)


def telling_names() -> onnx.ModelProto:
    """Names that write on a terminal, into a page, or over lines."""
    ugly = "\x1b[2J\x1b[31m</script><script>alert(1)</script>\n\r\x00'\"" + "n" * 100_000
    model = behind(node("Softmax", "z", "y"))
    for one in model.graph.node:
        one.name = ugly + one.op_type
    model.producer_name, model.graph.name, model.doc_string = ugly, ugly, ugly
    model.graph.node.append(helper.make_node("Nonsense\x1b[2J\n", ["z"], ["q"], name=ugly))
    model.graph.output.append(info("q", None))
    return model


def cyclic_forest() -> onnx.ModelProto:
    """A tree whose nodes lead back to the root."""
    tree: dict[str, Any] = {
        "n_targets": 10,
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 1, 0],
        "nodes_values": [0.5, 0.5, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 2, 0],
        "target_treeids": [0],
        "target_nodeids": [2],
        "target_ids": [0],
        "target_weights": [1.0],
    }
    return behind(node("TreeEnsembleRegressor", "f", "t", domain="ai.onnx.ml", **tree), node("Add", "z t", "y"))


def far_feature() -> onnx.ModelProto:
    """A tree that reads behind the end of its input."""
    model = cyclic_forest()
    for attribute in model.graph.node[2].attribute:
        if attribute.name == "nodes_truenodeids":
            attribute.ints[1] = 2
        if attribute.name == "nodes_featureids":
            attribute.ints[0] = 1 << 30
    return model


def convolution(**attributes: Any) -> Callable[[], onnx.ModelProto]:
    """A convolution with absurd attributes before the classifier."""

    def make() -> onnx.ModelProto:
        kernel = np.zeros((1, 1, 3, 3), np.float32)
        kernel[0, 0, 1, 1] = 1
        nodes = [node("Conv", "x k", "c", **{"pads": [1, 1, 1, 1], **attributes}), node("Flatten", "c", "f")]
        return classifier([*nodes, node("Gemm", "f w b", "y")], {"k": kernel})

    return make


def wrong_promise(shape: list[int | str]) -> Callable[[], onnx.ModelProto]:
    """An input whose declared shape is not what the file can take."""

    def make() -> onnx.ModelProto:
        model = behind(node("Softmax", "z", "y"))
        model.graph.input[0].CopyFrom(info("x", shape))
        return model

    return make


def text_output() -> onnx.ModelProto:
    return behind(node("Cast", "z", "y", to=TensorProto.STRING), kind=TensorProto.STRING)


def no_outputs() -> onnx.ModelProto:
    model = behind(node("Softmax", "z", "y"))
    del model.graph.output[:]
    return model


SIZES = {"small": 1 << 20, "large": 1 << 28, "huge": 1 << 36, "absurd": 1 << 62, "negative": -5}
TRAPS: dict[str, Callable[[], onnx.ModelProto | bytes]] = {
    "endless loop": endless_loop,
    "slow loop": slow_loop,
    "doubling loop": doubling_loop,
    "nested loops": nested_loops,
    "slow for some": slow_for_some,
    **{
        f"{size} {op_type}": lambda op_type=op_type, count=count: asked(op_type, count)  # type: ignore[misc]
        for op_type in ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "OneHot", "Resize")
        for size, count in SIZES.items()
    },
    **{f"outer product x{times}": lambda times=times: outer(times) for times in (1, 8, 40)},  # type: ignore[misc]
    **{f"nested {levels} deep": lambda levels=levels: deep(levels) for levels in (3, 14, 20, 30)},  # type: ignore[misc]
    "bottomless": bottomless,
    "functions of functions": lambda: functions(30, 2),
    "many calls": lambda: functions(7, 10),
    "thousands of calls": lambda: functions(4, 10),
    "recursion": recursion,
    **{f"chain of {length}": lambda length=length: long_chain(length) for length in (1000, 30_000, 250_000)},  # type: ignore[misc]
    "doubled paths": lambda: doubled_paths(60),
    "not a number for some": nan_for_some,
    "depends on the batch": batch_dependent,
    "number of classes changes": other_width,
    "names that write on terminals": telling_names,
    "cyclic forest": cyclic_forest,
    "forest reads too far": far_feature,
    "text as output": text_output,
    "no outputs": no_outputs,
    "random": odd_ending(node("RandomNormalLike", "z", "r", scale=0.05), node("Add", "z r", "y")),
    "entries that are not zero": odd_ending(node("NonZero", "z", "y"), kind=INT64),
    "scalar": odd_ending(node("ReduceMax", "z", "y", keepdims=0)),
    "all the same": odd_ending(node("Sub", "z z", "y")),
    "infinite": odd_ending(node("Div", "z none", "y"), none=np.float32(0)),
    "label only": odd_ending(node("ArgMax", "z", "y", axis=1), kind=INT64),
    "convolution that stands still": convolution(strides=[0, 0]),
    "negative stride": convolution(strides=[-1, -1]),
    "endless padding": convolution(pads=[1 << 40] * 4),
    "negative padding": convolution(pads=[-40] * 4),
    "endless dilation": convolution(dilations=[1 << 40] * 2),
    "many groups": convolution(group=1 << 40),
    "no groups": convolution(group=0),
    "odd automatic padding": convolution(auto_pad="NOWHERE"),
    "wrong kernel": convolution(kernel_shape=[-3, 1 << 33]),
    "batch of 0": wrong_promise([0, 1, 28, 28]),
    "batch of 4096": wrong_promise([4096, 1, 28, 28]),
    "huge input": wrong_promise(["N", 1 << 20, 28, 28]),
    "negative input": wrong_promise(["N", -1, 28, 28]),
    "vector input": wrong_promise([PIXELS]),
    "many axes": wrong_promise(["N", *[1] * 60, 28, 28]),
}
"""Name to builder."""
