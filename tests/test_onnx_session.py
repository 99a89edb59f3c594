from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper
from onnx_files import linear, make, value, write

from auditor.errors import ModelError
from auditor.onnx_session import cast, describe, open_session, reason

CUDA = "CUDAExecutionProvider"


def test_reasons_lose_codes_paths_and_source_lines() -> None:
    text = (
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running ConstantOfShape node. Name:'n' "
        "Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* "
        "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for "
        "requested buffer of size 274877906944\n"
    )
    expected = "ConstantOfShape 'n': Failed to allocate memory for requested buffer of size 274877906944"
    assert reason(RuntimeError(text)) == expected
    text = "[ONNXRuntimeError] : 1 : FAIL : Load model from /tmp/a b/m.onnx failed:Fatal error: D:Op(-1) is not known"
    assert reason(RuntimeError(text)) == "D:Op(-1) is not known"
    assert reason(RuntimeError("")) == "RuntimeError"
    assert len(reason(RuntimeError("x" * 5000))) < 400


def test_a_foreign_operator_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Strange", ["x"], ["y"], domain="somebody.else")
    model = make([node], [value("x", ["N", 4])], [value("y", ["N", 4])])
    model.opset_import.append(helper.make_opsetid("somebody.else", 1))
    with pytest.raises(
        ModelError, match=r"refuses strange\.onnx: .*somebody\.else:Strange.*not a registered"
    ) as caught:
        open_session(write(tmp_path / "m.onnx", model), name="strange.onnx")
    assert str(tmp_path) not in str(caught.value)


def test_a_device_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", np.eye(4, dtype=np.float32))
    try:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        bare = (
            ort.InferenceSession(str(path), options, providers=[CUDA])
            if CUDA in ort.get_available_providers()
            else None
        )
    except Exception:
        bare = None
    if bare is not None and bare.get_providers()[0] == CUDA:
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ModelError, match="cuda"):
        open_session(path, name="m.onnx", device="cuda")


def test_the_description_names_what_may_change_a_verdict(tmp_path: Path) -> None:
    session, where = open_session(linear(tmp_path / "m.onnx", np.eye(4, dtype=np.float32)), name="m.onnx", threads=1)
    assert session.get_providers() == ["CPUExecutionProvider"]
    told = describe(where, 1)
    assert told["version"] == ort.__version__
    assert told["provider"] == "CPUExecutionProvider"
    assert told["threads"] == "1"


def test_casting_rounds_to_the_nearest_and_stays_in_range() -> None:
    x = np.array([-3.0, 0.49, 0.51, 254.6, 300.0], np.float32)
    np.testing.assert_array_equal(cast(x, np.uint8), np.array([0, 0, 1, 255, 255], np.uint8))
    np.testing.assert_array_equal(cast(x, np.int8), np.array([-3, 0, 1, 127, 127], np.int8))
    assert cast(x, np.float16).dtype == np.float16
    assert cast(x, np.float32) is x
