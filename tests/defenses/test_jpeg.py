from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from auditor.plugins.defenses import jpeg as plugin
from PIL import Image

from auditor import Defense, UsageError
from auditor.host import Host
from auditor.resolve import make_defense
from auditor.testing import check_defense

HOST = Host.load(bundled=["auditor.plugins.defenses.jpeg"], installed=False)


def jpeg(**options: object) -> Defense:
    return make_defense({"name": "jpeg", **options}, HOST)


def scene(height: int, width: int, channels: int) -> np.ndarray:
    """A picture of slopes and one edge, uint8 `[height, width, channels]`."""
    rows, columns = np.mgrid[:height, :width]
    bands = [3 * rows + 2 * columns + 40 * (columns > width // 2), 5 * columns, 200 - 4 * rows][:channels]
    return np.clip(np.stack(bands, axis=2), 0, 255).astype(np.uint8)


def through_pillow(picture: np.ndarray, quality: int, subsampling: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file)).reshape(picture.shape)


@pytest.mark.parametrize("shape", [(3, 16, 16), (16, 16, 3), (1, 9, 21), (3, 13, 10)])
@pytest.mark.parametrize(("quality", "subsampling"), [(75, "4:2:0"), (30, "4:4:4"), (90, "4:2:2")])
def test_it_keeps_its_contract(shape: tuple[int, ...], quality: int, subsampling: str) -> None:
    check_defense(jpeg(quality=quality, subsampling=subsampling), shape=shape, n=3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("quality", "subsampling"), [(50, "4:2:0"), (80, "4:4:4"), (20, "4:2:2")])
def test_8_bit_pictures_come_out_as_pillow_makes_them(channels: int, quality: int, subsampling: str) -> None:
    picture = scene(24, 20, channels)
    expected = through_pillow(picture, quality, ["4:4:4", "4:2:2", "4:2:0"].index(subsampling))
    assert (expected != picture).any()
    defense = jpeg(quality=quality, subsampling=subsampling)
    x = picture.astype(np.float32)[None] / np.float32(255)
    assert np.array_equal(np.rint(255 * defense.transform(x))[0], expected)
    first = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    assert np.array_equal(np.rint(255 * defense.transform(first))[0].transpose(1, 2, 0), expected)


def test_what_lies_outside_the_box_is_clipped_and_what_lies_between_pixels_rounded() -> None:
    x = np.array([-3.0, 0.0, 7.0, 1.0], np.float32).reshape(4, 1, 1, 1) * np.ones((1, 1, 8, 8), np.float32)
    assert jpeg().transform(x)[:, 0, 0, 0] == pytest.approx([0, 0, 1, 1], abs=1e-6)
    near = np.full((1, 1, 8, 8), 100.4 / 255, np.float32)
    assert jpeg(quality=95).transform(near) == pytest.approx(100 / 255, abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 32, 24), (29, 21, 3), (1, 16, 16)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_the_stand_in_is_the_real_thing_but_for_its_rounding(
    subsampling: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With coefficients that are rounded in earnest it makes Pillow's pictures, up to the steps of 8-bit pixels."""
    monkeypatch.setattr(plugin, "_rounded", torch.round)
    defense = jpeg(quality=60, subsampling=subsampling)
    last = shape[2] == 3
    x = scene(*(shape if last else (*shape[1:], shape[0]))).astype(np.float32) / np.float32(255)
    x = (x if last else x.transpose(2, 0, 1))[None]
    smooth, real = defense._smooth(torch.from_numpy(x)).clamp(0, 1).numpy(), defense.transform(x)  # type: ignore[attr-defined]
    assert np.abs(255 * (smooth - real)).mean() < (0.6 if subsampling == "4:4:4" or shape[0] == 1 else 1.2)
    assert np.abs(255 * (x - real)).mean() > 1.5


def test_the_gradient_is_small_where_the_file_keeps_nothing() -> None:
    """A coarse change passes, as all coefficients but the first are rounded away; fine ones come to little."""
    x = torch.full((1, 1, 8, 8), 0.503, dtype=torch.float64, requires_grad=True)
    defense = jpeg(quality=50)
    y = defense.relaxed(x)
    checker = torch.from_numpy((-1.0) ** np.add(*np.mgrid[:8, :8]))
    (fine,) = torch.autograd.grad((y * checker).sum(), x, retain_graph=True)
    (coarse,) = torch.autograd.grad(y.sum(), x)
    assert 0 < (fine * checker).mean() < 0.15
    assert (coarse.max() - coarse.min()).item() == pytest.approx(0, abs=1e-9)
    assert np.array_equal(y.detach().float().numpy(), defense.transform(x.detach().float().numpy()))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"quality": 0}, "quality from 1 to 95, got 0"),
        ({"quality": 96}, "quality from 1 to 95, got 96"),
        ({"subsampling": "4:1:1"}, "got '4:1:1'"),
    ],
)
def test_options_that_can_not_be_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        jpeg(**options)


@pytest.mark.parametrize("shape", [(12,), (4, 8, 8), (2, 8, 8)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="takes pictures, with 1 or 3 channels"):
        jpeg().shaped(shape)
