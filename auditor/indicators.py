"""The page of indicators: `python -m auditor.indicators > docs/obscurity.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from textwrap import wrap

from auditor.answers import CONFIRMATION, WORDS, answers
from auditor.check import Check
from auditor.host import Host
from auditor.limits import limits

WIDTH = 120

HEAD = """# Can the number be believed?

A model can score high because it is robust, or because it hides from the attack that was run. A scan therefore says two
things beside robust accuracy:

- **masking**, about the *model*: `present` where a check marked with *masks* below is raised; `none` where gradients
  are there and nothing without gradients does better; else `unknown`.
- **trust**, about the *reported number* after everything that doubt called for has been tried: `doubtful` where a doubt
  was not answered; `sound` where none is left; `unknown` where too little could be tried to say so. A model that masks
  can have a sound number: what hid its gradients was found, and got round.

## What happens in a scan

1. The suite is played; what it leaves is what is *claimed*.
2. The checks look: at what the stages did, at the twin's gradients and the file's answers, and at small experiments of
   their own, whose every pass is counted. What an experiment breaks counts like any other break.
3. Each raised check calls for the attacks that fit it, its *answers*, on what still stands. `--no-escalate` leaves them
   out; a scan that names its attacks (`--attack`) plays those alone unless it is told to `--escalate`.
4. Attacks of other kinds (under l1 and l0: with draws of their own) have a last try, on up to 128 samples. Where they
   break more than one of them, or more than 0.2 %, the doubts are answered again, up to three times; where they do
   not, a doubt counts as answered if everything that it called for was tried.
5. The answers cost more than the suite where much still stands; `--limit` or `--no-escalate` keeps a scan short.

Robust accuracy is the lowest over all of it. The report tells the story in this order: what was claimed, what raised
doubt, what was tried, what fell. Without gradients, as under `--access score` or `decision` or for a model that has no
twin, a number is sound only where two unrelated gradient-free attacks had at least 200 queries a sample each.

What the checks can't see: an adversarial example that no gradient, no stand-in and no search leads to, such as one
behind units of a net that are idle near every sample and wake up at one point of the ball. `sound` says that nothing
which was tried found such a thing; only a certificate says that there is none.

A check that can't be made is `inconclusive`, never `clear`. A raised one carries its value, its threshold, what to do,
and the technique of [MITRE ATLAS](https://atlas.mitre.org) that an attacker would use. `information` doubts nothing,
`warning` doubts the number until it is answered, `critical` says that the number can't be believed as it stands. The
thresholds are data, in [`auditor/limits.toml`](../auditor/limits.toml), the answers too, in
[`auditor/answers.toml`](../auditor/answers.toml); `python -m benchmarks.obscurity` measures how often honest models
raise a check and which models built to deceive do. This page is written by
`python -m auditor.indicators > docs/obscurity.md` from the checks themselves.
"""


def page(host: Host) -> str:
    """The whole page for the checks of this host, as Markdown."""
    checks = [kind() for _, kind in sorted(host.checks.items())]
    lines = [HEAD, "## The answers\n", *_answers(checks), "", "## The checks\n", *_contents(checks), ""]
    for check in checks:
        lines += _entry(check)
    return "\n".join(lines).rstrip() + "\n"


def _answers(checks: list[Check]) -> Iterator[str]:
    yield "| answer | what is tried | called for by |"
    yield "| --- | --- | --- |"
    for name in answers():
        asking = ", ".join(f"[`{check.name}`](#{check.name})" for check in checks if name in check.answers)
        yield f"| `{name}` | {WORDS[name]} | {asking or 'every answer' if name == CONFIRMATION else asking} |"


def _contents(checks: list[Check]) -> Iterator[str]:
    yield "| check | raised | severity | masks |"
    yield "| --- | --- | --- | --- |"
    for check in checks:
        deep = " (`--deep` only)" if check.deep else ""
        masks = "yes" if check.masks else ""
        yield f"| [`{check.name}`](#{check.name}) | {check.title}{deep} | {_severity(check)} | {masks} |"


def _entry(check: Check) -> Iterator[str]:
    why, _, rest = (inspect.getdoc(type(check)) or "").partition("\n\n")
    yield f"### {check.name}\n"
    yield f"*{check.title}* ({_severity(check)}{', masks' if check.masks else ''}).\n"
    yield from _paragraph(f"**Raised if** {check.raised_if.rstrip('.')}.")
    yield from _paragraph(f"**Why.** {why}")
    yield from _paragraph(rest)
    yield from _paragraph(f"**What to do.** {check.advice}")
    tried = ", ".join(f"`{name}`" for name in check.answers) or "none: no attack settles it"
    yield from _paragraph(f"**Answers:** {tried}. **ATLAS:** {check.technique}. **Source:** {check.source}.")
    for name, one in limits().items():
        if name == check.name or name.startswith(f"{check.name}."):
            told = f"- `{name}` = {one.value:g}: {one.source}"
            if one.honest is not None:
                told += f"; {one.alarms} of {one.honest} honest models raise it"
            yield from wrap(told, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    yield ""


def _severity(check: Check) -> str:
    return "information" if check.severity == "info" else str(check.severity)


def _paragraph(text: str) -> Iterator[str]:
    for part in text.split("\n\n"):
        if part.strip():
            yield from wrap(" ".join(part.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
            yield ""


if __name__ == "__main__":
    print(page(Host.load(installed=False)), end="")
