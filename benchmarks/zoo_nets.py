"""The zoo's nets: small, plain, and made only of layers that `zoo_file` can write into a file node by node."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "sigmoid": nn.Sigmoid}
CLASSES = 10


class Steep(nn.Module):
    """A sigmoid of `slope` times its input: steep enough, it is a step whose derivative underflows to 0."""

    slope: Tensor

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("slope", torch.tensor(slope))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * x)


class Winners(nn.Module):
    """k-winners-take-all: of a sample's features only the largest pass. Xiao et al., https://arxiv.org/abs/1905.10510"""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def count(self, features: int) -> int:
        """How many pass."""
        return max(1, round(self.share * features))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        least = flat.topk(self.count(flat.shape[1]), dim=1).values[:, -1:]
        return (flat * (flat >= least)).reshape(x.shape)


class Thermometer(nn.Module):
    """Each pixel as the thresholds that it exceeds, one channel each. Buckman et al., ICLR 2018 (S18Su--CW)"""

    thresholds: Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        steps = (torch.arange(levels) + 0.5) / levels
        self.register_buffer("thresholds", steps.reshape(1, levels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x > self.thresholds).to(x.dtype)


@dataclass(frozen=True, kw_only=True)
class Net:
    """An architecture. kind: `cnn` (strided convolutions, then one hidden layer) or `mlp`; with depth 0 it is linear.

    width: channels of the first convolution, or units of a hidden layer. depth: convolutions, or hidden layers.
    activation: a name of ACTIVATIONS, `steep`, or `winners` with the share of features that pass. thermometer: levels
    that pixels are encoded in, 0 for none. dropout: rate behind every activation, in training.
    """

    kind: str = "cnn"
    width: int = 8
    depth: int = 2
    activation: str = "relu"
    share: float = 0.1
    thermometer: int = 0
    dropout: float = 0.0

    def build(self, side: int) -> nn.Sequential:
        """The net with fresh weights, for `[n, 1, side, side]` in [0, 1]; returns logits."""
        layers: list[nn.Module] = [Thermometer(self.thermometer)] if self.thermometer else []
        channels = self.thermometer or 1
        if self.kind == "cnn":
            for number in range(self.depth):
                out = self.width * 2**number
                layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), *self._active()]
                channels, side = out, (side + 1) // 2
        features = channels * side * side
        layers.append(nn.Flatten())
        for hidden in [64] if self.kind == "cnn" else [self.width] * self.depth:
            layers += [nn.Linear(features, hidden), *self._active()]
            features = hidden
        return nn.Sequential(*layers, nn.Linear(features, CLASSES))

    def _active(self) -> list[nn.Module]:
        """The activation, and dropout where it is trained with it."""
        if self.activation == "steep":
            active: nn.Module = Steep()
        elif self.activation == "winners":
            active = Winners(self.share)
        else:
            active = ACTIVATIONS[self.activation]()
        return [active, nn.Dropout(self.dropout)] if self.dropout else [active]


def steepen(net: nn.Module, slope: float) -> None:
    """Give every steep sigmoid of the net this slope."""
    for layer in net.modules():
        if isinstance(layer, Steep):
            layer.slope.fill_(slope)


def interval(net: nn.Sequential, x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Bounds of the logits over the linf ball within [0, 1], by interval arithmetic; for linear and rising layers."""
    lower, upper = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    for layer in net.children():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            middle, radius = (upper + lower) / 2, (upper - lower) / 2
            middle = layer(middle)
            if isinstance(layer, nn.Linear):
                radius = nn.functional.linear(radius, layer.weight.abs())
            else:
                radius = nn.functional.conv2d(radius, layer.weight.abs(), None, layer.stride, layer.padding)
            lower, upper = middle - radius, middle + radius
        else:
            lower, upper = layer(lower), layer(upper)
    return lower, upper
