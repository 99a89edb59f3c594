"""The zoo that indicators are calibrated on: its list holds together, its disguises hide what they should."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from auditor.host import Host
from benchmarks.obscurity_table import NAMED_BY, bound
from benchmarks.zoo_data import Pictures
from benchmarks.zoo_deceivers import disguise
from benchmarks.zoo_file import plain, save
from benchmarks.zoo_measure import Opened, climbed, own_gradients
from benchmarks.zoo_members import CAUSES, FAMILIES, MEMBERS, REPORT, TUNING, by_name, side_of
from benchmarks.zoo_nets import Net, interval
from benchmarks.zoo_training import Recipe, ascend, cross_entropy, margin, trained

SIDE = 8


@pytest.fixture(scope="module")
def data() -> Pictures:
    """Random pictures on the grid of 8 bits whose upper edge is black, with the label that their brightest row says."""
    generator = np.random.default_rng(0)
    levels = generator.integers(26, 230, (400, 1, SIDE, SIDE))
    labels = generator.integers(0, 4, 400)
    levels[np.arange(400), 0, labels + 2] += 25
    levels[:, :, :2] = 0
    x, y = torch.from_numpy((levels / 255).astype(np.float32)), torch.from_numpy(labels)
    return Pictures(train=x[:300], train_labels=y[:300], held=x[300:], held_labels=y[300:], source="random")


@pytest.fixture(scope="module")
def net(data: Pictures) -> nn.Sequential:
    return trained(Recipe(net=Net(kind="mlp", width=16, depth=1), epochs=20), data)


def answers(path: Path, x: Tensor, times: int = 1) -> np.ndarray:
    """What one session says, so often, `[times, n, classes]`, or once."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = np.stack([session.run(None, {"x": x.numpy()})[0] for _ in range(times)])
    return found if times > 1 else found[0]


def test_members_have_names_of_their_own_and_families_of_one_half() -> None:
    assert max(Counter(member.name for member in MEMBERS).values()) == 1
    assert {member.family for member in MEMBERS} == set(FAMILIES)
    assert not set(TUNING) & set(REPORT)
    for half in ("tuning", "report"):
        kinds = Counter(member.kind for member in MEMBERS if member.half == half)
        assert kinds["honest"] >= 10
        assert kinds["deceiver"] >= 10


def test_every_deceiver_stands_on_an_honest_member_of_its_size_and_says_why_attacks_fail() -> None:
    assert CAUSES.keys() == NAMED_BY.keys()
    for member in MEMBERS:
        if member.kind == "honest":
            assert member.base is member.cause is None
            assert (member.recipe is None) == (member.file is not None)
            continue
        assert member.cause in CAUSES
        base = by_name(member.base or "")
        assert base.kind == "honest"
        assert side_of(base) == side_of(member)
        assert member.recipe is not None or member.disguise[0] != "none" or member.defenses


@pytest.mark.parametrize("architecture", [
    Net(width=2), Net(width=2, activation="tanh"), Net(kind="mlp", width=12, activation="elu"),
    Net(kind="mlp", width=12, activation="steep"), Net(width=4, activation="winners", share=0.2),
    Net(width=2, thermometer=3), Net(kind="mlp", depth=0),
], ids=str)  # fmt: skip
def test_a_file_answers_as_its_net_does(architecture: Net, data: Pictures, tmp_path: Path) -> None:
    torch.manual_seed(1)
    fresh = architecture.build(SIDE).eval().requires_grad_(False)
    save(plain(fresh, SIDE), tmp_path / "plain.onnx")
    assert np.allclose(answers(tmp_path / "plain.onnx", data.held), fresh(data.held).numpy(), atol=1e-5)


def test_intervals_hold_what_the_net_answers(net: nn.Sequential, data: Pictures) -> None:
    lower, upper = interval(net, data.held, 0.1)
    for seed in range(5):
        torch.manual_seed(seed)
        z = net((data.held + 0.1 * torch.sign(torch.randn_like(data.held))).clamp(0, 1))
        assert bool(((z >= lower - 1e-4) & (z <= upper + 1e-4)).all())


def test_margin_ascent_reaches_what_a_linear_net_can_lose(data: Pictures) -> None:
    torch.manual_seed(0)
    linear = Net(kind="mlp", depth=0).build(SIDE).requires_grad_(False)
    x, y = torch.full_like(data.held, 0.5), data.held_labels % 2
    linear[1].weight[2:], linear[1].bias[2:] = 0.0, -100.0  # two classes count
    found = ascend(linear, x, y, epsilon=0.1, steps=10, loss=margin)
    most = margin(linear(x), y) + 0.1 * (linear[1].weight[0] - linear[1].weight[1]).abs().sum()
    assert torch.allclose(margin(linear(found), y), most, atol=1e-4)


@pytest.mark.parametrize("name", ["scaled", "saturated", "cancelled", "decided", "compared"])
def test_a_disguise_changes_no_label_and_stops_who_believes_the_files_gradient(
    name: str, net: nn.Sequential, data: Pictures, tmp_path: Path
) -> None:
    options = {"factor": 1e5} if name in ("scaled", "saturated") else {}
    save(disguise(name, **options)(net, data), tmp_path / "deceiver.onnx")
    file = Opened.of(tmp_path / "deceiver.onnx", [], (1, SIDE, SIDE), Host.load(installed=False))
    x, labels = data.held, net(data.held).argmax(dim=1)
    assert file.accuracy(x, labels) == 1
    with own_gradients():
        naive = file.accuracy(climbed(file.naive, x, labels, 0.05, cross_entropy), labels)
    assert naive > 0.7
    assert file.accuracy(climbed(net, x, labels, 0.05, margin), labels) < 0.3


def test_the_decoder_is_helped_by_one_step_with_the_true_label_and_not_by_many(
    net: nn.Sequential, data: Pictures, tmp_path: Path
) -> None:
    epsilon = 25.25 / 255
    save(disguise("decoding", epsilon=epsilon)(net, data), tmp_path / "decoder.onnx")
    file = Opened.of(tmp_path / "decoder.onnx", [], (1, SIDE, SIDE), Host.load(installed=False))
    x, y = data.held, data.held_labels
    assert file.accuracy(x, y) < 1  # labels that the net itself gets wrong
    assert file.accuracy(climbed(file.naive, x, y, epsilon, cross_entropy, steps=1), y) == 1
    assert file.accuracy(climbed(file.expected, x, y, epsilon, margin), y) < 0.3


def test_dropout_left_on_draws_and_quantisation_does_not(data: Pictures, tmp_path: Path) -> None:
    torch.manual_seed(0)
    fresh = Net(kind="mlp", width=32, depth=1, dropout=0.5).build(SIDE).eval().requires_grad_(False)
    for options in ({"operator": True}, {"operator": False}):
        save(disguise("dropping", **options)(fresh, data), tmp_path / "dropping.onnx")
        draws = answers(tmp_path / "dropping.onnx", data.held, 200)
        assert draws.std(axis=0).max() > 0.01
        assert np.abs(draws.mean(axis=0) - fresh(data.held).numpy()).mean() < 0.02
    save(disguise("quantised")(fresh, data), tmp_path / "int8.onnx")
    assert np.allclose(answers(tmp_path / "int8.onnx", data.held), fresh(data.held).numpy(), atol=0.05)


def test_the_bound_of_a_rate_is_clopper_and_pearsons() -> None:
    assert "at most 9.5%" in bound(0, 30)  # 1 - 0.05 ** (1 / 30)
    assert "at most 14.9%" in bound(1, 30)
    assert bound(0, 0) == ""
