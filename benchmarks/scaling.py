"""What a suite costs as samples get more and models weaker: passes, seconds and peak memory, each in its own process.

python -m benchmarks.scaling --shared FOLDER [--suite standard] [--samples 100 1000 5000]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch

from auditor.execution import Execution
from auditor.host import Host
from auditor.suite import find_suite, for_norm
from benchmarks.peers import Prepared, play
from benchmarks.shared import add_shared, load

FILES = {
    "mnist-undefended-logits": "undefended, 0.3",
    "mnist-cnn-a-adv": "adversarially trained, 0.3",
    "mnist-kw": "certified training, 0.1",
}
MIB = 1 << 10  # of ru_maxrss, which is in KiB


def one(name: str, shared: Path, samples: int, suite: str, threads: int) -> dict[str, float]:
    """One file with so many samples, in this process."""
    torch.set_num_threads(threads)
    host = Host.load(installed=False)
    case = load(name, shared, host, limit=samples, threads=threads)
    execution = Execution(device="cpu", threads=threads)
    prepared = Prepared.of(case, execution)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    ledger, _ = play(prepared, execution, for_norm(find_suite(suite, host.attacks), case.threat.norm), 0)
    seconds = time.perf_counter() - began
    return {
        "n": len(case.samples),
        "robust": float(1 - ledger.broken.mean()),
        "seconds": seconds,
        "forwards": float(ledger.spent[:, 0].sum() + ledger.spent[:, 2].sum()),
        "backwards": float(ledger.spent[:, 1].sum()),
        "data": case.samples.inputs.nbytes / 2**20,
        "loaded": loaded / MIB,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser)
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--files", nargs="*", default=list(FILES))
    parser.add_argument("--samples", nargs="*", type=int, default=[100, 1000, 5000])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.one:
        (name,), (samples,) = arguments.files, arguments.samples
        print(json.dumps(one(name, arguments.shared, samples, arguments.suite, arguments.threads)))
        return
    print(f"suite {arguments.suite}, {arguments.threads} threads\n")
    print("| net | n | robust | seconds | ms a sample | F + B a sample | samples, MiB | peak, MiB | grown by, MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.files:
        for samples in arguments.samples:
            command = [sys.executable, "-m", "benchmarks.scaling", "--one", "--files", name, "--samples", str(samples)]
            command += ["--shared", str(arguments.shared), "--suite", arguments.suite]
            output = subprocess.run(
                [*command, "--threads", str(arguments.threads)], capture_output=True, text=True, check=True
            ).stdout
            r = json.loads(output.strip().splitlines()[-1])
            n = r["n"]
            print(
                f"| {name} ({FILES.get(name, '')}) | {n} | {r['robust']:.3f} | {r['seconds']:.1f} | "
                f"{1e3 * r['seconds'] / n:.1f} | {r['forwards'] / n:.0f} + {r['backwards'] / n:.0f} | "
                f"{r['data']:.0f} | {r['peak']:.0f} | {r['peak'] - r['loaded']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
