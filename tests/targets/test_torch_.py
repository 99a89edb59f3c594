import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.targets.torch_ import TorchTarget, load_target
from torch import Tensor, nn

from auditor.access import OutputKind
from auditor.errors import ModelError, UnsupportedOperator
from auditor.preprocess import Preprocess
from auditor.target import Target, TargetOptions
from auditor.torch_file import Loaded

TRUSTED = TargetOptions(trust=True)
X = np.random.default_rng(0).random((5, 3, 2, 2), np.float32)


def net(ending: nn.Module | None = None, columns: int = 4) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Dropout(0.9), nn.Linear(8, columns)]
    return nn.Sequential(*layers, *([] if ending is None else [ending])).train()


def truth(module: nn.Module, x: np.ndarray = X) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(module.eval()(torch.from_numpy(x)))


def fitted(module: nn.Module, shape: tuple[int, ...] = (3, 2, 2), **options: Any) -> Target:
    target = TorchTarget("m:net", Loaded(module=module), TargetOptions(trust=True, **options))
    target.fit(shape)
    return target


def exported(path: Path, module: nn.Module, *, dynamic: bool) -> Path:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    example = torch.rand(2 if dynamic else 1, 3, 2, 2)
    torch.export.save(torch.export.export(module.eval(), (example,), dynamic_shapes=shapes), path)
    return path


