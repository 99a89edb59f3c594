from pathlib import Path

import numpy as np
import pytest
from auditor.plugins.samples.images import load_samples, read_images, read_picture
from PIL import Image

from auditor.errors import SamplesError
from auditor.samples import SamplesOptions

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(path: Path, colour: tuple[int, int, int] | int = RED, size: tuple[int, int] = (6, 4)) -> Path:
    """A picture of one colour. size: width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "cat" / "b.png", RED)
    picture(tmp_path / "cat" / "a.png", GREEN)
    picture(tmp_path / "ant" / "c.png", BLUE)
    return tmp_path


def test_folders_are_classes_in_sorted_order(folder: Path) -> None:
    found = read_images(folder, SamplesOptions())
    assert found.class_names == ("ant", "cat")
    np.testing.assert_array_equal(found.labels, [0, 1, 1])
    np.testing.assert_array_equal(found.inputs[:, 0, 0], np.array([BLUE, GREEN, RED]) / 255)
    assert found.inputs.shape == (3, 4, 6, 3)
    assert found.inputs.dtype == np.float32
    assert found.pixels


def test_given_classes_decide_the_labels(folder: Path) -> None:
    found = read_images(folder, SamplesOptions(classes=("cat", "dog", "ant")))
    np.testing.assert_array_equal(found.labels, [2, 0, 0])
    assert found.class_names == ("cat", "dog", "ant")
    with pytest.raises(SamplesError, match="'cat'"):
        read_images(folder, SamplesOptions(classes=("dog", "ant")))


def test_numbered_folders_hold_their_numbers(tmp_path: Path) -> None:
    picture(tmp_path / "281" / "kitten.png", RED)
    picture(tmp_path / "9" / "ostrich.png", GREEN)
    found = read_images(tmp_path, SamplesOptions())
    assert sorted(found.labels.tolist()) == [9, 281]
    np.testing.assert_array_equal(found.inputs[found.labels == 9][0, 0, 0], np.array(GREEN) / 255)
    assert found.class_names is None


def test_grey_pictures_have_no_channel_axis(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "x.png", 51)
    assert read_images(tmp_path, SamplesOptions()).inputs.shape == (1, 4, 6)
    assert read_images(tmp_path, SamplesOptions(channels=3)).inputs.shape == (1, 4, 6, 3)
    picture(tmp_path / "a" / "x.png", RED)
    grey = read_images(tmp_path, SamplesOptions(channels=1)).inputs
    assert grey.shape == (1, 4, 6)
    np.testing.assert_allclose(grey, 76 / 255)  # 0.299 of red, ITU-R 601-2


def test_pictures_are_covered_and_cropped_around_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, :10], wide[:, 10:20], wide[:, 20:] = RED, GREEN, BLUE
    (tmp_path / "a").mkdir()
    Image.fromarray(wide).save(tmp_path / "a" / "x.png")
    found = read_images(tmp_path, SamplesOptions(size=(5, 5))).inputs[0]
    assert found.shape == (5, 5, 3)
    np.testing.assert_array_equal(found[:, 1:4], np.broadcast_to(np.array(GREEN) / 255, (5, 3, 3)))
    assert (found[:, [0, 4], 1] > 0.8).all()  # the edges are blended as if it were resized before it is cropped


def test_exif_turns_pictures_upright(tmp_path: Path) -> None:
    array = np.zeros((2, 4, 3), np.uint8)
    array[0, 0] = RED
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    Image.fromarray(array).save(tmp_path / "x.png", exif=exif)
    upright = read_picture(tmp_path / "x.png")
    assert upright.shape == (4, 2, 3)
    np.testing.assert_array_equal(upright[0, 1], RED)


def test_what_can_not_be_read_is_counted_and_ids_stay(folder: Path) -> None:
    (folder / "ant" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n garbage")
    (folder / "ant" / "notes.txt").write_text("not a picture")
    (folder / "cat" / "empty.jpg").write_bytes(b"")
    Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(folder / "cat" / "deep.png")
    (folder / ".hidden").mkdir()
    found = read_images(folder, SamplesOptions())
    assert found.skipped == {"not a picture": 1, "not 8 bits a channel": 1, "unreadable picture": 2}
    # broken 0, c 1, a 2, b 3, deep 4, empty 5
    np.testing.assert_array_equal(found.ids, [1, 2, 3])


def test_a_limit_reads_no_more_than_it_needs(folder: Path) -> None:
    whole = read_images(folder, SamplesOptions())
    few = read_images(folder, SamplesOptions(limit=2, seed=1))
    assert few.digest == whole.limit(2, 1).digest


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1", "CMYK"])
def test_other_modes_become_rgb_or_grey(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(tmp_path / f"x.{suffix}")
    found = read_picture(tmp_path / f"x.{suffix}", channels=3)
    np.testing.assert_array_equal(found, np.full((4, 6, 3), 255))


def test_pictures_of_several_sizes_need_one(folder: Path) -> None:
    picture(folder / "cat" / "d.png", RED, (3, 3))
    with pytest.raises(SamplesError, match=r"2 shapes \(4x6x3, 3x3x3\)"):
        read_images(folder, SamplesOptions())
    assert read_images(folder, SamplesOptions(size=(3, 3))).inputs.shape == (4, 3, 3, 3)


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "x.png")
    with pytest.raises(SamplesError, match="one folder a class, it holds none"):
        read_images(tmp_path, SamplesOptions())


def test_class_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("text")
    with pytest.raises(SamplesError, match=r"no samples to audit \(1 not a picture\)"):
        read_images(tmp_path, SamplesOptions())


def test_other_references_are_left_to_others(tmp_path: Path) -> None:
    assert load_samples(str(tmp_path / "absent"), SamplesOptions()) is None
