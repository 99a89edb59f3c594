"""Escalation: a doubt is answered with the attack that fits it, and what it breaks counts; then others have a last try.

The report's number is the worst over the suite and all the answers. It can be trusted once attacks of other kinds, or
with draws of their own, do no better.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import structs

from auditor.answers import CONFIRMATION, WORDS, answers, fitting
from auditor.events import Notice
from auditor.inquiry import Inquiry
from auditor.obscurity import Belief, doubts, masking, raised, trust
from auditor.rates import plural
from auditor.record import AttackRow, Chapter, Finding, Spent

ROUNDS = 3
"""How often doubts are answered: what an answer turns up may raise the next."""
SHARE = 0.002
"""Share of the samples it met that a confirmation may still break (AutoAttack's figure); one sample in any case."""
SAID = 3
"""Doubts that a line on the terminal names."""
SPOKEN = {"doubted": "In doubt", "tried": "Tried", "fell": "Fell"}
"""How a chapter begins on the terminal."""


@dataclass
class Escalation:
    """How a number came about. rows: every stage, the suite's first. findings: as they are now. answered: ids of those
    whose doubt was followed up to its end. tried: names of the answers so far, played: those of which some attack ran.
    story: what was claimed, doubted, tried, and what fell."""

    inquiry: Inquiry
    rows: list[AttackRow]
    findings: list[Finding] = field(default_factory=list)
    story: list[Chapter] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)
    played: set[str] = field(default_factory=set)

    def claim(self) -> None:
        """The first look, after the suite: what is claimed, and what raises doubt."""
        ran = [row.name for row in self.rows if row.status == "ran" and row.phase == "suite"]
        text = f"{plural(len(ran), 'stage')} of the suite left this robust accuracy standing."
        if more := sum(row.broken for row in self.rows if row.phase == "hardness"):
            text = f"{text[:-1]}, after {plural(more, 'more sample')} fell to the search for distances."
        if not ran:
            text = "No stage of the suite could be played, so nothing is claimed."
        self._tell(Chapter(kind="claimed", text=text, robust_accuracy=self.accuracy if ran else None, stages=ran))
        self.findings = self.inquiry.look(self.rows, self.inquiry.checks.values())
        if self._hand_in():
            self.findings = self.inquiry.look_again(self.rows, self.findings)
        if found := doubts(self.findings):
            self._tell(doubted(found, self.accuracy))

    def answer(self) -> None:
        """Answer every raised finding, and what the answers turn up, at most ROUNDS times; each time, confirm."""
        kinds = self.inquiry.checks
        for _ in range(ROUNDS):
            asked = {f.id: list(kinds[f.id].answers) for f in raised(self.findings) if f.id not in self.answered}
            asked = {name: wanted for name, wanted in asked.items() if wanted}
            if not asked or not self._left:
                break
            for name in answers():
                because = [finding for finding, wanted in asked.items() if name in wanted]
                if because and self._left:
                    self._play(name, because)
            held = self._play(CONFIRMATION, []) if self._left else True
            before = [structs.replace(f, answers=asked.get(f.id, f.answers)) for f in self.findings]
            self.findings = self.inquiry.look_again(self.rows, before)
            held = not self._hand_in() and held
            if new := [f for f in doubts(self.findings) if f.id not in {old.id for old in doubts(before)}]:
                self._tell(doubted(new, self.accuracy))
            if held:
                self.answered |= {f.id for f in raised(self.findings) if self._followed(kinds[f.id].answers)}
        if not self._left:  # what is broken needs no trust, and nothing else is left that a doubt could be about
            self.answered |= {finding.id for finding in raised(self.findings)}

    def _play(self, name: str, because: list[str]) -> bool:
        """Play the stages of an answer on what stands; whether some ran and broke next to nothing."""
        before = self.accuracy
        search, attacks = self.inquiry.search, self.inquiry.host.attacks
        rows = search.play(fitting(name, attacks, search), self.inquiry.ledger, first=len(self.rows))
        phase = name if name == CONFIRMATION else "answer"
        self.rows += [structs.replace(row, phase=phase, because=because) for row in rows]
        self._tell(tried(name, rows, because, before, self.accuracy))
        ran = [row for row in rows if row.status == "ran"]
        self.tried.add(name)
        if ran:
            self.played.add(name)
        allowed = max(1.0, SHARE * max((row.entered for row in ran), default=0))
        return bool(ran) and sum(row.broken for row in rows) <= allowed

    def _followed(self, wanted: tuple[str, ...]) -> bool:
        """Whether all of these answers were tried, and at least one could be."""
        return self.tried.issuperset(wanted) and bool(self.played & set(wanted))

    @property
    def _left(self) -> bool:
        """Whether any sample still stands."""
        return len(self.inquiry.ledger.standing) > 0

    def _hand_in(self) -> bool:
        """Count what the checks' experiments broke; whether that is anything."""
        rows = self.inquiry.hand_in(len(self.rows))
        if rows:
            self.rows += rows
            text = f"Experiments of the checks broke {plural(sum(row.broken for row in rows), 'more sample')}."
            names = [row.name for row in rows]
            self._tell(Chapter(kind="fell", text=text, robust_accuracy=self.accuracy, stages=names))
        return bool(rows)

    def _tell(self, chapter: Chapter) -> None:
        self.story.append(chapter)
        if chapter.kind != "claimed":
            self.inquiry.search.listen(Notice(text=f"{SPOKEN[chapter.kind]}: {shortened(chapter.text)}"))

    @property
    def accuracy(self) -> float:
        """Robust accuracy as it stands."""
        return self.inquiry.ledger.robust_accuracy


