"""Oracles: the fixture's gradient, pieces that add up to the whole, and nothing beyond the access."""

from __future__ import annotations

from shutil import which
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from auditor.access import Access, OutputKind
from auditor.attack import Query
from auditor.bench import LinearTarget
from auditor.errors import PluginError
from auditor.execution import Execution
from auditor.oracle import TargetOracle, TwinOracle
from auditor.preprocess import Preprocess
from auditor.twin import Twin

WEIGHT = np.array([[1, -2, 0, 1], [0, 1, 1, -1], [-1, 0, 2, 0]], float)
BIAS = np.array([0.1, 0, -0.2])
X = torch.tensor([[0.9, 0.2, 0.4, 0.8]], dtype=torch.float64)
"""Three classes and one sample of label 0, whose scores, loss and gradient are worked out by hand."""


def target() -> LinearTarget:
    made = LinearTarget(WEIGHT, BIAS)
    made.fit((4,))
    return made


def execution(width: int = 64, precision: str = "float64") -> Execution:
    return Execution(device="cpu", threads=1, width=width, precision=precision)


def twin_oracle(width: int = 64, precision: str = "float64") -> TwinOracle:
    return TwinOracle(target().twin(), execution(width, precision))


def ce(scores: Tensor, index: Tensor) -> Tensor:
    return cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64), reduction="none")


