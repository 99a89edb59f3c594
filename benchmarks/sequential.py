"""Sequential gates in simulated streams: how often each is wrong, looking after every sample, and how soon it is done.

    python -m benchmarks.sequential [--runs 10000] [--most 10000] [--seed 0]

Streams of independent samples of one true rate, judged by the tests of `auditor/sequential.py` that the gate uses, at
5 %. `exact` is the same probability without simulation (`prospects`). A wrong verdict is PASSED below the threshold,
FAILED at or above it; of the SPRT it counts outside its margin alone. Coverage is uniform: a run counts as missed if
the interval leaves out the true rate at any n. A set of 1,000 samples is drawn without replacement, in as many orders.
A quick look: `--runs 1000 --most 1000`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from auditor.rule import MARGIN
from auditor.sequential import ALPHA, drawn, log_evidence, log_evidence_among, mixture, sprt

Test = Callable[[Any, Any], tuple[Any, Any]]
"""(good, n) -> p-values for passing and failing."""
Limits = tuple[Any, Any]
"""For n = 1, 2, …: the least number of good samples that passes, the largest that fails; n + 1 and -1 for none."""


def one_sided(good: Any, n: Any, at_least: float) -> tuple[Any, Any]:
    """The mixture with its prior truncated to either side, which the gate does without: each verdict has evidence of
    its own, that keeps its promise too, but while the interval may still hold at_least."""
    above, below = (np.maximum(log_evidence(good, n, at_least, side=side), 0) for side in ("above", "below"))
    return np.where(good > at_least * n, np.exp(-above), 1.0), np.where(good < at_least * n, np.exp(-below), 1.0)


TESTS: dict[str, Callable[[float], Test]] = {
    "mixture": lambda t: partial(mixture, at_least=t),
    "mixture, one-sided": lambda t: partial(one_sided, at_least=t),
    "SPRT ±0.02": lambda t: partial(sprt, at_least=t, margin=MARGIN),
}
RATES = {
    0.5: (0.3, 0.4, 0.45, 0.48, 0.49, 0.5, 0.51, 0.52, 0.55, 0.6, 0.7),
    0.9: (0.8, 0.85, 0.88, 0.9, 0.92, 0.95, 0.99),
}
BLOCK = 250
"""Samples a run takes at a time: decided runs take no more."""


def limits(test: Test, most: int, alpha: float = ALPHA, beta: float = ALPHA) -> Limits:
    """Where a test passes at alpha and fails at beta, for n = 1 to most.

    More good samples never turn a verdict down, so bisection finds both, and a stream is then a matter of comparing.
    """
    n = np.arange(1, most + 1)

    def edge(high_enough: Callable[[Any], Any]) -> Limits:
        low, high = np.full(most, -1), n + 1
        while np.any(going := high - low > 1):
            middle = (low + high) // 2
            up = high_enough(np.clip(middle, 0, n))
            low, high = np.where(going & ~up, middle, low), np.where(going & up, middle, high)
        return low, high

    return edge(lambda good: test(good, n)[0] <= alpha)[1], edge(lambda good: test(good, n)[1] > beta)[0]


def verdicts(found: Limits, good: Any) -> Any:
    """1 where a gate passes, -1 where it fails, 0 where it is open, of the number of good samples `[…, n - 1]`."""
    return (good >= found[0]).astype(np.int8) - (good <= found[1])


def prospects(found: Limits, rate: float) -> tuple[Any, Any]:
    """The chances that samples of this rate have passed, and have failed, by the n-th, for n = 0 on; exact but for
    tails below 1e-18. What both leave sums to the expected samples. A thousand steps take some 15 ms."""
    chances = np.zeros((len(found[0]) + 1, 2))
    first, alive = 0, np.ones(1)  # alive[i]: the chance of first + i good ones, and no verdict yet
    for n, (passes, fails) in enumerate(np.transpose(found).tolist(), 1):
        alive = np.convolve(alive, (1 - rate, rate))
        below, above = max(fails + 1 - first, 0), max(passes - first, 0)
        chances[n] = alive[above:].sum(), alive[:below].sum()
        left = np.flatnonzero(alive[below:above] > 1e-18)
        if not len(left):
            break
        first, alive = first + below + left[0], alive[below + left[0] : below + left[-1] + 1]
    passed, failed = chances.cumsum(axis=0).T
    return passed, failed


def play(found: Limits, rate: float, runs: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """For each run the first verdict that is not open, and after how many samples; 0 and most + 1 where none is."""
    passes, fails = found
    most = len(passes)
    sign, time, good = np.zeros(runs, dtype=int), np.full(runs, most + 1), np.zeros(runs, dtype=int)
    alive = np.arange(runs)
    for start in range(0, most, BLOCK):
        stop = min(start + BLOCK, most)
        seen = good[alive, None] + (rng.random((len(alive), stop - start)) < rate).cumsum(axis=1)
        signs = verdicts((passes[start:stop], fails[start:stop]), seen)
        first = (signs != 0).argmax(axis=1)
        ends = signs[np.arange(len(alive)), first]
        done = ends != 0
        sign[alive[done]], time[alive[done]] = ends[done], start + 1 + first[done]
        good[alive] = seen[:, -1]
        alive = alive[~done]
        if not len(alive):
            break
    return sign, time


def quantile(time: Any, share: float) -> int:
    """The least number of samples by which this share of the runs is done."""
    return int(np.sort(time)[int(np.ceil(share * len(time))) - 1])


def population(runs: int, most: int, rng: np.random.Generator) -> None:
    print("| gate | rule | true rate | passed | failed | open | wrong | exact | median n | 90 % n |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for threshold, rates in RATES.items():
        for name, make in TESTS.items():
            found = limits(make(threshold), most)
            for rate in rates:
                sign, time = play(found, rate, runs, rng)
                passed, failed = prospects(found, rate)
                wrong, chance = (sign > 0, passed[-1]) if rate < threshold else (sign < 0, failed[-1])
                excused = "SPRT" in name and abs(rate - threshold) < MARGIN - 1e-9
                said = "–" if excused else f"{wrong.mean():.2%}"
                shares = f"{(sign > 0).mean():.1%} | {(sign < 0).mean():.1%} | {(sign == 0).mean():.1%}"
                soon, late = (
                    f"{value:,}" if value <= most else f"> {most:,}"
                    for value in (quantile(time, q) for q in (0.5, 0.9))
                )
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
        rows = orders(total, size, runs, rng)
        evidence = (log_evidence_among(part, steps[:size], total, size) for part in np.split(rows, 20))
        missed = sum(int((part >= np.log(20)).any(axis=1).sum()) for part in evidence)
        print(f"| set of {size:,}, n to {size:,} | {total / size} | {missed / runs:.2%} |", flush=True)


def orders(total: int, size: int, runs: int, rng: np.random.Generator) -> Any:
    """How many of a set's first n are good, `[run, n - 1]`, in random orders of a set with so many good ones."""
    return rng.permuted(np.tile(np.arange(size) < total, (runs, 1)), axis=1).cumsum(axis=1, dtype=np.int32)


def given(runs: int, rng: np.random.Generator, size: int = 1000, threshold: float = 0.5) -> None:
    print("\n| set of 1,000, gate 0.5: good | certain: median n | saved | drawn: median n | saved | wrong |")
    print("|---|---|---|---|---|---|")
    found = limits(partial(drawn, at_least=threshold, size=size), size)
    enough = int(np.ceil(threshold * size))
    certain = np.full(size, enough), np.arange(1, size + 1) - (size - enough + 1)  # so many bad ones are too many
    for total in (300, 400, 450, 480, 499, 500, 520, 550, 600, 700):
        rows = orders(total, size, runs, rng)
        sure, likely = verdicts(certain, rows), verdicts(found, rows)
        times = [(part != 0).argmax(axis=1) + 1 for part in (sure, likely)]
        last = likely[np.arange(runs), times[1] - 1]
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
