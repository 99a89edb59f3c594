"""Exact certificates for models that are affine in their input. Nothing to search: the worst case has a closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import nn

from auditor.affine import Affine
from auditor.batching import Batched
from auditor.certify import Certificates, Certifier
from auditor.graph import Graph
from auditor.hookspecs import Register, hookimpl
from auditor.samples import Samples
from auditor.threat import Norm, Region, ThreatModel
from auditor.twin import Twin

PROBED = 64
TOGETHER = 256
"""Samples that are worked on at once, so that their arrays stay in the cache."""
FURTHEST = 1e30
"""No radius is larger, in units of the samples: without bounds, a model of one answer could be given any."""
STEPS = 60
INWARD = 1 - 1e-6
"""What of a radius remains after rounding: of the float32 weights, of float64, of how a distance is measured."""
KNOWN = (nn.Sequential, nn.Linear, nn.Flatten, nn.Identity, Batched, Graph)
"""Modules whose every step goes through torch, where the trace sees it; others could compute behind its back."""


@dataclass(frozen=True, kw_only=True)
class AffineCertifier(Certifier):
    """Certifies linear and logistic regression, and any network without a non-linear layer, under linf and l2.

    Applies by itself wherever it can and costs one backward pass a class: every sample then is either broken or proven
    safe, up to a sliver for the rounding of the deployed model. Bounds, boxes, weights and frozen features are part of
    the proof. Refuses (None) where any operation on the way is not affine or random, where a defence stands before the
    model, torch modules other than Linear, Flatten, Identity and Sequential, and weight matrices beyond 2^25 entries.

    Witness: weight, bias (the scores); bounds `[n, classes]`, the least that the label's score can lead each class by;
    slack, what rounding may take of it; multiplier, of the ball's constraint, for which any value of at least 0 proves
    its bound. A sample is certified where bounds exceed slack for every class that the goal allows. Radii are the
    distances up to which they would, whatever epsilon is; there are none for boxes or an input grid.
    """

    name: ClassVar[str] = "affine"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    def certify(self, twin: Twin, samples: Samples, threat: ThreatModel, region: Region) -> Certificates | None:
        known = all(type(module) in KNOWN for module in twin.module.modules())
        if not known or twin.surrogates or twin.before or twin.random:
            return None
        if not np.isfinite([region.lower, region.upper]).all():
            return None
        affine = Affine.of(twin, _probes(samples, region))
        if affine is None:
            return None
        bounds, multiplier = worst_leads(affine, samples, threat, region)
        slack = affine.rounding(_largest(region.lower, region.upper), samples.labels)
        safe: np.ndarray = bounds > slack
        goal = threat.goal.target
        certified = np.all(safe, axis=1) if goal is None else safe[:, goal] & (samples.labels != goal)
        witness = {"weight": affine.weight, "bias": affine.bias, "bounds": bounds, "slack": slack}
        found = None
        if not threat.boxes and threat.grid is None:
            found = radii(affine, samples, threat)
            found = np.where(certified, np.maximum(found, threat.epsilon), np.minimum(found, threat.epsilon))
        return Certificates(certified, witness | ({} if multiplier is None else {"multiplier": multiplier}), found)


def worst_leads(
    affine: Affine, samples: Samples, threat: ThreatModel, region: Region
) -> tuple[np.ndarray, np.ndarray | None]:
    """The least lead of the label's score over each class inside the threat model, `[n, classes]`, infinite for the
    label itself; and the multipliers that prove it where the ball is round."""
    n, classes = len(samples), len(affine.bias)
    x, lower, upper = (a.reshape(n, -1).astype(np.float64) for a in (samples.inputs, region.lower, region.upper))
    round_ball = threat.norm is Norm.L2 and not threat.boxes
    weights = _weights(region, samples)
    bounds, multiplier = np.full((n, classes), np.inf), np.zeros((n, classes))
    for k in range(classes):
        for rows in _parts(np.flatnonzero(samples.labels != k)):
            own = samples.labels[rows]
            lead = affine.weight[own] - affine.weight[k]
            offset = affine.bias[own] - affine.bias[k]
            if round_ball:
                at = (lead * x[rows]).sum(axis=1) + offset
                low, high = ((edge[rows] - x[rows]) / weights for edge in (lower, upper))
                # the region's weights are float32: the ball is widened by more than their rounding
                most, multiplier[rows, k] = climb(-lead * weights, low, high, threat.epsilon * (1 + 1e-6))
                bounds[rows, k] = at - most
            else:
                bounds[rows, k] = np.where(lead > 0, lead * lower[rows], lead * upper[rows]).sum(axis=1) + offset
    return bounds, multiplier if round_ball else None


def climb(slope: np.ndarray, low: np.ndarray, high: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The most of slope @ z over low <= z <= high with ‖z‖₂ <= radius, for each row, and the multiplier that proves it.

    By Lagrange duality: the multiplier is found by bisection, and whatever it is, its value is an upper bound.
    """
    corner = np.where(slope > 0, high, low) * (slope != 0)
    free = np.linalg.norm(corner, axis=1) <= radius
    size = np.maximum(np.linalg.norm(slope, axis=1), 1e-300)
    least, most = np.zeros(len(slope)), size / max(2 * radius, 1e-300)
    for _ in range(100):
        middle = (least + most) / 2
        z = np.clip(slope / np.maximum(2 * middle, 1e-300)[:, None], low, high)
        beyond = np.linalg.norm(z, axis=1) > radius
        least, most = np.where(beyond, middle, least), np.where(beyond, most, middle)
    multiplier = np.where(free, 0.0, most)
    z = np.clip(slope / np.maximum(2 * most, 1e-300)[:, None], low, high)
    dual = (slope * z - multiplier[:, None] * z**2).sum(axis=1) + multiplier * radius**2
    return np.where(free, (slope * corner).sum(axis=1), dual), multiplier


