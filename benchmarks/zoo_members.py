"""The zoo's members as data: who is honest, who deceives by what, and which families thresholds may be tuned on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.zoo_nets import Net
from benchmarks.zoo_training import Recipe

CACHE = Path(__file__).resolve().parents[1] / ".benchmarks" / "zoo"
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "mnist"

TUNING = (
    "natural-cnn", "natural-tanh", "natural-deep", "smoothed", "pgd-cnn", "interval", "example",
    "scaled", "rounded", "steep", "bit-depth", "quantised", "dropout", "one-step", "argmax",
)  # fmt: skip
REPORT = (
    "natural-mlp", "natural-elu", "natural-sigmoid", "natural-linear", "natural-28", "decayed", "pgd-mlp", "pgd-elu",
    "pgd-28", "trades",
    "distilled", "saturated", "thermometer", "winners", "cancelled", "jpeg", "resized", "pruned", "leaking", "greater",
)  # fmt: skip
FAMILIES = {**dict.fromkeys(TUNING, "tuning"), **dict.fromkeys(REPORT, "report")}
"""Which half each family belongs to: thresholds are set on the one, and what they find is told of the other."""

CAUSES = {
    "underflow": "the cross-entropy's gradient is exactly 0 where the margin's is not",
    "gradients": "no loss has a gradient",
    "stand-ins": "an operator or a front end without a derivative stands in the way",
    "shattered": "the gradient is there, and says nothing about the neighbourhood",
    "randomised": "the answer is drawn anew each time",
    "one-step": "one step does less harm than none or several",
}
"""What hides the weakness: the indicators that `obscurity.NAMED_BY` lists for it should say so."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One model of the zoo.

    base: of a deceiver, the honest member that falls at this epsilon. cause: why attacks on a deceiver fail, a key of
    CAUSES. recipe: what its net is trained by; None for a deceiver made of its base's weights. disguise: name and
    options of what `zoo_deceivers` makes of the net. defenses: what is deployed in front, as [[defense]] tables.
    straight_through: whether the auditor may have stand-ins for its gradients. naive_steps: of the attack that it
    deceives. file, data: of a member that is not built here.
    """

    name: str
    family: str
    epsilon: float
    kind: str = "honest"
    norm: str = "linf"
    base: str | None = None
    cause: str | None = None
    recipe: Recipe | None = None
    disguise: tuple[str, dict[str, Any]] = ("none", {})
    defenses: list[dict[str, Any]] = field(default_factory=list)
    straight_through: bool = True
    naive_steps: int = 40
    file: Path | None = None
    data: Path | None = None

    @property
    def half(self) -> str:
        """`tuning` or `report`, by its family."""
        return FAMILIES[self.family]

    @property
    def path(self) -> Path:
        """The file under audit."""
        return self.file or CACHE / f"{self.name}.onnx"

    @property
    def weights(self) -> Path:
        """Where its trained net is kept."""
        return CACHE / "nets" / f"{self.name}.pt"

    @property
    def samples(self) -> Path:
        """What it is audited on."""
        return self.data or CACHE / f"samples-{side_of(self)}.npz"


def side_of(member: Member) -> int:
    """Of the pictures that it takes."""
    if member.recipe is not None:
        return member.recipe.side
    return 28 if member.base is None else side_of(by_name(member.base))


def mlp(width: int = 128, depth: int = 2, **options: Any) -> Net:
    return Net(kind="mlp", width=width, depth=depth, **options)


def cnn(width: int = 16, **options: Any) -> Net:
    return Net(width=width, **options)


def natural(net: Net, *, epochs: int = 30, **options: Any) -> Recipe:
    return Recipe(net=net, epochs=epochs, **options)


def robust(net: Net, epsilon: float, *, method: str = "pgd", epochs: int = 18, **options: Any) -> Recipe:
    return Recipe(net=net, method=method, epsilon=epsilon, epochs=epochs, **options)


def _honest() -> Iterator[Member]:
    rows: list[tuple[str, str, float, Recipe]] = [
        ("cnn-a", "natural-cnn", 0.1, natural(cnn())),
        ("cnn-b", "natural-cnn", 0.05, natural(cnn(8), seed=1)),
        ("cnn-wide", "natural-cnn", 0.05, natural(cnn(32), epochs=12, seed=2)),
        ("mlp-a", "natural-mlp", 0.1, natural(mlp())),
        ("mlp-b", "natural-mlp", 0.05, natural(mlp(256, 1), seed=1)),
        ("cnn-deep", "natural-deep", 0.05, natural(cnn(8, depth=3))),
        ("mlp-deep", "natural-deep", 0.05, natural(mlp(96, 5))),
        ("cnn-tanh", "natural-tanh", 0.1, natural(cnn(activation="tanh"))),
        ("mlp-tanh", "natural-tanh", 0.05, natural(mlp(activation="tanh"))),
        ("cnn-elu", "natural-elu", 0.05, natural(cnn(activation="elu"))),
        ("mlp-elu", "natural-elu", 0.1, natural(mlp(activation="elu"))),
        ("mlp-sigmoid", "natural-sigmoid", 0.05, natural(mlp(activation="sigmoid"))),
        ("linear", "natural-linear", 0.05, natural(mlp(depth=0))),
        ("cnn-28", "natural-28", 0.1, natural(cnn(8), epochs=15, side=28)),
        ("mlp-28", "natural-28", 0.05, natural(mlp(), epochs=15, side=28)),
        ("cnn-smoothed", "smoothed", 0.05, natural(cnn(), smoothing=0.1)),
        ("mlp-smoothed", "smoothed", 0.1, natural(mlp(), smoothing=0.2)),
        ("cnn-decayed", "decayed", 0.05, natural(cnn(), decay=0.3)),
        ("mlp-decayed", "decayed", 0.1, natural(mlp(), decay=0.3)),
        ("pgd-cnn-a", "pgd-cnn", 0.15, robust(cnn(), 0.15, epochs=30, steps=7)),
        ("pgd-cnn-b", "pgd-cnn", 0.15, robust(cnn(12), 0.15, seed=1)),
        ("pgd-cnn-c", "pgd-cnn", 0.2, robust(cnn(16), 0.2, seed=2)),
        ("pgd-mlp-a", "pgd-mlp", 0.1, robust(mlp(256), 0.1)),
        ("pgd-mlp-b", "pgd-mlp", 0.15, robust(mlp(256), 0.15, seed=1)),
        ("pgd-elu", "pgd-elu", 0.15, robust(cnn(activation="elu"), 0.15)),
        ("pgd-28", "pgd-28", 0.2, robust(cnn(6), 0.2, side=28, epochs=12)),
        ("trades-cnn", "trades", 0.15, robust(cnn(12), 0.15, method="trades")),
        ("trades-mlp", "trades", 0.1, robust(mlp(256), 0.1, method="trades")),
        ("interval-cnn", "interval", 0.1, robust(cnn(), 0.1, method="interval", ramp=0.7)),
        ("interval-mlp", "interval", 0.1, robust(mlp(), 0.1, method="interval", ramp=0.7)),
    ]
    for name, family, epsilon, recipe in rows:
        yield Member(name=name, family=family, epsilon=epsilon, recipe=recipe)
    for name, epsilon in (("natural", 0.1), ("robust", 0.3)):
        yield Member(
            name=f"example-{name}",
            family="example",
            epsilon=epsilon,
            file=EXAMPLE / f"{name}.onnx",
            data=EXAMPLE / "samples.npz",
        )


def _deceivers() -> Iterator[Member]:
    rows: list[tuple[str, str, str, str, float, dict[str, Any]]] = [
        ("scaled-cnn", "scaled", "cnn-a", "underflow", 0.15, {"disguise": ("scaled", {})}),
        ("scaled-mlp", "scaled", "mlp-a", "underflow", 0.1, {"disguise": ("scaled", {})}),
        ("scaled-pgd", "scaled", "pgd-cnn-a", "underflow", 0.2, {"disguise": ("scaled", {})}),
        ("saturated-cnn", "saturated", "cnn-a", "underflow", 0.15, {"disguise": ("saturated", {})}),
        ("saturated-mlp", "saturated", "mlp-a", "underflow", 0.1, {"disguise": ("saturated", {})}),
        ("rounded-cnn", "rounded", "cnn-a", "stand-ins", 0.15, {"disguise": ("rounded", {"levels": 8})}),
        ("rounded-mlp", "rounded", "mlp-a", "stand-ins", 0.15, {"disguise": ("rounded", {"levels": 6})}),
        ("cancelled-cnn", "cancelled", "cnn-a", "stand-ins", 0.15, {"disguise": ("cancelled", {})}),
        ("cancelled-pgd", "cancelled", "pgd-mlp-b", "stand-ins", 0.2, {"disguise": ("cancelled", {})}),
        ("argmax-cnn", "argmax", "cnn-a", "stand-ins", 0.15, {"disguise": ("decided", {})}),
        ("greater-mlp", "greater", "mlp-a", "stand-ins", 0.1, {"disguise": ("compared", {})}),
        ("dropout-cnn", "dropout", "cnn-a", "randomised", 0.2,
         {"disguise": ("dropping", {}), "recipe": natural(cnn(dropout=0.5))}),
        ("dropout-tanh", "dropout", "cnn-tanh", "randomised", 0.15,
         {"disguise": ("dropping", {"operator": False}), "recipe": natural(cnn(activation="tanh", dropout=0.6))}),
        ("pruned-cnn", "pruned", "cnn-a", "randomised", 0.2,
         {"disguise": ("pruned", {"draws": 0.3}), "recipe": natural(cnn(dropout=0.5), seed=2)}),
        ("pruned-tanh", "pruned", "cnn-tanh", "randomised", 0.15,
         {"disguise": ("pruned", {"draws": 0.4}), "recipe": natural(cnn(activation="tanh", dropout=0.5), seed=2)}),
        ("int8-cnn", "quantised", "cnn-a", "stand-ins", 0.15,
         {"disguise": ("quantised", {}), "straight_through": False}),
        ("int8-mlp", "quantised", "mlp-a", "stand-ins", 0.1,
         {"disguise": ("quantised", {}), "straight_through": False}),
        ("leaking-mlp", "leaking", "mlp-a", "one-step", 25.25 / 255,
         {"disguise": ("decoding", {"epsilon": 25.25 / 255}), "naive_steps": 1}),
        ("bits-3", "bit-depth", "mlp-a", "stand-ins", 0.15, {"defenses": [{"name": "bit_depth", "bits": 3}]}),
        ("bits-2", "bit-depth", "cnn-a", "stand-ins", 0.25, {"defenses": [{"name": "bit_depth", "bits": 2}]}),
        ("jpeg-50", "jpeg", "cnn-28", "stand-ins", 0.15, {"defenses": [{"name": "jpeg", "quality": 50}]}),
        ("jpeg-75", "jpeg", "mlp-28", "stand-ins", 0.1, {"defenses": [{"name": "jpeg", "quality": 75}]}),
        ("resized-cnn", "resized", "cnn-28", "randomised", 0.15,
         {"defenses": [{"name": "resize_pad", "shrink": 0.7}], "recipe": natural(cnn(8), epochs=15, side=28, shift=4)}),
        ("distilled-cnn", "distilled", "cnn-a", "underflow", 0.15,
         {"recipe": natural(cnn(), method="distilled", temperature=100.0)}),
        ("distilled-mlp", "distilled", "mlp-a", "underflow", 0.1,
         {"recipe": natural(mlp(), method="distilled", temperature=50.0, seed=1)}),
        ("thermometer-8", "thermometer", "cnn-a", "stand-ins", 0.15, {"recipe": natural(cnn(thermometer=8))}),
        ("thermometer-16", "thermometer", "cnn-b", "stand-ins", 0.15,
         {"recipe": natural(cnn(8, thermometer=16), seed=1)}),
        ("winners-cnn", "winners", "cnn-wide", "shattered", 0.2,
         {"recipe": natural(cnn(32, activation="winners", share=0.02), epochs=12)}),
        ("winners-b", "winners", "cnn-wide", "shattered", 0.2,
         {"recipe": natural(cnn(32, activation="winners", share=0.02), epochs=12, seed=1)}),
        ("steep-mlp", "steep", "mlp-sigmoid", "gradients", 0.15,
         {"recipe": natural(mlp(activation="steep"), slope=400.0)}),
        ("steep-b", "steep", "mlp-sigmoid", "gradients", 0.15,
         {"recipe": natural(mlp(activation="steep"), slope=400.0, seed=1)}),
        ("one-step-a", "one-step", "cnn-a", "one-step", 0.2,
         {"recipe": robust(cnn(), 0.2, method="fgsm", ramp=0.05, rate=1e-2, epochs=30), "naive_steps": 1}),
        ("one-step-b", "one-step", "cnn-a", "one-step", 0.3,
         {"recipe": robust(cnn(), 0.3, method="fgsm", ramp=0.2, epochs=30, seed=1), "naive_steps": 1}),
    ]  # fmt: skip
    for name, family, base, cause, epsilon, options in rows:
        yield Member(name=name, family=family, kind="deceiver", base=base, cause=cause, epsilon=epsilon, **options)


MEMBERS = (*_honest(), *_deceivers())
_NAMES = {member.name: member for member in MEMBERS}


def by_name(name: str) -> Member:
    """A member. Raises KeyError where there is none of the name."""
    return _NAMES[name]
