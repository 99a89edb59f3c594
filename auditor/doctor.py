"""`advaudit doctor`: what this machine offers, and what would get in the way of an audit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from auditor.environment import cpu_flags, installed, processor
from auditor.errors import printable

Level = Literal["ok", "note", "problem"]
MARKS: dict[Level, str] = {"ok": " ", "note": "·", "problem": "!"}
"""What stands before a line."""


@dataclass(frozen=True)
class Fact:
    """One line: what was looked at, what was found, and whether it is in the way."""

    name: str
    value: str
    level: Level = "ok"

    @property
    def line(self) -> str:
        """It as one line of a terminal, whatever the file's own names hold."""
        return printable(f"{MARKS[self.level]} {self.name:24} {' '.join(self.value.splitlines())}")


def examine(plugins_dir: Path | None = None) -> Iterator[Fact]:
    """Environment, devices, providers, precision, plugins. Takes a few seconds; changes nothing."""
    packages = installed()
    for name, found in packages.items():
        yield Fact(name, found)
    if "onnxruntime" in packages and "onnxruntime-gpu" in packages:
        yield Fact(
            "both onnxruntimes",
            "onnxruntime and onnxruntime-gpu overwrite each other's files; uninstall both, then install one",
            "problem",
        )
    yield Fact("processor", processor())
    yield Fact("processor flags", " ".join(cpu_flags()) or "none of those that matter here")
    yield from _devices()
    yield _precision()
    yield from _plugins(plugins_dir)


def _devices() -> Iterator[Fact]:
    import onnxruntime
    import torch

    yield Fact("torch threads", str(torch.get_num_threads()))
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Fact("cuda devices", ", ".join(names))
    else:
        yield Fact("cuda devices", "none that torch sees; scans run on the processor", "note")
    offered = onnxruntime.get_available_providers()
    usable = "CUDAExecutionProvider" in offered and torch.cuda.is_available()
    yield Fact("onnxruntime providers", "CUDA and CPU" if usable else "CPU")


def _precision() -> Fact:
    """Measure bfloat16 against float32 on a convolution: emulated, it is many times slower."""
    import torch

    from auditor.mixed import in_hardware

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 32, 32, 32, generator=generator)
    conv = torch.nn.Conv2d(32, 64, 3, padding=1).requires_grad_(False)

    def timed(dtype: torch.dtype | None) -> float:
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is not None):
                conv(x)
            best = min(best, time.perf_counter() - began)
        return best

    ratio = timed(None) / timed(torch.bfloat16)
    advice = "scans use it where they gain by it" if in_hardware("cpu") else "emulated, scans leave it alone"
    return Fact("bfloat16", f"{ratio:.1f} times the speed of float32 on a convolution: {advice}", "note")


def _plugins(folder: Path | None) -> Iterator[Fact]:
    from auditor.host import Host

    host = Host.load(folder=folder)
    for plugin in host.errors:
        yield Fact(f"plugin {plugin.name}", plugin.error or "", "problem")
    yield Fact("plugins", f"{len(host.plugins) - len(host.errors)} loaded, {len(host.attacks)} attacks")
