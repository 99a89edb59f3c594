"""The inquiry: asks the checks what they make of a scan, once the suite has been played and again after the answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from msgspec import structs

from auditor.chance import CHANCE
from auditor.check import Check, Evidence
from auditor.errors import PluginError
from auditor.host import Host
from auditor.lab import Lab
from auditor.ledger import Ledger, UnitResult
from auditor.measured import Measured, measured_again
from auditor.observe import Observation
from auditor.record import AttackRow, Fidelity, Finding, FindingStatus, Spent
from auditor.search import Search
from auditor.suite import Stage
from auditor.tally import Tally


@dataclass
class Inquiry:
    """What the checks are asked about. seen: the twin as it was measured. deep: whether those run that cost much.
    lab: where they make their experiments."""

    host: Host
    search: Search
    ledger: Ledger
    observation: Observation
    seen: Measured
    deep: bool = False
    lab: Lab = field(init=False)
    _measured: tuple[int, Fidelity | None] | None = None

    def __post_init__(self) -> None:
        self.lab = Lab(search=self.search, ledger=self.ledger, attacks=self.host.attacks, deep=self.deep)

    @property
    def checks(self) -> dict[str, Check]:
        """One of each kind that runs here, by name, in the order of their names."""
        kinds = sorted(self.host.checks.items())
        return {name: kind() for name, kind in kinds if self.deep or not kind.deep}

    def fidelity(self) -> Fidelity | None:
        """The twin's agreement with the file on clean samples and on what has been broken so far."""
        if self._measured is not None and self._measured[0] == len(self.ledger.adversarial):
            return self._measured[1]  # nothing was broken since
        found = [self.ledger.adversarial[i] for i in sorted(self.ledger.adversarial)]
        points = np.stack(found) if found else self.search.samples.inputs[:0]
        CHANCE.begin(self.search.seed, "fidelity")
        measured = measured_again(self.search.target, self.seen, points, self.search.execution)
        self._measured = (len(found), measured)
        return measured

    def look(self, attacks: list[AttackRow], checks: Iterable[Check]) -> list[Finding]:
        """What these checks say after these stages."""
        search = self.search
        evidence = Evidence(
            target=search.target,
            twin=search.twin,
            why_no_twin=self.seen.why_none,
            samples=search.samples,
            threat=search.threat,
            region=search.region,
            ledger=self.ledger,
            attacks=attacks,
            observation=self.observation,
            fidelity=self.fidelity(),
            device=search.execution.device,
            seed=search.seed,
            lab=self.lab,
        )
        return [ask(check, evidence) for check in checks]

    def look_again(self, attacks: list[AttackRow], before: list[Finding]) -> list[Finding]:
        """The findings, those of checks that look again after the doubts were answered as they are now."""
        again = {finding.id: finding for finding in self.look(attacks, [c for c in self.checks.values() if c.again])}
        return [renewed(old, again.get(old.id, old)) for old in before]

    def hand_in(self, first: int) -> list[AttackRow]:
        """Enter what the checks' experiments broke of what still stood: a row for each attack that broke something, as
        stages numbered from `first` on."""
        experiments: dict[str, list[tuple[Stage, UnitResult]]] = {}
        for stage, result in self.lab.handed:
            experiments.setdefault(repr(stage.table()), []).append((stage, result))
        self.lab.handed = []
        rows: list[AttackRow] = []
        for played in experiments.values():
            tally = Tally(rounds=1, entered=sum(len(result.index) for _, result in played))
            broken = 0
            for _, result in played:
                tally.add(result)
                broken += self.ledger.hand_in(first + len(rows), result)
            if broken:
                self.lab.spent -= tally.spent  # booked as a stage from here on
                row = tally.row(played[0][0], "ran", None, broken, self.search.target.classes)
                rows.append(structs.replace(row, phase="check"))
        return rows


def renewed(old: Finding, new: Finding) -> Finding:
    """A finding as it is now, which says what it was where that has changed."""
    text = new.explanation
    if old.status is FindingStatus.RAISED and new.status is not FindingStatus.RAISED:
        text = f"Raised after the suite: {old.explanation} After the answers: {new.explanation}"
    return structs.replace(new, answers=old.answers, explanation=text)


def ask(check: Check, evidence: Evidence) -> Finding:
    """What a check says, and what its own experiments cost; one that raises is an inconclusive finding that names its
    error."""
    before = evidence.lab.spent.copy()
    CHANCE.begin(evidence.seed, "check", check.name)
    try:
        finding = check.look(evidence)
        if not isinstance(finding, Finding) or finding.id != check.name:
            raise PluginError(f"a check returns a finding of its own name, {check.name}, it returned {finding!r:.200}")
    except (Exception, SystemExit) as error:  # a plugin must not end the audit, by exit() either
        finding = check.finding(
            FindingStatus.INCONCLUSIVE,
            f"The check ended with an error ({type(error).__name__}: {error}).",
            "Report it to the check's author.",
        )
    forwards, backwards, queries = (int(n) for n in evidence.lab.spent - before)
    return structs.replace(finding, spent=Spent(forwards=forwards, backwards=backwards, queries=queries))
