"""What the search knows of each sample so far, and the result of one unit of work that changes it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from auditor.samples import Samples


@dataclass
class UnitResult:
    """What one attack did to one chunk of samples; it is journalled, and the ledger changes by nothing else.

    index: int64 `[k]`, positions of the samples. broken, lost, full (some row got to its end without breaking the
    rules), spent (`[k, 3]`: forwards, backwards, queries) and margin (the smallest found) are per sample; best `[k,
    *shape]` is the point of that margin. adversarial, label and distance are per broken sample, in the order of
    `index`. nearest, nearest_label, nearest_point: distance, label and point `[k, *shape]` of each sample's nearest
    adversarial example, of a distance stage; infinite where none was found, empty in other stages. right, fooled:
    whether a stand-in has each sample right, and was led to get it wrong, of a stage that follows one; empty in others.
    rejected: reason to count. error: why the attack stopped. width: rows that were computed side by side.
    """

    index: np.ndarray
    broken: np.ndarray
    lost: np.ndarray
    full: np.ndarray
    margin: np.ndarray
    best: np.ndarray
    spent: np.ndarray
    adversarial: np.ndarray
    label: np.ndarray
    distance: np.ndarray
    nearest: np.ndarray = field(default_factory=lambda: np.zeros(0))
    nearest_label: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    nearest_point: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    right: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    fooled: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    rejected: dict[str, int] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0
    width: int = 0


@dataclass
class Ledger:
    """Per sample, `[n]`: what is known and what was spent.

    counts: whose numbers are told, examined: whom checks look at; None for all.
    ids: of the samples, which break ties. correct: classified correctly when clean, so worth attacking. spared:
    certified and not drawn to be attacked all the same. broken: an adversarial example was verified. full: some attack
    ran its full budget. met: some attack was tried on it. lost: the target was lost while it was being judged. stage:
    number of the stage that broke it, -1 for none. margin, best: the smallest margin found and its point. clean: the
    margin before any attack, NaN until a stage wants to know (`auditor.clean`). nearest, nearest_label, nearest_point:
    what distance stages found, infinite, -1 and absent where they found nothing. ranged: a distance stage ran its full
    budget on it.
    """

    ids: np.ndarray
    correct: np.ndarray
    spared: np.ndarray
    broken: np.ndarray
    full: np.ndarray
    met: np.ndarray
    lost: np.ndarray
    stage: np.ndarray
    label: np.ndarray
    distance: np.ndarray
    margin: np.ndarray
    clean: np.ndarray
    best: np.ndarray
    spent: np.ndarray
    adversarial: dict[int, np.ndarray]
    nearest: np.ndarray
    nearest_label: np.ndarray
    nearest_point: dict[int, np.ndarray]
    ranged: np.ndarray
    counts: np.ndarray | None = None
    examined: np.ndarray | None = None

    @classmethod
    def of(cls, samples: Samples, correct: np.ndarray, spared: np.ndarray | None = None) -> Ledger:
        """A ledger before any attack."""
        n = len(samples.labels)
        return cls(
            ids=samples.ids,
            correct=correct.copy(),
            spared=np.zeros(n, bool) if spared is None else spared.copy(),
            broken=np.zeros(n, bool),
            full=np.zeros(n, bool),
            met=np.zeros(n, bool),
            lost=np.zeros(n, bool),
            stage=np.full(n, -1, np.int64),
            label=np.full(n, -1, np.int64),
            distance=np.full(n, np.nan),
            margin=np.full(n, np.inf),
            clean=np.full(n, np.nan),
            best=samples.inputs.copy(),
            spent=np.zeros((n, 3), np.int64),
            adversarial={},
            nearest=np.full(n, np.inf),
            nearest_label=np.full(n, -1, np.int64),
            nearest_point={},
            ranged=np.zeros(n, bool),
        )

    @property
    def standing(self) -> np.ndarray:
        """Positions of the samples still worth attacking, in order."""
        return np.flatnonzero(self.correct & ~self.broken & ~self.spared)

    @property
    def worth_a_look(self) -> np.ndarray:
        """Who is classified correctly and had the full budget, bool `[n]`."""
        return self.correct if self.examined is None else self.correct & self.examined

    @property
    def robust_accuracy(self) -> float:
        """Share of the samples that count which are correct and not broken so far."""
        good = (self.correct & ~self.broken)[... if self.counts is None else self.counts]
        return float(good.sum()) / max(len(good), 1)

    def only(self, had: np.ndarray, *, counts: bool) -> Ledger:
        """The ledger in which those alone may have withstood that had their full budget (bool `[n]`) and the others are
        attacked no more; breaks stay. counts: those alone count, too."""
        return replace(
            self,
            full=self.full & had,
            met=self.met & had,
            spared=self.spared | ~had,
            counts=had if counts else None,
            examined=had,
        )

    def reach(self, index: np.ndarray) -> str:
        """For how many of these samples an adversarial example is known at some distance, and how far, in words."""
        near = self.nearest[index]
        median = np.median(near) if len(near) else np.inf
        half = f", for half of them within {median:.4g}" if np.isfinite(median) else ""
        return f"An example is known for {int(np.isfinite(near).sum())} of {len(near)} at some distance{half}."

    def entrants(self, share: float) -> np.ndarray:
        """The given share of the standing samples, those of smallest margin, in the order of their ids."""
        standing = self.standing
        if share >= 1:
            return standing
        keep = int(np.ceil(share * len(standing)))
        order = np.lexsort((self.ids[standing], self.margin[standing]))
        return np.sort(standing[order[:keep]])

    def fallen(self, index: np.ndarray, near: float) -> np.ndarray:
        """Whose smallest margin is at most `near` times the clean one, bool `[k]`: each by that sample alone.

        Who has no margin, or none to hold it against, counts as well: nothing says that it is far. So does a clean
        margin of 0 or less, where the twin is wrong before any attack.
        """
        margin, clean = self.margin[index], self.clean[index]
        known = np.isfinite(margin) & (clean > 0)
        found: np.ndarray = ~known | (margin <= near * np.where(known, clean, 0.0))
        return found

    def apply(self, stage: int, result: UnitResult) -> None:
        """Enter the result of a unit of work."""
        index = result.index
        self.met[index] = True
        self.spent[index] += result.spent
        self.lost[index] |= result.lost
        if result.error is None:
            self.full[index] |= result.full & ~result.lost
        better = result.margin < self.margin[index]
        self.margin[index[better]] = result.margin[better]
        self.best[index[better]] = result.best[better]
        hit = index[result.broken]
        self.broken[hit] = True
        self.stage[hit] = stage
        self.label[hit] = result.label
        self.distance[hit] = result.distance
        self.adversarial.update({int(i): x for i, x in zip(hit, result.adversarial, strict=True)})
        if len(result.nearest):
            self._enter_nearest(result)

    def hand_in(self, stage: int, result: UnitResult) -> int:
        """Enter what an experiment broke of the samples that still stand, and nothing else; how many those are."""
        rows = [row for row, i in enumerate(result.index[result.broken]) if not self.broken[i] and not self.spared[i]]
        for row in rows:
            i = int(result.index[result.broken][row])
            self.broken[i], self.stage[i] = True, stage
            self.label[i], self.distance[i] = result.label[row], result.distance[row]
            self.adversarial[i] = result.adversarial[row]
        return len(rows)

    def _enter_nearest(self, result: UnitResult) -> None:
        if result.error is None:
            self.ranged[result.index] |= result.full & ~result.lost
        for row in np.flatnonzero(result.nearest < self.nearest[result.index]):
            sample = int(result.index[row])
            self.nearest[sample] = result.nearest[row]
            self.nearest_label[sample] = result.nearest_label[row]
            self.nearest_point[sample] = result.nearest_point[row]
