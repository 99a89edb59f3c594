"""Expectation over transformation, where the answer is known: linear models behind noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor import Defense, LibraryAttack, Norm, Query, Samples, ThreatModel, UsageError
from auditor.access import Access
from auditor.attack import AnyAttack
from auditor.chance import CHANCE, normal_like, uniform_like
from auditor.execution import Execution
from auditor.expectation import expected
from auditor.footprint import BACKWARD, forward_bytes, narrowed
from auditor.host import Host
from auditor.journal import Journal
from auditor.ledger import Ledger
from auditor.mixed import settled
from auditor.observe import VOTES
from auditor.oracle import TwinOracle
from auditor.search import Search
from auditor.suite import Stage
from auditor.testing import Bench, LinearTarget, linear_bench
from auditor.twin import Twin
from auditor.verify import Verifier

HOST = Host.load(
    bundled=["auditor.plugins.defenses.smoothing", "auditor.plugins.attacks.fgsm", "auditor.plugins.attacks.pgd"],
    installed=False,
)
D = 400


@dataclass(frozen=True, kw_only=True)
class Flicker(Defense):
    """Multiplies every feature by 1 + scale · z: a mean of 1, and a gradient whose sign is often wrong."""

    name: ClassVar[str] = "flicker"
    gradient: ClassVar[str] = "random"

    scale: float = 3.0

    def transform(self, x: np.ndarray) -> np.ndarray:
        return self.relaxed(torch.from_numpy(x)).numpy()

    def relaxed(self, x: Tensor) -> Tensor:
        return x * (1 + self.scale * normal_like(x))


def flickering(n: int = 12) -> Bench:
    """A linear model of two classes over D features of equal weight, behind flicker, at x = 0.

    The margin is 0.6 of what epsilon 1 can do against it.
    """
    signs = np.sign(np.random.default_rng(0).normal(size=D))
    target = Flicker().wrap_target(LinearTarget(np.stack([signs, 0 * signs]), np.array([0.6 * D, 0])))
    samples = Samples(inputs=np.zeros((n, D), np.float32), labels=np.zeros(n, np.int64), ids=np.arange(n))
    return Bench(target=target, samples=samples, threat=ThreatModel(norm=Norm.LINF, epsilon=1.0))


def searched(bench: Bench, folder: Path, draws: int, **changes: Any) -> Search:
    """The search of a bench whose target is asked several times, with an expectation for a twin."""
    search = bench.search(folder)
    assert search.twin is not None
    judge = Verifier(bench.target, bench.samples, bench.threat, search.region, votes=VOTES)
    return replace(search, verifier=judge, twin=expected(search.twin, draws), **changes)


def played(search: Search, attack: AnyAttack) -> Ledger:
    ledger = Ledger.of(search.samples, np.ones(len(search.samples), bool))
    (row,) = search.play([Stage(attack=attack, title=attack.name)], ledger)
    assert row.status == "ran", row.reason
    return ledger


def test_one_draw_fails_where_the_expectation_succeeds(tmp_path: Path) -> None:
    """One draw has the right sign with probability Φ(1/3) = 0.63, so FGSM closes 0.26 of D where the margin is 0.6 D;
    a mean over 64 has it with Φ(8/3) = 0.996 and closes 0.99 D. Votes then spread by 3 √D = 0.15 D."""
    bench, fgsm = flickering(), HOST.attacks["fgsm"]()
    once = played(searched(bench, tmp_path / "once", 1), fgsm)
    often = played(searched(bench, tmp_path / "often", 64), fgsm)
    assert not once.broken.any()
    assert often.broken.all()
    assert once.spent[:, :2].tolist() == [[2, 1]] * 12
    assert often.spent[:, :2].tolist() == [[128, 64]] * 12


@pytest.mark.parametrize("draws", [1, 8])
def test_a_unit_that_is_played_again_is_the_same_bit_for_bit(draws: int, tmp_path: Path) -> None:
    """Whatever was drawn before it: a scan that was stopped after the first unit comes to the same end."""
    bench, pgd = flickering(n=80), HOST.attacks["pgd"](steps=3)
    bench = replace(bench, execution=Execution(device="cpu", threads=1, width=4))  # two units of 64
    whole = searched(bench, tmp_path / "whole", draws)
    first = played(whole, pgd)
    assert sorted(whole.journal.done or {}) == []  # a fresh one
    CHANCE.begin(99)
    normal_like(torch.zeros(7))
    journal = Journal(tmp_path / "whole", {}, resume=True)
    assert sorted(journal.done) == [(0, 0), (0, 1)]
    del journal.done[0, 1]
    again = played(searched(bench, tmp_path / "other", draws, journal=journal), pgd)
    assert np.array_equal(again.best, first.best)
    assert np.array_equal(again.broken, first.broken)
    other = played(searched(replace(bench, seed=1), tmp_path / "third", draws), pgd)
    assert not np.array_equal(other.best, first.best)


def noisy_twin(sigma: float = 0.3) -> tuple[Twin, np.ndarray]:
    """A linear model behind Gaussian noise, and its weights."""
    bench = linear_bench(classes=3, shape=(5,))
    target = HOST.defenses["smoothing"](sigma=sigma).wrap_target(bench.target)
    target.fit((5,))
    return target.twin(), bench.target.weight  # type: ignore[attr-defined]


def test_additive_noise_leaves_the_gradient_of_a_linear_model_as_it_is() -> None:
    twin, weight = noisy_twin()
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(expected(twin, 10).logits(x)[:, 1].sum(), x)
    np.testing.assert_allclose(gradient, np.tile(weight[1], (4, 1)), rtol=1e-6)


def test_the_mean_is_the_plain_model_within_the_standard_error() -> None:
    twin, weight = noisy_twin()
    x, draws = torch.rand(4, 5, generator=torch.Generator().manual_seed(0)), 2000
    CHANCE.begin(0)
    found = expected(twin, draws).logits(x)
    error = 0.3 * np.linalg.norm(weight, axis=1) / draws**0.5
    assert (np.abs((found - replace(twin, before=()).logits(x)).detach().numpy()) < 4 * error).all()
    assert np.abs((twin.logits(x) - replace(twin, before=()).logits(x)).detach().numpy()).max() > 4 * error.max()


def test_multiplied_noise_has_the_mean_of_its_gradients() -> None:
    twin = flickering().target.twin()
    x, draws = torch.ones(3, D, requires_grad=True), 500
    weight = twin.module[1].weight  # type: ignore[index]
    CHANCE.begin(0)
    (mean,) = torch.autograd.grad(expected(twin, draws).logits(x)[:, 0].sum(), x)
    CHANCE.begin(0)
    singly = [torch.autograd.grad(twin.logits(x)[:, 0].sum(), x)[0] for _ in range(draws)]
    torch.testing.assert_close(mean, torch.stack(singly).mean(0), rtol=1e-4, atol=1e-5)
    off = (mean - weight[0]) / (3 / draws**0.5)
    assert off.std().item() == pytest.approx(1, abs=0.1)


def test_a_common_draw_gives_a_common_answer() -> None:
    twin, _ = noisy_twin()
    x = torch.zeros(2, 5)
    answers = []
    for _ in range(2):
        CHANCE.begin(5)
        answers.append(expected(twin, 3).logits(x))
    assert torch.equal(*answers)
    CHANCE.begin(5)
    torch.testing.assert_close(torch.stack([twin.logits(x) for _ in range(3)]).mean(0), answers[0])


def test_expectations_of_expectations_cost_the_product() -> None:
    twin, _ = noisy_twin()
    assert expected(expected(twin, 3), 4).passes == 12
    assert expected(twin, 1) is twin
    plain = linear_bench().target.twin()
    assert expected(plain, 20) is plain
    with pytest.raises(UsageError, match="at least one draw, got 0"):
        expected(twin, 0)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_oracle_counts_every_pass_and_asks_about_fewer_points_at_once(precision: str) -> None:
    twin, _ = noisy_twin()
    sizes: list[int] = []
    twin.module.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    execution = Execution(device="cpu", threads=1, width=64, precision=precision, compile=True)
    oracle = TwinOracle(expected(twin, 8), execution)
    wanted = torch.tensor([True, False] * 10)
    points = torch.zeros(20, 5, dtype=oracle.dtype)
    oracle.ask(Query(points=points, gradient=wanted), lambda scores, _: scores[:, 0])
    assert oracle.spend.tolist() == [[8, 8, 0], [8, 0, 0]] * 10
    assert max(sizes) == 8  # 64 points of one pass, or 8 of 8
    assert sum(sizes) == 2 * 8 * 12  # ten with and ten without a gradient, each padded to twelve


class Asks(LibraryAttack):
    name: ClassVar[str] = "asks"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    def run_on(self, model: Callable[..., Tensor], x: Tensor, *_: Any) -> Tensor:
        model(x.requires_grad_())
        return x.detach()


def test_an_attack_with_a_loop_of_its_own_pays_for_every_draw_too(tmp_path: Path) -> None:
    search = searched(flickering(), tmp_path, 8)
    ledger = Ledger.of(search.samples, np.ones(12, bool))
    search.play([Stage(attack=Asks(), title="asks")], ledger)
    assert ledger.spent[:, :2].tolist() == [[8, 8]] * 12


def test_uniform_and_normal_draws_take_turns_repeatably() -> None:
    x = torch.zeros(3)
    CHANCE.begin(1)
    first = [uniform_like(x), normal_like(x)]
    CHANCE.begin(1)
    assert all(torch.equal(a, b) for a, b in zip(first, [uniform_like(x), normal_like(x)], strict=True))


def test_several_passes_take_as_much_memory_as_fewer_points() -> None:
    """What `narrowed` allows is a width in passes, of which the oracle makes so many fewer points."""
    twin, _ = noisy_twin()
    execution, inputs = Execution(device="cpu", threads=1, width=10_000), np.zeros((1, 5), np.float32)
    one = BACKWARD * forward_bytes(twin, inputs)
    many = BACKWARD * forward_bytes(expected(twin, 8), inputs)
    assert many > 7 * one
    narrow = narrowed(execution, expected(twin, 8), inputs, 100 * many)
    assert narrow.width == 800
    assert TwinOracle(expected(twin, 8), narrow).execution.width == 100


def test_a_random_twin_is_not_rounded_to_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls of it differ by more than that, so nothing would show what the rounding does."""
    for name, answer in (("in_hardware", True), ("flops", 1e12), ("faithful", True), ("speed_up", 3.0)):
        monkeypatch.setattr(f"auditor.mixed.{name}", lambda *_, answer=answer: answer)
    twin, _ = noisy_twin()
    execution, inputs = Execution(device="cpu", threads=1, precision="auto"), np.zeros((1, 5), np.float32)
    assert settled(execution, replace(twin, random=False), inputs).precision == "bfloat16"
    assert settled(execution, twin, inputs).precision == "float32"
