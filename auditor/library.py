"""The second door: attacks that own their loop. Their candidates are judged like any other; they leave no trace."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from auditor.access import Access
from auditor.arena import Arena
from auditor.attack import LibraryAttack, Query
from auditor.errors import TargetUnavailable
from auditor.ledger import UnitResult
from auditor.oracle import Oracle, TwinOracle
from auditor.verify import Reason, Ruling, Verifier


def play_library(attack: LibraryAttack, arena: Arena, oracle: Oracle, verifier: Verifier, seed: int) -> UnitResult:
    """Hand the whole unit to the attack, judge what comes back row by row, count every pass of its model."""
    began = time.perf_counter()
    k = len(arena.index)
    shape = tuple(arena.inputs.shape[1:])
    passes = np.zeros(3, np.int64)
    model = _metered(attack, oracle, arena.place.classes, passes)
    error, candidates = None, np.zeros((0, *shape), np.float32)
    rejected: Counter[str] = Counter()
    try:
        returned = attack.run_on(model, arena.inputs.clone(), arena.labels.clone(), deepcopy(arena.threat), seed)
        candidates = _array(returned)
    except (Exception, SystemExit) as failure:  # a plugin must not end the audit, by exit() either
        error = f"{type(failure).__name__}: {failure}"
    if error is None and candidates.shape != (k, *shape):
        rejected[Reason.SHAPE] += k
        candidates = np.zeros((0, *shape), np.float32)
    found: dict[int, tuple[np.ndarray, Ruling]] = {}
    lost, full = np.zeros(k, bool), np.zeros(k, bool)
    spent = np.tile(passes // max(k, 1), (k, 1))
    for slot, candidate in enumerate(candidates):
        try:
            ruling = verifier.judge(int(arena.index[slot]), candidate)
        except TargetUnavailable:
            lost[slot] = True
            continue
        spent[slot, 2] += verifier.votes if ruling.label is not None else 0
        full[slot] = ruling.reason in (None, Reason.UNCHANGED, Reason.NOT_MISCLASSIFIED)
        if ruling.broken:
            found[slot] = (candidate, ruling)
        else:
            rejected[str(ruling.reason)] += 1
    order = sorted(found)
    broken = np.zeros(k, bool)
    broken[order] = True
    return UnitResult(
        index=arena.index,
        broken=broken,
        lost=lost,
        full=full,
        margin=np.full(k, np.inf),
        best=arena.best.to("cpu", torch.float32).numpy(),
        spent=spent,
        adversarial=np.stack([found[s][0] for s in order]) if order else np.zeros((0, *shape), np.float32),
        label=np.array([found[s][1].label for s in order], np.int64),
        distance=np.array([found[s][1].distance for s in order], np.float64),
        rejected=dict(sorted(rejected.items())),
        error=error,
        seconds=time.perf_counter() - began,
    )


def _metered(attack: LibraryAttack, oracle: Oracle, classes: int, passes: np.ndarray) -> Callable[[Tensor], Tensor]:
    """A model that counts what goes through it: differentiable where the attack's access is."""
    if attack.access is Access.GRADIENT and isinstance(oracle, TwinOracle):
        twin = oracle

        def differentiable(x: Tensor) -> Tensor:
            passes[0] += len(x) * twin.twin.passes
            passes[1] += len(x) * twin.twin.passes if x.requires_grad else 0
            return twin.logits(x)

        return differentiable

    def plain(x: Tensor) -> Tensor:
        passes[2] += len(x)
        reply = oracle.ask(Query(points=x, gradient=False), lambda scores, start: scores[:, 0])
        return one_hot(reply.labels, classes).to(x.dtype) if reply.scores is None else reply.scores

    return plain


def _array(returned: Tensor | np.ndarray) -> np.ndarray:
    array = returned.detach().cpu().numpy() if isinstance(returned, Tensor) else np.asarray(returned)
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which the verifier refuses
        return array.astype(np.float32) if array.dtype == np.float64 else array
