"""What the doctor is given: a file, a plan beside it, samples or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx_files import make, value, write

from auditor.case import RANDOM, Case
from auditor.errors import UsageError
from auditor.fidelity import PROBED
from auditor.host import Host

X = np.random.default_rng(1).standard_normal((300, 6)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez(tmp_path / "samples.npz", x=X, y=np.zeros(len(X), np.int64))
    nodes = [helper.make_node("Tanh", ["x"], ["y"])]
    return write(tmp_path / "m.onnx", make(nodes, [value("x", ["N", 6])], [value("y", ["N", 6])]))


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.load(installed=False)


def inputs(case: Case, host: Host) -> tuple[np.ndarray, str]:
    _, found, fact = case.load(case.options(host), host)
    return found, fact.value


def test_samples_are_those_that_a_scan_measures_its_twin_on(path: Path, host: Host) -> None:
    data = str(path.with_name("samples.npz"))
    found, text = inputs(Case(model=str(path), data=data), host)
    np.testing.assert_array_equal(found, X[:PROBED])
    assert text == f"{PROBED} of 300 samples in {data}"
    assert len(inputs(Case(model=str(path), data=data, limit=250), host)[0]) == 250
    assert len(inputs(Case(model=str(path), data=data, limit=20), host)[0]) == 20


def test_without_samples_a_few_are_drawn_the_same_each_time(path: Path, host: Host) -> None:
    found, text = inputs(Case(model=str(path)), host)
    assert found.shape == (RANDOM, 6)
    assert "random" in text
    np.testing.assert_array_equal(found, inputs(Case(model=str(path)), host)[0])


def test_the_plan_beside_the_file_is_read_and_options_win(path: Path, host: Host) -> None:
    plan = '[samples]\npath = "samples.npz"\nlimit = 10\n[model]\nscale = 2.0\n[run]\ntimeout = 7.0\n'
    (path.parent / "audit.toml").write_text(plan, encoding="utf-8")
    case = Case(model=str(path))
    options = case.options(host)
    assert (options.preprocess.scale, options.timeout, options.trust) == (2.0, 7.0, False)
    assert len(inputs(case, host)[0]) == 10
    assert len(inputs(Case(model=str(path), limit=30), host)[0]) == 30
    assert Case(model=str(path), preprocess="0-255").options(host).preprocess.scale == 255


def test_an_open_shape_needs_samples(tmp_path: Path, host: Host) -> None:
    model = make([helper.make_node("Flatten", ["x"], ["y"])], [value("x", ["N", "d", "e"])], [value("y", ["N", "k"])])
    with pytest.raises(UsageError, match="--data"):
        inputs(Case(model=str(write(tmp_path / "m.onnx", model))), host)
