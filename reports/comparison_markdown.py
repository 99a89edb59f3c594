"""A comparison as Markdown for a pull request. Says less than the page; where it is cut, it says so."""

from __future__ import annotations

from collections.abc import Iterator

from .comparison_view import Versus, View
from .markdown import plain, table

CLASSES, FLIPS = 10, 20


def markdown(view: View) -> str:
    """GitHub-flavoured Markdown, in which words from elsewhere stay words."""
    lines = [f"# {plain(view.title)}\n", f"{plain(view.threat)}.\n"]
    if view.warning:
        lines.append(f"> {plain(view.warning)}\n")
    for versus in view.contrasts:
        lines += _versus(versus, several=len(view.contrasts) > 1)
    lines.append("## The records\n")
    sides = ((s.name, s.role, s.threat, s.robust, s.clean, s.n, s.trust, s.version) for s in view.sides)
    lines += table(("Record", "Role", "Threat", "Robust", "Clean", "n", "Trust", "advaudit"), sides)
    return "\n".join(lines)


def _versus(versus: Versus, *, several: bool) -> Iterator[str]:
    if several:
        yield f"## {plain(versus.title)}\n"
    yield f"**{plain(versus.sentence)}**\n"
    for warning in versus.warnings:
        yield f"> {plain(warning)}\n"
    heads = (plain(versus.baseline), plain(versus.other), "Change in points", "95 % interval")
    rates = ((r.name, r.baseline, r.other, r.difference, r.interval, r.p) for r in versus.rates)
    yield from table(("Rate", *heads, "McNemar p"), rates)
    yield from table(("Samples", "n"), versus.counts)
    yield f"{plain(versus.left_out)}\n"
    if versus.distances:
        yield f"{plain(versus.distances)}\n"
    shown = [*versus.classes[: CLASSES // 2], *versus.classes[CLASSES // 2 :][-CLASSES // 2 :]]
    classes = ((c.name, c.baseline, c.other, c.difference, c.interval, c.holm, c.n) for c in shown)
    yield from table(("Class", *heads, "p (Holm)", "n"), classes)
    if len(shown) < len(versus.classes):
        yield f"The {CLASSES} classes at both ends are shown. {plain(versus.classes_note)}\n"
    yield f"{plain(versus.by_class)}\n"
    for flips in versus.flips:
        lines = ((f.id, f.name, f"{f.before} → {f.after}", f.into, f.how) for f in flips.lines[:FLIPS])
        yield f"{flips.summary}. {plain(flips.caption)}.\n" if flips.lines else f"{flips.title}: none.\n"
        yield from table(("Sample", "Class", "Status", "Becomes", "Attack"), lines)
        if len(flips.lines) > FLIPS:
            yield f"The first {FLIPS} are shown.\n"
