"""Make the bundled example: one CNN trained naturally, one adversarially, and 500 images to audit them on.

    python train.py --mnist mnist_test.npz

Takes the 10,000 MNIST test images (npz with `x` uint8 [N, 28, 28] and `y` [N]), trains on 8,000 of them and measures on
the other 2,000. One CPU thread, fixed seeds: the same machine and library versions give the same bytes again. It takes
about 13 minutes on one core, nearly all of it for the adversarially trained net.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
SEED = 2024
TRAINED_ON = 8000
SAMPLES_PER_CLASS = 50
BATCH = 100
SHIFT = 2
"""Largest random translation of a training image, in pixels."""

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one net is trained.

    epochs: passes over the training images. rate: peak of the one-cycle learning rate of Adam. epsilon: linf radius of
    the training attack, 0 for natural training. steps: of that attack. ramp: share of the training during which epsilon
    grows from a tenth to its full value; a small net that meets the full value at once collapses to a constant.
    """

    name: str
    epochs: int
    rate: float = 2e-3
    epsilon: float = 0.0
    steps: int = 10
    ramp: float = 0.4


RECIPES = (
    Recipe(name="natural", epochs=30),
    Recipe(name="robust", epochs=110, epsilon=0.3),
)


def network() -> nn.Sequential:
    """Inputs [N, 1, 28, 28] in [0, 1] to logits [N, 10], about 110,000 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss per row, [N]."""
    return functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Best wrong logit minus the right one, per row, [N]; above 0 the row is misclassified."""
    right = functional.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(right, -torch.inf).amax(dim=1) - logits[right]


def pgd(net: nn.Module, x: Tensor, labels: Tensor, epsilon: float, steps: int, size: float, loss: Loss) -> Tensor:
    """The last iterate of projected gradient ascent in linf, from a random point of the ball."""
    lower, upper = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    point = lower + (upper - lower) * torch.rand_like(x)
    for _ in range(steps):
        point.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(net(point), labels).sum(), point)
        point = torch.clamp(point.detach() + size * gradient.sign(), lower, upper)
    return point


def shifted(x: Tensor) -> Tensor:
    """Every image moved by up to SHIFT pixels each way, with black coming in at the edge."""
    n, _, height, width = x.shape
    padded = functional.pad(x[:, 0], (SHIFT, SHIFT, SHIFT, SHIFT))
    move = torch.randint(0, 2 * SHIFT + 1, (2, n, 1))
    down, right = move[0] + torch.arange(height), move[1] + torch.arange(width)
    return padded[torch.arange(n)[:, None, None], down[:, :, None], right[:, None, :]][:, None]


def train(recipe: Recipe, images: Tensor, labels: Tensor) -> nn.Sequential:
    """A net of this recipe: on the images themselves, or on what PGD makes of them."""
    torch.manual_seed(SEED)
    net = network()
    total = recipe.epochs * (len(images) // BATCH)
    adam = torch.optim.Adam(net.parameters(), lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, recipe.rate, total_steps=total)
    for epoch in range(recipe.epochs):
        losses = []
        for rows in torch.split(torch.randperm(len(images)), BATCH):
            x, y = shifted(images[rows]), labels[rows]
            if recipe.epsilon:
                progress = schedule.last_epoch / total
                epsilon = recipe.epsilon * min(1.0, 0.1 + 0.9 * progress / recipe.ramp)
                net.requires_grad_(False)
                x = pgd(net, x, y, epsilon, recipe.steps, 2.5 * epsilon / recipe.steps, cross_entropy)
                net.requires_grad_(True)
            loss = cross_entropy(net(x), y).mean()
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
            schedule.step()
            losses.append(loss.item())
        print(f"{recipe.name} epoch {epoch + 1}/{recipe.epochs} loss {np.mean(losses):.3f}", flush=True)
    return net.requires_grad_(False)


def export(net: nn.Sequential, name: str, path: Path) -> None:
    """Write the net as one ONNX file, every weight inside; node by node, so no exporter's version shows in it."""
    operators: dict[type[nn.Module], tuple[str, dict[str, Any]]] = {
        nn.Conv2d: ("Conv", {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        nn.Linear: ("Gemm", {"transB": 1}),
        nn.ReLU: ("Relu", {}),
        nn.Flatten: ("Flatten", {}),
    }
    nodes, weights, flowing = [], [], "input"
    for index, layer in enumerate(net):
        after = "logits" if index == len(net) - 1 else f"layer{index}"
        inputs = [flowing]
        for kind, value in layer.named_parameters():
            weights.append(numpy_helper.from_array(value.numpy(), f"layer{index}.{kind}"))
            inputs.append(f"layer{index}.{kind}")
        operator, attributes = operators[type(layer)]
        nodes.append(helper.make_node(operator, inputs, [after], **attributes))
        flowing = after
    images = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 28, 28])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])
    graph = helper.make_graph(nodes, f"mnist_{name}", [images], [logits], weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="train.py"
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def measure(net: nn.Sequential, path: Path, images: Tensor, labels: Tensor) -> None:
    """Print the file's accuracy, clean and under 40 steps of PGD on the net; what counts is the file's answer."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def accuracy(x: Tensor) -> float:
        (logits,) = session.run(None, {"input": x.numpy()})
        return 100 * float(np.mean(logits.argmax(axis=1) == labels.numpy()))

    print(f"{path.name} n {len(images)} clean {accuracy(images):.2f} %")
    for epsilon in (0.1, 0.2, 0.3):
        for loss in (cross_entropy, margin):
            torch.manual_seed(SEED)
            found = accuracy(pgd(net, images, labels, epsilon, 40, 0.075 * epsilon, loss))
            print(f"{path.name} n {len(images)} pgd-40 linf {epsilon} {loss.__name__} {found:.2f} %", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the bundled MNIST example.")
    parser.add_argument("--mnist", type=Path, required=True, help="npz with x uint8 [N, 28, 28] and y [N]")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to, default this one")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    with np.load(arguments.mnist) as mnist:
        pixels, classes = mnist["x"], mnist["y"].astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(pixels))
    train_rows, audit_rows = order[:TRAINED_ON], order[TRAINED_ON:]
    images, labels = torch.from_numpy(pixels[:, None].astype(np.float32) / 255), torch.from_numpy(classes)

    chosen = np.concatenate([audit_rows[classes[audit_rows] == digit][:SAMPLES_PER_CLASS] for digit in range(10)])
    chosen = chosen[np.random.default_rng(SEED).permutation(len(chosen))]
    names = np.array([str(digit) for digit in range(10)])
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        arguments.out / "samples.npz", x=pixels[chosen][:, None], y=classes[chosen], classes=names, test_index=chosen
    )

    for recipe in RECIPES:
        net = train(recipe, images[train_rows], labels[train_rows])
        path = arguments.out / f"{recipe.name}.onnx"
        export(net, recipe.name, path)
        for rows in (audit_rows, chosen):
            measure(net, path, images[rows], labels[rows])


if __name__ == "__main__":
    main()
