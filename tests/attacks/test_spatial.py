"""Spatial: whole grids against exhaustive search by the verifier's own transforms, and worst-of-k inside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx_files
import pytest
import torch
from auditor.plugins.attacks.spatial import Spatial, SpatialRows, transformed
from click.testing import CliRunner

from auditor.access import Access
from auditor.attack import Reply
from auditor.bench import Bench, LinearTarget
from auditor.cli import main
from auditor.entry import digest_outcomes, read_evidence, read_record
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.folder import write_arrays, write_record
from auditor.record import EVIDENCE
from auditor.replay import replay
from auditor.samples import Samples
from auditor.spatial import axes
from auditor.spatial import transformed as by_numpy
from auditor.threat import Goal, Norm, ThreatModel
from auditor.verify import reached

SHAPES = {"[c, h, w]": (2, 9, 8), "[h, w, c]": (9, 8, 3), "[h, w]": (9, 8)}


def every(picture: np.ndarray, threat: ThreatModel) -> np.ndarray:
    """All transforms of a picture, by numpy, `[m, *shape]` float64."""
    channels, height, width, last = axes(picture.shape)
    planes = np.moveaxis(picture, 2, 0) if last else picture.reshape(channels, height, width)
    made = by_numpy(planes, threat.transforms(picture.shape), threat.fill).reshape(-1, channels, height, width)
    return (np.moveaxis(made, 1, 3) if last else made).reshape(-1, *picture.shape)


def exhaustive(bench: Bench) -> np.ndarray:
    """The least epsilon at which a transform of each sample reaches the goal, infinite where none does, `[n]`."""
    target, threat, least = bench.target, bench.threat, []
    for x, y in zip(bench.samples.inputs, bench.samples.labels, strict=True):
        scores = target._exact(every(x, threat))  # type: ignore[attr-defined]
        hits = np.array([reached(row, int(y), threat.goal.target) for row in scores])
        shares = threat.share(threat.transforms(x.shape), x.shape)
        least.append(shares[hits].min(initial=np.inf))
    return np.array(least)


def bench(
    shape: tuple[int, ...] = (1, 10, 10),
    *,
    n: int = 24,
    classes: int = 2,
    seed: int = 0,
    robust: float = 0.5,
    **options: Any,
) -> Bench:
    """Noise, and a linear model whose first class leads by so much that this share of it withstands all transforms."""
    rng = np.random.default_rng(seed)
    threat = ThreatModel(**{"norm": Norm.SPATIAL, "epsilon": 1.0, "bounds": (0.0, 1.0)} | options)
    low, high = threat.bounds or (0.0, 1.0)
    x = rng.uniform(low, high, (n, *shape)).astype(np.float32)
    weight = rng.normal(size=(classes, x[0].size)).astype(np.float32)
    weight -= weight.mean(axis=1, keepdims=True)
    target = LinearTarget(weight, np.zeros(classes), shape)
    goal = slice(1, None) if threat.goal.target is None else [threat.goal.target]
    scores = [target._exact(every(one, threat)) for one in x]
    behind = [(row[:, goal] - row[:, :1]).max() for row in scores]
    bias = np.zeros(classes)
    bias[0] = np.quantile(behind, robust) + (1 if robust == 1 else 0)
    target = LinearTarget(weight, bias, shape)
    x = x[target.labels(x, batch=1) == 0]
    samples = Samples(inputs=x, labels=np.zeros(len(x), np.int64), ids=np.arange(len(x)))
    return Bench(target=target, samples=samples, threat=threat, seed=seed)


# the transform


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_it_agrees_with_the_verifiers_own(shape: tuple[int, ...], dtype: torch.dtype, near: float) -> None:
    x = np.random.default_rng(1).uniform(-0.5, 1, shape).astype(np.float32)
    threat = ThreatModel(norm=Norm.SPATIAL, epsilon=1.0, bounds=(-0.5, -0.25), rotation=180.0, translation=4.7)
    moves = torch.tensor(threat.transforms(shape))
    pictures = torch.from_numpy(x).to(dtype).expand(len(moves), *shape)
    got = transformed(pictures, moves, torch.full((len(moves),), -0.25, dtype=dtype))
    assert got.dtype == dtype
    np.testing.assert_allclose(got.numpy(), every(x, threat), rtol=0, atol=near)
    assert torch.equal(got[0], pictures[0]), "the identity is exact"


@pytest.mark.parametrize("turns", [1, 2, 3, -1])
def test_quarter_turns_are_those_of_the_array(turns: int) -> None:
    x = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    got = transformed(x, torch.tensor([[90.0 * turns, 0, 0]]).double().expand(2, 3), torch.zeros(2))
    np.testing.assert_allclose(got.numpy(), np.rot90(x.numpy(), turns, axes=(2, 3)), rtol=0, atol=1e-6)


def test_each_picture_has_its_own_move_and_fill() -> None:
    x = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    moves = torch.tensor([[0.0, 0, 0], [0, 6, 0], [0, 0, 1]]).double()
    got = transformed(x, moves, torch.tensor([0.0, 0.5, 0.75]))
    assert torch.equal(got[0], x[0])
    assert (got[1] == 0.5).all()
    assert (got[2, 0] == 0.75).all()
    assert torch.equal(got[2, 1:], x[2, :-1])


# the attack


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-0.25, 1.5), (0.25, 1.0)])
def test_the_grid_finds_what_exhaustive_search_finds(shape: tuple[int, ...], bounds: tuple[float, float]) -> None:
    made = bench(shape, n=10, bounds=bounds, seed=3)
    least = exhaustive(made)
    trial = made.play(Spatial(steps=50))
    np.testing.assert_array_equal(trial.broken, np.isfinite(least))
    assert 0 < trial.broken.sum() < len(least), "of both kinds there are some"
    assert not trial.row.rejected


@pytest.mark.parametrize("options", [{"rotation": 0.0}, {"translation": 0.0}, {"epsilon": 0.4}])
def test_narrower_sets_are_searched_whole_too(options: dict[str, Any]) -> None:
    made = bench(n=16, **options)
    least = exhaustive(made)
    np.testing.assert_array_equal(made.play(Spatial()).broken, np.isfinite(least))
    assert 0 < np.isfinite(least).sum() < len(least)


def test_one_at_a_time_it_finds_the_smallest_that_does() -> None:
    made = bench(n=10)
    least = exhaustive(made)
    trial = made.play(Spatial(steps=774))
    np.testing.assert_allclose(trial.ledger.distance[trial.broken], least[trial.broken], rtol=1e-12)
    assert trial.broken.any()


def test_the_grid_breaks_more_than_worst_of_k_and_that_more_than_nothing() -> None:
    made = bench(n=40, robust=0.1)
    grid, more, few = (made.play(attack).broken for attack in (Spatial(), Spatial(k=60), Spatial(k=2)))
    none = made.at(0.0).play(Spatial()).broken
    assert (grid >= more).all()
    assert (grid >= few).all()
    assert grid.sum() > more.sum() > few.sum() > none.sum() == 0
    again = made.play(Spatial(k=2), restarts=30).broken
    assert (again >= few).all()
    assert again.sum() > few.sum()


def test_a_goal_among_three_classes() -> None:
    made = bench((6, 7), classes=3, n=16, goal=Goal(2), seed=1)
    least = exhaustive(made)
    trial = made.play(Spatial())
    np.testing.assert_array_equal(trial.broken, np.isfinite(least))
    assert 0 < trial.broken.sum() < len(least)
    assert set(trial.ledger.label[trial.broken]) == {2}


@pytest.mark.parametrize("attack", [Spatial(), Spatial(k=7), Spatial(k=7, steps=2), Spatial(steps=30)])
def test_its_cost_is_what_a_picture_that_withstands_it_costs(attack: Spatial) -> None:
    trial = bench(n=3, robust=1).play(attack)
    queries = (attack.k or 774) + 1
    assert attack.cost(2) == (queries, 0)
    assert trial.ledger.spent.tolist() == [[0, 0, queries]] * 3
    assert not trial.broken.any()


def test_no_more_portions_than_transforms() -> None:
    assert (Spatial(k=10).steps, Spatial(k=10, steps=3).steps, Spatial(steps=9999).steps) == (10, 3, 774)


@pytest.mark.parametrize("attack", [Spatial(k=8), Spatial(steps=20)])
def test_it_draws_for_each_sample_alone(attack: Spatial) -> None:
    exact = replace(bench(n=7), execution=Execution(device="cpu", threads=1, precision="float64"))
    first, second = exact.play(attack, restarts=2).ledger, exact.play(attack, restarts=2).ledger
    np.testing.assert_array_equal(first.best, second.best)
    np.testing.assert_array_equal(first.broken, second.broken)
    narrow = replace(exact, execution=Execution(device="cpu", threads=1, precision="float64", width=3))
    np.testing.assert_array_equal(narrow.play(attack, restarts=2).broken, first.broken)
    alone = replace(exact, samples=exact.samples.take([4])).play(attack, restarts=2).ledger
    np.testing.assert_allclose(alone.best[0], first.best[4], atol=1e-9)


def test_it_needs_scores_and_nothing_else() -> None:
    trial = replace(bench(n=8), access=Access.SCORE).play(Spatial(steps=20))
    assert trial.broken.any()
    assert trial.row.forwards == trial.row.backwards == 0


def replied(scores: list[list[float]], owner: list[int]) -> tuple[SpatialRows, SpatialRows, Reply]:
    """Rows of two samples before and after a reply made by hand."""
    problem = bench((4, 4), n=2, classes=3, robust=1).problem()
    before = Spatial().start(problem)
    z = torch.tensor(scores)
    own = torch.tensor(owner)
    points = torch.arange(len(scores), dtype=torch.float32)[:, None, None].expand(-1, 4, 4) / 16
    loss = problem.take(own).loss("ce", z)
    reply = Reply(points=points, owner=own, labels=z.argmax(dim=1), scores=z, loss=loss)
    return before, Spatial().step(problem, before, reply), reply


def test_it_ends_on_the_misclassified_candidate_of_highest_cross_entropy() -> None:
    right, wrong, more = [1.0, 0.99, 0.98], [1.0, 1.1, -9.0], [0.0, 0.6, -9.0]
    # three nearly equal classes cost more cross-entropy than two of which the other wins
    _, after, reply = replied([right, wrong, right, wrong, more, right], [0, 0, 0, 1, 1, 1])
    assert float(reply.need_loss()[0]) > float(reply.need_loss()[4]) > float(reply.need_loss()[1])
    assert after.x[:, 0, 0].tolist() == [1 / 16, 4 / 16]
    assert after.wrong.tolist() == [True, True]
    assert after.loss.tolist() == reply.need_loss()[[1, 4]].tolist()


def test_a_reply_without_a_break_does_not_take_one_back() -> None:
    problem = bench((4, 4), n=2, classes=3, robust=1).problem()
    made = problem.inputs + 0.5
    rows = SpatialRows(x=made, loss=torch.tensor([0.5, 0.5]), wrong=torch.tensor([True, False]))
    z = torch.tensor([[1.0, 0.99, 0.98], [1.0, 0.99, 0.98], [5.0, 0.0, 0.0]])
    owner = torch.tensor([0, 1, 1])
    points = torch.zeros(3, 4, 4)
    loss = problem.take(owner).loss("ce", z)
    after = Spatial().step(problem, rows, Reply(points=points, owner=owner, labels=z.argmax(1), scores=z, loss=loss))
    assert torch.equal(after.x[0], made[0])
    assert not after.x[1].any()
    assert after.wrong.tolist() == [True, False]


def test_k_is_no_negative_number() -> None:
    with pytest.raises(UsageError, match="k is a number of transforms"):
        Spatial(k=-1)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_other_threats_are_not_its_own(norm: Norm) -> None:
    row = bench(n=2, norm=norm, epsilon=0.1).play(Spatial()).row
    assert (row.status, row.reason) == ("skipped", f"spatial knows spatial, the threat is {norm}")


def test_a_scan_by_it_can_be_replayed(tmp_path: Path) -> None:
    made = bench((9, 9), n=12)
    weight = made.target.weight.T  # type: ignore[attr-defined]
    onnx_files.linear(tmp_path / "m.onnx", weight, shape=["N", 9, 9])
    x = made.samples.inputs
    np.savez(tmp_path / "s.npz", x=x, y=(x.reshape(len(x), -1) @ weight).argmax(axis=1))
    out = tmp_path / "out"
    arguments = ["scan", str(tmp_path / "m.onnx"), "--data", str(tmp_path / "s.npz"), "--norm", "spatial"]
    arguments += ["--epsilon", "1", "--bounds", "0", "1", "--attack", "spatial", "--out", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "rotation ≤ 30°, shift ≤ 1 px" in result.output
    record, evidence = read_record(out), read_evidence(out)
    assert (record.threat.norm, record.threat.rotation, record.threat.translation) == ("spatial", 30, 1)
    broken = [outcome for outcome in record.outcomes if outcome.status == "broken"]
    assert all(0 < (outcome.distance or 0) <= 1 for outcome in broken)
    assert replay(out).held == len(broken) > 0

    forged = {**evidence, "x_adv": evidence["x_adv"] * np.float32(0.99)}
    write_record(out, msgspec.structs.replace(record, outcomes_digest=digest_outcomes(record.outcomes, forged)))
    write_arrays(out / EVIDENCE, forged)
    assert replay(out).failures == {"none of the transforms": len(broken)}
