import hashlib
import os
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import make, value, write

from auditor import onnx_file
from auditor.errors import ModelError
from auditor.onnx_file import PrivateCopy, external_files, read_model, tensors

MEMORY = 1 << 30


def weights(location: str = "w.bin", *, dims: tuple[int, ...] = (4, 3), **entries: str) -> onnx.ModelProto:
    """x @ w with w in another file."""
    model = make([helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["N", 4])], [value("y", ["N", 3])])
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, text in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=text)
    model.graph.initializer.append(tensor)
    return model


def refused(path: Path, match: str, memory: int = MEMORY) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        read_model(path, memory=memory)
    assert str(caught.value).count("\n") == 0


def test_what_is_no_model_is_said_to_be_none(tmp_path: Path) -> None:
    for name, data, match in (
        ("empty", b"", "is empty"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "git lfs pull"),
        ("text", b"hello, this is a text", "not an ONNX"),
        ("png", b"\x89PNG\r\n\x1a\n" + bytes(50), "not an ONNX"),
        ("hollow", onnx.ModelProto(ir_version=8).SerializeToString(), "holds no graph"),
    ):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(data)
        refused(path, match)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    model = make([helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["N", 4])], [value("y", ["N", 3])],
                 {"w": np.ones((4, 3), np.float32)})  # fmt: skip
    data = model.SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data[:-20])
    refused(path, "truncated")


def test_nodes_are_counted_in_inner_graphs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])] * 5, "inner", [], [value("z", ["N", 4])])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    model = make([node], [value("x", ["N", 4])], [value("y", ["N", 4])], {"c": np.array(True)})
    path = write(tmp_path / "m.onnx", model)
    monkeypatch.setattr(onnx_file, "NODES", 11)
    read_model(path, memory=MEMORY)
    monkeypatch.setattr(onnx_file, "NODES", 10)
    refused(path, "at most 10 nodes, it holds 11")


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    def nested(levels: int) -> onnx.GraphProto:
        node = helper.make_node("Identity", ["x"], ["y"])
        if levels > 1:
            node = helper.make_node("If", ["c"], ["y"], then_branch=nested(levels - 1), else_branch=nested(1))
        return helper.make_graph([node], "g", [value("x", ["N", 4])], [value("y", ["N", 4])])

    for levels in (onnx_file.NESTING, onnx_file.NESTING + 1):
        path = write(tmp_path / f"{levels}.onnx", helper.make_model(nested(levels)))
        if levels == onnx_file.NESTING:
            read_model(path, memory=MEMORY)
        else:
            refused(path, "nests graphs deeper")


def test_claims_are_added_up_by_shape(tmp_path: Path) -> None:
    model = weights(dims=(1000, 1000))
    model.graph.initializer.add(name="h", data_type=TensorProto.INT4, dims=[1001])
    path = write(tmp_path / "m.onnx", model)
    claimed = 4_000_000 + 501
    read_model(path, memory=claimed)
    refused(path, "claim", memory=claimed - 1)


@pytest.mark.parametrize("dims", [(-1,), (1 << 62, 1 << 62)])
def test_absurd_shapes_are_refused(tmp_path: Path, dims: tuple[int, ...]) -> None:
    refused(write(tmp_path / "m.onnx", weights(dims=dims)), "negative|claim")


def test_an_unknown_type_is_refused(tmp_path: Path) -> None:
    model = weights()
    model.graph.initializer[0].data_type = 99
    refused(write(tmp_path / "m.onnx", model), "unknown type")


def test_external_files_are_listed_with_their_least_size() -> None:
    model = weights("a.bin", offset="100", length="48")
    extra = model.graph.initializer.add(name="v", data_type=TensorProto.FLOAT, dims=[5], data_location=1)
    extra.external_data.add(key="location", value="a.bin")
    assert external_files("m", model) == {"a.bin": 148}
    extra.external_data.add(key="offset", value="200")  # without a length the shape says how much
    assert external_files("m", model) == {"a.bin": 220}


