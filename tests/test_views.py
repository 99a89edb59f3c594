"""What attacks let the model see: pictures of every layout, places between pixels, and gradients by the chain rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from auditor.views import on_planes, sampled

RNG = np.random.default_rng(0)


def places(m: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Random places in and around a picture."""
    rows, columns = RNG.uniform(-2, height + 1, (m, height, width)), RNG.uniform(-2, width + 1, (m, height, width))
    return torch.from_numpy(rows), torch.from_numpy(columns)


@pytest.mark.parametrize("shape", [(3, 5, 4), (5, 4, 3), (5, 4)])
def test_a_change_meets_channels_height_and_width_whatever_the_layout(shape: tuple[int, ...]) -> None:
    pictures = torch.from_numpy(RNG.normal(size=(2, *shape)))
    seen = []

    def doubled_first_row(planes: Tensor) -> Tensor:
        seen.append(planes.shape)
        return torch.cat([2 * planes[:, :, :1], planes[:, :, 1:]], dim=2)

    changed = on_planes(pictures, doubled_first_row)
    assert seen == [(2, 3 if len(shape) == 3 else 1, 5, 4)]
    height = 1 + int(shape == (3, 5, 4))
    assert torch.equal(changed.select(height, 0), 2 * pictures.select(height, 0))
    assert torch.equal(changed.narrow(height, 1, 4), pictures.narrow(height, 1, 4))


@pytest.mark.parametrize("shape", [(12,), (1, 12, 1), (2, 3, 4, 5)])
def test_what_is_no_picture_stays(shape: tuple[int, ...]) -> None:
    points = torch.ones(2, *shape)
    assert on_planes(points, lambda planes: 0 * planes) is points


def test_places_are_interpolated_as_scipy_does_it() -> None:
    planes = RNG.normal(size=(3, 2, 6, 5))
    rows, columns = places(3, 6, 5)
    made = sampled(torch.from_numpy(planes), rows, columns, (0, 6, 0, 5))
    for i in range(3):
        for c in range(2):
            wanted = map_coordinates(planes[i, c], [rows[i], columns[i]], order=1, mode="grid-constant", cval=0.0)
            np.testing.assert_allclose(made[i, c], wanted, atol=1e-12)


def test_whole_numbers_take_pixels_bit_by_bit_and_nothing_comes_from_beyond_the_box() -> None:
    planes = torch.from_numpy(RNG.normal(size=(1, 1, 6, 5)).astype(np.float32))
    rows, columns = torch.arange(6.0).double()[None, :, None], torch.arange(5.0).double()[None, None]
    assert torch.equal(sampled(planes, rows, columns, (0, 6, 0, 5)), planes)
    some = sampled(planes, rows, columns, (1, 4, 2, 5))
    assert torch.equal(some[:, :, 1:4, 2:], planes[:, :, 1:4, 2:])
    assert int((some != 0).sum()) == 9
    near = sampled(planes, rows + 0.25, columns, (0, 4, 0, 5))
    np.testing.assert_allclose(near[:, :, 3], 0.75 * planes[:, :, 3], rtol=1e-6)


def test_its_gradient_is_the_transposed_map() -> None:
    rows, columns = places(1, 4, 3)
    basis = torch.eye(12, dtype=torch.float64).reshape(12, 1, 4, 3)
    matrix = sampled(basis, rows.expand(12, 4, 3), columns.expand(12, 4, 3), (0, 4, 0, 3)).reshape(12, 12)
    point = torch.zeros(1, 1, 4, 3, dtype=torch.float64, requires_grad=True)
    slope = torch.from_numpy(RNG.normal(size=12))
    (sampled(point, rows, columns, (0, 4, 0, 3)).flatten() @ slope).backward()  # type: ignore[no-untyped-call]
    assert point.grad is not None
    np.testing.assert_allclose(point.grad.flatten(), matrix @ slope, atol=1e-12)
