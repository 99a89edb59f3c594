"""Sequential gates in simulated streams: how often each is wrong, looking after every sample, and how soon it is done.

    python -m benchmarks.sequential [--runs 10000] [--most 10000] [--seed 0]

Streams of independent samples of one true rate, the gates of `auditor/sequential.py` at 5 %. `exact` is the same
probability without simulation (`prospects`). A wrong verdict is PASSED below the threshold, FAILED at or above it; of
the SPRT it counts outside its margin alone. Coverage is uniform: a run counts as missed if the interval leaves out the
true rate at any n. A set of 1,000 samples is drawn without replacement, in as many orders.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from auditor.sequential import (
    MARGIN,
    by_file,
    by_mixture,
    by_sprt,
    log_evidence,
    log_evidence_among,
    prospects,
    settled,
)

Gate = Callable[[Any, Any], Any]
GATES: dict[str, Callable[[float], Gate]] = {
    "mixture": lambda t: partial(by_mixture, at_least=t),
    "mixture, one-sided": lambda t: partial(by_mixture, at_least=t, one_sided=True),
    "SPRT ±0.02": lambda t: partial(by_sprt, at_least=t, margin=MARGIN),
}
RATES = {
    0.5: (0.3, 0.4, 0.45, 0.48, 0.49, 0.5, 0.51, 0.52, 0.55, 0.6, 0.7),
    0.9: (0.8, 0.85, 0.88, 0.9, 0.92, 0.95, 0.99),
}
BLOCK = 250
"""Samples a run takes at a time: decided runs take no more."""


def bounds(gate: Gate, most: int) -> tuple[Any, Any]:
    """For n = 1 to most: the least number of good samples that passes, the largest that fails; n + 1 and -1 for none.

    More good samples never turn a verdict down, so bisection finds both, and a stream is then a matter of comparing.
    """
    n = np.arange(1, most + 1)
    open_low, passes, fails, open_high = np.zeros_like(n) - 1, n + 1, np.zeros_like(n) - 1, n + 1
    while np.any((passes - open_low > 1) | (open_high - fails > 1)):
        for above in (True, False):
            low, high = (open_low, passes) if above else (fails, open_high)
            middle = np.clip((low + high) // 2, 0, n)
            sign = gate(middle, n)
            up, going = (sign > 0) if above else (sign >= 0), high - low > 1
            high, low = np.where(going & up, middle, high), np.where(going & ~up, middle, low)
            if above:
                open_low, passes = low, high
            else:
                fails, open_high = low, high
    return passes, fails


def signs_and_times(gate: Gate, rate: float, runs: int, most: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """For each run the first verdict that is not open, and after how many samples; 0 and most + 1 where none is."""
    sign, time, good = np.zeros(runs, dtype=int), np.full(runs, most + 1), np.zeros(runs, dtype=int)
    passes, fails = bounds(gate, most)
    alive = np.arange(runs)
    for start in range(0, most, BLOCK):
        steps = np.arange(start + 1, min(start + BLOCK, most) + 1)
        seen = good[alive, None] + (rng.random((len(alive), len(steps))) < rate).cumsum(axis=1)
        found = (seen >= passes[steps - 1]).astype(int) - (seen <= fails[steps - 1])
        first = (found != 0).argmax(axis=1)
        done = found[np.arange(len(alive)), first] != 0
        sign[alive[done]] = found[done, first[done]]
        time[alive[done]] = steps[first[done]]
        good[alive] = seen[:, -1]
        alive = alive[~done]
        if not len(alive):
            break
    return sign, time


def quantile(time: Any, share: float, most: int) -> str:
    value = np.sort(time)[int(np.ceil(share * len(time))) - 1]
    return f"{value:,}" if value <= most else f"> {most:,}"


def population(runs: int, most: int, rng: np.random.Generator) -> None:
    print("| gate | rule | true rate | passed | failed | open | wrong | exact | median n | 90 % n |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for threshold, rates in RATES.items():
        for name, make in GATES.items():
            for rate in rates:
                gate = make(threshold)
                sign, time = signs_and_times(gate, rate, runs, most, rng)
                passed, failed = prospects(gate, rate, most)
                wrong, chance = (sign > 0, passed[-1]) if rate < threshold else (sign < 0, failed[-1])
                excused = "SPRT" in name and abs(rate - threshold) < MARGIN - 1e-9
                said = "–" if excused else f"{wrong.mean():.2%}"
                shares = f"{(sign > 0).mean():.1%} | {(sign < 0).mean():.1%} | {(sign == 0).mean():.1%}"
                soon, late = quantile(time, 0.5, most), quantile(time, 0.9, most)
                print(
                    f"| {threshold} | {name} | {rate} | {shares} | {said} | {chance:.2%} | {soon} | {late} |",
                    flush=True,
                )


def coverage(runs: int, rng: np.random.Generator, most: int = 2000, size: int = 1000) -> None:
    print("\n| confidence sequence at 95 % | true rate | missed at some n |")
    print("|---|---|---|")
    steps = np.arange(1, most + 1)
    for rate in (0.02, 0.3, 0.5, 0.9, 0.99):
        seen = (rng.random((runs, most)) < rate).cumsum(axis=1, dtype=np.int32)
        missed = sum(
            int((log_evidence(part, steps, rate) >= np.log(20)).any(axis=1).sum()) for part in np.split(seen, 20)
        )
        print(f"| population, n to {most:,} | {rate} | {missed / runs:.2%} |", flush=True)
    for total in (20, 300, 500, 900, 990):
        rows = rng.permuted(np.tile(np.arange(size) < total, (runs, 1)), axis=1).cumsum(axis=1, dtype=np.int32)
        evidence = (log_evidence_among(part, steps[:size], total, size) for part in np.split(rows, 20))
        missed = sum(int((part >= np.log(20)).any(axis=1).sum()) for part in evidence)
        print(f"| set of {size:,}, n to {size:,} | {total / size} | {missed / runs:.2%} |", flush=True)


def given(runs: int, rng: np.random.Generator, size: int = 1000, threshold: float = 0.5) -> None:
    print("\n| set of 1,000, gate 0.5: good | certain: median n | saved | file: median n | saved | wrong |")
    print("|---|---|---|---|---|---|")
    steps = np.arange(1, size + 1)
    table = np.zeros((size + 1, size + 1), dtype=np.int8)  # the file's verdict on every (n, good)
    for n in steps:
        table[n, : n + 1] = by_file(np.arange(n + 1), np.full(n + 1, n), threshold, size)
    for total in (300, 400, 450, 480, 499, 500, 520, 550, 600, 700):
        rows = rng.permuted(np.tile(np.arange(size) < total, (runs, 1)), axis=1).cumsum(axis=1, dtype=np.int32)
        certain, found = settled(rows, steps, threshold, size), table[steps, rows]
        times = [(part != 0).argmax(axis=1) + 1 for part in (certain, found)]
        last = found[np.arange(runs), times[1] - 1]
        wrong = (last == (1 if total / size < threshold else -1)).mean()
        cells = [f"{np.median(time):,.0f} | {1 - np.median(time) / size:.0%}" for time in times]
        print(f"| {total} | {cells[0]} | {cells[1]} | {wrong:.2%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--most", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    population(arguments.runs, arguments.most, rng)
    coverage(arguments.runs, rng)
    given(arguments.runs, rng)


if __name__ == "__main__":
    main()
