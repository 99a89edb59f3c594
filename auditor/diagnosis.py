"""`advaudit doctor MODEL`: what the twin makes of one file, how far it agrees with the runtime, and where they part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from auditor.access import OutputKind
from auditor.batching import Batched, Batching
from auditor.case import Case
from auditor.doctor import Fact, Level
from auditor.errors import ModelError, NotRun, TargetUnavailable
from auditor.gap import compare, shares, tolerance
from auditor.host import Host
from auditor.inner import Inside
from auditor.inventory import Inventory, take_inventory
from auditor.operators import Operators
from auditor.parting import Course, Parting, follow
from auditor.program import Program, read_program
from auditor.target import Target, TargetOptions
from auditor.twin import Twin

NAMED = 20
"""Nodes of one operator that are named before the others are only counted."""
BATCHINGS = {
    Batching.PLAIN: "all samples at once, as the file has it",
    Batching.FREED: "all samples at once; the batch that the file's Reshape nodes state is taken as a placeholder",
    Batching.MAPPED: "one sample at a time, many at once by torch.vmap: together they could change each other's scores",
    Batching.LOOPED: "one batch of the file's size after the other, since nothing faster gave the same scores",
}


@dataclass(frozen=True)
class Opened:
    """An ONNX file with the program that its twin is made of."""

    inside: Inside
    program: Program
    operators: Operators
    inventory: Inventory

    @property
    def tolerance(self) -> float:
        """What passes for rounding in its scores, by the narrowest floats that it computes with."""
        return max(tolerance(kind) for kind in {"float32", *self.program.types.values()})


def diagnose(case: Case, host: Host) -> Iterator[Fact]:
    """Load a file as a scan would, on the CPU, build its twin, and hold the two against each other.

    Costs two runs a sample, and where they part what `parting.follow` costs. Raises AdvauditError where a scan could
    not be run either.
    """
    for plugin in host.errors:
        yield Fact(f"plugin {plugin.name}", plugin.error or "", "problem")
    options = case.options(host)
    target, inputs, source = case.load(options, host)
    yield Fact("file", f"{target.name}: input {list(target.shape)}, {target.classes} classes, {target.output}")
    yield source
    opened = _opened(target, options, host.operators or Operators())
    inventory = opened.inventory if opened else None
    twin, reason = None, ""
    try:
        twin = target.twin()
    except TargetUnavailable:
        raise
    except ModelError as error:
        reason = str(error)
    if inventory is not None:
        yield from _operators(inventory, twin.surrogates if twin else ())
    if twin is None:
        yield from _no_twin(reason, inventory)
        return
    yield from _twin(twin)
    yield from _agreement(target, twin, inputs, opened, bisect=case.bisect)


def _opened(target: Target, options: TargetOptions, operators: Operators) -> Opened | None:
    """The inside of an ONNX file; None for any other, and where it holds what no twin can be made of."""
    if target.path is None or target.path.suffix.lower() != ".onnx":
        return None
    inside = Inside(target.path, target, options)
    try:
        program = read_program(inside.model, operators)
        return Opened(inside, program, operators, take_inventory(program, inside.readout.source, operators))
    except ModelError:  # building the twin says why
        return None


def _operators(inventory: Inventory, surrogates: tuple[str, ...]) -> Iterator[Fact]:
    yield Fact("operators", f"{inventory.nodes} nodes of {len(inventory.counts)} types on the way to the scores")
    stand_ins: dict[str, list[str]] = {}
    for entry in surrogates:
        op_type, _, words = entry.partition(": ")
        stand_ins.setdefault(op_type, []).append(words)
    for kind, count in inventory.counts.items():
        if names := inventory.lacking.get(kind):
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            text = f"{count}; the twin lacks it: {', '.join(names[:NAMED])}{more}"
            yield Fact(f"  {kind}", text, "problem")
        elif found := stand_ins.get(kind.rpartition("::")[2]):
            yield Fact(f"  {kind}", f"{count}; stand-in gradient: {', '.join(found)}", "note")
        else:
            yield Fact(f"  {kind}", str(count))


def _no_twin(reason: str, inventory: Inventory | None) -> Iterator[Fact]:
    yield Fact("twin", f"none: {reason}", "problem")
    kinds = ", ".join(inventory.lacking) if inventory and inventory.lacking else "what is missing"
    yield Fact(
        "what that means",
        "a scan goes on gradient-free, and its number is what an outsider achieves; a plugin supplies "
        f"{kinds} with register_operators (docs/plugins.md), and --plugins-dir DIR loads it",
    )


def _twin(twin: Twin) -> Iterator[Fact]:
    batching = BATCHINGS[twin.module.batching] if isinstance(twin.module, Batched) else "all samples at once"
    yield Fact("twin", f"built; it runs {batching}")
    if twin.peeled is not None:
        yield Fact("cut off", f"the {twin.peeled} at the end, so that attacks climb logits")
    text = "; ".join(twin.surrogates) or "none: every operator on the way has its own derivative"
    yield Fact("stand-in gradients", text, "note" if twin.surrogates else "ok")


def _agreement(
    target: Target, twin: Twin, inputs: np.ndarray, opened: Opened | None, *, bisect: bool
) -> Iterator[Fact]:
    """Scores of the twin, of the file as deployed and of the file without optimisations, in pairs."""
    allowed = opened.tolerance if opened else tolerance("float32")
    deployed = target.scores(inputs, batch=1)
    with torch.no_grad():
        copied = np.concatenate([twin.scores(torch.from_numpy(x[None])).float().numpy() for x in inputs])
    agree, text = _compared(copied, deployed, allowed, kind=target.output)
    yield Fact("twin and file", text, "ok" if agree else "problem")
    if opened is None or (agree and not bisect):
        return
    feeds = [opened.inside.feed(target.preprocess(x[None])) for x in inputs]
    try:
        yield from _unoptimised(copied, deployed, feeds, opened, bisect=bisect, kind=target.output)
    except NotRun as error:
        yield Fact("node by node", f"not possible: {error}", "note")


def _unoptimised(
    copied: np.ndarray,
    deployed: np.ndarray,
    feeds: Sequence[np.ndarray],
    opened: Opened,
    *,
    bisect: bool,
    kind: OutputKind,
) -> Iterator[Fact]:
    """The twin's and the deployed file's scores against those without optimisations, and where twin and that part."""
    allowed = opened.tolerance
    plain = np.concatenate([scores[:1] for scores in opened.inside.scores(feeds)]).astype(np.float32)
    alone, text = _compared(plain, deployed, allowed, kind=kind)
    yield Fact("file, not optimised", f"against the file as deployed: {text}")
    faithful, text = _compared(copied, plain, allowed, kind=kind)
    yield Fact("twin and that", text, "ok" if faithful else "problem")
    if faithful and not alone:
        yield Fact(
            "what that means",
            "twin and file differ only at the runtime's default optimisation level, whose fused nodes round otherwise; "
            "node by node the twin computes what the file says",
        )
    if bisect or not faithful:
        apart = shares(copied, plain, common=kind is OutputKind.PROBABILITIES).max(axis=1)
        worst = int(np.lexsort((apart, copied.argmax(1) != plain.argmax(1)))[-1])
        course = follow(opened.inside, opened.program, opened.operators, feeds[worst])
        yield from _course(course, worst, opened)
        if course.first is not None and course.origin is None:
            yield Fact("what that means", _no_fault(compare(torch.from_numpy(plain), deployed).difference))


def _compared(a: np.ndarray, b: np.ndarray, allowed: float, *, kind: OutputKind) -> tuple[bool, str]:
    """Whether two models give the same labels, and scores that differ by rounding; the same in words."""
    equal, n = int((a.argmax(1) == b.argmax(1)).sum()), len(a)
    text = f"the same label on {equal} of {n} inputs ({equal / n:.1%})"
    if kind is OutputKind.LABELS:
        return equal == n, text
    common = kind is OutputKind.PROBABILITIES
    scale = "the largest score" if common else "their class's largest score"
    gap, share = compare(torch.from_numpy(a), b), float(shares(a, b, common=common).max())
    text = f"{text}, scores up to {gap.difference:.2g} apart (up to {share:.2g} of {scale}, rounding up to {allowed:g})"
    return equal == n and share <= allowed, text


def _course(course: Course, worst: int, opened: Opened) -> Iterator[Fact]:
    yield Fact(
        "node by node", f"{course.nodes} nodes on input {worst}, where scores differ most; optimisations are off"
    )
    if course.unseen:
        yield Fact("  not seen", f"values that the runtime can't return: {', '.join(course.unseen)}", "note")
    if course.first is None:
        text, kind = "nowhere: every value is the same up to rounding", opened.inside.dtype
        if kind.kind in "iu":
            text += f"; the file takes {kind}, to which its inputs are rounded and the twin's are not"
        yield Fact("they part", text)
        return
    yield from _parting("they part first", course.first)
    if course.origin is not None and course.origin is not course.first:
        yield from _parting("first at fault", course.origin)


def _no_fault(moved: float) -> str:
    text = "no node is at fault: rounding grew on its way, as it does where a value near a step falls either side"
    return f"{text}; the runtime's own optimisations move its scores by {moved:.2g}" if moved else text


def _parting(name: str, parting: Parting) -> Iterator[Fact]:
    level: Level = "problem" if parting.made_here else "note"
    yield Fact(name, f"{parting.section.label}, value {parting.value!r}: {parting.gap.text}", level)
    if parting.own is None:
        text = "not known: the twin's function can't be run by itself"
    elif parting.made_here:
        text = f"yes: given the runtime's inputs, the twin's output differs: {parting.own.text}"
    else:
        how = f"differs by {parting.own.difference:.2g}, which is rounding" if parting.own.difference else "is the same"
        text = f"no, passed on: given the runtime's inputs, the twin's output {how}"
    yield Fact("  made there?", text, level)
