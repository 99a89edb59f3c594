"""Where a scan ran: what may explain a different result elsewhere."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "onnxruntime-gpu", "onnxruntime", "onnx", "numpy", "scipy")
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def environment() -> dict[str, str]:
    """Python, platform, processor with the flags that change int8 and bf16 arithmetic, and package versions."""
    facts = {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": processor(),
        "cpu_flags": " ".join(cpu_flags()),
        "cores": str(os.cpu_count()),
    }
    return facts | installed()


def installed() -> dict[str, str]:
    """Versions of the packages that compute, those that are there."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name where the system tells it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Those of `CPU_FLAGS` that the processor has (Linux only, empty elsewhere)."""
    flags = set(_cpuinfo("flags").split())
    return [flag for flag in CPU_FLAGS if flag in flags]


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
