import pytest
import torch

from auditor.remembered import by_identity, by_shape


@pytest.fixture
def counted():
    """A function that says how often it ran."""

    def function(*values):
        function.runs += 1
        return torch.stack([value.sum() for value in values])

    function.runs = 0
    return function


def test_it_runs_again_only_for_other_inputs(counted):
    remembered = by_identity(counted)
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([4.0])
    assert remembered(a, b).tolist() == [3, 4]
    assert remembered(a, b) is remembered(a, b)
    assert counted.runs == 1
    assert remembered(a, a).tolist() == [3, 3]
    assert remembered(b, a).tolist() == [4, 3]
    assert counted.runs == 3
    assert remembered(b, a.clone()).tolist() == [4, 3]
    assert counted.runs == 4


def test_of_a_shape_the_values_do_not_matter(counted):
    remembered = by_shape(counted)
    first = remembered(torch.ones(2, 3))
    assert remembered(torch.zeros(2, 3)) is first
    assert remembered(torch.ones(3, 2)) is not first
    assert remembered(torch.ones(2, 3, 1)) is not first
    assert counted.runs == 3
    samples = torch.ones(5, 2, 3, 1)
    assert torch.vmap(lambda x: x * remembered(x))(samples).sum() == 6 * samples.sum()
    assert counted.runs == 3  # each sample of a map has this shape
    assert remembered(torch.ones(2, 3, 1).double()).dtype is torch.float64


def test_what_is_no_tensor_has_no_shape_to_remember():
    remembered = by_shape(len)
    assert [remembered([1]), remembered([1, 2])] == [1, 2]


@pytest.mark.parametrize("remember", [by_identity, by_shape])
def test_nothing_without_a_version_counter_is_kept(counted, remember):
    """What inference mode makes can't take part in a gradient later."""
    remembered, x = remember(counted), torch.ones(2)
    with torch.inference_mode():
        remembered(x)
    weight = torch.ones(1, requires_grad=True)
    (weight * remembered(x)).sum().backward()
    assert weight.grad.item() == 2
