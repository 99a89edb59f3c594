"""A working attack finds what was planted; one that is led the wrong way does not, and is found out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.pgd import PGD
from auditor.plugins.checks.binarisation import Binarisation
from models import linear_model
from nets import Backwards, mlp, net_bench
from torch import nn

from auditor.access import Access, OutputKind
from auditor.errors import ModelError
from auditor.planted import cut, separated
from auditor.preprocess import Preprocess
from auditor.record import FindingStatus, Severity
from auditor.testing import check_check, evidence
from auditor.twin import Twin

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
CHECK = Binarisation()


def test_a_working_attack_finds_every_planted_example() -> None:
    found = CHECK.look(evidence(net_bench(mlp(features=40), features=40, n=10)))
    assert (found.status, found.value) == (CLEAR, 1.0)
    assert "apgd finds the planted adversarial example on 10 of 10 samples, 200 random points" in found.explanation
    assert CHECK.deep
    assert CHECK.severity is Severity.CRITICAL


def test_an_attack_that_is_led_the_wrong_way_is_found_out() -> None:
    seen = evidence(net_bench(mlp(features=40), features=40, n=10, twin=Backwards(mlp(features=40))))
    found = CHECK.look(seen)
    assert (found.status, found.value) == (RAISED, 0.0)
    assert seen.lab.handed == []  # what it broke was no example of the audited model


def test_the_suites_own_attack_is_played() -> None:
    found = CHECK.look(evidence(net_bench(mlp(), n=8, epsilon=0.01), PGD(steps=7, random_start=False)))
    assert "pgd finds" in found.explanation


def test_a_readout_parts_the_last_row_from_all_others() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).uniform(size=(300, 12)))
    rows[-1] = 1.0
    rows[:, 3] = 0.5  # tells nothing apart
    head = separated(rows)
    assert head is not None
    margin = (head(rows)[:, 1] - head(rows)[:, 0]).detach()
    assert margin[-1] > 0
    assert (margin[:-1] < 0).all()
    gap = margin[-1] - margin[:-1].max()
    assert margin[-1] == pytest.approx(0.001 * gap.item(), rel=1e-3)  # it changes its answer close to that row
    assert (margin[-1] - margin.min()).item() == pytest.approx(1.0)
    rows[-1] = rows[:-1].mean(dim=0)  # in the middle of the others no plane parts it
    assert separated(rows) is None
    assert separated(torch.ones(10, 3)) is None


def twin_of(module: nn.Module) -> Twin:
    shape = Preprocess(sample_shape=(12,), model_shape=(12,))
    return Twin(module=module, preprocess=shape, output=OutputKind.LOGITS)


def test_a_twin_is_cut_at_its_last_linear_layer(tmp_path: Path) -> None:
    from auditor.host import Host
    from auditor.target import TargetOptions

    net, x = mlp(), torch.rand(5, 12)
    assert torch.equal(cut(twin_of(net)).logits(x), net[1](net[0](x)))
    linear_model(tmp_path / "m.onnx")
    host = Host.load(installed=False)
    target = host.load_target(str(tmp_path / "m.onnx"), TargetOptions(trust=True, threads=1, operators=host.operators))
    target.fit((12,))
    assert torch.equal(cut(target.twin()).logits(x), x)  # its one product takes the input
    with pytest.raises(ModelError, match="no linear layer"):
        cut(twin_of(nn.ReLU()))


def test_missing_evidence_is_inconclusive() -> None:
    made = net_bench(mlp(), n=4)
    assert CHECK.look(evidence(replace(made, access=Access.SCORE))).status is INCONCLUSIVE
    assert CHECK.look(evidence(made)).status is INCONCLUSIVE  # four samples are no share
    assert CHECK.look(evidence(made.at(0.0))).status is INCONCLUSIVE


def test_it_keeps_the_rules_of_checks() -> None:
    check_check(CHECK)
