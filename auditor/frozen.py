"""Frozen stages: whom they meet depends on each sample alone, as gates need that take samples one by one.

A share ranks the survivors, so what a sample is granted hangs on who else is there. Frozen, a stage that follows the
twin's gradients meets those whose margin has fallen to a set part of their clean one. Any other stage meets everybody:
it is there to see through masked gradients, and behind those no margin falls far. A share of the samples would see it
all the same, a threshold leaves all of them out, and the model passes for robust.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from auditor.access import Access
from auditor.errors import UsageError
from auditor.suite import TWIN, Stage

SHARES = (0.0, 0.1, 0.2, 0.6, 1.0)
NEARS = (0.0, 0.15, 0.25, 0.55, 1.0)
"""A share of the survivors, and the part of the clean margin that stands for it; straight lines in between.

On nine robust nets the share of 0.1, 0.2 and 0.6 lay below 0.23, 0.38 and 0.63 in the median, and nobody above 0.05,
0.07 and 0.16 fell when all were played (`python -m benchmarks.frozen fit`). These lie between, so that a survivor costs
some 1.2 times what it did, although stages without gradients now meet everybody.
"""


def near_of(share: float) -> float:
    """The `Stage.near` for a share of the survivors: larger for a larger one, 1 for all."""
    return float(np.interp(share, SHARES, NEARS))


def frozen(stage: Stage) -> Stage:
    """The stage with an absolute threshold in place of its share; as it is where it has none.

    Rounds stay: in each the stage meets who stands then and is near enough by then. Raises UsageError for a stage that
    can't be told for one sample alone: one that draws some of them, or an attack with a loop of its own.
    """
    from auditor.attack import Attack

    if stage.sample:
        raise UsageError(f"{stage.title} meets {stage.sample} samples drawn from all (sample): it can't be frozen.")
    if not isinstance(stage.attack, Attack):
        raise UsageError(f"{stage.title} plays on all samples at once in a loop of its own: it can't be frozen.")
    if stage.share >= 1:
        return stage
    led = stage.attack.access is Access.GRADIENT and stage.source == TWIN
    return replace(stage, share=1.0, near=min(stage.near, near_of(stage.share)) if led else stage.near)
