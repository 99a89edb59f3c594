"""Twenty architectures of timm with seeded weights and sane activations, and their exports by torch's two exporters."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

ARCHITECTURES: dict[str, tuple[str, int]] = {
    "resnet18": ("resnet18", 96),
    "mobilenetv3": ("mobilenetv3_large_100", 96),
    "efficientnet_b0": ("efficientnet_b0", 96),
    "convnext_atto": ("convnext_atto", 96),
    "vit_tiny": ("vit_tiny_patch16_224", 224),
    "swin_tiny": ("swin_tiny_patch4_window7_224", 224),
    "deit_tiny": ("deit_tiny_patch16_224", 224),
    "regnet": ("regnety_002", 96),
    "densenet121": ("densenet121", 96),
    "ghostnet": ("ghostnet_100", 96),
    "mixer": ("mixer_s32_224", 224),
    "poolformer": ("poolformer_s12", 96),
    "edgenext": ("edgenext_xx_small", 96),
    "coatnet": ("coatnet_nano_rw_224", 224),
    "repvgg": ("repvgg_a0", 96),
    "levit": ("levit_128s", 224),
    "maxvit_pico": ("maxvit_rmlp_pico_rw_256", 256),
    "mobilevit": ("mobilevit_xxs", 128),
    "inception_v3": ("inception_v3", 128),
    "vgg11": ("vgg11", 224),
}
"""What the tables call it: its name in timm, and the length of its square input; 224 where the net insists on it."""
EXPORTERS = ("legacy", "dynamo")
BATCH, CALIBRATION = 2, 8
FLAT = 1e-3
"""A scale below this was initialised to leave a branch out; a trained net has it in."""


class _Stub(type):
    """Classes whose attributes are strings."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _StubModule(ModuleType):
    """A package whose every member is an empty class."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Stub(name, (nn.Module,), {})


class _Stubs:
    """Finds torchvision, which timm imports for its data pipelines and which has no build for every torch."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] == "torchvision" else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StubModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextmanager
def without_torchvision() -> Iterator[None]:
    """While it lasts, `import torchvision` gives empty classes; afterwards it is gone, before an exporter sees it."""
    finder = _Stubs()
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]


def images(count: int, size: int, seed: int) -> Tensor:
    """Random images, about standardised: smooth, with a little noise, and of different light and contrast."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn((count, 3, 8, 8), generator=generator)
    noise = torch.randn((count, 3, size, size), generator=generator)
    light = torch.randn((count, 3, 1, 1), generator=generator)
    contrast = 0.1 + 1.5 * torch.rand((count, 1, 1, 1), generator=generator)
    return light + contrast * (nn.functional.interpolate(coarse, (size, size), mode="bicubic") + 0.1 * noise)


def make(architecture: str) -> tuple[nn.Module, Tensor]:
    """The net with seeded weights and statistics of data, in evaluation mode and frozen, and a batch for it."""
    with without_torchvision(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm
    name, size = ARCHITECTURES[architecture]
    torch.manual_seed(0)
    net: nn.Module = timm.create_model(name, pretrained=False)
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        for key, parameter in module.named_parameters(recurse=False):
            with torch.no_grad():
                parameter.copy_(_trained(module, key, parameter, torch.randn(parameter.shape, generator=generator)))
    calibrate(net, size)
    net.eval().requires_grad_(False)
    return net, images(BATCH, size, seed=3)


def _trained(module: nn.Module, key: str, parameter: Tensor, noise: Tensor) -> Tensor:
    """The parameter as training might have left it, where its initial value makes gradients trivial or chaotic.

    Scales and shifts leave 1 and 0, branches that start at 0 or 1e-6 count; and the shift of a BatchNorm is about 1, as
    else a deep random net amplifies rounding a hundredfold, and no two implementations agree.
    """
    size = float(parameter.abs().max())
    if key in ("weight", "gamma") and parameter.ndim == 1 and size > FLAT:
        return 1 + 0.2 * noise
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and key == "bias":
        return 1 + 0.2 * noise
    return 0.2 * noise if size < FLAT else parameter


def calibrate(net: nn.Module, size: int) -> None:
    """Give BatchNorm the mean statistics of a few batches; with those it starts from, deep nets explode or die out."""
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    net.train()
    with torch.no_grad():
        for seed in range(10, 13):
            net(images(CALIBRATION, size, seed))


def export(net: nn.Module, x: Tensor, exporter: str, path: Path) -> None:
    """Write the net with a free batch: `legacy` is TorchScript's exporter at opset 17, `dynamo` torch's default."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    names: dict[str, Any] = {"input_names": ["input"], "output_names": ["output"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "legacy":
            axes = {"input": {0: "batch"}, "output": {0: "batch"}}
            torch.onnx.export(net, (x,), str(partial), dynamo=False, opset_version=17, dynamic_axes=axes, **names)
        else:
            shapes = ({0: torch.export.Dim.DYNAMIC},)
            torch.onnx.export(
                net, (x,), str(partial), dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False, **names
            )
    partial.replace(path)
