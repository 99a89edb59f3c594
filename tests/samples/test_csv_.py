from pathlib import Path

import numpy as np
import pytest
from auditor.plugins.samples.csv_ import load_samples, read_csv

from auditor.errors import SamplesError
from auditor.samples import PREDICTED, Samples, SamplesOptions


def read(folder: Path, text: str, **options: object) -> Samples:
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return read_csv(folder / "t.csv", SamplesOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,2.5,0\n-3,4e2,1\n",
        "a;label;b\n1;0;2.5\n-3;1;4e2\n",
        "\ufeffY\ta\tb\r\n0\t1\t2.5\r\n1\t-3\t400\r\n\r\n",
        'a, "b" ,target\n1,"2.5",0.0\n -3 ,400,1.0',
    ],
)
def test_tables_in_all_their_forms(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    np.testing.assert_array_equal(found.inputs, np.array([[1, 2.5], [-3, 400]], np.float32))
    np.testing.assert_array_equal(found.labels, [0, 1])
    np.testing.assert_array_equal(found.ids, [0, 1])
    assert not found.pixels


def test_names_are_numbered_in_sorted_order(tmp_path: Path) -> None:
    found = read(tmp_path, "a,kind\n1,dog\n2,cat\n3,dog\n")
    np.testing.assert_array_equal(found.labels, [1, 0, 1])
    assert found.class_names == ("cat", "dog")


def test_given_classes_decide_the_labels(tmp_path: Path) -> None:
    found = read(tmp_path, "a,kind\n1,dog\n2,cat\n", classes=("dog", "ant", "cat"))
    np.testing.assert_array_equal(found.labels, [0, 2])
    with pytest.raises(SamplesError, match="'cat'"):
        read(tmp_path, "a,kind\n1,dog\n2,cat\n", classes=("dog",))
    numbered = read(tmp_path, "a,kind\n1,0\n2,1\n", classes=("dog", "cat"))
    np.testing.assert_array_equal(numbered.labels, [0, 1])
    assert numbered.class_names == ("dog", "cat")


def test_predicted_labels_leave_a_named_label_out(tmp_path: Path) -> None:
    found = read(tmp_path, "a,label\n1,?\n2,?\n", labels="predicted")
    assert found.inputs.shape == (2, 1)
    assert (found.labels == PREDICTED).all()
    assert read(tmp_path, "a,b\n1,5\n2,6\n", labels="predicted").inputs.shape == (2, 2)


def test_a_limit_keeps_ids(tmp_path: Path) -> None:
    text = "a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(20))
    found = read(tmp_path, text, limit=5, seed=2)
    np.testing.assert_array_equal(found.inputs[:, 0], found.ids)
    assert len(found) == 5


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        ("a,y\n", "no samples"),
        ("1,2\n3,4\n", "line of column names"),
        ("a,y\n1,0\n2\n", "line 3: 2 columns were expected, 1 came"),
        ("a,b,y\n1,2,0\n3,red,1\n", "line 3, column 'b': a number was expected, 'red' came"),
        ("a,b,y\n1,,0\n", "column 'b': a number was expected, nothing"),
        ("a,b,y\n1,nan,0\n", "not finite"),
        ("a,y\n1,-1\n", "label -1"),
        ("a,y\n1,\n", "without a label"),
        ("y\n1\n", "one column"),
        ("label,a,y\n1,2,3\n", "2 columns named"),
        ('a,y\n"1,0\n', "can't be read as a CSV"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(SamplesError, match=match) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("größe,y\n1,0\n".encode("latin-1"))
    with pytest.raises(SamplesError, match="UTF-8"):
        read_csv(tmp_path / "t.csv", SamplesOptions())


def test_other_references_are_left_to_others(tmp_path: Path) -> None:
    assert load_samples("data.npz", SamplesOptions()) is None
    with pytest.raises(SamplesError, match="There is no file"):
        load_samples(str(tmp_path / "absent.csv"), SamplesOptions())
