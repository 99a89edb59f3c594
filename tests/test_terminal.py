"""What a person, a log and a machine are told."""

from __future__ import annotations

import io
import sys

import msgspec
import pytest

from auditor import terminal
from auditor.events import Event, Finished, Notice, Observed, Progress, StageFinished, StageStarted
from auditor.terminal import Plain, left, listener, sentence

RAN = StageFinished(name="pgd", status="ran", reason=None, entrants=80, broken=30, robust_accuracy=0.5, seconds=12.34)
PROGRESS = Progress(name="pgd", done=20, entrants=80, broken=5, robust_accuracy=0.75, rate=2.0)
EVENTS: list[Event] = [
    Notice(text="The plugin x can't be used."),
    Observed(n=100, accuracy=0.8, chance=0.1),
    StageStarted(name="pgd", number=0, stages=2, entrants=80),
    PROGRESS,
    RAN,
    Finished(summary="Robust accuracy ≤ 50.0 %", verdict=None, folder="out"),
]


def test_sentences() -> None:
    assert [sentence(event) for event in EVENTS] == [
        "The plugin x can't be used.",
        "Clean accuracy 80.0% on 100 samples (chance 10.0%).",
        None,
        None,
        "pgd: broke 30 of 80, robust accuracy ≤ 50.0% (12.3 s).",
        None,
    ]


def test_a_skipped_stage_and_an_error_say_why() -> None:
    def finished(status: str, reason: str) -> str | None:
        return sentence(msgspec.structs.replace(RAN, status=status, reason=reason))

    assert finished("skipped", "it needs scores") == "pgd: skipped, it needs scores."
    assert str(finished("error", "ValueError: boom")).endswith("It ended with an error: ValueError: boom.")


def test_time_left() -> None:
    assert left(PROGRESS) == "robust ≤ 75.0%, 2.0/s, 30 s left"
    assert left(msgspec.structs.replace(PROGRESS, rate=0.0)) == "robust ≤ 75.0%, 0.0/s"
    assert left(msgspec.structs.replace(PROGRESS, done=0)) == "robust ≤ 75.0%, 2.0/s"


def test_plain_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with listener("plain") as listen:
        for event in EVENTS:
            listen(event)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [text for text in map(sentence, EVENTS) if text]


def test_progress_only_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    plain = Plain()
    for now in (1.0, 9.0, 11.0, 12.0, 25.0):  # noqa: B007 - the clock reads it
        plain(PROGRESS)
    assert capsys.readouterr().err.splitlines() == ["pgd: 20 of 80, robust ≤ 75.0%, 2.0/s, 30 s left"] * 2


def test_json_lines_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with listener("json") as listen:
        for event in EVENTS:
            listen(event)
    out, err = capsys.readouterr()
    assert err == ""
    assert [msgspec.json.decode(line)["type"] for line in out.splitlines()] == [type(e).__name__ for e in EVENTS]


def test_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with listener("none") as listen:
        listen(EVENTS[0])
    assert capsys.readouterr() == ("", "")


def test_auto_is_plain_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with listener("auto") as listen:
        assert isinstance(listen, Plain)


WORD = "[/x] ::error::x\n::warning::y\x1b]0;title\x07\u202e\u200b##[error]z\x9b"
TOLD = "[/x] ::error::x ::warning::y\\u001b]0;title\\u0007\\u202e\\u200b## [error]z\\u009b"
HOSTILE: list[Event] = [
    Notice(text=WORD),
    StageStarted(name=WORD, number=0, stages=2, entrants=80),
    msgspec.structs.replace(PROGRESS, name=WORD),
    msgspec.structs.replace(RAN, name=WORD, note=WORD),
    msgspec.structs.replace(RAN, status="error", reason=WORD),
    msgspec.structs.replace(RAN, status="skipped", name=WORD, reason=WORD),
    Notice(text="::error::x"),
]


@pytest.mark.parametrize("kind", ["plain", "bar"])
def test_words_from_elsewhere_are_told_and_not_obeyed(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "PLAIN_EVERY", -1.0)
    with listener(kind) as listen:
        for event in HOSTILE:
            listen(event)
    lines = capsys.readouterr().err.splitlines()
    assert sum(TOLD in line for line in lines) >= 4
    assert ": :error::x" in lines
    for line in lines:
        assert line.isprintable()
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


def test_a_bar_takes_no_markup_from_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with listener("bar") as listen:
        listen(HOSTILE[1])
    assert f"1/2 {TOLD}" in screen.getvalue()


def test_json_lines_mean_what_they_meant_and_are_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    with listener("json") as listen:
        for event in HOSTILE:
            listen(event)
    lines = capsys.readouterr().out.splitlines()
    assert [msgspec.json.decode(line) for line in lines] == [msgspec.to_builtins(event) for event in HOSTILE]
    assert all(line.isprintable() and "##[" not in line for line in lines)


def test_a_bar_prints_the_same_sentences_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with listener("bar") as listen:
        for event in [*EVENTS, Notice(text="[bold]x[/bold] stays text")]:
            listen(event)
    out, err = capsys.readouterr()
    assert out == ""
    for text in [*filter(None, map(sentence, EVENTS)), "[bold]x[/bold] stays text"]:
        assert text in err