def radii(affine: Affine, samples: Samples, threat: ThreatModel) -> np.ndarray:
    """The distance within which each sample provably has no adversarial example, `[n]`, rounded down: 0 where there is
    no proof even of the clean input, and no more than the largest change that the bounds allow.

    Without bounds it is lead by size of the slope. Bounds can only add to that, so only those classes are looked at
    more closely which it puts before the nearest so far: one or two of many. Rounding takes as much as at the clean
    input and more with the distance, or as much as anywhere in the bounds: each proves a radius.
    """
    own = samples.labels
    cap = FURTHEST / (1.0 if threat.weights is None else max(1.0, float(np.max(threat.weights))))
    whole = replace(threat, epsilon=cap).region(samples)
    weights = _weights(whole, samples)
    movable = _flat(whole.upper > whole.lower).any(axis=0)
    room, growth, steepness = _rooms(affine, samples, weights * movable, threat.norm)
    asked = own[:, None] != np.arange(len(affine.bias))
    if threat.goal.target is not None:
        asked[:, np.arange(len(affine.bias)) != threat.goal.target] = False
    least = np.where(asked, np.maximum(room, 0) / np.maximum(steepness + growth, 1e-200), np.inf)
    found = np.where(
        (least > 0).all(axis=1) & asked.any(axis=1), np.minimum(least.min(axis=1), cap * movable.any()), 0.0
    )
    if threat.bounds is None:
        return found * INWARD
    more = affine.rounding(_largest(whole.lower, whole.upper), own) - affine.rounding(_largest(samples.inputs), own)
    order = np.argsort(least, axis=1)
    reach, measure = (_reach_linf, np.inf) if threat.norm is Norm.LINF else (_reach_l2, 2)
    for part in _parts(np.flatnonzero(found)):
        low, high = (
            np.abs(_flat(edge[part]) - _flat(samples.inputs[part])) / weights for edge in (whole.lower, whole.upper)
        )
        found[part] = np.linalg.norm(np.maximum(low, high), ord=measure, axis=1)
        for rank in range(order.shape[1]):
            near = np.flatnonzero(least[part, order[part, rank]] < found[part])
            if not len(near):
                break
            rows = part[near]
            k = order[rows, rank]
            slope = (affine.weight[k] - affine.weight[own[rows]]) * weights
            most = np.where(slope > 0, high[near], low[near])
            growing = reach(np.abs(slope), most, room[rows, k], growth[rows, k])
            bounded = reach(np.abs(slope), most, room[rows, k] - more[rows, k], np.zeros(len(rows)))
            found[rows] = np.minimum(found[rows], np.maximum(growing, bounded))
    return found * INWARD