def scripted(path: Path, module: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return path


def test_a_module_is_run_in_eval_mode() -> None:
    target = fitted(net())
    np.testing.assert_array_equal(target.scores(X), truth(net()))
    assert (target.classes, target.shape, target.batch, target.output) == (4, (3, 2, 2), None, OutputKind.LOGITS)
    assert target.runtime["name"] == "torch"


@pytest.mark.parametrize(
    ("ending", "kind"),
    [(nn.Softmax(1), OutputKind.PROBABILITIES), (nn.LogSoftmax(1), OutputKind.LOG_PROBABILITIES)],
)
def test_kinds_of_scores(ending: nn.Module, kind: OutputKind) -> None:
    assert fitted(net(ending)).output is kind


def test_one_number_is_two_classes() -> None:
    target = fitted(net(columns=1))
    assert target.classes == 2
    np.testing.assert_array_equal(target.labels(X), truth(net(columns=1))[:, 0] > 0)
    np.testing.assert_array_equal(target.twin().scores(torch.from_numpy(X)).numpy(), target.scores(X))


def test_the_twin_is_a_copy_with_gradients() -> None:
    target = fitted(net(), preprocess=Preprocess(scale=2.0, mean=(1.0,)))
    twin = target.twin()
    x = torch.from_numpy(X).requires_grad_()
    scores = twin.scores(x)
    np.testing.assert_allclose(scores.detach().numpy(), target.scores(X), rtol=1e-6)
    weights = torch.autograd.grad(scores.sum(), x)[0]
    assert weights.abs().sum() > 0
    twin.module.double()
    np.testing.assert_allclose(target.scores(X), truth(net(), 2 * X - 1), rtol=1e-5)


@pytest.mark.parametrize("dynamic", [True, False])
def test_exported_programs(tmp_path: Path, dynamic: bool) -> None:
    path = exported(tmp_path / "m.pt2", net(), dynamic=dynamic)
    target = load_target(str(path), TRUSTED)
    assert target is not None
    assert (target.shape, target.classes, target.batch) == ((3, 2, 2), 4, None if dynamic else 1)
    target.fit((2, 2, 3))
    np.testing.assert_allclose(target.scores(X.transpose(0, 2, 3, 1)), truth(net()), rtol=1e-5, atol=1e-6)
    twin = target.twin()
    x = torch.from_numpy(X.transpose(0, 2, 3, 1).copy()).requires_grad_()
    np.testing.assert_allclose(twin.scores(x).detach().numpy(), truth(net()), rtol=1e-5, atol=1e-6)
    assert torch.autograd.grad(twin.logits(x).sum(), x)[0].abs().sum() > 0


def test_torchscript(tmp_path: Path) -> None:
    target = load_target(str(scripted(tmp_path / "m.pt", net())), TRUSTED)
    assert target is not None
    target.fit((3, 2, 2))
    np.testing.assert_allclose(target.scores(X), truth(net()), rtol=1e-5, atol=1e-6)
    twin = target.twin()
    np.testing.assert_allclose(twin.scores(torch.from_numpy(X)).numpy(), truth(net()), rtol=1e-5, atol=1e-6)
    twin.module.double()
    assert twin.scores(torch.from_numpy(X).double()).dtype == torch.float64


def test_nothing_is_loaded_without_trust(tmp_path: Path) -> None:
    paths = [exported(tmp_path / "m.pt2", net(), dynamic=True), scripted(tmp_path / "m.pt", net())]
    for ref in (*map(str, paths), "antigravity:net"):
        with pytest.raises(ModelError, match="--trust-model"):
            load_target(ref, TargetOptions())


def test_weights_alone_are_refused_without_loading_them(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "m.pt")
    torch.save(net().state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("m.pt", "old.pth"):
        for options in (TRUSTED, TargetOptions()):
            with pytest.raises(ModelError, match="module:factory"):
                load_target(str(tmp_path / name), options)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("m.ckpt", "module:factory"),
        ("m.safetensors", "module:factory"),
        ("m.joblib", "skl2onnx"),
        ("m.pkl", "skl2onnx"),
        ("m.h5", "ONNX"),
        ("m.keras", "ONNX"),
        ("m.tflite", "tf2onnx"),
    ],
)
def test_other_files_are_told_the_way_to_onnx(tmp_path: Path, name: str, match: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(ModelError, match=match):
        load_target(str(tmp_path / name), TRUSTED)
    with pytest.raises(ModelError, match="There is no file"):
        load_target(str(tmp_path / f"absent-{name}"), TRUSTED)


def test_other_references_are_left_to_others() -> None:
    for ref in ("m.onnx", "http://host/model", "m.txt"):
        assert load_target(ref, TRUSTED) is None


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = exported(tmp_path / "m.pt2", net(), dynamic=True)
    data = bytearray(path.read_bytes())
    start = data.find(b"graph_module")
    data[start : start + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"m\.pt2 can't be loaded by torch") as caught:
        load_target(str(path), TRUSTED)
    assert "\n" not in str(caught.value)


class Answers(nn.Module):
    """Returns whatever a function makes of its scores."""

    def __init__(self, shape_answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net = net()
        self.shape_answer = shape_answer

    def forward(self, x: Tensor) -> Any:
        return self.shape_answer(self.net(x))


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (lambda s: {"features": s * 0, "logits": s}, None),
        (lambda s: {"logits": s * 0, "other": s}, "other"),
        (lambda s: (s, s * 0), None),
        (lambda s: (s * 0, s), "1"),
        (lambda s: s[:, :, None, None], None),
        (lambda s: s[0], None),
    ],
)
def test_scores_are_found_in_what_modules_return(answer: Callable[[Tensor], Any], output: str | None) -> None:
    target = fitted(Answers(answer), output=output)
    np.testing.assert_allclose(target.scores(X, batch=1), truth(net()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (lambda s: "cat", "returns str"),
        (lambda s: {"other": 1}, "returns"),
        (lambda s: s.argmax(1), "values of type int64"),
        (lambda s: s.reshape(2, 3), "RuntimeError"),
        (lambda s: s[:, :, None] * s[:, None], r"\[N, classes\]"),
    ],
)
def test_what_is_no_classifier_is_refused(answer: Callable[[Tensor], Any], match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        fitted(Answers(answer))
    assert "\n" not in str(caught.value)


def test_scores_without_a_gradient_have_no_twin() -> None:
    with pytest.raises(UnsupportedOperator, match="no gradient"):
        fitted(Answers(lambda s: s.detach())).twin()


def test_half_precision_is_kept() -> None:
    target = fitted(net().to(torch.bfloat16))
    assert target.runtime["precision"] == "bfloat16"
    scores = target.scores(X)
    assert scores.dtype == np.float32
    assert 0 < np.abs(scores - truth(net())).max() < 0.05
    assert target.twin().scores(torch.from_numpy(X)).dtype == torch.float32


def test_a_device_that_is_not_there_is_an_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ModelError, match="cuda"):
        fitted(net(), device="cuda")
