"""The page in headless Chromium, scripts and network off: no complaint, no request, no sideways scrolling."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pytest
from auditor.reports.html import render
from PIL import Image

from auditor.record import CurvePoint, Entry

pytestmark = pytest.mark.browser
Make = Callable[..., Entry]
JENKINS = "sandbox allow-same-origin; default-src 'none'; img-src 'self'; style-src 'self';"
"""What Jenkins sends with the artefacts of a build: no style sheet in the page, no picture in it."""
OPTIONS = ("--headless", "--disable-gpu", "--no-sandbox", "--no-first-run", "--remote-debugging-pipe")
START = """
import os, sys
os.dup2(int(sys.argv[1]), 3), os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page of a headless Chromium, driven over its debugging pipe (file descriptors 3 and 4)."""

    def __init__(self, binary: str, folder: str):
        far_in, self.out = os.pipe()
        self.into, far_out = os.pipe()
        high_in, high_out = (os.dup(fd) for fd in (far_in, far_out))
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(high_in), str(high_out), binary, *OPTIONS, f"--user-data-dir={folder}"],
            pass_fds=(high_in, high_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (far_in, far_out, high_in, high_out):
            os.close(fd)
        self.left, self.asked, self.events, self.session = b"", 0, [], ""  # type: ignore[var-annotated]
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setScriptExecutionDisabled", value=True)
        speed = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.ask("Network.emulateNetworkConditions", offline=True, **speed)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; what happens meanwhile is kept in `events`."""
        self.asked += 1
        message = {"id": self.asked, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (reply := self.read()).get("id") != self.asked:
            self.events.append(reply)
        assert "error" not in reply, reply
        return reply["result"]  # type: ignore[no-any-return]

    def read(self) -> dict[str, Any]:
        while b"\0" not in self.left:
            more = os.read(self.into, 1 << 16)
            assert more, "the browser went away"
            self.left += more
        message, _, self.left = self.left.partition(b"\0")
        return json.loads(message)  # type: ignore[no-any-return]

    def show(self, url: str, width: int, *, dark: bool = False, media: str = "") -> None:
        """Open the address in a window of this width, and wait until everything is there."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.events = []
        self.ask("Page.navigate", url=url)
        self.wait("Page.loadEventFired")

    def wait(self, method: str) -> dict[str, Any]:
        for event in self.events:
            if event.get("method") == method:
                return event["params"]  # type: ignore[no-any-return]
        while (event := self.read()).get("method") != method:
            self.events.append(event)
        self.events.append(event)
        return event["params"]  # type: ignore[no-any-return]

    def seen(self, method: str) -> list[dict[str, Any]]:
        """Parameters of these events since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def width(self) -> float:
        """How wide the content is, which may be more than the window."""
        return float(self.ask("Page.getLayoutMetrics")["cssContentSize"]["width"])

    def picture(self) -> np.ndarray:
        shot = self.ask("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(shot))).convert("L"))

    def evaluate(self, expression: str) -> Any:
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def close(self) -> None:
        self.session = ""
        self.ask("Browser.close")
        self.process.wait(timeout=20)
        os.close(self.out)
        os.close(self.into)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    binary = next((path for name in names if (path := shutil.which(name))), None)
    if binary is None or sys.platform == "win32":
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        started = Browser(binary, folder)
        yield started
        started.close()


@pytest.fixture
def page(entry: Make, tmp_path: Path) -> Path:
    """A page with everything in it: pictures, a curve, long and foreign names."""
    names = ["cat", "x" * 300, "<script>document.title = 'ran'</script> שלום"]
    curve = [CurvePoint(epsilon=e, robust_accuracy=1 - 5 * e) for e in (0.0, 0.1, 0.2)]
    long = "y" * 300
    made = entry(n=450, names=names, curve=curve, environment={long: long}, command=long, plan_digest=long)
    record = made.record
    record = msgspec.structs.replace(
        record,
        summary=f"Robust accuracy ≤ {long}",
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