def test_external_data_hide_nowhere() -> None:
    def tensor(location: str) -> TensorProto:
        found = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
        found.external_data.add(key="location", value=location)
        return found

    model = weights("graph.bin")
    inner = helper.make_graph([], "inner", [], [value("z", [1])], [tensor("inner.bin")])
    model.graph.node.append(helper.make_node("If", ["c"], ["q"], then_branch=inner, else_branch=inner))
    model.graph.node.append(helper.make_node("Constant", [], ["k"], value=tensor("attribute.bin")))
    sparse = model.graph.sparse_initializer.add(dims=[1])
    sparse.values.CopyFrom(tensor("sparse.bin"))
    body = [helper.make_node("Constant", [], ["o"], value=tensor("function.bin"))]
    model.functions.append(helper.make_function("d", "F", [], ["o"], body, [helper.make_opsetid("", 17)]))
    model.training_info.add().initialization.initializer.append(tensor("training.bin"))
    names = {"graph.bin", "inner.bin", "attribute.bin", "sparse.bin", "function.bin", "training.bin"}
    assert set(external_files("m", model)) == names
    assert sum(1 for t in tensors(model) if t.data_location == TensorProto.EXTERNAL) == 7


@pytest.mark.parametrize(
    "location",
    [
        "../w.bin",
        "/etc/passwd",
        "a/w.bin",
        "..",
        ".",
        "",
        "a\\w.bin",
        "http://x/w",
        "c:w",
        "*/_ORT_MEM_ADDR_/*",
        "a\0b",
    ],
)
def test_only_plain_names_are_followed(location: str) -> None:
    with pytest.raises(ModelError, match="plain names"):
        external_files("m.onnx", weights(location))


@pytest.mark.parametrize("entries", [{"offset": "-4"}, {"length": "-1"}, {"offset": "x"}])
def test_places_have_to_make_sense(entries: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="no valid place"):
        external_files("m.onnx", weights(**entries))


def test_unknown_entries_are_refused() -> None:
    with pytest.raises(ModelError, match="plain names"):
        external_files("m.onnx", weights(basepath="/etc"))


def test_a_copy_holds_the_same_bytes_where_nobody_else_can_go(tmp_path: Path) -> None:
    data = weights().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data)
    (tmp_path / "w.bin").write_bytes(bytes(48))
    copy = PrivateCopy(tmp_path / "m.onnx")
    assert copy.sha256 == hashlib.sha256(data).hexdigest()
    copy.add({"w.bin": 48}, memory=MEMORY)
    assert copy.sha256 == hashlib.sha256(data + bytes(48)).hexdigest()
    assert copy.path.read_bytes() == data
    folder = copy.path.parent
    assert (folder / "w.bin").read_bytes() == bytes(48)
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    del copy
    assert not folder.exists()


def test_weight_files_are_checked_when_they_are_copied(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(bytes(48))
    model = tmp_path / "m.onnx"
    model.write_bytes(b"x")
    (tmp_path / "short").write_bytes(bytes(47))
    (tmp_path / "link").symlink_to(outside)
    os.link(outside, tmp_path / "hard")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, match in (
        ("short", "expects 48 bytes"),
        ("link", "regular file"),
        ("hard", "regular file"),
        ("folder", "Is a directory|regular file"),
        ("pipe", "regular file"),
        ("absent", "There is no file"),
    ):
        with pytest.raises(ModelError, match=match):
            PrivateCopy(model).add({name: 48}, memory=MEMORY)
    with pytest.raises(ModelError, match="may have"):
        PrivateCopy(model).add({"short": 1}, memory=46)


def test_the_model_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"model")
    (tmp_path / "m.onnx").symlink_to(tmp_path / "blob")
    assert PrivateCopy(tmp_path / "m.onnx").path.read_bytes() == b"model"


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_a_model_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        (tmp_path / "m.onnx").mkdir()
    with pytest.raises(ModelError, match=r"no file|can't be copied"):
        PrivateCopy(tmp_path / "m.onnx")
