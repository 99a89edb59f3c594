"""The twin as measured: why there is none, and that an audit then goes on without gradients."""

from __future__ import annotations

from dataclasses import replace
from shutil import which
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from models import labelled, linear_model
from torch import Tensor, nn

from auditor.access import Access
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.cli import main
from auditor.entry import read_record
from auditor.errors import ModelError, TargetUnavailable, UnsupportedOperator, UsageError
from auditor.execution import Execution
from auditor.job import Job
from auditor.measured import measured, settle_execution
from auditor.mixed import AUTO
from auditor.twin import Twin


class Failing(nn.Module):
    """A twin that fails on batches wider than one, as one that runs out of memory does."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            raise ModelError("The twin could not run node 'big': too large")
        return torch.cat([x.flatten(1)[:, :1], -x.flatten(1)[:, :1]], dim=1)


class Odd(LinearTarget):
    """A linear target whose twin is what is asked for."""

    made: Any = None

    def twin(self) -> Twin:
        if isinstance(self.made, Exception):
            raise self.made
        return Twin(module=self.made, preprocess=self.preprocess, output=self.output)


def job(tmp_path: Any, made: Any = None, **changes: Any) -> Job:
    bench: Bench = linear_bench(n=10)
    target: Any = bench.target
    if made is not None:
        odd = Odd(target.weight, target.bias)
        odd.made = made
        odd.fit(bench.samples.shape)
        target = odd
    execution = changes.pop("execution", Execution(device="cpu", threads=1, width=4))
    return Job(
        model="m", data="d", target=target, samples=bench.samples, threat=bench.threat, suite=[], execution=execution,
        out=tmp_path, **changes,
    )  # fmt: skip


def test_an_honest_twin_agrees_and_is_little_in_doubt(tmp_path: Any) -> None:
    asked = job(tmp_path)
    _, seen = measured(asked, asked.target, asked.samples)
    assert seen.twin is not None
    assert seen.agreement is not None
    assert seen.agreement.labels == 1
    assert np.isfinite(seen.doubt)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (UnsupportedOperator("The twin has no operator acme::X"), "no operator acme::X"),
        (ModelError("The functions inside the file can't be expanded"), "can't be expanded"),
        (Failing(), "node 'big'"),
    ],
)
def test_a_file_whose_twin_fails_is_audited_without_gradients(tmp_path: Any, made: Any, why: str) -> None:
    asked = job(tmp_path, made)
    _, seen = measured(asked, asked.target, asked.samples)
    assert seen.twin is None
    assert why in str(seen.why_none)
    assert seen.doubt == float("inf")


def test_a_lost_target_is_no_reason_to_go_on(tmp_path: Any) -> None:
    asked = job(tmp_path, TargetUnavailable("gone"))
    with pytest.raises(TargetUnavailable):
        measured(asked, asked.target, asked.samples)


def test_without_gradient_access_no_twin_is_built(tmp_path: Any) -> None:
    asked = job(tmp_path, ModelError("never built"), access=Access.SCORE)
    assert measured(asked, asked.target, asked.samples)[1].why_none == "the audit grants score access only"


def test_the_precision_is_settled_and_a_resumed_scan_keeps_its_own(tmp_path: Any) -> None:
    asked = job(tmp_path, execution=Execution(device="cpu", threads=1, precision=AUTO))
    twin = asked.target.twin()
    assert settle_execution(asked, twin, asked.samples).execution.precision == "float32"
    (tmp_path / "journal.jsonl").write_text('{"execution": {"precision": "bfloat16"}}\n')
    assert settle_execution(asked, twin, asked.samples).execution.precision == "float32"
    resumed = replace(asked, resume=True)
    assert settle_execution(resumed, twin, asked.samples).execution.precision == "bfloat16"


@pytest.mark.slow
@pytest.mark.skipif(which("g++") is None, reason="torch.compile needs a C++ compiler here")
@pytest.mark.filterwarnings("ignore")
def test_an_onnx_file_is_scanned_with_its_twin_compiled(tmp_path: Any) -> None:
    weight, bias = linear_model(tmp_path / "m.onnx")
    labelled(tmp_path / "s.npz", weight, bias)
    (tmp_path / "plan.toml").write_text("[run]\ncompile = true\nbatch_size = 8\n")
    arguments = ["scan", str(tmp_path / "m.onnx"), "--data", str(tmp_path / "s.npz"), "--epsilon", "0.05"]
    arguments += ["--config", str(tmp_path / "plan.toml"), "--suite", "quick", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert read_record(tmp_path / "out").execution["compile"] is True


def test_a_twin_that_can_not_be_compiled_ends_the_scan_in_a_sentence(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", fails)
    asked = job(tmp_path, execution=Execution(device="cpu", threads=1, width=4, compile=True))
    with pytest.raises(UsageError, match=r"torch.compile fails on this twin \(no compiler\); leave it out"):
        measured(asked, asked.target, asked.samples)
