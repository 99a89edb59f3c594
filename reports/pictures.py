"""Inputs as pictures: PNG inside the page, from arrays in whatever order their axes have."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from math import ceil, isqrt

import numpy as np
from PIL import Image

MOST = 112
"""Pixels of the longer side that a picture in the page has at most."""
SHOWN = 96
"""Pixels of the longer side at which a page without style sheet shows it."""
BLUE, PAPER, ORANGE = (np.array(c, np.float64) for c in ((33, 102, 172), (247, 247, 247), (202, 84, 12)))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG as a data URI, with the width and height to show it at."""

    uri: str
    width: int
    height: int


def as_pictures(inputs: np.ndarray, *, pixels: bool) -> np.ndarray | None:
    """Inputs `[n, *shape]` as `[n, height, width, channels]` with 1 or 3 channels; None where they are no pictures.

    Channels may come first or last, or be missing. A flat input is a picture when it fills a square and is 8-bit, or
    large with values from 0 to 1; a row of 16 measurements is none.
    """
    n, shape = len(inputs), inputs.shape[1:]
    if len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) >= 4:
        return np.moveaxis(inputs, 1, -1)
    if len(shape) == 3 and shape[2] in (1, 3) and min(shape[:2]) >= 4:
        return inputs
    if len(shape) == 2 and min(shape) >= 8 and (pixels or _unit(inputs)):
        return inputs[..., None]
    if len(shape) == 1 and (pixels or (shape[0] >= 256 and _unit(inputs))):
        for channels in (1, 3):
            side = isqrt(shape[0] // channels)
            if side >= 4 and side * side * channels == shape[0]:
                return np.moveaxis(inputs.reshape(n, channels, side, side), 1, -1)
    return None


def show(image: np.ndarray, low: float, high: float) -> Picture:
    """The picture `[height, width, channels]`, `low` as black and `high` as white; large ones are averaged down."""
    scaled = (_blocks(image, largest=False) - low) / max(high - low, 1e-12)
    return _png(np.clip(scaled, 0, 1) * 255)


def show_difference(change: np.ndarray, scale: float) -> Picture:
    """A signed change `[height, width, channels]`, full colour at ±scale.

    One channel: blue is darker, orange is brighter. Three: each channel about mid-grey. Where a large picture is
    reduced, the largest change of each block is kept, since an average would hide what an attack did.
    """
    share = np.clip(_blocks(change, largest=True) / max(scale, 1e-12), -1, 1)
    if share.shape[2] == 3:
        return _png(127.5 + 127.5 * share)
    end = np.where(share < 0, BLUE, ORANGE)
    return _png(PAPER + (end - PAPER) * np.abs(share))


def _unit(values: np.ndarray) -> bool:
    return bool(values.size and values.min() >= 0 and values.max() <= 1)


def _blocks(image: np.ndarray, *, largest: bool) -> np.ndarray:
    """The image in float64, its longer side reduced by a whole factor to at most `MOST`."""
    values = np.nan_to_num(image.astype(np.float64))
    factor = ceil(max(values.shape[:2]) / MOST)
    if factor == 1:
        return values
    pad = [(0, -size % factor) for size in values.shape[:2]]
    values = np.pad(values, [*pad, (0, 0)], mode="edge")
    height, width, channels = values.shape
    blocks = values.reshape(height // factor, factor, width // factor, factor, channels).swapaxes(1, 2)
    blocks = blocks.reshape(height // factor, width // factor, factor * factor, channels)
    if not largest:
        mean: np.ndarray = blocks.mean(axis=2)
        return mean
    index = np.abs(blocks).argmax(axis=2)[:, :, None]
    chosen: np.ndarray = np.take_along_axis(blocks, index, axis=2)[:, :, 0]
    return chosen


def _png(values: np.ndarray) -> Picture:
    pixels = np.rint(values).astype(np.uint8)
    height, width = pixels.shape[:2]
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    size = SHOWN / max(height, width)
    return Picture(uri=uri, width=max(round(width * size), 1), height=max(round(height * size), 1))