def _rooms(
    affine: Affine, samples: Samples, scale: np.ndarray, norm: Norm
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each lead `[n, classes]`: what rounding leaves of it at the clean input, what rounding takes more with each
    unit of distance, and what the adversary takes at most. scale: how far a unit moves each feature."""
    own, x = samples.labels, _flat(samples.inputs)
    scores = x @ affine.weight.T + affine.bias
    slack = affine.rounding(np.abs(x), own)
    room = np.take_along_axis(scores, own[:, None], axis=1) - scores - slack
    spread = np.abs(affine.weight) @ scale
    growth = slack / np.maximum(affine.terms(np.abs(x), own), 1e-200) * (spread[own][:, None] + spread)
    steepness = np.zeros_like(room)
    for label in np.unique(own):
        slopes = (affine.weight - affine.weight[label]) * scale
        steepness[own == label] = np.linalg.norm(slopes, ord=1 if norm is Norm.LINF else 2, axis=1)
    return room, growth, steepness


def _reach_linf(size: np.ndarray, most: np.ndarray, room: np.ndarray, growth: np.ndarray) -> np.ndarray:
    """The distance at which a change and rounding use up the room of each row, features moving no further than `most`:
    Newton's method on a concave piecewise linear function, from the left. No step leads too far, the last is exact."""
    reach, before = np.zeros(len(size)), np.full(len(size), -1.0)
    for _ in range(STEPS):
        taken = (size * np.minimum(reach[:, None], most)).sum(axis=1) + growth * reach
        rate = (size * (most > reach[:, None])).sum(axis=1) + growth
        reach = reach + np.maximum(room - taken, 0) / np.maximum(rate, 1e-200)
        if np.array_equal(rate, before):
            break
        before = rate
    return reach


def _reach_l2(size: np.ndarray, most: np.ndarray, room: np.ndarray, growth: np.ndarray) -> np.ndarray:
    """The same in l2, by Lagrange duality: a multiplier of the ball proves a distance, whatever it is; Newton's method
    finds the best one, as half the inverse of `time`, how long the features went at the speed of their slopes."""
    beyond = np.maximum(room - (size * most).sum(axis=1), 0)  # at multiplier 0: what the bounds never take
    reach: np.ndarray = beyond / np.maximum(growth, 1e-200)
    time, before = np.zeros(len(size)), np.full(len(size), -1.0)
    for _ in range(STEPS):
        z = np.minimum(time[:, None] * size, most)
        taken, length = (size * z).sum(axis=1), np.linalg.norm(z, axis=1)
        multiplier = 0.5 / np.maximum(time, 1e-200)
        left = np.maximum(room - taken + multiplier * length**2, 0)
        root = np.sqrt(growth**2 + 4 * multiplier * left)
        reach = np.maximum(reach, np.where(time > 0, 2 * left / np.maximum(growth + root, 1e-200), 0))
        rate = (size**2 * (z < most)).sum(axis=1)
        step = np.maximum(room - taken - growth * length, 0) / np.maximum(rate + growth * np.sqrt(rate), 1e-200)
        step = np.where(rate > 0, step, 0)
        if np.array_equal(rate, before) and (step <= 1e-3 * time).all():
            break
        time, before = time + step, rate
    return reach


def _largest(*edges: np.ndarray) -> np.ndarray:
    """The largest magnitudes between the edges, `[n, features]`."""
    largest: np.ndarray = np.maximum.reduce([np.abs(_flat(edge)) for edge in edges])
    return largest


def _flat(values: np.ndarray) -> np.ndarray:
    flat: np.ndarray = values.reshape(len(values), -1).astype(np.float64)
    return flat


def _weights(region: Region, samples: Samples) -> np.ndarray:
    """What a unit of distance means for each feature; the same for all samples unless they have their own boxes."""
    if region.weights is None:
        return np.ones(samples.inputs[0].size)
    weights: np.ndarray = region.weights[0].ravel().astype(np.float64)
    return weights


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // TOGETHER)) if len(rows) else []


def _probes(samples: Samples, region: Region) -> np.ndarray:
    """Some samples and some points between the far corners of their regions, where an affine model must be affine."""
    picked = np.linspace(0, len(samples) - 1, min(PROBED, len(samples))).astype(int)
    share = np.random.default_rng(0).random((len(picked), *samples.inputs.shape[1:]))
    between = region.lower[picked] + share * (region.upper[picked].astype(np.float64) - region.lower[picked])
    return np.concatenate([samples.inputs[picked], between.astype(np.float32)])


@hookimpl
def register_certifiers(register: Register) -> None:
    register(AffineCertifier)
