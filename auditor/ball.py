"""The same problem in smaller balls: for attacks that look for the nearest adversarial point."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from auditor.problem import Problem
from auditor.threat import Norm


def ball(problem: Problem, radius: Tensor) -> Problem:
    """The same problem within other radii `[batch]`, and no further than it lets its points go."""
    lower, upper = problem.lower, problem.upper
    if problem.norm is Norm.LINF:
        reach = problem.wide(radius) if problem.weights is None else problem.wide(radius) * problem.weights
        lower, upper = torch.maximum(lower, problem.inputs - reach), torch.minimum(upper, problem.inputs + reach)
    made = replace(problem, epsilon=radius, lower=lower, upper=upper, projected=[])
    if problem.norm is Norm.LINF:
        return made
    if problem.norm is Norm.L0:
        return replace(made, weights=None)
    inward = (radius - made.radius()).nan_to_num()  # what a projection leaves to rounding, which here is no matter
    return replace(made, epsilon=radius + inward)
