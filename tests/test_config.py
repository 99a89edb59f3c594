"""audit.toml: typed tables, and errors that name file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.config import Config, find_config, read_array, read_config
from auditor.errors import UsageError
from auditor.rule import Rule

WHOLE = """
[model]
path = "model.onnx"
scale = 255
mean = [0.5, 0.5, 0.5]
std = 0.25
layout = "nchw"
channels = "bgr"
output = "logits"

[samples]
path = "samples.npz"
classes = ["cat", "dog"]
size = [224, 224]
limit = 100

[[threat]]
norm = "linf"
epsilon = "8/255"
bounds = [0, 1]

[[threat]]
name = "sensor"
norm = "l2"
epsilon = 1
weights = [1.0, 2.0]
frozen = [true, false]
grid = "1/255"

[search]
suite = "quick"
seed = 7

[[attack]]
name = "pgd"
steps = 100

[run]
device = "cpu"
batch_size = 32

[[gate]]
metric = "robust_accuracy"
at_least = 1
over = "population"
classes = ["cat", 1]
"""


def read(folder: Path, text: str) -> Config:
    path = folder / "audit.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Config()
    assert Config().search.suite is None  # by the access
    assert Config().run.device == "auto"


def test_a_whole_file(tmp_path: Path) -> None:
    config = read(tmp_path, WHOLE)
    assert config.model.scale == 255.0
    assert (config.model.mean, config.model.std) == ([0.5, 0.5, 0.5], 0.25)
    assert config.samples.classes == ["cat", "dog"]
    assert [threat.epsilon for threat in config.threat] == ["8/255", 1]
    assert config.threat[1].frozen == [True, False]
    assert config.attack == [{"name": "pgd", "steps": 100}]
    assert config.run.batch_size == 32
    assert config.gate == [Rule(metric="robust_accuracy", at_least=1.0, over="population", classes=["cat", 1])]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[modell]", "audit.toml: .*`modell`"),
        ("[model]\nmeen = 3", "audit.toml: .*`meen`.*model"),
        ("[samples]\nlimit = 'all'", r"audit.toml: .*`\$.samples.limit`"),
        ("[[threat]]\neps = 3", r"`eps`.*`\$.threat\[.*\]`"),
        ("[[gate]]\nmetric = 'robust_accuracy'", "at_least"),
        ("[[gate]]\nmetric = 'robustness'\nat_least = 0.5", "A gate's metric is one of"),
        ("[[gate]]\nmetric = 'robust_accuracy'\nat_least = 50", "a fraction between 0 and 1, got 50"),
        ("[[gate]]\nmetric = 'robust_accuracy'\nat_least = 0.5\nover = 'world'", "over"),
        ("[model\n", "audit.toml is not TOML"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read(tmp_path, text)


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="FileNotFoundError"):
        read_config(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(UsageError, match="UnicodeDecodeError"):
        read_config(tmp_path / "latin.toml")


def test_the_file_beside_the_model_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    model = str(tmp_path / "models" / "m.onnx")
    assert find_config(model) is None
    (tmp_path / "audit.toml").touch()
    assert find_config(model) == Path("audit.toml")
    (tmp_path / "models" / "audit.toml").touch()
    assert find_config(model) == tmp_path / "models" / "audit.toml"


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.array([1.0, 2.0]))
    from_file, from_list = read_array("w.npy", tmp_path, "weights"), read_array([1.0, 2.0], tmp_path, "weights")
    assert from_file is not None
    assert from_list is not None
    np.testing.assert_array_equal(from_file, from_list)
    assert read_array(None, tmp_path, "weights") is None


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY", b"no array"])
def test_an_array_that_can_not_be_read_names_its_key(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "w.npy").write_bytes(content)
    with pytest.raises(UsageError, match=r"weights is a list or an \.npy file, 'w\.npy' can't be read"):
        read_array("w.npy", tmp_path, "weights")


def test_an_array_that_carries_code_is_refused(tmp_path: Path) -> None:
    objects: Any = np.array([print], dtype=object)
    np.save(tmp_path / "w.npy", objects, allow_pickle=True)
    with pytest.raises(UsageError, match="can't be read"):
        read_array("w.npy", tmp_path, "weights")
