"""A headless Chromium, driven by its own debugging protocol over two pipes: JSON, with a NUL after each message.

There is no port that somebody else could find, and no driver besides the browser.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAM = "chromium"
ANSWER_S = 30.0
EVENTS_MAX = 10_000
READ_BYTES = 1 << 20
OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # as root it refuses to start otherwise; it sees nothing but our own page
    "--no-proxy-server",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
)
PORTS = (3, 4)
"""The descriptors on which Chromium reads commands and writes answers."""

SEEN = """
new Promise((resolve, reject) => {
  const wanted = () => Boolean(%s);
  const look = () => {
    if (!wanted()) return;
    observer.disconnect();
    resolve(Date.now());
  };
  const observer = new MutationObserver(look);
  observer.observe(document.documentElement, {subtree: true, childList: true, characterData: true, attributes: true});
  setTimeout(() => { observer.disconnect(); reject(new Error("not seen in time: " + document.body.innerText)); }, %d);
  look();
})
"""


def chromium_missing() -> str | None:
    """The reason why no browser can be run; None if one can."""
    return None if shutil.which(PROGRAM) else "not installed: chromium (of Debian's package chromium)"


class BrowserError(AssertionError):
    """The browser or the page in it reports an error."""


class Browser:
    """One Chromium with one page. A context manager."""

    def __init__(self, directory: Path, entry: Sequence[str] = ()) -> None:
        """`directory` is for its profile. `entry` is put before its command, to run it in a namespace."""
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # The shell puts the pipes where Chromium wants them. (dash knows no descriptor above 9.)
        script = f'exec {PORTS[0]}<&{to_read} {PORTS[1]}>&{to_write}; exec "$@"'
        profile = [f"--user-data-dir={directory / 'profile'}", "about:blank"]
        places = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), str(directory))
        self._errors = (directory / "chromium.err").open("wb")
        self._process = subprocess.Popen(
            [*entry, "bash", "-c", script, "bash", PROGRAM, *OPTIONS, *profile],
            stdin=subprocess.DEVNULL, stdout=self._errors, stderr=self._errors, pass_fds=(to_read, to_write),
            env=os.environ | places, start_new_session=True,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._number = 0
        self._is_loaded = False
        self._session: str | None = None
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS_MAX)
        """Notifications of the browser about the page."""
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, timeout_s: float = ANSWER_S, **parameters: Any) -> dict[str, Any]:
        """Send a command to the browser. Returns its answer. Raises BrowserError."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            request["sessionId"] = self._session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        until_s = time.monotonic() + timeout_s
        while True:
            message = self._next(until_s, method)
            if message.get("id") == self._number:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result

    def _next(self, until_s: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, until_s - time.monotonic()))[0]:
                raise BrowserError(f"{method}: no answer in time")
            piece = os.read(self._read, READ_BYTES)
            if not piece:
                raise BrowserError(f"{method}: the browser has ended; see {self._errors.name}")
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append(message)
            self._is_loaded |= message["method"] == "Page.loadEventFired"
        return message

    def open(self, url: str) -> None:
        """Open an address, and wait until the page is loaded."""
        self._is_loaded = False
        told = self.call("Page.navigate", url=url)
        if "errorText" in told:
            raise BrowserError(f"{url}: {told['errorText']}")
        until_s = time.monotonic() + ANSWER_S
        while not self._is_loaded:
            self._next(until_s, "Page.loadEventFired")

    def evaluate(self, expression: str, timeout_s: float = ANSWER_S) -> Any:
        """Evaluate an expression in the page; a promise is awaited. Raises BrowserError."""
        told = self.call(
            "Runtime.evaluate", timeout_s, expression=expression, awaitPromise=True, returnByValue=True
        )  # fmt: skip
        if "exceptionDetails" in told:
            details = told["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return told["result"].get("value")

    def seen(self, condition: str, within_s: float = ANSWER_S) -> float:
        """Wait until a condition holds in the page. Returns when it did, in seconds since 1970. Raises BrowserError."""
        milliseconds: float = self.evaluate(SEEN % (condition, within_s * 1000), within_s + ANSWER_S)
        return milliseconds / 1000

    def be(self, width: int, height: int, *, dark: bool = False, is_phone: bool = False) -> None:
        """Set the size of the screen, in CSS pixels, and the preferred colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=2 if is_phone else 1, mobile=is_phone,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, height_max: int) -> bytes:
        """A PNG of the top of the page, with at most this height in CSS pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height_max), "scale": 1}
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(told["data"])

    def requested(self) -> list[str]:
        """The addresses of all requests that were made so far."""
        self.call("Runtime.evaluate", expression="0")  # once it is answered, all earlier notifications have been read
        return [
            each["params"]["request"]["url"] for each in self.events if each["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and log entries of the browser about the page."""
        self.call("Runtime.evaluate", expression="0")
        found = []
        for each in self.events:
            parameters = each["params"]
            if each["method"] == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            elif each["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(str(parameters["args"]))
            elif each["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        return found

    def close(self) -> None:
        """End it. May be called again."""
        if self._process.poll() is None:
            with contextlib.suppress(BrowserError, OSError):
                self._session = None
                self.call("Browser.close")
            try:
                self._process.wait(ANSWER_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for descriptor in (self._read, self._write):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
