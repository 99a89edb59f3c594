import pytest
import torch
from advaudit_momentum import Momentum, MomentumRows
from torch import Tensor

from auditor import Problem, Reply, UsageError
from auditor.testing import check_attack, linear_bench


def fed(attack: Momentum, problem: Problem, *gradients: Tensor) -> MomentumRows:
    """The rows after replies with these gradients, without any model."""
    rows = attack.start(problem)
    for gradient in gradients:
        every = torch.arange(len(problem))
        rows = attack.step(problem, rows, Reply(points=rows.x, owner=every, labels=problem.labels, gradient=gradient))
    return rows


def test_it_breaks_what_can_be_broken_and_nothing_else() -> None:
    check_attack(Momentum())


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_the_velocity_of_a_constant_gradient_is_a_geometric_sum(decay: float) -> None:
    problem = linear_bench(n=3).at(0.1).problem()
    gradient = torch.randn(problem.inputs.shape, generator=torch.Generator().manual_seed(0))
    unit = gradient / gradient.abs().sum(dim=1, keepdim=True)
    rows = fed(Momentum(decay=decay), problem, *[gradient] * 4)
    assert torch.allclose(rows.velocity, (1 + decay + decay**2 + decay**3) * unit)


def test_opposite_gradients_cancel_whatever_their_sizes() -> None:
    problem = linear_bench(n=3).at(0.1).problem()
    gradient = torch.ones_like(problem.inputs)
    once, twice = fed(Momentum(), problem, gradient), fed(Momentum(), problem, gradient, -100 * gradient)
    assert torch.equal(once.x, twice.x)
    assert not torch.equal(once.x, problem.inputs)


def test_the_steps_add_up_to_epsilon() -> None:
    problem = linear_bench(n=3).at(0.1).problem()
    rows = fed(Momentum(steps=4), problem, *[torch.ones_like(problem.inputs)] * 4)
    assert torch.allclose(rows.x, problem.inputs + 0.1)


def test_a_gradient_of_zero_moves_nothing() -> None:
    problem = linear_bench(n=3).at(0.1).problem()
    rows = fed(Momentum(), problem, torch.zeros_like(problem.inputs))
    assert torch.equal(rows.x, problem.inputs)


def test_a_decay_that_can_not_be_is_refused() -> None:
    with pytest.raises(UsageError, match="from 0 to 1, got 2"):
        Momentum(decay=2.0)
