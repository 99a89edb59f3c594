"""Six small nets for MNIST, trained on the spot: architectures, training, and export to ONNX."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

EPOCHS, BATCH = 12, 64
OPSET = 17


class Residual(nn.Module):
    """Two convolutions around which the input goes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second_norm(self.second(F.relu(self.first_norm(self.first(x))))))


class Block(nn.Module):
    """A transformer block, normalised first; written out, so that a file of it has ordinary nodes."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.project(self.norm(x)).chunk(3, -1)
        q, k, v = (part.reshape(-1, x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2) for part in parts)
        shares = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        x = x + self.merge((shares @ v).transpose(1, 2).reshape(-1, x.shape[1], x.shape[2]))
        return x + self.narrow(F.gelu(self.widen(self.second_norm(x))))


class Transformer(nn.Module):
    """Sixteen patches, two blocks, the mean of the tokens."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 7, stride=7)
        self.places = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        self.blocks = nn.Sequential(Block(width, 4), Block(width, 4))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), Residual(12),
        nn.Conv2d(12, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), Residual(24),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def depthwise() -> nn.Module:
    def step(channels: int, out: int, size: int, stride: int, groups: int) -> list[nn.Module]:
        convolution = nn.Conv2d(channels, out, size, stride, size // 2, groups=groups, bias=False)
        return [convolution, nn.BatchNorm2d(out), nn.ReLU6()]

    return nn.Sequential(
        *step(1, 16, 3, 2, 1), *step(16, 16, 3, 1, 16), *step(16, 32, 1, 1, 1), *step(32, 32, 3, 2, 32),
        *step(32, 64, 1, 1, 1), nn.AvgPool2d(7), nn.Flatten(), nn.Linear(64, 32), nn.Hardswish(), nn.Linear(32, 10),
    )  # fmt: skip


def channels_last() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.Sigmoid(), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(16 * 49, 10),
    )  # fmt: skip


NETS: dict[str, Callable[[], nn.Module]] = {
    "CNN": cnn,
    "ResNet": resnet,
    "MLP": mlp,
    "transformer": Transformer,
    "depthwise": depthwise,
    "NHWC": channels_last,
}


def trained(name: str, x: np.ndarray, y: np.ndarray, seed: int = 0) -> nn.Module:
    """One of the nets, trained on images `[n, 1, 28, 28]` in [0, 1]. Costs 10 to 40 seconds on one core."""
    torch.manual_seed(seed)
    net = NETS[name]()
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        if step % (len(x) // BATCH) == 0:
            order = torch.randperm(len(x))
        rows = order[step * BATCH % (len(x) - BATCH) :][:BATCH]
        optimiser.zero_grad()
        F.cross_entropy(net(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return net.eval()


def exported(name: str, net: nn.Module) -> onnx.ModelProto:
    """The net as a file for batches of any size."""
    if name == "NHWC":
        return _channels_last(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        torch.onnx.export(
            net, (torch.zeros(1, 1, 28, 28),), file, dynamo=False, opset_version=OPSET, input_names=["x"],
            output_names=["logits"], dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
        )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def _channels_last(net: nn.Module) -> onnx.ModelProto:
    """The net whose channels lie last, node by node: transposed around every convolution, as converters write it."""
    first, _, second, _, _, _, head = net.children()
    weights = {}
    for layer, module in (("first", first), ("second", second), ("head", head)):
        for kind, value in module.named_parameters():
            weights[f"{layer}.{kind}"] = value.detach().numpy()
    weights["head.weight"] = weights["head.weight"].reshape(10, 16, 49).transpose(0, 2, 1).reshape(10, -1).T.copy()
    nodes, value = [], "x"
    for layer, activation, attributes in (("first", "LeakyRelu", {"alpha": 0.1}), ("second", "Sigmoid", {})):
        window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
        names = [value, f"{layer}.weight", f"{layer}.bias"]
        nodes.append(helper.make_node("Transpose", names[:1], [f"{layer}.in"], perm=[0, 3, 1, 2]))
        nodes.append(helper.make_node("Conv", [f"{layer}.in", *names[1:]], [f"{layer}.conv"], **window))
        nodes.append(helper.make_node("Transpose", [f"{layer}.conv"], [f"{layer}.out"], perm=[0, 2, 3, 1]))
        value = f"{layer}.active"
        nodes.append(helper.make_node(activation, [f"{layer}.out"], [value], **attributes))
    nodes.append(helper.make_node("Reshape", [value, "shape"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "head.weight"], ["product"]))
    nodes.append(helper.make_node("Add", ["product", "head.bias"], ["logits"]))
    weights["shape"] = np.array([-1, 16 * 49], np.int64)
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type}_{number}"
    graph = helper.make_graph(
        nodes,
        "nhwc",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 28, 28, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
