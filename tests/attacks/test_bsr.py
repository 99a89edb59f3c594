"""BSR: pictures cut into blocks that are shuffled and turned, each row and gradient its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.bsr import BSR, blocks, dealt, shuffled
from looks import seen, smooth_bench
from scipy.ndimage import map_coordinates
from torch import Tensor
from walks import check_threats

from auditor.bench import linear_bench
from auditor.errors import UsageError
from auditor.testing import check_attack

RNG = np.random.default_rng(0)
SHAPES = [(1, 8, 8), (3, 6, 9), (6, 9, 3), (6, 9)]


def numbers(*shape: int) -> Tensor:
    return torch.from_numpy(RNG.uniform(size=shape))


def test_a_side_is_dealt_out_by_hand() -> None:
    """Ten places in pieces of 2, 5 and 3, of which the last comes first and the first last."""
    piece, source, start, size = dealt(1 - torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.9, 0.5, 0.1]), 10)
    assert piece.tolist() == [2, 2, 2, 1, 1, 1, 1, 1, 0, 0]
    assert source.tolist() == [7, 8, 9, 2, 3, 4, 5, 6, 0, 1]
    assert start.tolist() == [7, 7, 7, 2, 2, 2, 2, 2, 0, 0]
    assert size.tolist() == [3, 3, 3, 5, 5, 5, 5, 5, 2, 2]


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_every_place_is_dealt_once_also_where_pieces_are_empty(n: int) -> None:
    _, source, _, _ = dealt(numbers(50, n), numbers(50, n), 7)
    assert (source.sort(dim=-1).values == torch.arange(7)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_one_block_that_does_not_turn_is_the_picture_bit_by_bit(shape: tuple[int, ...]) -> None:
    problem = linear_bench(shape=shape).problem()
    assert torch.equal(seen(BSR(blocks=1, angle=0.0), problem, problem.inputs), problem.inputs)


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_that_do_not_turn_are_the_pictures_pixels_in_another_order(shape: tuple[int, ...]) -> None:
    problem = linear_bench(shape=shape, n=30).problem()
    made = seen(BSR(blocks=3, angle=0.0), problem, problem.inputs)
    assert torch.equal(made.flatten(1).sort(dim=1).values, problem.inputs.flatten(1).sort(dim=1).values)
    assert float((made != problem.inputs).double().mean()) > 0.5


def test_channels_move_together() -> None:
    problem = linear_bench(shape=(1, 8, 8), n=5).problem()
    grey = problem.inputs.expand(5, 3, 8, 8)
    made = shuffled(
        grey, numbers(5, 2, 2), numbers(5, 2, 2, 2), numbers(5, 2, 2), torch.tensor([True, False] * 2 + [True])
    )
    assert torch.equal(made[:, 0], made[:, 2])


@pytest.mark.parametrize("by_rows", [True, False])
def test_each_block_is_turned_around_its_middle_as_scipy_turns_it(by_rows: bool) -> None:
    """One strip after another, one block after another: cut out, turned by itself with zeros around, and put down."""
    height, width, n = 7, 10, 2
    first, second, turns = numbers(1, 2, n), numbers(1, 2, n, n), numbers(1, n, n) - 0.5
    picture = RNG.normal(size=(height, width))
    made = shuffled(torch.from_numpy(picture)[None, None], first, second, turns, torch.tensor([by_rows]))[0, 0].numpy()
    whole, made = (picture, made) if by_rows else (picture.T, made.T)

    def cut(share: np.ndarray, side: int) -> np.ndarray:
        return np.concatenate([[0], np.round(np.cumsum(1 - share) / np.sum(1 - share) * side)]).astype(int)

    rows = cut(first[0, 0].numpy(), len(whole))
    y = 0
    for strip in np.argsort(first[0, 1].numpy()):
        columns, x = cut(second[0, 0, strip].numpy(), whole.shape[1]), 0
        tall = rows[strip + 1] - rows[strip]
        for block in np.argsort(second[0, 1, strip].numpy()):
            part = whole[rows[strip] : rows[strip + 1], columns[block] : columns[block + 1]]
            if part.size:
                down, right = np.mgrid[: part.shape[0], : part.shape[1]]
                down, right = down - (part.shape[0] - 1) / 2, right - (part.shape[1] - 1) / 2
                angle = float(turns[0, strip, block])
                place = [
                    np.cos(angle) * down + np.sin(angle) * right + (part.shape[0] - 1) / 2,
                    np.cos(angle) * right - np.sin(angle) * down + (part.shape[1] - 1) / 2,
                ]
                turned = map_coordinates(part, place, order=1, mode="grid-constant", cval=0.0)
                np.testing.assert_allclose(made[y : y + tall, x : x + part.shape[1]], turned, atol=1e-9)
            x += part.shape[1]
        y += tall


def test_angles_go_to_both_sides_and_strips_lie_both_ways() -> None:
    problem = linear_bench(shape=(1, 9, 9), n=200).problem()
    line = torch.arange(9.0)[:, None].expand(9, 9).expand(200, 1, 9, 9)  # rows of one value each
    still = seen(BSR(angle=0.0), problem, line)[:, 0]
    across = (still == still[:, :, :1]).all(dim=2).all(dim=1)
    assert 0.35 < float(across.double().mean()) < 0.75
    turned = seen(BSR(blocks=1, angle=30.0), problem, line)[:, 0]
    tilt = turned[:, 4, 6] - turned[:, 4, 2]  # along the middle row a turned slope rises or falls
    assert 0.4 < float((tilt > 0).double().mean()) < 0.6
    assert 0.9 * 4 * np.sin(np.deg2rad(30)) < float(tilt.abs().max()) <= 4 * np.sin(np.deg2rad(30)) + 1e-4


def test_a_views_gradient_is_the_transposed_map() -> None:
    problem = linear_bench(shape=(1, 6, 5), n=1).problem()
    matrix = seen(BSR(), problem.take(torch.zeros(30, dtype=torch.int64)), torch.eye(30).reshape(30, 1, 6, 5)).flatten(
        1
    )
    point, slope = problem.inputs.clone().requires_grad_(), torch.from_numpy(RNG.normal(size=30)).float()
    (seen(BSR(), problem, point).flatten() @ slope).backward()  # type: ignore[no-untyped-call]
    assert point.grad is not None
    np.testing.assert_allclose(point.grad.flatten(), matrix @ slope, atol=1e-5)


def test_views_differ_by_row_and_by_copy() -> None:
    problem = linear_bench(shape=(1, 8, 8), n=6).problem()
    picture = problem.inputs[:1].expand(6, 1, 8, 8)
    first, later = (seen(BSR(), problem.at(problem.ages + age, 1), picture) for age in (0, 1))
    assert len({tuple(row.flatten().tolist()) for row in torch.cat([first, later])}) == 12


def test_rows_do_not_depend_on_their_company() -> None:
    one, other = (smooth_bench(0.05, width).play(BSR(steps=3, copies=3)).ledger for width in (64, 1))
    assert np.array_equal(one.broken, other.broken)
    assert np.allclose(one.best, other.best, atol=1e-6)


@pytest.mark.parametrize(("attack", "cost"), [(BSR(), (201, 200)), (BSR(steps=2, copies=3, scales=2), (13, 12))])
def test_what_a_row_costs(attack: BSR, cost: tuple[int, int]) -> None:
    assert attack.cost(2) == cost
    assert (smooth_bench(1e-5).play(attack).ledger.spent[:, :2] == cost).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"blocks": 0}, "blocks is a number"),
        ({"blocks": 65}, "blocks is a number"),
        ({"angle": -1.0}, "angle is in degrees"),
        ({"angle": float("nan")}, "angle is in degrees"),
        ({"copies": 0}, "copies is a number"),
        ({"kernel": 2}, "kernel is an odd number"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"bsr: {words}"):
        BSR(**options)


def test_blocks_stay_within_the_picture() -> None:
    _, _, top, bottom, left, right = blocks(numbers(9, 2, 4), numbers(9, 2, 4, 4), numbers(9, 4, 4), 6, 9)
    assert (top >= 0).all()
    assert (bottom <= 6).all()
    assert (left >= 0).all()
    assert (right <= 9).all()
    assert (bottom > top).all()
    assert (right > left).all()


def test_it_is_right() -> None:
    check_attack(BSR(steps=5, copies=2), seeds=1)
    check_threats(BSR(steps=2, copies=2))