def believe(inquiry: Inquiry, attacks: list[AttackRow], *, escalate: bool) -> tuple[list[AttackRow], Belief]:
    """Ask the checks, answer what they raise if `escalate`, and say what to believe. Returns every stage, and that."""
    course = Escalation(inquiry, list(attacks))
    course.claim()
    if escalate:
        course.answer()
    return course.rows, Belief(
        findings=course.findings,
        masking=masking(course.findings),
        trust=trust(course.findings, course.answered, course.rows),
        story=course.story,
        fidelity=inquiry.fidelity(),
        spent=Spent(**dict(zip(("forwards", "backwards", "queries"), map(int, inquiry.lab.spent), strict=True))),
    )


def trusting(inquiry: Inquiry) -> Belief:
    """What to believe before anything was asked, where no doubt is to stand in the way."""
    return Belief(findings=[], masking="none", trust="sound", story=[], fidelity=inquiry.fidelity(), spent=Spent())


def unasked(inquiry: Inquiry, attacks: list[AttackRow]) -> tuple[list[AttackRow], Belief]:
    """What to believe of a gate that breaks alone have failed: they are proofs, so nothing is asked, and nothing known
    about the model beyond them."""
    text = "The gate had failed by then, and no check could take that back, so none was made."
    ran = [row.name for row in attacks if row.status == "ran"]
    chapter = Chapter(kind="claimed", text=text, robust_accuracy=inquiry.ledger.robust_accuracy, stages=ran)
    return list(attacks), Belief(
        findings=[], masking="unknown", trust="unknown", story=[chapter], fidelity=inquiry.fidelity(), spent=Spent()
    )


def doubted(findings: list[Finding], accuracy: float) -> Chapter:
    """What raised doubt."""
    return Chapter(
        kind="doubted",
        text="; ".join(finding.title for finding in findings) + ".",
        robust_accuracy=accuracy,
        findings=[finding.id for finding in findings],
    )


def tried(name: str, rows: list[AttackRow], because: list[str], before: float, after: float) -> Chapter:
    """What was tried, and what fell."""
    words = WORDS.get(name, name)
    ran = [row for row in rows if row.status == "ran"]
    broke = sum(row.broken for row in rows)
    if not ran:
        text = f"No attack of this kind can be played here: {words}."
    else:
        what = f"{plural(broke, 'more sample')} fell" if broke else "nothing fell"
        text = f"{words[0].upper()}{words[1:]}: {what}."
    return Chapter(
        kind="fell" if after < before else "tried",
        text=text,
        robust_accuracy=after,
        findings=because,
        stages=[row.name for row in ran],
    )


def shortened(text: str) -> str:
    """The first doubts of a list, and how many more there are, for a line on a terminal."""
    parts = text.rstrip(".").split("; ")
    return text if len(parts) <= SAID else f"{'; '.join(parts[:SAID])}; and {len(parts) - SAID} more."
