"""What to do next, the most urgent first: each step concrete, with the reason that the record gives for it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from auditor.job import slug
from auditor.metrics import OPEN, class_name, weakest
from auditor.obscurity import doubts, raised
from auditor.rates import percent
from auditor.record import Record, Status, Step

MOST = 6
"""Steps that a reader is asked to take in."""
WIDE = 0.1
"""Width of the interval above which more samples are worth having."""
FEW = 20
"""Samples of a class under which nothing is advised about it alone."""
SEEN = 5
"""Broken samples of a class from which it is said what to train it against."""
WEAK = 0.1
"""How far below the whole model's robust accuracy a class, or how often a natural error, is worth a step."""
CHEAP = ("quick",)
VALUED = ("--suite", "--attack", "--out")
DROPPED = ("--resume", "--overwrite", "--no-escalate", "--sequential", "--no-sequential")
"""Options that a new scan does not take over from the old one: with a value, and without."""


def next_steps(record: Record) -> list[Step]:
    """At most six steps: first what keeps the number from being known or believed, then what is wrong with the model,
    then what would make the number sharper."""
    steps = [*_unknown(record), *_unbelieved(record), *_weak(record), *_sharper(record)]
    return steps[:MOST]


def _unknown(record: Record) -> Iterator[Step]:
    n = len(record.outcomes)
    unknown = sum(record.metrics.statuses[status] for status in OPEN)
    if record.drawn is not None and record.drawn.settled is not None:
        yield Step(
            what="Scan all samples for the whole picture: a closer number, and where it is weak.",
            why="This scan stopped as soon as its gate was settled, and looked for no more.",
            command=again(record, "--no-sequential"),
        )
    elif unknown:
        yield Step(
            what=f"Get all samples judged: {unknown} of {n} were not attacked or ended in an error.",
            why="Nothing is known of them, and the upper bound has to count them as robust.",
        )
    if record.model.twin == "none" and not record.model.flat and record.threat.access == "gradient":
        yield Step(
            what="Give the file a differentiable twin, so that it can be attacked with gradients.",
            why=record.model.twin_reason or "Without gradients only the weakest attackers were tried.",
            command=f"advaudit doctor {shlex.quote(record.model.path)} --data {shlex.quote(record.samples.source)}",
        )


def _unbelieved(record: Record) -> Iterator[Step]:
    if record.trust == "doubtful":
        for finding in doubts(record.findings)[:2]:
            yield Step(what=finding.advice or f"Answer this doubt: {finding.title}.", why=f"{finding.title}.")
        yield Step(
            what="Do not quote the number until the doubts are answered; scan again with more attacks.",
            why="Something that was found speaks against it.",
            command=again(record, "--suite", "thorough", "--escalate", "--deep"),
        )
    elif record.trust == "unknown" and record.suite != "thorough":
        yield Step(
            what="Scan again with the suite `thorough` before the number is quoted.",
            why="The evidence is too thin to say whether it can be believed.",
            command=again(record, "--suite", "thorough", "--escalate"),
        )
    if record.masking == "present":
        hides = [finding for finding in raised(record.findings) if finding.masks]
        yield Step(
            what="Take away what hides the gradients, and train for robustness instead.",
            why="; ".join(finding.title for finding in hides[:2])
            + ". It stops attackers who follow gradients, and no others.",
        )


def _weak(record: Record) -> Iterator[Step]:
    m, n = record.metrics, len(record.outcomes)
    natural, boundary = m.statuses[Status.MISCLASSIFIED], m.statuses[Status.BROKEN]
    for one in record.hardness.protected if record.hardness else []:
        if one.n and not one.tried and record.hardness and record.hardness.n:
            yield Step(
                what=f"Find out whether {class_name(one.label, record.names)} is protected: no run went that way.",
                why="Too few samples of it were sent towards other classes.",
                command=again(record, "--hardness"),
            )
        if one.broken or one.got_there:
            name = class_name(one.label, record.names)
            into = "another class" if one.into is None else class_name(one.into, record.names)
            count = f"{one.got_there} of {one.tried} runs" if one.got_there else f"{one.broken} of {one.n} samples"
            yield Step(
                what=f"Protect {name}: attackers turn it into {into}, which costs {one.cost:g} times another error.",
                why=f"{count} got there within epsilon.",
            )
    if m.robust_accuracy is None:
        return
    if natural > boundary and natural >= WEAK * n:
        yield Step(
            what="Mend the clean accuracy first.",
            why=f"{natural} of {natural + boundary} errors need no attacker.",
        )
    if m.robust_accuracy < 0.5 and boundary:
        yield Step(
            what="Train adversarially (Madry et al., TRADES) at this threat, or narrow what inputs may do.",
            why=f"{boundary} of {n - natural} samples that the model has right were broken.",
        )
    row = weakest(record)
    if row is not None and row.turns_into is not None and row.robust_accuracy is not None:
        behind = m.robust_accuracy - row.robust_accuracy
        name, into = (class_name(k, record.names) for k in (row.label, row.turns_into))
        became = [o for o in record.outcomes if o.label == row.label and o.adversarial_label is not None]
        most = sum(o.adversarial_label == row.turns_into for o in became)
        if behind > WEAK and row.n >= FEW and len(became) >= SEEN:
            yield Step(
                what=f"Train on {name} against {into}: more and harder examples of both.",
                why=f"At most {percent(row.robust_accuracy, row.n)} of the {row.n} samples of {name} hold, "
                f"{behind * 100:.0f} points fewer than overall; {most} of the {len(became)} broken become {into}.",
            )


def _sharper(record: Record) -> Iterator[Step]:
    m, n = record.metrics, len(record.outcomes)
    if record.suite in CHEAP:
        yield Step(
            what="Scan with the suite `standard` before the number is quoted.",
            why=f"The suite `{record.suite}` is for a quick look; a stronger one can only lower the number.",
            command=again(record, "--suite", "standard"),
        )
    if m.robust_accuracy_interval is not None:
        low, high = m.robust_accuracy_interval
        if high - low > WIDE:
            more = int(-(-n * ((high - low) / WIDE) ** 2 // 100) * 100)
            yield Step(
                what=f"Scan about {more:,} samples instead of {n:,}.",
                why=f"The interval is {(high - low) * 100:.0f} points wide; with so many it is about 10.",
            )
    if m.certified_accuracy is None and m.robust_accuracy:
        yield Step(
            what="Have some of it proved: a certifier plugin, or a model that can be certified.",
            why="No certifier applies, so the lower bound is 0: what withstood is not proved to be robust.",
        )


def again(record: Record, *options: str) -> str:
    """The command of the record with these options, into a folder of its own; empty where it was not recorded."""
    try:
        words = shlex.split(record.command)
    except ValueError:
        return ""
    if words[:2] != ["advaudit", "scan"]:
        return ""
    named = {word for word in options if word.startswith("--")}
    kept: list[str] = []
    given = iter(words)
    for word in given:
        name, has_value, _ = word.partition("=")
        if name in VALUED and not has_value:
            next(given, None)
        elif name not in {*VALUED, *DROPPED} | named:
            kept.append(word)
    return shlex.join([*kept, *options, "--out", f"advaudit-out/{slug(record.model.name)}-again"])
