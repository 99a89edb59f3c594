"""Torch models from code and from files. Loading any of them runs code that comes with it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auditor.errors import AdvauditError, ModelError
from auditor.preprocess import Shape

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
WEIGHTS = (
    "holds weights without the model that they belong to; name the code that builds it (module:factory), "
    "or export the model to ONNX with torch.onnx.export."
)
PICKLE = (
    "is a pickle, which can run any code when it is loaded; export the model to ONNX, with skl2onnx if it is "
    "scikit-learn's."
)
ADVICE = {
    ".ckpt": WEIGHTS,
    ".safetensors": WEIGHTS,
    ".bin": WEIGHTS,
    ".pkl": PICKLE,
    ".pickle": PICKLE,
    ".joblib": PICKLE,
    ".h5": "is a Keras file; export it to ONNX with tf2onnx (or model.export(path, format='onnx') in Keras 3).",
    ".keras": "is a Keras file; export it to ONNX with model.export(path, format='onnx').",
    ".pb": "is a TensorFlow graph; export it to ONNX with `python -m tf2onnx.convert`.",
    ".tflite": "is a TensorFlow Lite file; export it to ONNX with `python -m tf2onnx.convert --tflite`.",
}
"""What to do with files that are not loaded, by suffix."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A module, and what is known of it: shape of a sample (empty where unknown), the batch it insists on, names."""

    module: nn.Module
    shape: Shape = ()
    batch: int | None = None
    class_names: tuple[str, ...] | None = None


def build(ref: str) -> Loaded:
    """The module that `package.module:factory` returns; the working directory counts as a place to import from.

    It may have the attributes `input_shape` (of a sample, without batch) and `classes` (their names). Raises ModelError
    where there is no such factory, or it fails, or returns something else.
    """
    place, _, name = ref.partition(":")
    here = os.getcwd()
    sys.path.append(here)
    try:
        factory: Any = importlib.import_module(place)
        for part in name.split("."):
            factory = getattr(factory, part)
        module = factory()
    except Exception as error:  # it is somebody's code
        raise ModelError(f"{ref} should build a torch module, it could not: {words(error)}.") from error
    finally:
        sys.path.remove(here)
    module = _checked(ref, module)
    shape, names = getattr(module, "input_shape", ()), getattr(module, "classes", None)
    return Loaded(
        module=module,
        shape=tuple(map(int, shape)) if isinstance(shape, tuple | list) else (),
        class_names=tuple(map(str, names)) if isinstance(names, tuple | list) else None,
    )


def load_exported(path: Path) -> Loaded:
    """The module in a file that torch.export.save wrote, with the shape that it was exported for."""
    program = torch.export.load(path)
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"]
    shape = values[-1].shape if values and isinstance(values[-1], Tensor) else ()
    if not shape or not all(isinstance(length, int) for length in shape[1:]):
        return Loaded(module=program.module())
    batch = shape[0] if isinstance(shape[0], int) else None
    return Loaded(module=program.module(), shape=tuple(map(int, shape[1:])), batch=batch)


def load_script(path: Path) -> Loaded:
    """The module in a TorchScript file."""
    module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    return Loaded(module=_checked(path.name, module))


def loader(path: Path) -> Callable[[], Loaded]:
    """How to load a file by what it holds. Raises ModelError for weights and pickles, without loading them."""
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    inner = {name.partition("/")[2] for name in names}
    if {"models/model.json", "archive_format"} & inner or "serialized_exported_program.json" in names:
        load: Callable[[Path], Loaded] = load_exported
    elif "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        load = load_script
    else:
        raise ModelError(f"{path.name} {WEIGHTS}")

    def loaded() -> Loaded:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return load(path)
        except AdvauditError:
            raise
        except Exception as error:  # damaged archives fail in many ways
            raise ModelError(f"{path.name} can't be loaded by torch {torch.__version__}: {words(error)}.") from error

    return loaded


def _checked(ref: str, module: Any) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise ModelError(f"{ref} should be a torch module, it is {type(module).__name__}.")
    return module


def digest_module(module: nn.Module) -> str:
    """SHA-256 over the source file of the module's class and all its weights, as hex."""
    digest = hashlib.sha256()
    with contextlib.suppress(OSError, TypeError):
        digest.update(Path(inspect.getfile(type(module))).read_bytes())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def words(error: Exception) -> str:
    """An error of somebody's code on one line."""
    text = " ".join(str(error).split()).strip(" .")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
