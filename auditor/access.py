"""What an attacker may see of a model, and what its scores mean."""

from __future__ import annotations

from enum import StrEnum


class Access(StrEnum):
    """What an attack needs from the model; a scan may be limited to less than the file offers."""

    DECISION = "decision"
    SCORE = "score"
    GRADIENT = "gradient"

    @property
    def level(self) -> int:
        """Rank of the access: 0 for labels only, 2 for gradients."""
        return list(Access).index(self)

    def covers(self, needed: Access) -> bool:
        """Whether an attacker with this access can run an attack that needs `needed`."""
        return self.level >= needed.level


class OutputKind(StrEnum):
    """What the numbers that a model returns are."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    LOG_PROBABILITIES = "log-probabilities"
    LABELS = "labels"
