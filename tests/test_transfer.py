"""A stand-in proposes, the deployed model decides; what each was fooled by is counted, and margins are the model's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.pgd import PGD

from auditor.access import Access
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import ModelError
from auditor.ledger import Ledger
from auditor.search import Search
from auditor.sources import DISTILLATE, SMOOTH, Sources
from auditor.suite import Stage
from auditor.twin import Twin


def opposite(bench: Bench) -> Twin:
    """The twin with its classes exchanged: what it climbs leads away."""
    weight, bias = bench.target.weight, bench.target.bias  # type: ignore[attr-defined]
    return LinearTarget(weight[::-1].copy(), bias[::-1].copy()).twin()


def tilted(bench: Bench, share: float) -> Twin:
    """A stand-in whose weights are the model's for a share of the features, and 0 for the others."""
    weight = bench.target.weight.copy()  # type: ignore[attr-defined]
    weight[:, int(share * weight.shape[1]) :] = 0
    return LinearTarget(weight, bench.target.bias).twin()  # type: ignore[attr-defined]


def played(bench: Bench, folder: Path, source: Twin, attack: PGD = PGD(steps=40)) -> tuple[Search, Ledger, Stage]:  # noqa: B008
    search = replace(bench.search(folder), sources=Sources({SMOOTH: lambda: source}))
    ledger = Ledger.of(bench.samples, np.ones(len(bench.samples), bool))
    return search, ledger, Stage(attack=attack, title="pgd", source=SMOOTH)


def test_a_model_transfers_to_itself(tmp_path: Path) -> None:
    bench = linear_bench(n=20, distance=0.1).at(0.12)
    search, ledger, stage = played(bench, tmp_path, bench.target.twin())
    (row,) = search.play([stage], ledger)
    assert row.transfer is not None
    assert (row.transfer.n, row.transfer.both_right, row.transfer.fooled_source) == (20, 20, 20)
    assert row.transfer.transferred == 1.0
    assert ledger.broken.all()
    assert row.source == SMOOTH


def test_what_a_stand_in_calls_solved_is_a_candidate_and_no_more(tmp_path: Path) -> None:
    """It has every sample wrong, and is fooled by points that the model has right."""
    bench = linear_bench(n=20, distance=0.1).at(0.12)
    search, ledger, stage = played(bench, tmp_path, opposite(bench))
    (row,) = search.play([stage], ledger)
    assert not ledger.broken.any()
    assert row.transfer is not None
    assert (row.transfer.n, row.transfer.both_right, row.transfer.errors) == (20, 0, 0)
    assert row.transfer.transferred is None


def test_margins_that_rank_survivors_are_the_model_s(tmp_path: Path) -> None:
    bench = linear_bench(n=20, shape=(40,), distance=0.1).at(0.11)
    search, ledger, stage = played(bench, tmp_path, tilted(bench, 0.75))
    search.play([stage], ledger)
    assert not ledger.broken.any()
    scores = bench.target.scores(ledger.best).astype(np.float64)
    label = bench.samples.labels
    expected = scores[np.arange(20), label] - scores[np.arange(20), 1 - label]
    assert np.allclose(ledger.margin, expected, atol=1e-6)
    assert (ledger.margin > 0).all()


def test_a_stand_in_that_leads_part_of_the_way_breaks_what_lies_there(tmp_path: Path) -> None:
    bench = linear_bench(n=20, shape=(40,), distance=0.1).at(0.2)
    search, ledger, stage = played(bench, tmp_path, tilted(bench, 0.75))
    (row,) = search.play([stage], ledger)
    assert ledger.broken.all()
    assert row.rejected.get("outside the ball", 0) == 0


def test_the_journal_keeps_what_was_led_astray(tmp_path: Path) -> None:
    from auditor.journal import Journal

    bench = linear_bench(n=20, distance=0.1).at(0.12)
    search, ledger, stage = played(bench, tmp_path, bench.target.twin())
    (first,) = search.play([stage], ledger)
    resumed = replace(search, journal=Journal(tmp_path, {}, resume=True))
    again = Ledger.of(bench.samples, np.ones(len(bench.samples), bool))
    (second,) = resumed.play([stage], again)
    assert second.transfer == first.transfer
    assert np.array_equal(again.broken, ledger.broken)


def test_an_outsider_may_follow_a_stand_in_but_nothing_made_of_the_file(tmp_path: Path) -> None:
    bench = replace(linear_bench(n=4, distance=0.1).at(0.12), access=Access.DECISION)
    plain = linear_bench(n=4, distance=0.1).target.twin()
    search = replace(bench.search(tmp_path), sources=Sources({SMOOTH: lambda: plain, DISTILLATE: lambda: plain}))
    assert search.unfit(Stage(attack=PGD(), title="pgd", source=DISTILLATE)) is None
    for source in (SMOOTH, "twin"):
        why = search.unfit(Stage(attack=PGD(), title="pgd", source=source))
        assert why is not None
        assert "gradient access" in why
    ledger = Ledger.of(bench.samples, np.ones(4, bool))
    search.play([Stage(attack=PGD(steps=40), title="pgd", source=DISTILLATE)], ledger)
    assert ledger.broken.all()


def test_a_source_is_made_once_and_says_why_there_is_none() -> None:
    made: list[int] = []

    def make() -> Twin:
        made.append(1)
        return linear_bench().target.twin()

    def fail() -> Twin:
        made.append(2)
        raise ModelError("the dog ate it")

    sources = Sources({"one": make, "two": fail})
    assert sources.find("one") is sources.find("one")
    for _ in range(2):
        with pytest.raises(ModelError, match="the dog ate it"):
            sources.find("two")
    assert made == [1, 2]
    assert sources.has("one")
    assert not sources.has("two")
    with pytest.raises(ModelError, match="no source 'three'"):
        sources.find("three")


def test_bfloat16_is_not_for_stand_ins(tmp_path: Path) -> None:
    bench = linear_bench(n=4, distance=0.1).at(0.12)
    search, _, stage = played(bench, tmp_path, bench.target.twin())
    oracle = search._oracle(stage)
    assert oracle is search._oracle(stage)
    assert torch.float32 is oracle.dtype  # type: ignore[attr-defined]


def test_what_a_maker_asks_of_the_model_is_booked_once(tmp_path: Path) -> None:
    bench = linear_bench(n=4, distance=0.1).at(0.12)

    def small() -> Twin:
        bench.target.scores(bench.samples.inputs[:3])
        return bench.target.twin()

    def large() -> Twin:
        bench.target.scores(bench.samples.inputs)
        return sources.find("small")

    sources = Sources({"small": small, "large": large}, bench.target)
    sources.find("large")
    assert sources.asked == {"small": 3, "large": 4}
    assert (sources.book(), sources.book()) == (7, 0)
    again = Sources({SMOOTH: small}, bench.target)
    search = replace(bench.search(tmp_path), sources=again)
    (row,) = search.play([Stage(attack=PGD(), title="pgd", source=SMOOTH)], Ledger.of(bench.samples, np.ones(4, bool)))
    assert row.queries >= 3 + row.broken
