"""Samples from a NumPy archive: `x`, `y`, and optionally `lower`, `upper`, `classes`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from auditor.errors import SamplesError
from auditor.hookspecs import hookimpl
from auditor.resizing import all_fitted
from auditor.samples import PREDICTED, Samples, SamplesOptions, as_inputs, as_labels


@hookimpl
def load_samples(ref: str, options: SamplesOptions) -> Samples | None:
    return read_npz(Path(ref), options) if ref.lower().endswith(".npz") else None


def read_npz(path: Path, options: SamplesOptions) -> Samples:
    """The samples in an .npz file; other arrays in it are not read, and no pickled object ever is.

    x: `[n, ...]`, uint8 (then divided by 255) or any other number; pictures are resized where a size is stated. y:
    class numbers `[n]`, not read where labels are to be predicted. lower, upper: like x, a box for each sample; float64
    boxes are rounded inward to float32. classes: names by label, unless the options give them. Raises SamplesError
    where the file can't be read as such.
    """
    arrays = _read(path, ("x", "y", "lower", "upper", "classes"))
    predicted = options.labels == "predicted"
    if "x" not in arrays or not (predicted or "y" in arrays):
        hint = "; --labels predicted audits without labels" if "x" in arrays else ""
        raise SamplesError(
            f"{path} should hold `x` and `y`, it holds {', '.join(_names(path)) or 'nothing'}; save them with "
            f"numpy.savez(path, x=inputs, y=labels){hint}."
        )
    x = arrays["x"]
    if x.ndim < 2:
        raise SamplesError(
            f"{path}: `x` should have shape [n, ...], it has {list(x.shape)}; stack samples along axis 0."
        )
    if options.size is not None and x.size:
        if "lower" in arrays or "upper" in arrays:
            raise SamplesError(f"{path} brings boxes for its inputs, so these can't be resized; leave `size` away.")
        x = all_fitted(f"{path}: `x`", x, options.size)
    inputs = as_inputs(f"{path}: `x`", x)
    lower, upper = _boxes(path, arrays, inputs)
    samples = Samples(
        inputs=inputs,
        labels=np.full(len(x), PREDICTED, np.int64) if predicted else as_labels(f"{path}: `y`", arrays["y"]),
        ids=np.arange(len(x)),
        lower=lower,
        upper=upper,
        class_names=options.classes or _class_names(path, arrays.get("classes")),
        pixels=x.dtype == np.uint8,
        labels_source=options.labels,
        source=str(path),
    )
    return samples if options.limit is None else samples.limit(options.limit, options.seed)


def _names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _read(path: Path, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise SamplesError(f"There is no file {path}; give the .npz that holds the samples.")
    name = ""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {}
            for name in (name for name in wanted if name in archive.files):
                arrays[name] = archive[name]
            return arrays
    except MemoryError as error:
        raise SamplesError(f"{path}: `{name}` does not fit into memory; split the file.") from error
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zipfile.LargeZipFile, AttributeError) as error:
        if "pickle" in str(error) and name:
            raise SamplesError(
                f"{path}: `{name}` should hold numbers, it holds Python objects, which are not loaded; "
                "convert it to one array of float32, uint8 or int64."
            ) from error
        raise SamplesError(f"{path} can't be read as an .npz file; write it again with numpy.savez.") from error


def _boxes(
    path: Path, arrays: dict[str, np.ndarray], inputs: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Both sides as float32, none wider than given; a side that has no float32 inside takes the input's."""
    sides = [arrays.get(side) for side in ("lower", "upper")]
    given = [
        None if s is None else as_inputs(f"{path}: `{n}`", s) for n, s in zip(("lower", "upper"), sides, strict=True)
    ]
    lower, upper = given
    if lower is None or upper is None or lower.shape != upper.shape:
        return lower, upper
    if sides[0] is not None and sides[1] is not None and sides[0].dtype != np.uint8:
        tight_lower = np.where(lower < sides[0], np.nextafter(lower, np.float32(np.inf)), lower)
        tight_upper = np.where(upper > sides[1], np.nextafter(upper, np.float32(-np.inf)), upper)
        fits = tight_lower <= tight_upper
        lower, upper = np.where(fits, tight_lower, lower), np.where(fits, tight_upper, upper)
    return lower, upper


def _class_names(path: Path, classes: np.ndarray | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if classes.ndim != 1 or classes.dtype.kind not in "US":
        raise SamplesError(
            f"{path}: `classes` should hold one name a label, it has shape {list(classes.shape)} and the type "
            f"{classes.dtype}; give an array of strings."
        )
    return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in classes)
