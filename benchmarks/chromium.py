"""A headless Chromium without network, driven over its debugging pipe: for tests and for `benchmarks.accessibility`."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
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
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["result"]  # type: ignore[no-any-return]

    def read(self) -> dict[str, Any]:
        while b"\0" not in self.left:
            more = os.read(self.into, 1 << 16)
            if not more:
                raise RuntimeError("the browser went away")
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
        """The value of an expression in the page, awaited where it is a promise."""
        asked = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in asked:
            raise RuntimeError(asked["exceptionDetails"])
        return asked["result"].get("value")

    def close(self) -> None:
        self.session = ""
        self.ask("Browser.close")
        self.process.wait(timeout=20)
        os.close(self.out)
        os.close(self.into)


def find() -> str | None:
    """A Chromium that can be driven here, None where there is none."""
    if sys.platform == "win32":
        return None
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def browser(binary: str) -> Iterator[Browser]:
    """A browser with a profile of its own, which is closed afterwards."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        started = Browser(binary, folder)
        yield started
        started.close()
