"""Sections of plugins: shown in their place, escaped, and never at the cost of the report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from auditor.reports.html import render

from auditor.entry import Entry
from auditor.section import Section

Make = Callable[..., Entry]
Parse = Callable[[str], Any]


@pytest.fixture
def section(tmp_path: Path) -> Callable[..., Section]:
    """section(template's text, build) -> Section named `extra`, with a template of its own."""

    def make(text: str, build: Callable[[Entry], Any], name: str = "extra") -> Section:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "body.html").write_text(text)
        (folder / "headline.html").write_text("<p>ours is overridden</p>")
        return Section(name=name, title=f"What {name} says", templates=folder, template="body.html", build=build)

    return make


def test_it_stands_after_the_weaknesses_and_is_in_the_navigation(
    entry: Make, parse: Parse, section: Callable[..., Section]
) -> None:
    extra = section("<p>{{ section.n }} of {{ audit.name }}</p>", lambda e: {"n": len(e.record.outcomes)})
    html = render([entry(n=30), entry(n=45)], sections=[extra])
    page = parse(html)
    assert "30 of robust.onnx (1)" in page.text
    assert "45 of robust.onnx (2)" in page.text
    assert {"a1-section-extra", "a2-section-extra"} <= set(page.values("id"))
    assert "#a1-section-extra" in page.values("href")
    order = [html.index(f'id="a1-{part}"') for part in ("weakness", "section-extra", "effort")]
    assert order == sorted(order)


def test_what_it_was_built_of_is_escaped(entry: Make, parse: Parse, section: Callable[..., Section]) -> None:
    extra = section("<p>{{ section.word }}</p>", lambda e: {"word": "<script>alert(1)</script>"})
    page = parse(render([entry(n=30)], sections=[extra]))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text


def test_it_can_use_our_parts_and_cannot_replace_our_templates(
    entry: Make, parse: Parse, section: Callable[..., Section]
) -> None:
    extra = section('{{ parts.heading(level, "Sub") }}{% include "extra:headline.html" %}', lambda e: {})
    page = parse(render([entry(n=30)], sections=[extra]))
    assert "Sub" in page.text
    assert page.text.count("ours is overridden") == 1
    assert "Robust accuracy" in page.text


def test_one_with_nothing_to_show_is_left_out(entry: Make, parse: Parse, section: Callable[..., Section]) -> None:
    page = parse(render([entry(n=30)], sections=[section("<p>here</p>", lambda e: None)]))
    assert "What extra says" not in page.text


def fails(entry: Entry) -> Mapping[str, Any]:
    raise RuntimeError("lost the <thread>\nand much more")


def leaves(entry: Entry) -> Mapping[str, Any]:
    sys.exit("the word is xyzzy")


class Speechless(Exception):
    def __str__(self) -> str:
        raise ValueError


def speechless(entry: Entry) -> Mapping[str, Any]:
    raise Speechless


@pytest.mark.parametrize(
    ("text", "build", "why"),
    [
        ("<p>here</p>", fails, "RuntimeError: lost the <thread>"),
        ("{{ section.rate }}", lambda e: {"rate": 0.5}, "TypeError: a template prints words and whole numbers"),
        ("{{ section.missing }}", lambda e: {}, "UndefinedError: "),
        ("{% for %}", lambda e: {}, "TemplateSyntaxError: "),
        ("<p>here</p>", lambda e: 5, "TypeError: "),
        ("<p>here</p>", leaves, "SystemExit: the word is xyzzy"),
        ("{{ section.late() }}", lambda e: {"late": lambda: leaves(e)}, "SystemExit: the word is xyzzy"),
        ("<p>here</p>", speechless, "Speechless"),
    ],
)
def test_one_that_fails_is_named_and_the_page_stands(
    entry: Make,
    parse: Parse,
    section: Callable[..., Section],
    capsys: pytest.CaptureFixture[str],
    text: str,
    build: Callable[..., Any],
    why: str,
) -> None:
    good = section("<p>all is well</p>", lambda e: {}, name="other")
    page = parse(render([entry(n=30)], sections=[section(text, build), good]))
    kind, _, said = why.partition(": ")
    assert f"The section extra of a plugin could not be made ({kind}); what it said is on stderr." in page.text
    told = capsys.readouterr()
    assert f"The section extra of a plugin could not be made ({why}" in told.err
    assert not told.out
    assert not said or said not in page.text  # it may hold what is not for the page's readers
    assert "all is well" in page.text
    assert "How to get this again" in page.text


def test_a_secret_in_an_error_s_text_is_cut_and_harmless_on_the_terminal(
    entry: Make, section: Callable[..., Section], capsys: pytest.CaptureFixture[str]
) -> None:
    def build(entry: Entry) -> Mapping[str, Any]:
        raise KeyError("\x1b[2J" + "x" * 5000)

    render([entry(n=30)], sections=[section("", build)])
    told = capsys.readouterr().err
    assert len(told) < 500
    assert "\x1b" not in told


def test_a_keyboard_interrupt_is_none_of_its_faults(entry: Make, section: Callable[..., Section]) -> None:
    def build(entry: Entry) -> Mapping[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render([entry(n=30)], sections=[section("", build)])


def test_what_one_does_to_the_record_or_the_page_is_seen_by_no_other(
    entry: Make, parse: Parse, section: Callable[..., Section]
) -> None:
    def clears(entry: Entry) -> Mapping[str, Any]:
        entry.record.outcomes.clear()
        entry.record.plan.clear()
        return {"n": len(entry.record.outcomes)}

    text = "<p>first: {{ section.n }}</p>{% set _ = audit.headline.warnings.clear() %}"
    first = section(text, clears)
    second = section("<p>second: {{ section.n }}</p>", lambda e: {"n": len(e.record.outcomes)}, name="second")
    given = entry(n=30)
    page = parse(render([given], sections=[first, second]))
    assert "first: 0" in page.text
    assert "second: 30" in page.text
    assert "Plugins that could not be used: broken_plugin." in page.text
    assert len(given.record.outcomes) == 30
    assert given.record.plan


def test_what_it_prints_goes_to_stderr(
    entry: Make, section: Callable[..., Section], capsys: pytest.CaptureFixture[str]
) -> None:
    def build(entry: Entry) -> Mapping[str, Any]:
        print("while it builds")
        return {"late": lambda: print("while it renders") or "done"}

    assert "<p>done</p>" in render([entry(n=30)], sections=[section("<p>{{ section.late() }}</p>", build)])
    told = capsys.readouterr()
    assert not told.out
    assert told.err == "while it builds\nwhile it renders\n"
