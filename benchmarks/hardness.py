"""Papernot's matrices on the bundled nets: success, distortion and hardness from class to class, and does A predict H?

    python -m benchmarks.hardness [--each 20] [--nets natural robust] [--matrices]

JSMA with its published settings (raising pixels, at most 56 pairs, 14.5 % of them) beside this project's own distance
attacks, towards all nine other classes of so many samples a class; and the same under linf. What counts is what
onnxruntime confirms. Published for LeNet (arXiv:1511.07528): 97.1 % success and 4.02 % distortion.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from auditor import explore as explored
from auditor.cli import quiet_threads
from auditor.events import silent
from auditor.flow import audit
from auditor.hardness import Hardness
from auditor.host import Host
from auditor.resolve import resolve
from benchmarks.files import UNSET

EXAMPLES = Path(__file__).parent.parent / "examples" / "mnist"
PIXELS = 784
SETTINGS = (
    ("l0", "113", "jsma"),
    ("l0", "113", "jsma:both=true"),
    ("l0", "113", "sigma-zero:steps=100"),
    ("linf", None, "bisection:steps=30,inner=6"),
    ("linf", None, "fmn:steps=30"),
)
EPSILONS = {"natural": "0.1", "robust": "0.3"}


def measure(net: str, norm: str, epsilon: str, attack: str, each: int, host: Host) -> Hardness:
    """The hardness of a bundled net, as a scan finds it, but with as many samples as were asked for."""
    with TemporaryDirectory() as folder:
        plan = Path(folder) / "audit.toml"
        plan.write_text(f'[search]\ndistances = "{attack}"\nescalate = false\n', encoding="utf-8")
        chosen = UNSET | {
            "config": plan,
            "data": str(EXAMPLES / "samples.npz"),
            "norm": norm,
            "epsilon": epsilon,
            "suite": "quick",
            "hardness": True,
            "bounds": (0.0, 1.0),
            "out": Path(folder) / "out",
        }
        jobs, _ = resolve(str(EXAMPLES / f"{net}.onnx"), chosen, host)
        with patch("auditor.allowance.SHARE", 1e9), patch.object(explored, "EACH", each):
            record = audit(jobs[0], host, silent)
    if record.hardness is None:
        raise SystemExit("no hardness was measured")
    return record.hardness


def matrix(hardness: Hardness, field: str) -> str:
    """One number for each pair, rows from and columns towards."""
    cells = {(pair.source, pair.target): getattr(pair, field) for pair in hardness.pairs}
    if field == "broken":
        cells = {(pair.source, pair.target): pair.broken / pair.n for pair in hardness.pairs}
    lines = ["| from \\ to | " + " | ".join(map(str, range(10))) + " |", "|---" * 11 + "|"]
    for source in range(10):
        row = (cells.get((source, target)) for target in range(10))
        lines.append(f"| {source} | " + " | ".join("" if v is None else f"{v:.3g}" for v in row) + " |")
    return "\n".join(lines)


def main() -> None:
    quiet_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=20, help="samples of each class")
    parser.add_argument("--nets", nargs="+", default=["natural", "robust"])
    parser.add_argument("--matrices", action="store_true")
    chosen = parser.parse_args()
    host = Host.load()
    print(
        "| net | norm | attack | runs | within epsilon | reached | mean distortion of those | A–H | A–distance | R(F) |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for net in chosen.nets:
        for norm, epsilon, attack in SETTINGS:
            found = measure(net, norm, epsilon or EPSILONS[net], attack, chosen.each, host)
            far = np.array([np.nan if d is None else d for d in found.runs.distances])
            limit = float(epsilon or EPSILONS[net])
            unit = f"{np.nanmean(far) / PIXELS:.2%}" if norm == "l0" else f"{np.nanmean(far):.4f}"
            correlations = (
                "–" if value is None else f"{value:+.2f}" for value in (found.correlation, found.correlation_distance)
            )
            print(
                f"| {net} | {norm} | {attack} | {len(far)} | {(far <= limit).mean():.1%} "
                f"| {np.isfinite(far).mean():.1%} | {unit} | {' | '.join(correlations)} "
                f"| {found.robustness or 0:.3f} |",
                flush=True,
            )
            if chosen.matrices:
                for field in ("broken", "distance", "hardness", "adversarial_distance"):
                    print(f"\n{field}\n\n{matrix(found, field)}\n", flush=True)


if __name__ == "__main__":
    main()
