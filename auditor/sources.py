"""Where gradients come from: the twin, what softens or averages it, and stand-ins for the model that an outsider has.

A stage names its source. The twin is what is deployed, so what it says of a margin counts; a stand-in only leads to
points, which are candidates like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from auditor.chance import CHANCE
from auditor.errors import ModelError
from auditor.suite import TWIN
from auditor.target import Target
from auditor.twin import Twin

EXPECTED = "expected"
"""The twin of a randomised model, averaged over draws of its noise."""
SMOOTH = "smooth"
"""The twin with operators that hide gradients replaced by ones that do not (BPDA)."""
DISTILLATE = "distillate"
"""A small net trained on the model's answers."""
ENSEMBLE = "ensemble"
"""All stand-ins that an outsider has, averaged."""
RESERVED = frozenset({TWIN, EXPECTED, SMOOTH, DISTILLATE, ENSEMBLE})
"""Names that a file to transfer from can't have."""
FAITHFUL = frozenset({TWIN, EXPECTED})
"""Sources whose scores are the model's own."""
INSIDE = frozenset({TWIN, EXPECTED, SMOOTH})
"""Sources made of the file itself, which only an attacker with gradients has."""


@dataclass(frozen=True)
class Sources:
    """Twins by name, made when they are first asked for. makers: return a twin or raise ModelError with the reason why
    there is none. target: the model, which some of them question. asked: what each asked of it that is not booked
    yet."""

    makers: Mapping[str, Callable[[], Twin]] = field(default_factory=dict)
    target: Target | None = None
    made: dict[str, Twin | ModelError] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)

    def find(self, name: str) -> Twin:
        """The twin of this name. Raises ModelError where there is none, with the reason."""
        if name not in self.made:
            CHANCE.begin(0, "source", name)
            before, booked = self._queries, sum(self.asked.values())
            self.made[name] = self._make(name)
            self.asked[name] = self._queries - before - (sum(self.asked.values()) - booked)
        found = self.made[name]
        if isinstance(found, ModelError):
            raise found
        return found

    def has(self, name: str) -> bool:
        """Whether there is a twin of this name; it is made."""
        try:
            self.find(name)
        except ModelError:
            return False
        return True

    def book(self) -> int:
        """Queries that making twins took since this was last asked."""
        total = sum(self.asked.values())
        self.asked.clear()
        return total

    @property
    def _queries(self) -> int:
        return self.target.queries if self.target is not None else 0

    def _make(self, name: str) -> Twin | ModelError:
        if name not in self.makers:
            return ModelError(f"there is no source {name!r}; there are {', '.join(self.makers) or 'none'}")
        try:
            return self.makers[name]()
        except ModelError as error:
            return error
