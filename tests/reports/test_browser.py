"""The page in headless Chromium, scripts and network off: no complaint, no request, no sideways scrolling."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from auditor.reports.html import render

from auditor.entry import Entry
from benchmarks import chromium
from benchmarks.chromium import Browser, find

pytestmark = pytest.mark.browser
Make = Callable[..., Entry]
JENKINS = "sandbox allow-same-origin; default-src 'none'; img-src 'self'; style-src 'self';"
"""What Jenkins sends with the artefacts of a build: no style sheet in the page, no picture in it."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    binary = find()
    if binary is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with chromium.browser(binary) as started:
        yield started


@pytest.fixture
def page(entry: Make, tmp_path: Path) -> Path:
    """A page with everything in it: pictures, curves, matrices, long and foreign names."""
    names = ["cat", "x" * 300, "<script>document.title = 'ran'</script> שלום", *"abcdefghi"]
    long = "y" * 300
    made = entry(
        n=450, classes=12, names=names, environment={long: long}, command=long, plan_digest=long, hardness={}
    )  # fmt: skip
    record = made.record
    record = msgspec.structs.replace(
        record,
        summary=f"Robust accuracy ≤ {long}",
        next_steps=[msgspec.structs.replace(step, what=long, why=long, command=long) for step in record.next_steps],
        model=msgspec.structs.replace(record.model, name=long, path=long),
        attacks=[msgspec.structs.replace(row, name=long, reason=long) for row in record.attacks],
        findings=[msgspec.structs.replace(row, title=long, explanation=long, id=long) for row in record.findings],
        outcomes=[msgspec.structs.replace(o, attack=long) if o.attack else o for o in record.outcomes],
    )
    made = Entry(record, made.folder)
    path = tmp_path / "report.html"
    path.write_text(render([made, entry(n=30)]), encoding="utf-8")
    return path


def test_no_complaint_and_no_request(browser: Browser, page: Path) -> None:
    browser.show(page.as_uri(), 1280)
    assert browser.seen("Log.entryAdded") == []
    assert browser.seen("Runtime.consoleAPICalled") == []
    assert browser.seen("Runtime.exceptionThrown") == []
    asked = [event["request"]["url"] for event in browser.seen("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert browser.evaluate("document.title") == "Robustness of 2 audits"
    assert browser.evaluate("[...document.images].every(image => image.naturalWidth > 0)") is True
    assert browser.evaluate("getComputedStyle(document.querySelector('.skip')).position") == "absolute"


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, page: Path, width: int) -> None:
    browser.show(page.as_uri(), width)
    assert browser.width() <= width


@pytest.mark.parametrize(("dark", "media"), [(False, ""), (True, ""), (False, "print"), (True, "print")])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_way_of_looking_shows_something(browser: Browser, page: Path, dark: bool, media: str, width: int) -> None:
    browser.show(page.as_uri(), width, dark=dark, media=media)
    picture = browser.picture()
    assert len(np.unique(picture)) > 50
    night = dark and not media
    assert np.median(picture) < 60 if night else np.median(picture) > 200


def test_a_printed_page_has_text(browser: Browser, page: Path) -> None:
    browser.show(page.as_uri(), 1280)
    printed = base64.b64decode(browser.ask("Page.printToPDF")["data"])
    assert printed.startswith(b"%PDF-")
    assert len(printed) > 30_000


def test_it_reads_without_style_and_pictures(browser: Browser, page: Path) -> None:
    off = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.ask("Network.emulateNetworkConditions", offline=False, **off)
    browser.ask("Fetch.enable", patterns=[{"urlPattern": "http://report.invalid/*"}])
    try:
        browser.events = []
        browser.asked += 1
        request = {
            "id": browser.asked, "method": "Page.navigate", "params": {"url": "http://report.invalid/"},
            "sessionId": browser.session,
        }  # fmt: skip
        os.write(browser.out, json.dumps(request).encode() + b"\0")
        paused = browser.wait("Fetch.requestPaused")
        browser.ask(
            "Fetch.fulfillRequest",
            requestId=paused["requestId"],
            responseCode=200,
            responseHeaders=[
                {"name": "Content-Type", "value": "text/html; charset=utf-8"},
                {"name": "Content-Security-Policy", "value": JENKINS},
            ],
            body=base64.b64encode(page.read_bytes()).decode(),
        )
        browser.wait("Page.loadEventFired")
    finally:
        browser.ask("Fetch.disable")
        browser.ask("Network.emulateNetworkConditions", offline=True, **off)
    assert browser.evaluate("getComputedStyle(document.querySelector('.skip')).position") == "static"
    assert browser.evaluate("[...document.images].some(image => image.naturalWidth > 0)") is False
    text = browser.evaluate("document.body.innerText")
    assert "Robust accuracy ≤" in text
    assert "Gradient-free" in text or "gradient_free" in text
    bar = browser.evaluate("JSON.stringify(document.querySelector('rect.broken').getBoundingClientRect())")
    assert json.loads(bar)["width"] > 1
    assert browser.evaluate("getComputedStyle(document.querySelector('rect.broken')).fill") == "rgb(217, 89, 28)"
    assert len(np.unique(browser.picture())) > 50
