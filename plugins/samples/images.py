"""Samples from a folder of pictures: one folder a class."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from auditor.errors import SamplesError
from auditor.hookspecs import hookimpl
from auditor.resizing import fitted
from auditor.samples import PREDICTED, Samples, SamplesOptions, as_inputs, chosen

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "La", "RGBa", "LAB", "HSV"})
"""Pillow's modes whose values a conversion to RGB keeps; 16-bit pictures would be clipped."""


@hookimpl
def load_samples(ref: str, options: SamplesOptions) -> Samples | None:
    return read_images(Path(ref), options) if Path(ref).is_dir() else None


def read_images(folder: Path, options: SamplesOptions) -> Samples:
    """The pictures in the class folders of a folder, as 8-bit values divided by 255.

    Comes as `[n, height, width, 3]`, or `[n, height, width]` in grey. Turned upright as their EXIF data say; with
    `size`, scaled (bilinear, antialiased) until they cover it, then cropped around the centre. Without it all have to
    be of one size. A folder named by a number holds the label of that number; otherwise labels follow the sorted
    names, or `classes` where the options give them. Ids count the pictures in the order of folders and file names;
    those that can't be read are skipped and counted. Raises SamplesError where there are no class folders, or no
    pictures.
    """
    folders = _folders(folder)
    numbers, names = _labels(folder, [entry.name for entry in folders], options)
    skipped: Counter[str] = Counter()
    listing: list[tuple[Path, int]] = []
    for entry, number in zip(folders, numbers, strict=True):
        for path in _entries(entry):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                listing.append((path, number))
            else:
                skipped["not a picture"] += 1
    ids = np.arange(len(listing))
    wanted = ids if options.limit is None else np.flatnonzero(chosen(ids, options.limit, options.seed))
    pictures, kept = [], []
    for place in wanted:
        try:
            pictures.append(read_picture(listing[place][0], options.size or options.picture, options.channels))
            kept.append(place)
        except _Unreadable as reason:
            skipped[str(reason)] += 1
    labels = np.array([listing[place][1] for place in kept], np.int64)
    predicted = options.labels == "predicted"
    return Samples(
        inputs=as_inputs(str(folder), _stack(folder, pictures)),
        labels=np.full(len(labels), PREDICTED) if predicted else labels,
        ids=np.array(kept, np.int64),
        class_names=names,
        pixels=True,
        labels_source=options.labels,
        skipped=dict(sorted(skipped.items())),
        source=str(folder),
    )


def _folders(folder: Path) -> list[Path]:
    folders = [entry for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith(".")]
    if not folders:
        raise SamplesError(
            f"{folder} should hold one folder a class, it holds none; sort the pictures into folders named by class."
        )
    return folders


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SamplesError(f"The folder {folder} can't be listed ({error.strerror}); check its permissions.") from error


class _Unreadable(Exception):
    """A picture is left out; the text is the reason it is counted under."""


def read_picture(path: Path, size: tuple[int, int] | None = None, channels: int | None = None) -> np.ndarray:
    """One picture as uint8 `[height, width, 3]`, or `[height, width]` in grey."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                if file.mode not in EIGHT_BIT:
                    raise _Unreadable("not 8 bits a channel")
                grey = file.mode in ("1", "L", "LA") if channels is None else channels == 1
                picture = ImageOps.exif_transpose(file).convert("L" if grey else "RGB")
    except _Unreadable:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _Unreadable("larger than a picture should be") from error
    except Exception as error:  # each of Pillow's formats has its own way to fail on a damaged file
        raise _Unreadable("unreadable picture") from error
    if size is not None:
        picture = fitted(picture, size)
    return np.asarray(picture)


def _labels(folder: Path, found: list[str], options: SamplesOptions) -> tuple[list[int], tuple[str, ...] | None]:
    """The label of each class folder, and the names by label."""
    if options.classes is not None:
        unknown = [name for name in found if name not in options.classes]
        if unknown and options.labels == "given":
            raise SamplesError(
                f"{folder} has a folder {unknown[0]!r}, which is not among the {len(options.classes)} `classes`; "
                "name every folder there, in the order of the model's labels."
            )
        return [
            options.classes.index(name) if name in options.classes else PREDICTED for name in found
        ], options.classes
    if all(name.isdecimal() for name in found):
        return [int(name) for name in found], None
    return list(range(len(found))), tuple(found)


def _stack(folder: Path, pictures: list[np.ndarray]) -> np.ndarray:
    shapes = Counter(picture.shape for picture in pictures)
    if len(shapes) > 1:
        common = ", ".join("x".join(map(str, shape)) for shape, _ in shapes.most_common(3))
        raise SamplesError(
            f"{folder} holds pictures of {len(shapes)} shapes ({common}); give the one that the model takes "
            "(`[samples] size = [height, width]`)."
        )
    return np.stack(pictures) if pictures else np.zeros((0, 0), np.uint8)
