"""bfloat16 in the search: what is rounded, what is not, and when it is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from auditor.plugins.operators import bundled
from onnx import TensorProto, helper, numpy_helper

from auditor import mixed as module
from auditor.access import OutputKind
from auditor.build import build_twin
from auditor.execution import Execution
from auditor.mixed import AUTO, faithful, flops, mixed, settled
from auditor.preprocess import Preprocess
from auditor.twin import Twin

SHAPE = (3, 8, 8)


def twin(*, rounding: bool = False) -> Twin:
    """Three convolutions and a linear layer; rounding: with a step in between."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants = {"w0": weight(8, 3, 3, 3), "w1": weight(8, 8, 3, 3), "w2": weight(8, 8, 3, 3), "w3": weight(10, 512)}
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], **pads),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], **pads),
        helper.make_node("Round" if rounding else "Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w2"], ["e"], **pads),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *SHAPE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    preprocess = Preprocess().fit(SHAPE, SHAPE)
    return build_twin(
        model, output="y", kind=OutputKind.LOGITS, preprocess=preprocess, operators=bundled(), fixed_batch=False
    )


def points(n: int = 4) -> torch.Tensor:
    return torch.rand((n, *SHAPE), generator=torch.Generator().manual_seed(0))


def dtypes(made: Twin) -> dict[int, torch.dtype]:
    """Element type of each weight, by its number of entries on the first axis and rank."""
    return {number: buffer.dtype for number, buffer in enumerate(made.module.buffers())}


def test_the_first_and_the_last_product_keep_their_precision() -> None:
    half, full = torch.bfloat16, torch.float32
    assert list(dtypes(mixed(twin())).values()) == [full, half, half, full]


def test_the_twin_itself_stays_as_it_is() -> None:
    plain = twin()
    before = plain.logits(points())
    mixed(plain)
    assert set(dtypes(plain).values()) == {torch.float32}
    assert torch.equal(plain.logits(points()), before)


def test_points_logits_and_gradients_are_float32_and_close() -> None:
    plain, fast = twin(), mixed(twin())
    slopes = []
    for candidate in (plain, fast):
        x = points().requires_grad_()
        logits = candidate.logits(x)
        assert logits.dtype == torch.float32
        slopes.append(torch.autograd.grad(logits[:, 0].sum(), x)[0])
    torch.testing.assert_close(fast.logits(points()), plain.logits(points()), atol=2e-2, rtol=2e-2)
    assert torch.nn.functional.cosine_similarity(slopes[0].flatten(), slopes[1].flatten(), dim=0) > 0.99
    assert slopes[1].dtype == torch.float32


def test_a_step_too_small_for_bfloat16_is_seen() -> None:
    """0.5003 and 0.5013 are one number in bfloat16: rounded first, they would have the same logits."""
    fast = mixed(twin())
    near = torch.full((1, *SHAPE), 0.5003)
    assert near.bfloat16().equal((near + 0.001).bfloat16())
    assert not torch.equal(fast.logits(near), fast.logits(near + 0.001))


def test_it_counts_what_a_pass_costs() -> None:
    expected = 2 * (64 * 8 * 27 + 2 * 64 * 8 * 72 + 512 * 10)
    assert flops(twin(), points(1).numpy()) == expected


@pytest.fixture
def execution() -> Execution:
    return Execution(device="cpu", threads=1, width=4, precision=AUTO)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A machine with bfloat16 units on which every net is large; `gain` is what it is found to gain."""
    told: dict[str, object] = {"gain": 2.0, "faithful": True}
    monkeypatch.setattr(module, "in_hardware", lambda device: True)
    monkeypatch.setattr(module, "WORTH", 0)
    monkeypatch.setattr(module, "speed_up", lambda twin, batch: told["gain"])
    monkeypatch.setattr(module, "faithful", lambda twin, batch: told["faithful"])
    return told


def chosen(execution: Execution, made: Twin | None) -> str:
    return settled(execution, made, points().numpy()).precision


def test_it_is_chosen_where_it_pays(execution: Execution, machine: dict[str, object]) -> None:
    assert chosen(execution, twin()) == "bfloat16"
    machine["gain"] = 1.1
    assert chosen(execution, twin()) == "float32"


def test_it_is_not_chosen_where_it_leads_elsewhere(execution: Execution, machine: dict[str, object]) -> None:
    machine["faithful"] = False
    assert chosen(execution, twin()) == "float32"


class Cancelling(torch.nn.Module):
    """Scores of a few units between values of a million, which float32 can tell apart and bfloat16 can not."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(192, 32), torch.nn.Linear(32, 10)
        self.offset = offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.first(x.flatten(1))
        if torch.is_autocast_enabled("cpu"):
            hidden = (hidden + self.offset).bfloat16() - self.offset
        scores: torch.Tensor = self.second(hidden.float().relu())
        return scores


@pytest.mark.parametrize(("offset", "expected"), [(0.0, True), (1e4, False)])
def test_a_net_that_cancels_is_not_faithful(offset: float, expected: bool) -> None:
    torch.manual_seed(0)
    made = Twin(module=Cancelling(offset), preprocess=Preprocess().fit(SHAPE, SHAPE), output=OutputKind.LOGITS)
    assert faithful(made, points(16)) is expected


def test_it_is_not_chosen_for_stand_in_gradients_or_without_a_twin(
    execution: Execution, machine: dict[str, object]
) -> None:
    assert chosen(execution, twin(rounding=True)) == "float32"
    assert chosen(execution, None) == "float32"


def test_it_is_not_chosen_where_it_is_emulated(
    execution: Execution, machine: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "in_hardware", lambda device: False)
    assert chosen(execution, twin()) == "float32"


def test_small_nets_are_left_alone(
    execution: Execution, machine: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORTH", 1e9)
    assert chosen(execution, twin()) == "float32"


def test_what_was_asked_for_stays() -> None:
    asked = Execution(device="cpu", threads=1, precision="bfloat16")
    assert settled(asked, None, points().numpy()) == asked


def test_the_speed_up_is_a_ratio_of_what_was_measured() -> None:
    assert module.speed_up(twin(), points()) > 0
