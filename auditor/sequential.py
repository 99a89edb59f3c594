"""Evidence that holds wherever one stops: tests and intervals that may be looked at after every sample. Loads no torch.

Three tests of "at least this share of samples is good", from how many of the first n are good:

- `drawn`: of the given samples, from those drawn so far, wrong in at most alpha of all orders.
- `mixture`: of the population that the samples come from, wrong in at most alpha of all audits.
- `sprt`: of the population too, sooner, but with no promise for rates within a margin of the threshold.

Each returns two p-values, (passing, failing): the chance that samples ever speak so much for passing where the share is
less, and for failing where it is as much. One stops once a p-value is at most alpha; no share has both wrong. They are
what `auditor.bounds` judges by. good and n: whole numbers or arrays of any shapes that go together; the p-values' shape
is the common one. A look takes at most 0.2 ms.

The samples must come one by one in a random order fixed beforehand (`random_order`), each called good only once it
survived its full budget: breaks come early, so whoever counts samples as they finish counts too many of them.
"""

from __future__ import annotations

from math import ceil, log
from typing import Any

import numpy as np
import numpy.typing as npt

from auditor.metrics import CONFIDENCE

ALPHA = round(1 - CONFIDENCE, 9)
UNIFORM = (1.0, 1.0)
"""Beta(1, 1): before the first sample every rate is as likely. Any other prior is as valid, and faster elsewhere."""
ORDER = 0x6F72646572
"""The second word of the key that orders samples."""
Floats = npt.NDArray[np.float64]


def mixture(good: Any, n: Any, at_least: float) -> tuple[Floats, Floats]:
    """By `log_evidence` on the side where the samples are; mostly never small, where the rate equals at_least.

    Nothing but one exception settles a threshold at an end: 0 always passes, and a bad sample fails 1.
    """
    good, n = np.broadcast_arrays(good, n)
    p = _p(log_evidence(good, n, at_least))
    passing = np.where(good > at_least * n, p, 1.0) if at_least > 0 else np.zeros(good.shape)
    return passing, np.where(good < at_least * n, p, 1.0)


def sprt(good: Any, n: Any, at_least: float, margin: float) -> tuple[Floats, Floats]:
    """By Wald's test of at_least - margin against at_least + margin (Ann. Math. Statist. 16 (1945), doi
    10.1214/aoms/1177731118): at most alpha of the models at or below the lower ever have passing <= alpha, at most beta
    of those at or above the upper failing <= beta; between them it may do either.

    It so stops at 1 / alpha and beta, not at Wald's (1 - beta) / alpha and beta / (1 - alpha), which keep the errors
    only in sum. Raises ValueError where the margin leads out of (0, 1).
    """
    low, high = at_least - margin, at_least + margin
    if not 0 < low < high < 1:
        raise ValueError(f"{at_least:g} ± {margin:g} leaves no rates on both sides: choose another margin")
    good, n = np.broadcast_arrays(good, n)
    ratio = good * log(high / low) + (n - good) * log((1 - high) / (1 - low))
    return _p(ratio), _p(-ratio)


def drawn(good: Any, n: Any, at_least: float, size: int) -> tuple[Floats, Floats]:
    """By `log_evidence_among` all `size` samples: against the most good ones that should not pass, and the fewest that
    should. Certain, 0 or 1, where what was drawn rules them out, at the latest with the last sample."""
    good, n = np.broadcast_arrays(np.asarray(good, dtype=np.int64), np.asarray(n, dtype=np.int64))
    enough = ceil(at_least * size - 1e-9)  # 0.29 * 100 is 28.999999999999996, 0.07 * 100 is 7.000000000000001
    least, most = good, size - (n - good)

    def against(total: int) -> Floats:
        return _p(log_evidence_among(good, n, np.clip(total, least, most), size))

    passing = np.where(good * size > (enough - 1) * n, against(enough - 1), 1.0)
    failing = np.where(good * size > enough * n, 1.0, against(enough))
    return (
        np.select([enough - 1 < least, enough - 1 > most], [0.0, 1.0], passing),
        np.select([enough < least, enough > most], [1.0, 0.0], failing),
    )


def _p(log_evidence: Any) -> Floats:
    """An odds ratio that exceeds 1 / p in at most p of all streams, as a p-value."""
    p: Floats = np.exp(-np.maximum(log_evidence, 0.0))
    return p


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


def random_order(size: int, seed: int) -> npt.NDArray[np.int64]:
    """The order in which to draw samples, the same on every machine: the words of Philox are fixed, what numpy's
    Generator makes of them is not (NEP 19). A stream of its own: others draw from this seed, too."""
    return np.argsort(np.random.Philox(key=np.array([seed, ORDER], np.uint64)).random_raw(size), kind="stable")
