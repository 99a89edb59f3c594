import numpy as np
import pytest
import torch

from auditor.operators import Node

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((2, 3, 9, 8)).astype(np.float32)
REGIONS = np.array([[0, 0, 7, 8], [1.3, 2.1, 5.5, 6.2], [-2, -1, 3, 4], [6, 5, 11, 12], [2, 3, 2.2, 3.1]], np.float32)
OWNERS = np.array([0, 1, 1, 0, 1], np.int64)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
@pytest.mark.parametrize("spatial_scale", [1.0, 0.5])
def test_roi_align(check, mode, sampling_ratio, spatial_scale):
    given = {"mode": mode, "sampling_ratio": sampling_ratio, "spatial_scale": spatial_scale, "mapped": False}
    given |= {"output_height": 3, "output_width": 2, "tolerance": 1e-5}
    check("RoiAlign", IMAGES, REGIONS, OWNERS, opset=10, gradient=True, **given)
    check("RoiAlign", IMAGES, REGIONS, OWNERS, opset=16, **given)
    half = {"coordinate_transformation_mode": "output_half_pixel"}
    check("RoiAlign", IMAGES, REGIONS, OWNERS, opset=16, **half, **given)


def test_roi_align_may_move_its_regions(check):
    given = {"output_height": 3, "output_width": 2, "sampling_ratio": 2, "tolerance": 1e-5, "mapped": False}
    check("RoiAlign", IMAGES, REGIONS[1:2], OWNERS[1:2], opset=16, dynamic=1, gradient=True, **given)


def test_roi_align_under_vmap(check):
    check("RoiAlign", IMAGES[:1], REGIONS, 0 * OWNERS, opset=16, output_height=3, output_width=2, tolerance=1e-5)


@pytest.mark.parametrize("spatial_scale", [1.0, 0.5])
def test_max_roi_pool(check, spatial_scale):
    regions = np.array([[0, 0, 0, 7, 8], [1, 1, 2, 5, 6], [1, 3, 3, 3, 3], [0, 2, 4, 12, 14]], np.float32)
    given = {"pooled_shape": [3, 2], "spatial_scale": spatial_scale, "mapped": False}
    check("MaxRoiPool", IMAGES, regions, opset=11, gradient=True, **given)


BOXES = RNG.uniform(0, 10, (2, 30, 2)).astype(np.float32)
BOXES = np.concatenate([BOXES, BOXES + RNG.uniform(0, 4, (2, 30, 2)).astype(np.float32)], 2)
SCORES = RNG.uniform(0, 1, (2, 3, 30)).astype(np.float32)


@pytest.mark.parametrize("most", [0, 3, 100])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("lowest", [None, 0.5])
@pytest.mark.parametrize("center_point_box", [0, 1])
def test_non_max_suppression(check, most, overlap, lowest, center_point_box):
    limits = [np.array([most], np.int64), np.array([overlap], np.float32)]
    limits += [] if lowest is None else [np.array([lowest], np.float32)]
    given = {"center_point_box": center_point_box, "opset": 11, "mapped": False}
    check("NonMaxSuppression", BOXES, SCORES, *limits, **given)
    check("NonMaxSuppression", BOXES, SCORES.round(1), *limits, dynamic=1, **given)


def test_boxes_may_be_turned_round(check):
    limits = [np.array([100], np.int64), np.array([0.3], np.float32)]
    turned = np.where(np.arange(30)[None, :, None] % 2 == 0, BOXES, BOXES[..., [2, 3, 0, 1]])
    check("NonMaxSuppression", turned, SCORES, *limits, opset=11, mapped=False)


def test_no_number_of_boxes_is_none(operators):
    node = Node(
        op_type="NonMaxSuppression",
        domain="",
        opset=11,
        name="nms",
        inputs=("boxes", "scores"),
        outputs=("y",),
        attributes={},
    )
    found = operators.find(node).build(node)(torch.from_numpy(BOXES), torch.from_numpy(SCORES))
    assert found.shape == (0, 3)
