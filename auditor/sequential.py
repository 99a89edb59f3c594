"""Gates that stop as soon as the samples seen settle them, and what may be claimed at that moment. Loads no torch.

Four claims about "at least this share of samples is good", from how many of the first n are good:

- `set`: of the given samples, without any chance. Breaks are proofs, so their order does not matter.
- `file`: of the given samples, from those drawn so far, wrong in at most alpha of all orders.
- `mixture`: of the population that the samples come from, wrong in at most alpha of all audits.
- `sprt`: of the population too, sooner, but with no promise for rates within a margin of the threshold.

All but `set` need the samples one by one in a random order fixed beforehand (`random_order`), each called good only
once it survived its full budget: breaks come early, so whoever counts samples as they finish counts too many of them.
They may look after every sample and stop whenever they like. A look takes at most 0.3 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from auditor.metrics import CONFIDENCE

ALPHA = round(1 - CONFIDENCE, 9)
MARGIN = 0.02
UNIFORM = (1.0, 1.0)
"""Beta(1, 1): before the first sample every rate is as likely. Any other prior is as valid, and faster elsewhere."""
Floats = npt.NDArray[np.float64]
Signs = npt.NDArray[np.int8]
"""1 where a gate passes, -1 where it fails, 0 where it is open."""
Mode = Literal["set", "file", "mixture", "sprt"]


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What `good` of n samples settle, and the interval that they leave for the rate (of the set for `set` and `file`,
    else of the population). size: of the given set, if any; saved: the share of it that no one had to look at."""

    verdict: Verdict
    good: int
    n: int
    low: float
    high: float
    why: str
    size: int | None = None

    @property
    def saved(self) -> float | None:
        return 1 - self.n / self.size if self.size else None


def log_evidence(good: Any, n: Any, rate: Any, prior: tuple[float, float] = UNIFORM, side: str = "both") -> Any:
    """Log of the beta-binomial mixture martingale against `rate`: how much better a Beta prior foresaw the samples.

    In a population of this rate it ever reaches log(1 / alpha) in at most alpha of all streams (Ville 1939). The sides
    `above` and `below` truncate the prior to rates there, which then holds for all rates on the other side as well.
    Robbins, Ann. Math. Statist. 41 (1970), doi 10.1214/aoms/1177696786; Howard, Ramdas, McAuliffe & Sekhon, Ann.
    Statist. 49 (2021), doi 10.1214/20-AOS1991, arXiv:1810.08240.
    """
    from scipy.special import betainc, betaincc, betaln, xlog1py, xlogy

    (a, b), good = prior, np.asarray(good)
    bad = np.asarray(n) - good
    whole = betaln(a + good, b + bad) - betaln(a, b) - xlogy(good, rate) - xlog1py(bad, -np.asarray(rate))
    if side == "both":
        return whole
    mass = {"above": betaincc, "below": betainc}[side]
    with np.errstate(divide="ignore", invalid="ignore"):  # no mass left on that side is no evidence for it
        return whole + np.log(mass(a + good, b + bad, rate)) - np.log(mass(a, b, rate))


def confidence_sequence(good: Any, n: Any, alpha: float = ALPHA) -> tuple[Floats, Floats]:
    """(low, high) for each n: the rates against which there is too little evidence. They hold the population's at every
    n at once in at least 1 - alpha of all streams, so wherever one stops. 60 bisections an end, rounded outwards."""
    good, n = np.broadcast_arrays(np.asarray(good, dtype=float), np.asarray(n, dtype=float))
    likeliest = np.divide(good, n, out=np.full(good.shape, 0.5), where=n > 0)

    def edge(end: float) -> Floats:
        inside, outside = likeliest, np.full(good.shape, end)
        for _ in range(60):
            middle = (inside + outside) / 2
            kept = log_evidence(good, n, middle) < -np.log(alpha)
            inside, outside = np.where(kept, middle, inside), np.where(kept, outside, middle)
        return outside

    return edge(0.0), edge(1.0)


