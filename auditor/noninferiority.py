"""Exact non-inferiority in pairs: how likely is it to see so little lost, were as much lost as the margin allows?

Tango's score (Stat. Med. 17 (1998)) orders what may be observed; its normal approximation is wrong up to nearly twice
as often as it says where few pairs change, as between a model and its next version. So the chances are summed here over
all that may be observed, at the worst of the shares of gained pairs that nobody knows: the exact unconditional test of
Hsueh, Liu & Chen (Biometrics 57 (2001) 478), who show that the worst case lies at the margin. Some 30 ms for a thousand
pairs. Loads scipy.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, gammaln, xlog1py, xlogy

SHARES = 150
"""Shares of gained pairs that are tried, close together where they are small."""
TIE = 1e-9
Floats = npt.NDArray[np.float64]


def exact(gained: int, lost: int, n: int, margin: float) -> tuple[float, float]:
    """(passing, failing): the chances of a score as large, and as small, as that of `gained` and `lost` of n pairs,
    where the true difference is -margin; at the worst share of gained pairs, so they hold for smaller and for larger
    differences too."""
    seen = float(score(np.array([gained]), np.array([lost]), n, margin)[0])
    gains = np.arange(n + 1)
    most = _largest_loss(gains, seen - TIE, n, margin)  # so many lost have a score as large
    below = _largest_loss(gains, seen + TIE, n, margin)  # more than so many have one as small
    room = (1 - margin) / 2
    shares = np.concatenate([[0.0], np.geomspace(min(0.02 / n, room / 2), room, SHARES)])
    passing = failing = 0.0
    for share in shares:
        window = _likely(n, share)
        weight = np.exp(_log_choose(n, window) + xlogy(window, share) + xlog1py(n - window, -share))
        rest, chance = n - window, min((share + margin) / (1 - share), 1.0) if share < 1 else 0.0
        passing = max(passing, float(weight @ _at_most(most[window], rest, chance)))
        failing = max(failing, float(weight @ (1 - _at_most(below[window], rest, chance))))
    return min(passing, 1.0), min(failing, 1.0)


def normal(gained: int, lost: int, n: int, margin: float) -> float:
    """The p-value for passing by the score's normal approximation, close where many pairs change; the complement is the
    one for failing."""
    return NormalDist().cdf(-float(score(gained, lost, n, margin)))


def score(gained: Any, lost: Any, n: int, margin: float) -> Floats:
    """Tango's score of a difference against -margin, for arrays; infinite where the variance vanishes, 0 where nothing
    differs at all."""
    gained, lost = np.asarray(gained, float), np.asarray(lost, float)
    room = 1 - margin
    b = (gained + lost) * room - 2 * margin * (n - lost)
    rare = (np.sqrt(b * b + 8 * n * gained * margin * room) + b) / (4 * n)
    common = rare + margin
    variance = n * ((rare + common) * np.maximum(room - 2 * rare, 0) + 4 * rare * common)
    off = gained - lost + n * margin
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(off) < TIE, 0.0, off / np.sqrt(np.maximum(variance, 0)))


def _largest_loss(gains: npt.NDArray[np.int64], least: float, n: int, margin: float) -> npt.NDArray[np.int64]:
    """For each number gained, the largest number lost whose score is at least so much; -1 for none. Bisection: a score
    falls with every pair that is lost."""
    low, high = np.full(len(gains), -1), n - gains
    while np.any(low < high):
        middle = (low + high + 1) // 2
        enough = score(gains, middle, n, margin) >= least
        low, high = np.where(enough, middle, low), np.where(enough, high, middle - 1)
    return low


def _likely(n: int, share: float) -> npt.NDArray[np.int64]:
    """The numbers gained that are not beyond ten standard deviations."""
    middle, spread = n * share, 10 * np.sqrt(n * share * (1 - share)) + 10
    return np.arange(max(int(middle - spread), 0), min(int(middle + spread) + 1, n) + 1)


def _at_most(k: Any, n: Any, chance: float) -> Floats:
    """The chance of at most k of n; 0 for k = -1."""
    found: Floats = np.where(k < 0, 0.0, bdtr(np.maximum(k, 0), n, chance))
    return np.where(k >= n, 1.0, found)


def _log_choose(n: int, k: Any) -> Any:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
