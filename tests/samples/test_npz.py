from pathlib import Path
from typing import Any

import numpy as np
import pytest
from auditor.plugins.samples.npz import load_samples, read_npz

from auditor.errors import SamplesError
from auditor.samples import PREDICTED, SamplesOptions

X = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
Y = np.array([0, 1, 1, 0, 2])


def save(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "s.npz", **arrays)
    return folder / "s.npz"


def read(folder: Path, options: SamplesOptions | None = None, **arrays: Any) -> Any:
    return read_npz(save(folder, **arrays), options or SamplesOptions())


def test_bytes_and_labels(tmp_path: Path) -> None:
    found = read(tmp_path, x=X, y=Y.astype(np.uint8), truth=np.zeros(5), classes=np.array(["a", "b", "c"]))
    np.testing.assert_allclose(found.inputs, X / 255, rtol=1e-6)
    np.testing.assert_array_equal(found.labels, Y)
    assert found.pixels
    assert found.class_names == ("a", "b", "c")
    assert found.source.endswith("s.npz")


def test_floats_stay_as_they_are(tmp_path: Path) -> None:
    found = read(tmp_path, x=X.astype(np.float64), y=Y)
    np.testing.assert_array_equal(found.inputs, X.astype(np.float32))
    assert not found.pixels


def test_boxes_are_rounded_inward(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((3, 50))
    lower, upper = x - 1 / 3, x + 1 / 7
    assert (lower.astype(np.float32) < lower).any()
    assert (upper.astype(np.float32) > upper).any()
    found = read(tmp_path, x=x, y=Y[:3], lower=lower, upper=upper)
    assert found.lower.dtype == np.float32
    assert (found.lower.astype(np.float64) >= lower).all()
    assert (found.upper.astype(np.float64) <= upper).all()
    np.testing.assert_allclose(found.lower, lower, atol=1e-6)


def test_a_box_without_room_keeps_its_point(tmp_path: Path) -> None:
    x = np.full((3, 2), 0.1)  # not a float32
    found = read(tmp_path, x=x, y=Y[:3], lower=x, upper=x)
    np.testing.assert_array_equal(found.lower, found.inputs)
    np.testing.assert_array_equal(found.upper, found.inputs)


def test_predicted_labels_need_no_y(tmp_path: Path) -> None:
    found = read(tmp_path, SamplesOptions(labels="predicted"), x=X)
    assert (found.labels == PREDICTED).all()
    assert found.labels_source == "predicted"
    assert (read(tmp_path, SamplesOptions(labels="predicted"), x=X, y=Y).labels == PREDICTED).all()


def test_a_limit_is_the_same_as_later(tmp_path: Path) -> None:
    early = read(tmp_path, SamplesOptions(limit=2, seed=5), x=X, y=Y)
    later = read(tmp_path, x=X, y=Y).limit(2, 5)
    assert early.digest == later.digest


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"y": Y}, "it holds y"),
        ({"x": X}, "it holds x.*--labels predicted"),
        ({}, "it holds nothing"),
        ({"x": X, "y": Y[:3]}, "one label for each"),
        ({"x": X[0, 0], "y": Y[:3]}, r"\[n, \.\.\.\]"),
        ({"x": X, "y": np.eye(5)}, "argmax"),
        ({"x": X, "y": Y.astype(str)}, "class numbers"),
        ({"x": X.astype(str), "y": Y}, "should hold numbers"),
        ({"x": X.astype(object), "y": Y}, "`x` should hold numbers, it holds Python objects"),
        ({"x": X, "y": Y.astype(object)}, "`y` should hold numbers, it holds Python objects"),
        ({"x": X, "y": Y - 1}, "label -1"),
        ({"x": X, "y": Y, "lower": X}, "only one of"),
        ({"x": X, "y": Y, "lower": X, "upper": X[:3]}, "shape of the inputs"),
        ({"x": X, "y": Y, "classes": np.arange(3)}, "`classes` should hold one name"),
        ({"x": X, "y": Y, "classes": np.array(["a"])}, "names for 1 classes"),
        ({"x": X[:0], "y": Y[:0]}, "no samples"),
        ({"x": np.full((5, 2), 1e300), "y": Y}, "not finite"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, arrays: dict[str, Any], match: str) -> None:
    with pytest.raises(SamplesError, match=match) as caught:
        read(tmp_path, **arrays)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.npz").write_bytes(data)
    with pytest.raises(SamplesError, match=r"can't be read as an \.npz"):
        read_npz(tmp_path / "s.npz", SamplesOptions())


def test_a_cut_off_archive_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SamplesError, match=r"can't be read as an \.npz"):
        read_npz(path, SamplesOptions())


def test_other_references_are_left_to_others(tmp_path: Path) -> None:
    assert load_samples("data.csv", SamplesOptions()) is None
    with pytest.raises(SamplesError, match="There is no file"):
        load_samples(str(tmp_path / "absent.npz"), SamplesOptions())


@pytest.mark.shared
def test_real_archives(shared: Path) -> None:
    images = read_npz(shared / "data" / "mnist_test.npz", SamplesOptions())
    assert (len(images), images.shape, images.pixels) == (10_000, (28, 28), True)
    for name in ("sri_resnet_a_boxes", "cifar_resnet_2b_boxes", "vit_pgd_boxes", "mnist_fc_256x2_eps0.03"):
        boxes = read_npz(shared / "models" / f"vnncomp_{name}.npz", SamplesOptions())
        assert boxes.lower is not None  # inputs a little outside their own boxes are no error
