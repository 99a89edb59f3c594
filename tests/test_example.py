"""The bundled MNIST example: its files are whole and small, and its README says what they do."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from auditor.plugins.operators import bundled
from onnx import numpy_helper

from auditor.graph import Graph
from auditor.program import read_program

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "mnist"
MODELS = ("natural", "robust")
PLANS = {"audit.toml": "robust.onnx", "natural.toml": "natural.onnx"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mnist_train", FOLDER / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mnist_train", module)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def samples() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "samples.npz", allow_pickle=False) as archive:
        return dict(archive)


def logits(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"input": x})
    return np.asarray(scores)


def pixels(samples: dict[str, np.ndarray]) -> np.ndarray:
    return samples["x"].astype(np.float32) / 255


def trained(script: ModuleType, name: str) -> torch.nn.Sequential:
    weights = onnx.load(FOLDER / f"{name}.onnx").graph.initializer
    state = {w.name.removeprefix("layer"): torch.from_numpy(numpy_helper.to_array(w).copy()) for w in weights}
    net: torch.nn.Sequential = script.network()
    net.load_state_dict(state)
    return net.requires_grad_(False)


def stated(name: str, images: int) -> list[float]:
    """The README's row for a model: clean, then PGD at 0.1, 0.2 and 0.3, each with both losses."""
    row = re.search(rf"^\| {name}\.onnx \| {images} \|(.*)\|$", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE)
    assert row is not None
    return [float(cell) for cell in row[1].split("|")]


def test_the_folder_is_small() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir() if path.is_file()}
    assert sizes.keys() >= {
        "natural.onnx",
        "robust.onnx",
        "int8.onnx",
        "samples.npz",
        "audit.toml",
        "natural.toml",
        "README.md",
    }
    assert max(sizes.values()) < 500_000
    assert sum(sizes.values()) < 1_500_000


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_one_valid_file(name: str) -> None:
    model = onnx.load(FOLDER / f"{name}.onnx", load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 17}
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_the_samples_are_balanced_and_named(samples: dict[str, np.ndarray]) -> None:
    assert samples["x"].shape == (500, 1, 28, 28)
    assert samples["x"].dtype == np.uint8
    assert samples["classes"].tolist() == [str(digit) for digit in range(10)]
    np.testing.assert_array_equal(np.bincount(samples["y"], minlength=10), np.full(10, 50))


def test_no_sample_was_trained_on(script: ModuleType, samples: dict[str, np.ndarray]) -> None:
    trained_on = np.random.default_rng(script.SEED).permutation(10_000)[: script.TRAINED_ON]
    assert len(set(samples["test_index"].tolist())) == 500
    assert not set(samples["test_index"].tolist()) & set(trained_on.tolist())


@pytest.mark.shared
def test_the_samples_are_the_test_images_they_name(shared: Path, samples: dict[str, np.ndarray]) -> None:
    with np.load(shared / "data" / "mnist_test.npz") as mnist:
        np.testing.assert_array_equal(samples["x"][:, 0], mnist["x"][samples["test_index"]])
        np.testing.assert_array_equal(samples["y"], mnist["y"][samples["test_index"]])


@pytest.mark.parametrize("name", MODELS)
def test_clean_accuracy_is_what_the_readme_states(name: str, samples: dict[str, np.ndarray]) -> None:
    right = logits(FOLDER / f"{name}.onnx", pixels(samples)).argmax(axis=1) == samples["y"]
    assert 100 * right.mean() == pytest.approx(stated(name, 500)[0], abs=0.005)


@pytest.mark.parametrize("name", MODELS)
def test_any_batch_gives_the_same_answer(name: str, samples: dict[str, np.ndarray]) -> None:
    x = pixels(samples)[:5]
    alone = np.concatenate([logits(FOLDER / f"{name}.onnx", row[None]) for row in x])
    np.testing.assert_allclose(logits(FOLDER / f"{name}.onnx", x), alone, atol=1e-4)