def points(m: int) -> Tensor:
    return torch.rand((m, 4), dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_scores_loss_and_gradient_of_the_fixture() -> None:
    oracle = twin_oracle()
    reply = oracle.ask(Query(points=X), ce)
    np.testing.assert_allclose(reply.need_scores(), [[1.4, -0.2, -0.3]], atol=1e-7)
    np.testing.assert_allclose(reply.need_loss(), [0.3253969], atol=1e-7)
    np.testing.assert_allclose(reply.need_gradient(), [[-0.409701, 0.701337, 0.409701, -0.423577]], atol=1e-6)
    assert reply.labels.tolist() == [0]
    assert (oracle.spend == (1, 1, 0)).all()


def test_without_a_gradient_none_is_paid_for() -> None:
    oracle = twin_oracle()
    reply = oracle.ask(Query(points=X, gradient=False), ce)
    assert reply.gradient is None
    assert (oracle.spend == (1, 0, 0)).all()
    with pytest.raises(PluginError, match="reads a gradient"):
        reply.need_gradient()


@pytest.mark.parametrize("width", [1, 2, 3, 5, 7, 16])
def test_pieces_add_up_to_the_whole(width: int) -> None:
    starts: list[tuple[int, int]] = []

    def watched(scores: Tensor, index: Tensor) -> Tensor:
        starts.append((int(index[0]), len(scores)))
        return ce(scores, index)

    whole = twin_oracle().ask(Query(points=points(7)), ce)
    parts = twin_oracle(width).ask(Query(points=points(7)), watched)
    for name in ("scores", "loss", "gradient", "labels"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-12)
    assert starts == [(start, min(width, 7 - start)) for start in range(0, 7, width)]


def test_the_twin_computes_at_padded_widths() -> None:
    seen: list[int] = []

    class Counting(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            seen.append(len(input))
            return super().forward(input)

    twin = Twin(module=Counting(4, 2), preprocess=Preprocess().fit((4,), (4,)), output=OutputKind.LOGITS)
    oracle = TwinOracle(twin, execution(width=16))
    for m in (1, 3, 5, 9, 16, 17):
        oracle.ask(Query(points=points(m)), lambda scores, start: scores[:, 0])
    plan = execution(width=16)
    assert seen == [plan.padded(m) for m in (1, 3, 5, 9, 16)] + [16, plan.padded(1)]


def test_gradients_of_chosen_combinations_of_scores() -> None:
    oracle = twin_oracle(width=2)
    cotangents = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    reply = oracle.ask(Query(points=points(5), cotangents=cotangents), ce)
    np.testing.assert_allclose(reply.need_gradients(), np.broadcast_to(WEIGHT, (5, 3, 4)), atol=1e-12)
    assert reply.gradient is None
    assert (oracle.spend == (1, 3, 0)).all()


@pytest.mark.parametrize("width", [2, 64])
def test_a_view_stands_before_the_model_and_is_differentiated_through(width: int) -> None:
    scale = torch.arange(1.0, 6.0, dtype=torch.float64)[:, None]
    asked = points(5)
    reply = twin_oracle(width).ask(Query(points=asked, view=lambda x: x * scale), ce)
    seen = twin_oracle().ask(Query(points=asked * scale), ce)
    np.testing.assert_allclose(reply.need_scores(), seen.need_scores(), atol=1e-12)
    np.testing.assert_allclose(reply.need_gradient(), seen.need_gradient() * scale, atol=1e-12)
    assert torch.equal(reply.points, asked)
    with pytest.raises(PluginError, match="A view should map 5 points"):
        twin_oracle().ask(Query(points=asked, view=lambda x: x[:2]), ce)


def test_points_belong_to_their_rows() -> None:
    owner = torch.tensor([0, 0, 1])
    assert twin_oracle().ask(Query(points=points(3), owner=owner), ce).owner.tolist() == [0, 0, 1]
    assert twin_oracle().ask(Query(points=points(3)), ce).owner.tolist() == [0, 1, 2]


def test_no_path_no_gradient_and_no_crash() -> None:
    reply = twin_oracle().ask(Query(points=X), lambda scores, start: torch.zeros(len(scores), dtype=torch.float64))
    assert reply.need_gradient().tolist() == [[0, 0, 0, 0]]


def test_the_query_s_own_points_get_no_graph() -> None:
    asked = points(3)
    reply = twin_oracle().ask(Query(points=asked), ce)
    assert not asked.requires_grad
    assert not reply.need_scores().requires_grad
    assert not reply.need_loss().requires_grad
    assert not reply.need_gradient().requires_grad


def test_an_objective_is_one_number_a_point() -> None:
    with pytest.raises(PluginError, match=r"one number a point, \[1\], it has the shape \[1, 3\]"):
        twin_oracle().ask(Query(points=X), lambda scores, start: scores)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_precision_of_the_search(precision: str, tolerance: float) -> None:
    reply = twin_oracle(precision=precision).ask(Query(points=X.float()), ce)
    assert reply.need_gradient().dtype is torch.float32
    np.testing.assert_allclose(reply.need_scores(), [[1.4, -0.2, -0.3]], atol=tolerance)


@pytest.mark.slow
@pytest.mark.skipif(which("g++") is None, reason="torch.compile needs a C++ compiler here")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_twin_gives_the_same_at_one_width() -> None:
    twin, execution = target().twin(), Execution(device="cpu", threads=1, width=8, precision="float64", compile=True)
    compiled, plain = TwinOracle(twin, execution), twin_oracle()
    for m in (8, 3):
        one, two = (oracle.ask(Query(points=points(m)), ce) for oracle in (compiled, plain))
        np.testing.assert_allclose(one.need_scores(), two.need_scores(), atol=1e-12)
        np.testing.assert_allclose(one.need_gradient(), two.need_gradient(), atol=1e-12)


def test_the_target_answers_in_scores() -> None:
    deployed = target()
    oracle = TargetOracle(deployed, execution(width=2), Access.SCORE)
    reply = oracle.ask(Query(points=points(5)), ce)
    expected = twin_oracle().ask(Query(points=points(5)), ce)
    np.testing.assert_allclose(reply.need_scores(), expected.need_scores(), atol=1e-6)
    np.testing.assert_allclose(reply.need_loss(), expected.need_loss(), atol=1e-6)
    assert reply.gradient is None
    assert (oracle.spend == (0, 0, 1)).all()
    assert deployed.queries == 5


class Probabilities(LinearTarget):
    def _run(self, x: np.ndarray) -> np.ndarray:
        logits = super()._run(x)
        exps = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (exps / exps.sum(axis=1, keepdims=True)).astype(np.float32)


def test_probabilities_become_their_logarithms_and_stay_finite() -> None:
    deployed: Any = Probabilities(WEIGHT * 100, BIAS)
    deployed.fit((4,))
    deployed.output = OutputKind.PROBABILITIES
    reply = TargetOracle(deployed, execution(), Access.SCORE).ask(Query(points=X), ce)
    assert reply.need_scores()[0, 0] == pytest.approx(0)
    assert bool(reply.need_scores().isfinite().all())
    assert float(reply.need_scores()[0, 1]) < -80


def test_labels_are_all_that_decision_access_gets() -> None:
    reply = TargetOracle(target(), execution(), Access.DECISION).ask(Query(points=X), ce)
    assert (reply.scores, reply.loss, reply.gradient) == (None, None, None)
    assert reply.labels.tolist() == [0]
    with pytest.raises(PluginError, match="its access is `decision`"):
        reply.need_loss()


# gradients at some points, full precision at some


@pytest.mark.parametrize("width", [1, 3, 64])
def test_a_gradient_at_some_points_only(width: int) -> None:
    wanted = torch.tensor([True, False, False, True, False])
    oracle = twin_oracle(width)
    reply = oracle.ask(Query(points=points(5), gradient=wanted), ce)
    whole = twin_oracle().ask(Query(points=points(5)), ce)
    torch.testing.assert_close(reply.scores, whole.scores)
    torch.testing.assert_close(reply.loss, whole.loss)
    torch.testing.assert_close(reply.need_gradient()[wanted], whole.need_gradient()[wanted])
    assert not reply.need_gradient()[~wanted].any()
    assert oracle.spend.tolist() == [[1, int(one), 0] for one in wanted.tolist()]


def test_objectives_are_asked_by_the_place_of_their_points() -> None:
    asked = points(5)
    labels = torch.tensor([0, 1, 2, 0, 1])

    def own(scores: Tensor, index: Tensor) -> Tensor:
        return cross_entropy(scores, labels[index], reduction="none")

    wanted = torch.tensor([False, True, False, True, True])
    reply = twin_oracle(2).ask(Query(points=asked, gradient=wanted), own)
    whole = twin_oracle().ask(Query(points=asked), own)
    torch.testing.assert_close(reply.loss, whole.loss)
    torch.testing.assert_close(reply.need_gradient()[wanted], whole.need_gradient()[wanted])


def test_points_near_the_boundary_are_computed_in_full_precision() -> None:
    oracle = twin_oracle(precision="float32")
    full = oracle.full

    class Coarse(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = full.module(x)
            return scores.round()

    oracle.twin = Twin(module=Coarse(), preprocess=full.preprocess, output=full.output)
    near = np.array([False, True, False, True])
    reply = oracle.ask(Query(points=points(4).float(), gradient=False), ce, near)
    exact = full.logits(points(4).float())
    torch.testing.assert_close(reply.need_scores()[near], exact[near])
    torch.testing.assert_close(reply.need_scores()[~near], exact[~near].round())


def test_a_twin_that_is_not_rounded_is_full_already() -> None:
    oracle = twin_oracle()
    assert oracle.full is oracle.twin
    assert TwinOracle(target().twin(), execution(precision="bfloat16")).full is not oracle.twin
