from pathlib import Path

import numpy as np
import pytest
import torch

from auditor.errors import SamplesError, UsageError
from auditor.preprocess import PRESETS, Preprocess

DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.random((5, 8, 6, 3), np.float32)  # NHWC


def through(preprocess: Preprocess, x: np.ndarray, model_shape: tuple[int, ...]) -> np.ndarray:
    return preprocess.fit(x.shape[1:], model_shape)(x)


def test_imagenet_on_pictures_for_a_channels_first_model() -> None:
    found = through(Preprocess.preset("imagenet"), IMAGES, (3, 8, 6))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(found, ((IMAGES - mean) / std).transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)


def test_caffe_takes_bytes_and_blue_first() -> None:
    found = through(Preprocess.preset("imagenet-caffe"), IMAGES, (3, 8, 6))
    bgr = 255 * IMAGES[..., ::-1] - np.array([103.939, 116.779, 123.68])
    np.testing.assert_allclose(found, bgr.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-4)


def test_channels_last_models_are_normalised_by_channel() -> None:
    preprocess = Preprocess(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    expected = (IMAGES - np.array([0.1, 0.2, 0.3])) / np.array([1, 2, 4])
    np.testing.assert_allclose(through(preprocess, IMAGES, (8, 6, 3)), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        through(preprocess, IMAGES.transpose(0, 3, 1, 2), (8, 6, 3)), expected, rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("model_shape", [(1, 8, 6), (8, 6, 1), (48,), (48, 1), (8, 6)])
def test_grey_pictures_reach_any_shape_unmixed(model_shape: tuple[int, ...]) -> None:
    grey = IMAGES[..., 0]
    found = through(Preprocess(scale=2.0, mean=(0.5,)), grey, model_shape)
    np.testing.assert_allclose(found, (2 * grey - 0.5).reshape(5, *model_shape), rtol=1e-6)


def test_flat_models_take_either_order_of_axes() -> None:
    np.testing.assert_array_equal(through(Preprocess(), IMAGES, (144,)), IMAGES.reshape(5, -1))
    first = IMAGES.transpose(0, 3, 1, 2).reshape(5, -1)
    np.testing.assert_array_equal(through(Preprocess(layout="nchw"), IMAGES, (144,)), first)


def test_features_have_their_own_mean_and_std() -> None:
    x = DRAWS.random((4, 3), np.float32)
    found = through(Preprocess(mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0)), x, (3,))
    np.testing.assert_allclose(found, (x - [1, 2, 3]) / [1, 2, 4], rtol=1e-6)


@pytest.mark.parametrize(
    ("sample", "model"), [((28, 28), (1, 32, 32)), ((8, 6, 3), (3, 6, 8)), ((4, 196), (1, 28, 28)), ((5,), (4,))]
)
def test_shapes_that_can_not_match_are_refused(sample: tuple[int, ...], model: tuple[int, ...]) -> None:
    with pytest.raises(SamplesError, match="samples have shape"):
        Preprocess().fit(sample, model)


def test_a_layout_that_contradicts_the_file_is_refused() -> None:
    with pytest.raises(UsageError, match="layout is nhwc"):
        Preprocess(layout="nhwc").fit((3, 8, 6), (3, 8, 6))


def test_tiny_pictures_are_arranged_by_their_shapes() -> None:
    x = DRAWS.random((2, 4, 4, 3), np.float32)
    np.testing.assert_array_equal(through(Preprocess(), x, (3, 4, 4)), x.transpose(0, 3, 1, 2))
    expected = (x - [1, 2, 3]).astype(np.float32)
    np.testing.assert_allclose(through(Preprocess(mean=(1.0, 2.0, 3.0)), x, (4, 4, 3)), expected)


def test_mean_has_as_many_values_as_channels() -> None:
    with pytest.raises(UsageError, match=r"one per channel, which are 1 here; it has 3"):
        Preprocess(mean=(1.0, 2.0, 3.0)).fit((28, 28), (1, 28, 28))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("model_shape", [(3, 8, 6), (8, 6, 3)])
def test_numpy_and_torch_agree_to_the_last_bit(name: str, model_shape: tuple[int, ...]) -> None:
    preprocess = Preprocess.preset(name).fit((8, 6, 3), model_shape)
    there = preprocess(torch.from_numpy(IMAGES))
    assert there.dtype == torch.float32
    np.testing.assert_array_equal(there.numpy(), preprocess(IMAGES))


def test_gradients_pass() -> None:
    preprocess = Preprocess.preset("imagenet").fit((8, 6, 3), (3, 8, 6))
    x = torch.from_numpy(IMAGES).double().requires_grad_()
    (gradient,) = torch.autograd.grad(preprocess(x).sum(), x)
    np.testing.assert_allclose(gradient[0, 0, 0].numpy(), 1 / np.array([0.229, 0.224, 0.225]))


@pytest.mark.parametrize(
    "values",
    [{"layout": "chw"}, {"channels": "grb"}, {"std": (1.0, 0.0)}, {"scale": 0.0}, {"mean": (float("nan"),)}],
)
def test_nonsense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Preprocess(**values)  # type: ignore[arg-type]


def test_unknown_presets_list_the_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"imagenet.*got 'image-net'"):
        Preprocess.preset("image-net")


def test_a_file_says_the_same_as_keys(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('preset = "imagenet"\nmean = 0.5\nstd = [1, 2, 4]\nchannels = "bgr"\n')
    assert Preprocess.from_file(path) == Preprocess(mean=(0.5,), std=(1.0, 2.0, 4.0), channels="bgr")
    assert Preprocess.from_file(path).table() == {"mean": [0.5], "std": [1.0, 2.0, 4.0], "channels": "bgr"}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("scal = 2", "scal"),
        ('scale = "2"', "scale"),
        ("mean = [", "not TOML"),
        ('preset = "x"', "knows"),
        ("std = 0", "std is 0"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=match):
        Preprocess.from_file(path)
    with pytest.raises(UsageError, match="can't be read"):
        Preprocess.from_file(tmp_path / "absent.toml")