def log_evidence_among(good: Any, n: Any, total: Any, size: int, prior: tuple[float, float] = UNIFORM) -> Any:
    """Log of the prior-posterior ratio against `total` good among `size`, of which n were drawn without replacement.

    It is the beta-binomial prior's chance of what was drawn, over the urn's; where that many are good it ever reaches
    log(1 / alpha) in at most alpha of all orders. total: possible ones alone, from good to size - (n - good).
    Waudby-Smith & Ramdas, "Confidence sequences for sampling without replacement", NeurIPS 2020, arXiv:2006.04347.
    """
    from scipy.special import betaln, gammaln

    (a, b), good, n, total = prior, np.asarray(good), np.asarray(n), np.asarray(total)
    bad, rest = n - good, size - total
    urn = gammaln(total + 1) - gammaln(total - good + 1) + gammaln(rest + 1) - gammaln(rest - bad + 1)
    return betaln(a + good, b + bad) - betaln(a, b) - urn + gammaln(size + 1) - gammaln(size - n + 1)


def confidence_sequence_among(good: Any, n: Any, size: int, alpha: float = ALPHA) -> tuple[Floats, Floats]:
    """(low, high) for each n: the shares of all `size` samples against which there is too little evidence. Right at
    every n at once in at least 1 - alpha of all orders, exact once all are seen. log2(size) bisections an end."""
    good, n = np.broadcast_arrays(np.asarray(good, dtype=np.int64), np.asarray(n, dtype=np.int64))
    least, most = good, size - (n - good)
    likeliest = np.clip(good * (size + 1) // np.maximum(n, 1), least, most)

    def edge(outside: npt.NDArray[np.int64]) -> Floats:
        inside = likeliest
        while np.any(np.abs(outside - inside) > 1):
            middle = inside + np.trunc((outside - inside) / 2).astype(np.int64)  # never outside itself
            kept = log_evidence_among(good, n, middle, size) < -np.log(alpha)
            inside, outside = np.where(kept, middle, inside), np.where(kept, outside, middle)
        return np.asarray(inside / size)

    return edge(least - 1), edge(most + 1)


def settled(good: Any, n: Any, at_least: float, size: int) -> Signs:
    """By what is certain of the given set: passed if all left broke, or failed if all left withstood. In any order."""
    return _signs(good / size >= at_least, (size - (n - good)) / size < at_least)


def by_file(good: Any, n: Any, at_least: float, size: int, alpha: float = ALPHA) -> Signs:
    """By `confidence_sequence_among`: settled where it leaves at_least out, at the latest with the last sample."""
    low, high = confidence_sequence_among(good, n, size, alpha)
    return _signs(low >= at_least, high < at_least)


def by_mixture(good: Any, n: Any, at_least: float, alpha: float = ALPHA, one_sided: bool = False) -> Signs:
    """By `confidence_sequence`: settled where it leaves at_least out; mostly never, where the rate equals at_least.

    one_sided: with the truncated priors, an alpha for each verdict. No rate has two wrong verdicts, so that keeps the
    promise too, and passes at a gate of 0.9 in 51 to 62 % of the samples, but while the interval may hold at_least.
    """
    above, below = (log_evidence(good, n, at_least, side=s if one_sided else "both") for s in ("above", "below"))
    enough = -np.log(alpha)
    return _signs((above >= enough) & (good > at_least * n), (below >= enough) & (good < at_least * n))


def by_sprt(
    good: Any, n: Any, at_least: float, margin: float = MARGIN, alpha: float = ALPHA, beta: float = ALPHA
) -> Signs:
    """By Wald's test of at_least - margin against at_least + margin (Ann. Math. Statist. 16 (1945), doi
    10.1214/aoms/1177731118): at most alpha of the models at or below the lower pass, at most beta of those at or above
    the upper fail; between them it may do either. It stops at 1 / alpha and beta, not at Wald's (1 - beta) / alpha and
    beta / (1 - alpha), which keep the errors only in sum. Raises ValueError where the margin leads out of (0, 1).
    """
    low, high = at_least - margin, at_least + margin
    if not 0 < low < high < 1:
        raise ValueError(f"{at_least:g} ± {margin:g} leaves no rates on both sides: choose another margin")
    ratio = good * np.log(high / low) + (n - good) * np.log((1 - high) / (1 - low))
    return _signs(ratio >= -np.log(alpha), ratio <= np.log(beta))


def judge_stream(
    good: Iterable[bool],
    at_least: float,
    alpha: float = ALPHA,
    mode: Mode = "mixture",
    *,
    size: int | None = None,
    margin: float = MARGIN,
) -> Decision:
    """Take samples until they settle the gate, and none after, or until there are no more. size: of the given set,
    which `set` and `file` need; margin: of `sprt`, whose two errors are both alpha. Raises ValueError for nonsense."""
    if not 0 <= at_least <= 1 or not 0 < alpha < 1:
        raise ValueError(f"a gate needs 0 <= at_least <= 1 and 0 < alpha < 1, got {at_least:g} and {alpha:g}")
    among = size or 0
    if mode in ("set", "file") and not among:
        raise ValueError(f"{mode!r} judges a given set: say how many samples it has")
    gate: Callable[[int, int], Signs] = {
        "set": partial(settled, at_least=at_least, size=among),
        "file": partial(by_file, at_least=at_least, size=among, alpha=alpha),
        "mixture": partial(by_mixture, at_least=at_least, alpha=alpha),
        "sprt": partial(by_sprt, at_least=at_least, margin=margin, alpha=alpha, beta=alpha),
    }[mode]
    seen = n = sign = 0
    for n, one in enumerate(good, 1):
        if size and n > size:
            raise ValueError(f"more samples than the {size} of the given set")
        seen += bool(one)
        sign = int(gate(seen, n))
        if sign:
            break
    chance = f"wrong in at most {alpha:.3g} of all"
    why = {
        "set": f"certain, whatever the {among - n} samples left turn out to be",
        "file": f"{chance} orders of these {among} samples",
        "mixture": f"{chance} audits of such a population",
        "sprt": f"{chance} audits of a population {margin:g} or more from {at_least:g}",
    }[mode]
    low, high = interval(seen, n, alpha, mode, among)
    why = why if sign else f"{seen} of {n} good leave it open"
    verdict = (Verdict.OPEN, Verdict.PASSED, Verdict.FAILED)[sign]
    return Decision(verdict=verdict, good=seen, n=n, low=low, high=high, why=why, size=size)


def interval(good: int, n: int, alpha: float, mode: Mode, size: int) -> tuple[float, float]:
    """What is known of the rate by now: certain for `set`, the mode's confidence sequence else, for `sprt` too."""
    if mode == "set":
        return good / size, (size - (n - good)) / size
    low, high = (
        confidence_sequence_among(good, n, size, alpha) if mode == "file" else confidence_sequence(good, n, alpha)
    )
    return float(low), float(high)


def prospects(gate: Callable[[Any, int], Signs], rate: float, most: int) -> tuple[Floats, Floats]:
    """The chances that samples of this rate have passed, and have failed, a gate by the n-th, for n = 0 to most; exact
    but for tails below 1e-18. What both leave sums to the expected samples. A thousand steps take some 50 ms."""
    counts, alive = np.zeros(1, dtype=np.int64), np.ones(1)
    chances = np.zeros((most + 1, 2))
    for n in range(1, most + 1):
        counts = np.append(counts, counts[-1] + 1)
        alive = np.append(alive, 0) * (1 - rate) + np.append(0, alive) * rate
        signs = gate(counts, n)
        chances[n] = alive[signs > 0].sum(), alive[signs < 0].sum()
        left = np.flatnonzero((signs == 0) & (alive > 1e-18))
        if not len(left):
            break
        kept = slice(left[0], left[-1] + 1)
        counts, alive = counts[kept], np.where(signs[kept], 0, alive[kept])
    passed, failed = chances.cumsum(axis=0).T
    return passed, failed


def random_order(size: int, seed: int) -> npt.NDArray[np.int64]:
    """The order in which to draw samples, the same on every machine: the words of Philox are fixed, what numpy's
    Generator makes of them is not (NEP 19)."""
    return np.argsort(np.random.Philox(key=seed).random_raw(size), kind="stable")


def _signs(passes: Any, fails: Any) -> Signs:
    return np.asarray(passes, dtype=np.int8) - np.asarray(fails, dtype=np.int8)
