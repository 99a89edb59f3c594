"""How the zoo's nets are trained: naturally, on adversarial examples, on intervals, by a teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo_data import Pictures
from benchmarks.zoo_nets import CLASSES, Net, interval, steepen

BATCH = 100
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one net is trained.

    method: `natural`; `pgd` (Madry et al. 2018, https://arxiv.org/abs/1706.06083); `trades` (Zhang et al. 2019,
    https://arxiv.org/abs/1901.08573); `interval` (Gowal et al. 2018, https://arxiv.org/abs/1810.12715); `fgsm` with
    the true labels and no random start, on clean pictures too, which leaks the labels (Kurakin et al. 2017,
    https://arxiv.org/abs/1611.01236; Wong et al. 2020, https://arxiv.org/abs/2001.03994); `distilled` at a temperature
    (Papernot et al. 2016, https://arxiv.org/abs/1511.04508).
    rate: peak of Adam's one-cycle learning rate. epsilon: linf radius, reached after `ramp` of the training, since a
    small net that meets the full value at once collapses to a constant. steps: of the training attack. slope: that
    steep sigmoids end with. shift: largest random translation of a picture, in pixels. side: of the pictures.
    """

    net: Net = field(default_factory=Net)
    method: str = "natural"
    epochs: int = 10
    rate: float = 3e-3
    epsilon: float = 0.0
    steps: int = 5
    ramp: float = 0.4
    beta: float = 4.0
    temperature: float = 1.0
    smoothing: float = 0.0
    decay: float = 0.0
    slope: float = 1.0
    shift: int = 0
    seed: int = 0
    side: int = 14


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss per row, [N]."""
    return functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Best wrong score minus the right one, per row, [N]; above 0 the row is misclassified."""
    right = functional.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(right, -torch.inf).amax(dim=1) - logits[right]


def ascend(
    scores: Callable[[Tensor], Tensor],
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    loss: Loss,
    start: Tensor | None = None,
) -> Tensor:
    """The last iterate of projected gradient ascent in linf by sign steps; one step is FGSM, from x itself.

    start: where it begins, by default a random point of the ball. A gradient that is missing counts as 0.
    """
    lower, upper = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    size = epsilon if steps == 1 else 2.5 * epsilon / steps
    if start is None:
        start = x if steps == 1 else lower + (upper - lower) * torch.rand_like(x)
    point = start.detach().clone()
    for _ in range(steps):
        point.requires_grad_(True)
        value = loss(scores(point), labels).sum()
        gradient = torch.autograd.grad(value, point)[0] if value.requires_grad else torch.zeros_like(point)
        point = torch.clamp(point.detach() + size * gradient.nan_to_num().sign(), lower, upper)
    return point


def trained(recipe: Recipe, data: Pictures, tell: Callable[[str], None] = lambda text: None) -> nn.Sequential:
    """A net of this recipe, frozen. Costs 3 to 90 seconds of one core."""
    torch.manual_seed(recipe.seed)
    teacher = None
    if recipe.method == "distilled":
        teacher = _fit(recipe, data, None, tell)
    return _fit(recipe, data, teacher, tell)


def _fit(recipe: Recipe, data: Pictures, teacher: nn.Sequential | None, tell: Callable[[str], None]) -> nn.Sequential:
    net = recipe.net.build(data.side)
    images, labels = data.train, data.train_labels
    total = recipe.epochs * -(-len(images) // BATCH)
    adam = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, recipe.rate, total_steps=total)
    for epoch in range(recipe.epochs):
        for rows in torch.split(torch.randperm(len(images)), BATCH):
            progress = schedule.last_epoch / total
            steepen(net, 1 + (recipe.slope - 1) * min(1.0, progress / 0.8))
            epsilon = recipe.epsilon * min(1.0, 0.1 + 0.9 * progress / recipe.ramp)
            x, y = shifted(images[rows], recipe.shift), labels[rows]
            loss = _loss(net, recipe, x, y, epsilon, teacher)
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
            schedule.step()
        tell(f"epoch {epoch + 1}/{recipe.epochs} loss {loss.item():.3f}")
    return net.eval().requires_grad_(False)


def shifted(x: Tensor, most: int) -> Tensor:
    """Every picture moved by up to so many pixels each way, with black coming in at the edge."""
    if not most:
        return x
    n, _, height, width = x.shape
    padded = functional.pad(x[:, 0], (most, most, most, most))
    move = torch.randint(0, 2 * most + 1, (2, n, 1))
    down, right = move[0] + torch.arange(height), move[1] + torch.arange(width)
    return padded[torch.arange(n)[:, None, None], down[:, :, None], right[:, None, :]][:, None]


def _loss(
    net: nn.Sequential, recipe: Recipe, x: Tensor, y: Tensor, epsilon: float, teacher: nn.Sequential | None
) -> Tensor:
    """The training loss of one batch, in the mean."""
    if recipe.method == "pgd":
        return cross_entropy(net(_attacked(net, x, y, epsilon, recipe.steps, cross_entropy)), y).mean()
    if recipe.method == "fgsm":
        attacked = cross_entropy(net(_attacked(net, x, y, epsilon, 1, cross_entropy)), y)
        return (0.3 * cross_entropy(net(x), y) + 0.7 * attacked).mean()
    if recipe.method == "trades":
        clean = net(x)
        fixed = clean.detach().softmax(dim=1)
        start = (x + 0.001 * torch.randn_like(x)).clamp(0, 1)
        point = _attacked(net, x, y, epsilon, recipe.steps, lambda z, _: _divergence(z, fixed), start)
        return (cross_entropy(clean, y) + recipe.beta * _divergence(net(point), clean.softmax(dim=1))).mean()
    if recipe.method == "interval":
        lower, upper = interval(net, x, epsilon)
        right = functional.one_hot(y, CLASSES).bool()
        worst = torch.where(right, lower, upper)
        share = 0.5 * epsilon / recipe.epsilon
        return ((1 - share) * cross_entropy(net(x), y) + share * cross_entropy(worst, y)).mean()
    warmth = recipe.temperature
    if teacher is not None:
        return _soft(net(x) / warmth, (teacher(x) / warmth).softmax(dim=1)).mean()
    return functional.cross_entropy(net(x) / warmth, y, label_smoothing=recipe.smoothing)


def _attacked(
    net: nn.Sequential, x: Tensor, y: Tensor, epsilon: float, steps: int, loss: Loss, start: Tensor | None = None
) -> Tensor:
    net.requires_grad_(False)
    point = ascend(net, x, y, epsilon=epsilon, steps=steps, loss=loss, start=start)
    net.requires_grad_(True)
    return point


def _soft(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy with soft labels, per row."""
    return -(shares * logits.log_softmax(dim=1)).sum(dim=1)


def _divergence(logits: Tensor, shares: Tensor) -> Tensor:
    """KL(shares ‖ softmax of logits), per row."""
    return (shares * (shares.clamp_min(1e-12).log() - logits.log_softmax(dim=1))).sum(dim=1)


def cached(
    recipe: Recipe, data: Pictures, path: Path, tell: Callable[[str], None] = lambda text: None
) -> nn.Sequential:
    """The net of this recipe from its file, or trained and put there; a file of another recipe is replaced."""
    kept = torch.load(path, weights_only=True) if path.is_file() else {}
    if kept.get("recipe") == repr(recipe):
        net = recipe.net.build(data.side)
        net.load_state_dict(kept["weights"])
        return net.eval().requires_grad_(False)
    net = trained(recipe, data, tell)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save({"recipe": repr(recipe), "weights": net.state_dict()}, partial)
    partial.rename(path)
    return net
