"""The page as a file: nothing in it runs or is fetched, whatever a name tries; and a policy that holds."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from itertools import cycle
from typing import Any

import jinja2
import msgspec
import pytest
from auditor.reports.html import environment, policy, render, stylesheet

from auditor.entry import Entry
from auditor.hardness import Protected
from auditor.host import REPORTERS, Host
from auditor.record import Chapter, Plugin

Make = Callable[..., Entry]
Parse = Callable[[str], Any]
TAGS = {
    "html", "head", "meta", "title", "link", "style", "body", "a", "header", "p", "span", "main", "article", "h1", "h2",
    "h3", "h4", "h5", "ol", "ul", "li", "dl", "dt", "dd", "div", "nav", "section", "table", "caption", "thead", "tbody",
    "tfoot", "tr", "th", "td", "strong", "bdi", "code", "pre", "details", "summary", "figure", "figcaption", "img",
    "footer", "svg", "rect", "line", "circle", "text", "path",
}  # fmt: skip
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><style>body{display:none}</style>",
    "</title></svg><iframe src=https://example.org>",
    "{{ 7 * 7 }}{% include 'x' %}",
    "\u202egnp.tac\u202c\x00\x1b[2J\ud800",
    "' onmouseover='alert(1)",
    "<!-- ]]> &lt;b&gt; &#60;i&#62; -->",
    "x" * 5000,
    "שלום",
]


STORY = [Chapter(kind="claimed", text="Claimed.", robust_accuracy=0.9)]
PROTECTED = Protected(label=0, into=1, cost=1, n=9, clean=0, broken=1, tried=9, got_there=1, precision=0.5)


def hostile(made: Entry, words: list[str]) -> Entry:
    """The entry with these words wherever a stranger's text can come from."""
    word = cycle(words)
    record = made.record
    replace = msgspec.structs.replace
    names = [next(word) + str(i) for i in range(record.model.classes)]
    record = replace(
        record,
        summary=next(word),
        command=next(word),
        class_names=names,
        by_class=[replace(row, name=names[row.label]) for row in record.by_class],
        environment={next(word): next(word) for _ in range(5)},
        suite=next(word),
        next_steps=[replace(s, what=next(word), why=next(word), command=next(word)) for s in record.next_steps],
        story=[replace(c, kind=next(word), text=next(word), stages=[next(word)]) for c in STORY],
        hardness=record.hardness and replace(record.hardness, attack=next(word)),
        execution={"device": next(word)},
        plan_digest=next(word),
        masking=next(word),
        trust=next(word),
        model=replace(
            record.model, path=next(word), name=next(word), output=next(word), runtime={next(word): next(word)},
            preprocess={next(word): [next(word)]}, surrogates=[next(word)], defenses=[next(word)],
            twin_reason=next(word), sha256=next(word),
        ),
        threat=replace(
            record.threat, name=next(word), norm=next(word), epsilon_text=next(word), goal=next(word), access=next(word)
        ),
        samples=replace(record.samples, source=next(word), skipped={next(word): 3}, labels=next(word)),
        attacks=[
            replace(
                row, name=next(word), status=next(word), reason=next(word), access=next(word),
                rejected={next(word): 1}, parameters={next(word): next(word)},
            )
            for row in record.attacks
        ],
        findings=[
            replace(f, id=next(word), title=next(word), source=next(word), explanation=next(word), advice=next(word))
            for f in record.findings
        ],
        gate=replace(
            record.gate, rules=[replace(row, rule=next(word), reason=next(word)) for row in record.gate.rules]
        ),
        tool=replace(
            record.tool,
            version=next(word),
            plugins=[Plugin(name=next(word), version=next(word), sha256=next(word), error=next(word))],
        ),
        outcomes=[replace(o, attack=next(word) if o.attack else None) for o in record.outcomes],
    )  # fmt: skip
    return Entry(record, made.folder)


@pytest.mark.parametrize("turn", range(len(HOSTILE)))
def test_hostile_words_stay_words(entry: Make, parse: Parse, turn: int) -> None:
    made = entry(classes=5, hardness={"protected": [PROTECTED]})
    words = HOSTILE[turn:] + HOSTILE[:turn]
    page = parse(render([hostile(made, words)]))
    harmless = parse(render([hostile(made, [f"harmless {i}" for i in range(10)])]))
    assert page.tags == harmless.tags
    assert sorted({(tag, name) for tag, name, _ in page.attributes} - {("bdi", "title")}) == sorted(
        {(tag, name) for tag, name, _ in harmless.attributes}
    )
    assert page.values("href") == harmless.values("href")
    assert page.style == str(stylesheet())
    assert "{{ 7 * 7 }}" in page.text
    assert "<script>alert(1)</script>" in page.text
    assert "\\u202egnp.tac" in page.text


def test_hidden_characters_never_reach_the_page(entry: Make) -> None:
    html = render([hostile(entry(classes=5, hardness={"protected": [PROTECTED]}), HOSTILE)])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)
    assert html.encode()


def test_nothing_runs_and_nothing_is_fetched(entry: Make, parse: Parse) -> None:
    page = parse(render([entry(classes=5, hardness={"protected": [PROTECTED]}), entry(n=30)]))
    assert set(page.tags) <= TAGS
    assert not [
        name for _, name, _ in page.attributes if name.startswith("on") or name in ("style", "srcset", "action")
    ]
    for tag, name, value in page.attributes:
        if name in ("href", "src"):
            assert value.startswith("#") if tag == "a" else value.startswith("data:")
        assert "://" not in value
        assert "url(" not in value
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert "://" not in page.style


def test_the_page_forbids_itself_everything_but_its_style_and_pictures(entry: Make, parse: Parse) -> None:
    page = parse(render([entry()]))
    (content,) = [value for value in page.values("content") if "default-src" in value]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert content.split("; ") == [
        "default-src 'none'", "img-src data:", f"style-src 'sha256-{digest}'", "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    assert content == policy(page.style)
    assert page.tags.count("style") == 1
    # the policy must come before what it governs
    assert page.tags.index("meta") + 1 < page.tags.index("style")


def test_the_same_record_gives_the_same_page(entry: Make) -> None:
    made = entry()
    assert render([made]) == render([made])


@pytest.mark.parametrize("value", [None, 0.5, True, ["list"]])
def test_a_template_refuses_what_is_not_in_words(value: object) -> None:
    with pytest.raises(TypeError, match="words and whole numbers"):
        environment().from_string("{{ value }}").render(value=value)


def test_a_template_refuses_a_name_that_is_not_there() -> None:
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ missing }}").render()


def test_the_reporters_are_registered() -> None:
    host = Host.load(bundled=REPORTERS, installed=False)
    assert host.errors == []
    assert {name: reporter.filename for name, reporter in host.reporters.items()} == {
        "html": "report.html",
        "markdown": "report.md",
        "csv": "tables",
        "junit": "junit.xml",
        "sarif": "advaudit.sarif",
        "github": "github.md",
        "annotations": "annotations.txt",
        "text": "gate.txt",
    }
