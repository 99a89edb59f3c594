"""Reading an ONNX file that nobody vouches for: what it may refer to, and how large it may be.

A file names other files for its weights, and says itself how much it holds. Neither is believed: see `read_model` and
`PrivateCopy`. Sources: CVE-2022-25882, CVE-2024-27318, CVE-2026-27489, CVE-2026-34446 (hard links).
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from itertools import chain
from math import prod
from pathlib import Path

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, helper

from auditor.errors import ModelError

FILE = 2 << 30
"""Bytes of a file without its external data: protobuf's own limit."""
NODES = 200_000
NESTING = 16
"""Levels of graphs inside nodes of graphs."""
LFS = b"version https://git-lfs"
HALF_BYTE = frozenset({TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1})
KEYS = frozenset({"location", "offset", "length", "checksum"})
"""What an external tensor may say of itself."""


def read_model(path: Path, *, memory: int) -> onnx.ModelProto:
    """The model in a file, without external data, once it has been found to keep the rules.

    memory: bytes that all constants together may claim. Parsing takes about twice the file's size. Raises ModelError
    for a file that is no ONNX, holds more than `NODES` nodes, nests deeper than `NESTING`, or claims too much.
    """
    data = path.read_bytes()
    if not data:
        raise ModelError(f"{path.name} is empty; export the model again.")
    if data.startswith(LFS):
        raise ModelError(f"{path.name} is a Git LFS pointer, not the model; fetch it with `git lfs pull`.")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError has no public home
        raise ModelError(f"{path.name} is not an ONNX file, or it is truncated; export or copy it again.") from error
    if not model.HasField("graph") or not model.graph.output:
        raise ModelError(f"{path.name} is not an ONNX model: it holds no graph with outputs; export it again.")
    count = sum(1 for _ in _nodes(path.name, model))
    if count > NODES:
        raise ModelError(f"{path.name} should hold at most {NODES} nodes, it holds {count}; such a file is refused.")
    claimed = sum(_size(path.name, tensor) for tensor in tensors(model))
    if claimed > memory:
        raise ModelError(
            f"The constants of {path.name} may take {memory >> 20} MiB, they claim {claimed >> 20} MiB; "
            "--trust-model lifts the limit."
        )
    return model


