"""Clean margins: how far each sample is from the goal before anybody attacks it, in the unit that the search measures.

A margin over the clean one is a number without a unit that depends on the sample alone: so a stage can ask who came
near to falling without ranking the samples, which makes each one's budget hang on the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch

from auditor.access import Access
from auditor.attack import Query
from auditor.chance import CHANCE
from auditor.errors import TargetUnavailable
from auditor.ledger import Ledger
from auditor.losses import margin
from auditor.oracle import TargetOracle, TwinOracle

if TYPE_CHECKING:
    from auditor.search import Search


def learn_clean(search: Search, ledger: Ledger, index: np.ndarray) -> None:
    """Enter the clean margins of those of these samples that have a margin to hold against it, and no clean one yet.

    Costs a forward each, or a query where there is no twin, booked to no stage. A target that is lost leaves them open.
    """
    open_ = index[np.isfinite(ledger.margin[index]) & np.isnan(ledger.clean[index])]
    if not len(open_):
        return
    try:
        ledger.clean[open_] = clean_margins(search, open_)
    except TargetUnavailable:
        return


def clean_margins(search: Search, index: np.ndarray) -> np.ndarray:
    """The margin of `losses.margin` at the samples as they are, `[k]`: the twin's where attacks may follow it, else the
    deployed model's; infinite where labels are all that there is.

    The same for a sample whoever it is asked with, but for rounding, and the same bits in a resumed scan: what draws
    random numbers holds still. Raises TargetUnavailable.
    """
    labels = torch.from_numpy(search.samples.labels[index])
    goal = search.threat.goal.target
    targets = torch.full_like(labels, -1 if goal is None else goal)
    # compiling isn't worth it for one pass, and rounding isn't what is to be measured
    plain = {"compile": False} | ({"precision": "float32"} if search.execution.precision == "bfloat16" else {})
    execution = msgspec.structs.replace(search.execution, width=search.width, **plain)
    oracle: TwinOracle | TargetOracle
    if search.twin is not None and search.access is Access.GRADIENT:
        oracle = TwinOracle(search.twin, execution)
    elif search.access.covers(Access.SCORE) and search.target.access.covers(Access.SCORE):
        oracle = TargetOracle(search.target, execution, Access.SCORE)
    else:
        return np.full(len(index), np.inf)
    points = torch.from_numpy(np.ascontiguousarray(search.samples.inputs[index])).to(execution.device, oracle.dtype)
    own, aims = labels.to(points.device), targets.to(points.device)
    with CHANCE.still():
        reply = oracle.ask(Query(points=points, gradient=False), lambda scores, i: -margin(scores, own[i], aims[i]))
    values: np.ndarray = margin(reply.need_scores(), own, aims).double().cpu().numpy()
    return values
