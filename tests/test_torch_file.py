from pathlib import Path

import pytest
import torch
from torch import nn

from auditor.errors import ModelError
from auditor.torch_file import build, digest_module

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    input_shape = (3,)
    classes = ["cat", "dog"]

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x)

class Maker:
    @staticmethod
    def bare():
        return nn.Linear(3, 2)

def fails():
    raise ValueError("no\\nweights here")

def number():
    return 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module in the working directory, another in each test."""
    name = f"somebodys_net_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_factory_may_tell_shape_and_classes(module: str) -> None:
    loaded = build(f"{module}:Net")
    assert (loaded.shape, loaded.batch, loaded.class_names) == ((3,), None, ("cat", "dog"))


def test_a_factory_may_tell_nothing(module: str) -> None:
    loaded = build(f"{module}:Maker.bare")
    assert (loaded.shape, loaded.class_names) == ((), None)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("fails", "ValueError: no weights here"),
        ("number", "should be a torch module, it is int"),
        ("absent", "has no attribute 'absent'"),
    ],
)
def test_factories_that_fail(module: str, name: str, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        build(f"{module}:{name}")
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(ModelError, match="No module named 'nowhere_to_be_found'"):
        build("nowhere_to_be_found:net")


def test_digests_tell_weights_apart() -> None:
    def net(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(torch.bfloat16)

    assert digest_module(net(0)) == digest_module(net(0))
    assert digest_module(net(0)) != digest_module(net(1))