def external_files(name: str, model: onnx.ModelProto) -> dict[str, int]:
    """The files that hold weights of the model, each with the size that it must have at least.

    Raises ModelError unless each is a plain name, so that it lies beside the model and nowhere else.
    """
    files: dict[str, int] = {}
    for tensor in tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if not set(entries) <= KEYS or not _plain(location):
            raise ModelError(
                f"{name} keeps weights in {location!r}; only plain names of files beside the model are followed. "
                "Save it with its weights in one file."
            )
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", _size(name, tensor)))
        except ValueError:
            offset, length = -1, 0
        if offset < 0 or length < 0:
            raise ModelError(f"{name} states no valid place in {location!r} for its weights; export it again.")
        files[location] = max(files.get(location, 0), offset + length)
    return files


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every constant of the model: initialisers and attributes, of all graphs, functions and training parts."""
    for graph in _graphs(model):
        yield from graph.initializer
        yield from chain.from_iterable(_dense(sparse) for sparse in graph.sparse_initializer)
    for node in _nodes("the model", model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            yield from chain.from_iterable(_dense(sparse) for sparse in attribute.sparse_tensors)
            if attribute.HasField("sparse_tensor"):
                yield from _dense(attribute.sparse_tensor)


def _dense(sparse: SparseTensorProto) -> tuple[TensorProto, TensorProto]:
    return sparse.values, sparse.indices


def _roots(model: onnx.ModelProto) -> Iterator[GraphProto | FunctionProto]:
    yield model.graph
    yield from model.functions
    for training in model.training_info:
        yield training.initialization
        yield training.algorithm


def _graphs(model: onnx.ModelProto) -> Iterator[GraphProto]:
    for root in _roots(model):
        if isinstance(root, GraphProto):
            yield root
    for node in _nodes("the model", model):
        yield from _inner(node.attribute)


def _inner(attributes: Iterable[AttributeProto]) -> Iterator[GraphProto]:
    for attribute in attributes:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _nodes(name: str, model: onnx.ModelProto) -> Iterator[NodeProto]:
    level: list[GraphProto | FunctionProto] = list(_roots(model))
    for _ in range(NESTING):
        below: list[GraphProto | FunctionProto] = []
        for graph in level:
            for node in graph.node:
                yield node
                below.extend(_inner(node.attribute))
            if isinstance(graph, FunctionProto):
                below.extend(_inner(graph.attribute_proto))
        if not below:
            return
        level = below
    raise ModelError(f"{name} nests graphs deeper than {NESTING} levels; such a file is refused.")


def _size(name: str, tensor: TensorProto) -> int:
    """Bytes that a constant claims by its shape."""
    if any(length < 0 for length in tensor.dims):
        raise ModelError(f"{name} has a constant {tensor.name!r} of negative length; the file is broken.")
    count = prod(tensor.dims)
    if tensor.data_type in HALF_BYTE:
        return int(count + 1) // 2
    if tensor.data_type == TensorProto.STRING:
        return sum(len(text) for text in tensor.string_data)
    try:
        return int(count) * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError, ValueError):
        raise ModelError(
            f"{name} has a constant {tensor.name!r} of an unknown type ({tensor.data_type}); the file is broken."
        ) from None


def _plain(location: str) -> bool:
    return (
        0 < len(location) <= 255
        and location not in (".", "..")
        and location.isprintable()
        and not set(location) & set("/\\:*?")
    )


class PrivateCopy:
    """A copy of a model file, and of the files that hold its weights, in a folder that only this user can enter.

    What was checked is then what is run, whatever happens to the originals meanwhile, and a link can't lead elsewhere
    between the two. path: of the copied model. sha256: over the model's bytes and then those of its weight files in
    the order of their names. The folder goes when the copy does. Raises ModelError where a file can't be copied.
    """

    def __init__(self, path: Path) -> None:
        folder = tempfile.mkdtemp(prefix="advaudit-")  # mode 0700
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)  # also at exit, and without a warning
        self._source = path
        self._digest = hashlib.sha256()
        self._folder = Path(folder)
        self.path = self._folder / path.name
        self._copy(path, FILE)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def add(self, files: dict[str, int], *, memory: int) -> None:
        """Copy weight files from beside the model. files: name to the size that it must have at least."""
        for name, expected in sorted(files.items()):
            size = self._copy(self._source.parent / name, memory)
            memory -= size
            if size < expected:
                raise ModelError(
                    f"{self._source.name} expects {expected} bytes in {name}, it has {size}; copy both files again."
                )

    def _copy(self, source: Path, most: int) -> int:
        """Copy one regular file and digest it; its size. Only the model itself may be reached through links."""
        linked = source == self._source
        flags = getattr(os, "O_NONBLOCK", 0) | (0 if linked else getattr(os, "O_NOFOLLOW", 0))
        try:
            with open(source, "rb", opener=lambda name, mode: os.open(name, mode | flags)) as file:
                state = os.fstat(file.fileno())
                if not stat.S_ISREG(state.st_mode) or (not linked and state.st_nlink != 1):
                    raise OSError(errno.ELOOP, "")
                if state.st_size > most:
                    raise ModelError(
                        f"{source} may have {most >> 20} MiB, it has {state.st_size >> 20} MiB; "
                        "keep weights in external data, and trust the file with --trust-model to lift the limit."
                    )
                with (self.path.parent / source.name).open("xb") as copy:
                    while block := file.read(1 << 20):
                        self._digest.update(block)
                        copy.write(block)
                    return copy.tell()
        except FileNotFoundError:
            raise ModelError(f"There is no file {source}; give the path of the model with its weights.") from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise ModelError(
                    f"{source} should be a regular file that no other name links to; put a copy in its place."
                ) from None
            raise ModelError(f"{source} can't be copied to check it ({error.strerror}).") from None