@pytest.mark.parametrize(("name", "least", "most"), [("natural", 0.0, 0.0), ("robust", 0.8, 0.97)])
def test_pgd_separates_the_two(
    script: ModuleType, samples: dict[str, np.ndarray], name: str, least: float, most: float
) -> None:
    x, labels = torch.from_numpy(pixels(samples)[:100]), torch.from_numpy(samples["y"][:100])
    torch.manual_seed(0)
    found = script.pgd(trained(script, name), x, labels, 0.3, 20, 0.03, script.margin)
    assert (found - x).abs().max() <= 0.3 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    right = logits(FOLDER / f"{name}.onnx", found.numpy()).argmax(axis=1) == samples["y"][:100]
    assert least <= right.mean() <= most


def pgd_on_the_file(path: Path, x: torch.Tensor, labels: torch.Tensor, script: ModuleType) -> float:
    """Accuracy of a file under 20 steps of PGD at 0.1 through its twin, as onnxruntime sees it."""
    operators = bundled()
    graph = Graph(read_program(onnx.load(path), operators), "logits", operators)
    torch.manual_seed(0)
    found = script.pgd(graph, x, labels, 0.1, 20, 0.01, script.margin)
    return float((logits(path, found.detach().numpy()).argmax(axis=1) == labels.numpy()).mean())


def test_the_quantised_file_is_as_weak_as_the_net_it_was_made_of(
    script: ModuleType, samples: dict[str, np.ndarray]
) -> None:
    x, labels = torch.from_numpy(pixels(samples)[:100]), torch.from_numpy(samples["y"][:100])
    weak = pgd_on_the_file(FOLDER / "natural.onnx", x, labels, script)
    assert pgd_on_the_file(FOLDER / "int8.onnx", x, labels, script) <= weak + 0.05
    kinds = {node.op_type for node in onnx.load(FOLDER / "int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    right = logits(FOLDER / "int8.onnx", pixels(samples)).argmax(axis=1) == samples["y"]
    assert right.mean() > 0.95


def test_what_is_exported_computes_what_was_trained(script: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = script.network().requires_grad_(False), torch.rand(7, 1, 28, 28)
    script.export(net, "random", tmp_path / "random.onnx")
    np.testing.assert_allclose(logits(tmp_path / "random.onnx", x.numpy()), net(x).numpy(), atol=1e-5)


def test_a_shift_moves_an_image_and_keeps_its_pixels(script: ModuleType) -> None:
    torch.manual_seed(0)
    x = torch.zeros(200, 1, 28, 28)
    x[:, :, 14, 14] = 1
    moved = script.shifted(x)
    places = moved[:, 0].nonzero()
    assert torch.equal(moved.sum(dim=(1, 2, 3)), torch.ones(200))
    assert set(places[:, 1].tolist()) == set(places[:, 2].tolist()) == set(range(12, 17))


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_names_what_is_there(plan: str) -> None:
    tables = tomllib.loads((FOLDER / plan).read_text("utf-8"))
    assert tables["model"]["path"] == PLANS[plan]
    assert (FOLDER / tables["model"]["path"]).is_file()
    assert (FOLDER / tables["samples"]["path"]).is_file()
    assert [threat["bounds"] for threat in tables["threat"]] == [[0.0, 1.0]]
    assert all(0 < threat["epsilon"] <= 0.3 for threat in tables["threat"])


@pytest.mark.parametrize(("name", "silent"), [("natural", 0), ("robust", 11)])
def test_the_robust_first_layer_cuts_off_faint_pixels(script: ModuleType, name: str, silent: int) -> None:
    first = trained(script, name)[0]
    assert isinstance(first, torch.nn.Conv2d)
    assert first.bias is not None
    most = 0.3 * first.weight.clamp(min=0).sum(dim=(1, 2, 3)) + first.bias
    assert int((most <= 0).sum()) == silent
