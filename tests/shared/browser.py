"""Chromium without a window, to look at pages: pictures of them, and what they measure."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = shutil.which("chromium")


class Browser:
    """A page of Chromium, driven by its own protocol over two pipes."""

    def __init__(self, write: int, read: int) -> None:
        self._write = os.fdopen(write, "wb", buffering=0)
        self._read = os.fdopen(read, "rb")
        self._sent = 0
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")

    def show(self, url: str, *, width: int, theme: str) -> None:
        """Open a page in a window of this width, for a person who prefers the theme ``light`` or ``dark``."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self._call("Page.navigate", url=url)
        self._wait("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression on the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, selector: str) -> None:
        """Click the first element of a selector, which leads to another page."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
        self._wait("Page.loadEventFired")

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(
            self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        )

    def _call(self, method: str, **parameters: Any) -> Any:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._sent:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _wait(self, event: str) -> None:
        while self._next().get("method") != event:
            pass

    def _next(self) -> Any:
        text = bytearray()
        while (letter := self._read.read(1)) not in (b"\0", b""):
            text += letter
        assert letter, "Chromium ended"
        return json.loads(text)


@contextmanager
def started_browser() -> Iterator[Browser]:
    """A Chromium that ends with the block."""
    assert CHROMIUM is not None
    to_browser, from_browser = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ]
        command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        command += ["--hide-scrollbars", f"--user-data-dir={folder}/profile", "--remote-debugging-pipe"]
        # Chromium reads commands from descriptor 3, and writes to descriptor 4.
        script = 'exec "$@" 3<&"$IN" 4>&"$OUT"'
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            env={**os.environ, "HOME": folder, "IN": str(to_browser[0]), "OUT": str(from_browser[1])},
            pass_fds=(to_browser[0], from_browser[1]),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        try:
            yield Browser(to_browser[1], from_browser[0])
        finally:
            process.terminate()
            process.wait(timeout=30)
