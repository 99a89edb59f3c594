"""What `advaudit doctor` is given: a model file, opened as a scan would open it, and inputs to ask it about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from auditor.config import Config, find_config, read_config
from auditor.doctor import Fact
from auditor.errors import UsageError
from auditor.fidelity import PROBED
from auditor.host import Host
from auditor.prepare import open_parts
from auditor.resolve import preprocess
from auditor.samples import SamplesOptions
from auditor.target import Target, TargetOptions

RANDOM = 8
"""Inputs that are drawn where no samples were given."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the doctor is told. Whatever is None comes from audit.toml.

    trust: whether the file may run its own code and its limits are lifted. bisect: go node by node also where twin and
    file agree.
    """

    model: str
    data: str | None = None
    limit: int | None = None
    config: Path | None = None
    preprocess: str | None = None
    trust: bool = False
    bisect: bool = False

    def plan(self) -> tuple[Config, Path]:
        """The audit.toml and its folder; an empty one where there is none."""
        path = self.config or find_config(self.model)
        return (read_config(path), path.parent) if path else (Config(), Path())

    def options(self, host: Host) -> TargetOptions:
        """What the target's loader is told, as a scan on the CPU tells it."""
        config, folder = self.plan()
        return TargetOptions(
            preprocess=preprocess(config, self.preprocess, folder),
            output=config.model.output,
            trust=self.trust,
            operators=host.operators,
            threads=config.run.threads or torch.get_num_threads(),
            classes=len(config.samples.classes) if config.samples.classes else None,
            timeout=config.run.timeout,
            memory=config.run.memory,
        )

    def load(self, options: TargetOptions, host: Host) -> tuple[Target, np.ndarray, Fact]:
        """The target, inputs to ask it about, `[n, *shape]` in sample units, and where these come from."""
        config, folder = self.plan()
        table = config.samples
        data = self.data or (str(folder / table.path) if table.path else None)
        if data is None:
            target = host.load_target(self.model, options)
            if not target.classes:
                raise UsageError(f"{target.name} leaves the shape of its input open; give samples with --data.")
            target.fit(target.shape)
            inputs = np.random.default_rng(0).random((RANDOM, *target.shape), np.float32)
            text = f"{RANDOM} random ones between 0 and 1, since no samples were given; agreement on them may mislead"
            return target, inputs, Fact("inputs", text, "note")
        wanted = SamplesOptions(
            size=(table.size[0], table.size[1]) if table.size and len(table.size) == 2 else None,
            classes=tuple(table.classes) if table.classes else None,
            labels=table.labels,
        )
        target, samples = open_parts(self.model, data, options, wanted, [], host)
        limit = self.limit or table.limit
        chosen = samples.limit(limit, config.search.seed) if limit else samples
        inputs = chosen.inputs if self.limit else chosen.inputs[:PROBED]
        return target, inputs, Fact("inputs", f"{len(inputs)} of {len(samples)} samples in {data}")
