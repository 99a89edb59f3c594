"""A corpus of broken and hostile ONNX files: seeded mutations of the specimens, and traps built by hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto

from benchmarks.specimens import SPECIMENS
from benchmarks.traps import TRAPS

EXTREMES = (-(1 << 63), -(1 << 31), -2, -1, 0, 1, 2, 7, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1)
FLOATS = (float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 1e-45, 3e38, 1e9)
TRAP_EVERY = 5
"""One file in so many is a trap, the others are mutations."""


@dataclass(frozen=True)
class Hostile:
    """One file of the corpus. beside: files that are to lie beside it; links: names of links, and where they lead."""

    name: str
    kind: str
    data: bytes
    beside: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def corpus(count: int, seed: int = 0, *, traps: bool = True) -> Iterator[Hostile]:
    """That many files; the same for the same seed, and the first ones the same for any count."""
    kinds, bases, built = sorted(MUTATIONS), sorted(SPECIMENS), sorted(TRAPS)
    random.Random(seed).shuffle(built)
    made = 0
    for number in range(count):
        if traps and number % TRAP_EVERY == 0 and made < len(built):
            trap = TRAPS[built[made]]()
            data = trap if isinstance(trap, bytes) else trap.SerializeToString()
            yield Hostile(f"{number:04d}", f"trap: {built[made]}", data)
            made += 1
            continue
        draws = random.Random(f"{seed} {number}")
        kind, base = kinds[(number - made) % len(kinds)], draws.choice(bases)
        yield mutated(f"{number:04d}-{base}", kind, base, draws)


def mutated(name: str, kind: str, base: str, draws: random.Random) -> Hostile:
    model = onnx.ModelProto.FromString(_bytes(base))
    result = MUTATIONS[kind](model, draws)
    if isinstance(result, Hostile):
        return Hostile(name, kind, result.data, result.beside, result.links)
    return Hostile(name, kind, result if isinstance(result, bytes) else model.SerializeToString())


@cache
def _bytes(base: str) -> bytes:
    return SPECIMENS[base]().SerializeToString()


Mutation = Callable[[onnx.ModelProto, random.Random], "bytes | Hostile | None"]


def flipped(model: onnx.ModelProto, draws: random.Random) -> bytes:
    data = bytearray(model.SerializeToString())
    for _ in range(draws.choice((1, 1, 4, 64))):
        data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
    return bytes(data)


def flipped_outside_weights(model: onnx.ModelProto, draws: random.Random) -> bytes:
    """Bytes of the structure, which is a small part of a file."""
    data = bytearray(model.SerializeToString())
    structure = [place for place in range(len(data)) if place < 400 or place > len(data) - 600]
    for _ in range(draws.choice((1, 2, 8))):
        data[draws.choice(structure)] = draws.randrange(256)
    return bytes(data)


def truncated(model: onnx.ModelProto, draws: random.Random) -> bytes:
    data = model.SerializeToString()
    return data[: draws.choice((0, 1, draws.randrange(len(data)), len(data) - 1))]


def lengthened(model: onnx.ModelProto, draws: random.Random) -> bytes:
    """Followed by itself, which protobuf merges, or by noise."""
    data = model.SerializeToString()
    return data + draws.choice((data, draws.randbytes(64), data[: draws.randrange(len(data))]))


def wrong_shape(model: onnx.ModelProto, draws: random.Random) -> None:
    tensor = draws.choice(model.graph.initializer)
    lengths = list(tensor.dims) or [1]
    lengths[draws.randrange(len(lengths))] = draws.choice(EXTREMES)
    if draws.random() < 0.3:
        lengths.reverse()
    del tensor.dims[:]
    tensor.dims.extend(lengths)


def wrong_type(model: onnx.ModelProto, draws: random.Random) -> None:
    draws.choice(model.graph.initializer).data_type = draws.choice((*range(25), 99, -1))


def wrong_input(model: onnx.ModelProto, draws: random.Random) -> None:
    kind = model.graph.input[0].type.tensor_type
    if draws.random() < 0.4:
        kind.elem_type = draws.choice((*range(25), 99))
    elif draws.random() < 0.8:
        draws.choice(kind.shape.dim).dim_value = draws.choice(EXTREMES)
    else:
        kind.ClearField("shape")


def wrong_promises(model: onnx.ModelProto, draws: random.Random) -> None:
    """Types and shapes stated for inner values, all false."""
    for node in model.graph.node:
        for name in node.output:
            shape = [draws.choice(EXTREMES) for _ in range(draws.randrange(4))]
            model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, draws.randrange(1, 17), shape))


def cycle(model: onnx.ModelProto, draws: random.Random) -> None:
    first, last = sorted(draws.choices(range(len(model.graph.node)), k=2))
    _rewire(model.graph.node[first], model.graph.node[last].output[0], draws)


def missing_initialiser(model: onnx.ModelProto, draws: random.Random) -> None:
    del model.graph.initializer[draws.randrange(len(model.graph.initializer))]


def dangling(model: onnx.ModelProto, draws: random.Random) -> None:
    _rewire(draws.choice(model.graph.node), draws.choice(("nowhere", "", "x" * 5000)), draws)


def rewired(model: onnx.ModelProto, draws: random.Random) -> None:
    """An input takes another value of the file."""
    names = [name for node in model.graph.node for name in (*node.input, *node.output)]
    _rewire(draws.choice(model.graph.node), draws.choice(names), draws)


def _rewire(node: NodeProto, name: str, draws: random.Random) -> None:
    if node.input:
        node.input[draws.randrange(len(node.input))] = name


def duplicated(model: onnx.ModelProto, draws: random.Random) -> None:
    """Two nodes, or two constants, of one name."""
    graph = model.graph
    if draws.random() < 0.5:
        graph.node.append(draws.choice(graph.node))
    elif draws.random() < 0.5:
        graph.initializer.append(draws.choice(graph.initializer))
    else:
        graph.input.append(graph.input[0])


def shuffled(model: onnx.ModelProto, draws: random.Random) -> None:
    nodes = list(model.graph.node)
    draws.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def dropped(model: onnx.ModelProto, draws: random.Random) -> None:
    del model.graph.node[draws.randrange(len(model.graph.node))]


def unknown_operator(model: onnx.ModelProto, draws: random.Random) -> None:
    node = draws.choice(model.graph.node)
    if draws.random() < 0.5:
        node.op_type = draws.choice(("Nonsense", "", "Relu\x00", "x" * 10_000, "Conv", "Loop", "Sum", "Det"))
    else:
        node.domain = draws.choice(("com.nobody", "ai.onnx.ml", "com.microsoft", "ai.onnx.training", "\x1b[31m"))


def wrong_opset(model: onnx.ModelProto, draws: random.Random) -> None:
    if draws.random() < 0.2:
        del model.opset_import[:]
        return
    draws.choice(model.opset_import).version = draws.choice((*EXTREMES, 1, 6, 8, 11, 13, 21, 26, 99))
    if draws.random() < 0.3:
        model.ir_version = draws.choice(EXTREMES)


def absurd_attribute(model: onnx.ModelProto, draws: random.Random) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if not nodes:
        return
    attribute = draws.choice(draws.choice(nodes).attribute)
    if attribute.type == AttributeProto.INT:
        attribute.i = draws.choice(EXTREMES)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = draws.choice(FLOATS)
    elif attribute.type == AttributeProto.INTS:
        _replace(attribute.ints, EXTREMES, draws)
    elif attribute.type == AttributeProto.FLOATS:
        _replace(attribute.floats, FLOATS, draws)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = draws.choice((b"", b"\xff\xfe", b"NOWHERE", b"x" * 100_000))
    else:
        attribute.type = draws.randrange(16)


def _replace(entries: object, extremes: tuple[float, ...], draws: random.Random) -> None:
    values = list(entries)  # type: ignore[call-overload]
    for _ in range(draws.choice((1, 3))):
        if values:
            values[draws.randrange(len(values))] = draws.choice(extremes)
    values = draws.choice((values, values, values[:-1], [*values, 1]))
    del entries[:]  # type: ignore[attr-defined]
    entries.extend(values)  # type: ignore[attr-defined]


def lost_attribute(model: onnx.ModelProto, draws: random.Random) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if nodes:
        del draws.choice(nodes).attribute[0]


def odd_weights(model: onnx.ModelProto, draws: random.Random) -> None:
    """Weights that are no numbers, infinite, tiny or zero."""
    tensor = draws.choice([t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT])
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[:: draws.choice((1, 2, 97))] = draws.choice(FLOATS)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def odd_integers(model: onnx.ModelProto, draws: random.Random) -> None:
    """Shapes, axes and counts of any size."""
    tensors = [t for t in model.graph.initializer if t.data_type == TensorProto.INT64]
    if not tensors:
        return odd_weights(model, draws)
    tensor = draws.choice(tensors)
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[draws.randrange(max(array.size, 1)) :] = draws.choice(EXTREMES)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return None


def other_ends(model: onnx.ModelProto, draws: random.Random) -> None:
    """Other inputs and outputs than there were."""
    graph = model.graph
    names = [name for node in graph.node for name in node.output]
    choice = draws.randrange(4)
    if choice == 0:
        graph.output[0].name = draws.choice((*names, "nowhere", graph.input[0].name))
    elif choice == 1:
        graph.output.append(ValueInfoProto(name=draws.choice(names)))
    elif choice == 2:
        graph.input.append(onnx.helper.make_tensor_value_info("more", 1, [1]))
    else:
        graph.ClearField(draws.choice(("input", "output")))


def external(model: onnx.ModelProto, draws: random.Random) -> Hostile:
    """Weights in another file, or so it says."""
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    data = tensor.raw_data
    place = draws.choice(
        (
            "w.bin",
            "../w.bin",
            "/etc/passwd",
            "/dev/zero",
            "link.bin",
            "w\x00.bin",
            "",
            ".",
            "//w.bin",
            "C:\\w.bin",
            "w.bin/",
        )
    )
    keys = {
        "location": place,
        "offset": draws.choice(("0", "0", "-1", str(1 << 62), "x")),
        "length": draws.choice((str(len(data)), str(len(data)), "-1", str(1 << 62), "0x10", "")),
    }
    if draws.random() < 0.3:
        del keys[draws.choice(("offset", "length"))]
    if draws.random() < 0.2:
        keys["basepath"] = "/etc"
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in keys.items():
        tensor.external_data.add(key=key, value=value)
    weights = draws.choice((data, data, data[:100], b""))
    return Hostile("", "", model.SerializeToString(), {"w.bin": weights}, {"link.bin": "/etc/passwd"})


def spliced(model: onnx.ModelProto, draws: random.Random) -> None:
    """Nodes and constants of another specimen, side by side."""
    other = onnx.ModelProto.FromString(_bytes(draws.choice(sorted(SPECIMENS))))
    _extend(model.graph, other.graph, draws)


def _extend(graph: GraphProto, other: GraphProto, draws: random.Random) -> None:
    for node in other.node:
        if draws.random() < 0.5:
            graph.node.insert(draws.randrange(len(graph.node) + 1), node)
    graph.initializer.extend(other.initializer)


def twice(model: onnx.ModelProto, draws: random.Random) -> bytes | Hostile | None:
    """Two mutations at once."""
    kinds = sorted(set(MUTATIONS) - {"two at once", "external data", "flipped bytes", "truncated", "lengthened"})
    for kind in draws.sample(kinds, 2):
        try:
            if isinstance(found := MUTATIONS[kind](model, draws), bytes):
                return found
        except (IndexError, ValueError):  # the first mutation left nothing for the second
            continue
    return None


MUTATIONS: dict[str, Mutation] = {
    "flipped bytes": flipped,
    "flipped structure": flipped_outside_weights,
    "truncated": truncated,
    "lengthened": lengthened,
    "wrong shape of a constant": wrong_shape,
    "wrong type of a constant": wrong_type,
    "wrong input": wrong_input,
    "wrong promises": wrong_promises,
    "cycle": cycle,
    "missing initialiser": missing_initialiser,
    "dangling input": dangling,
    "rewired": rewired,
    "duplicated": duplicated,
    "shuffled": shuffled,
    "dropped node": dropped,
    "unknown operator or domain": unknown_operator,
    "wrong opset": wrong_opset,
    "absurd attribute": absurd_attribute,
    "lost attribute": lost_attribute,
    "odd weights": odd_weights,
    "odd integers": odd_integers,
    "other ends": other_ends,
    "external data": external,
    "spliced": spliced,
    "two at once": twice,
}
"""Kind to what it does to a model: changes it in place, or returns other bytes."""
