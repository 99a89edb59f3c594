"""Bringing pictures to a size: scaled until they cover it, then cropped around the centre."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from auditor.errors import SamplesError
from auditor.preprocess import channels_at


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """One picture at height and width `size`; bilinear, antialiased."""
    return ImageOps.fit(picture, (size[1], size[0]), method=Image.Resampling.BILINEAR)


def all_fitted(name: str, x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pictures in an array at height and width `size`, channels where they were.

    x: uint8, `[n, height, width]`, or with 1 or 3 channels on either side. Raises SamplesError for anything else.
    """
    place = channels_at(x.shape[1:]) if x.ndim == 4 else None
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or (x.ndim == 4 and place is None):
        raise SamplesError(
            f"`size` resizes pictures: {name} should hold uint8 of shape [n, height, width], or with channels, "
            f"it holds {x.dtype} of shape {list(x.shape)}; resize it yourself, and leave `size` away."
        )
    last = x if x.ndim == 3 or place == 2 else np.moveaxis(x, 1, -1)
    flat = last[..., 0] if last.ndim == 4 and last.shape[-1] == 1 else last
    made = np.stack([np.asarray(fitted(Image.fromarray(picture), size)) for picture in flat])
    made = made[..., None] if made.ndim < last.ndim else made
    return made if last is x else np.moveaxis(made, -1, 1)
