"""What comes before the search: load and check everything, measure the twin, say how long it will take."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from auditor.defense import Defense
from auditor.errors import SamplesError, UsageError
from auditor.events import Listener, Notice
from auditor.host import Host
from auditor.job import Job
from auditor.ledger import Ledger
from auditor.metrics import wilson
from auditor.observe import Observation, near_chance
from auditor.samples import Samples, SamplesOptions
from auditor.search import Search
from auditor.target import Target, TargetOptions, check_classes
from auditor.threat import Region

LONG = 600.0
"""Seconds from which a scan says first how long it may take."""


def open_parts(
    model: str, data: str, target: TargetOptions, samples: SamplesOptions, defenses: list[Defense], host: Host
) -> tuple[Target, Samples]:
    """Load target and samples, each as the other needs it. Raises ModelError or SamplesError.

    Pictures without a stated size are brought to the one that the file takes; labels that the data numbers by name are
    renumbered to the file's own classes where it knows their names.
    """
    opened = host.load_target(model, target)
    if opened.picture is not None:
        height, width, channels = opened.picture
        samples = replace(samples, picture=(height, width), channels=samples.channels or channels)
    loaded = host.load_samples(data, samples)
    if opened.class_names is not None:
        loaded = loaded.aligned(opened.class_names)
    for defense in defenses:
        opened = defense.wrap_target(opened)
    opened.fit(loaded.shape)
    return opened, loaded


def load(job: Job) -> tuple[Target, Samples, Region]:
    """The job's target, the samples it attacks, and the region around them. Raises SamplesError or UsageError."""
    torch.set_num_threads(job.execution.threads)
    target, samples = job.target, job.samples
    if job.limit is not None:
        samples = samples.limit(job.limit, job.seed)
    if job.labels == "predicted":
        samples = samples.with_labels(target.labels(samples.inputs, batch=1))
    check_classes(samples.labels, target.classes)
    goal = job.threat.goal.target
    if goal is not None:
        if goal >= target.classes:
            raise UsageError(f"--goal targeted:{goal} names a class that the model, with {target.classes}, hasn't.")
        samples = samples.drop(samples.labels == goal, f"already of the target class {goal}")
    return target, samples, job.threat.region(samples)


def check_accuracy(job: Job, target: Target, samples: Samples, observation: Observation) -> np.ndarray:
    """Which samples are classified correctly, bool `[n]`. Raises SamplesError where that is near chance."""
    correct: np.ndarray = observation.clean_labels == samples.labels
    accuracy, n, chance = float(correct.mean()), len(samples), 1 / target.classes
    if job.go_on or job.labels == "predicted" or not near_chance(accuracy, target.classes, n):
        return correct
    from auditor.conventions import suggest  # tries every convention: only where something is wrong

    hint = suggest(target, samples, accuracy)
    raise SamplesError(
        f"Clean accuracy is {accuracy:.1%} on {n} samples (chance {chance:.1%}), so an audit would say nothing. "
        f"{hint} To scan all the same, give --go-on."
    )


def tell_duration(job: Job, search: Search, ledger: Ledger, listen: Listener) -> None:
    """Where a scan may take long, say so, and what `--limit` would make of it."""
    seconds = _cost(job, search) * len(ledger.standing)
    if seconds < LONG:
        return
    n = len(search.samples)
    text = f"Up to {duration(seconds)} for {n} samples, if all withstand"
    for fewer in (1000, 200, 50):
        if fewer * 3 <= n:
            interval = wilson(fewer // 2, fewer) or (0, 1)
            spread = (interval[1] - interval[0]) * 50
            text += f"; `--limit {fewer}`: {duration(seconds * fewer / n)}, ±{spread:.0f} points"
    listen(Notice(text=text + "."))


def _cost(job: Job, search: Search) -> float:
    """Seconds that a sample which withstands everything will take, from one timed batch of twin and target."""
    passes = search.twin.passes if search.twin is not None else 1
    batch = min(max(job.execution.width // passes, 1), len(search.samples))
    x = search.samples.inputs[:batch]
    budgets = [(stage.share, stage.budget(search.target.classes)) for stage in job.suite if search.unfit(stage) is None]
    forwards, backwards, queries = (sum(share * budget[kind] for share, budget in budgets) for kind in range(3))
    began = time.perf_counter()
    search.target.scores(x, batch=batch)
    query = (time.perf_counter() - began) / batch
    forward = backward = 0.0
    if search.twin is not None:
        points = torch.from_numpy(x).to(job.execution.device).requires_grad_()
        search.twin.module.float()
        for _ in range(2):  # the first pass warms up
            began = time.perf_counter()
            logits = search.twin.logits(points)
            forward = (time.perf_counter() - began) / batch
            if logits.requires_grad:
                torch.autograd.grad(logits.sum(), points)
            backward = (time.perf_counter() - began) / batch - forward
    return forwards * forward + backwards * backward + queries * query


def duration(seconds: float) -> str:
    """`8 min`, `3 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
