"""A headless Chromium, driven through the DevTools protocol over two pipes, without any library."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

PATH = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(PATH is None, reason="needs Chromium on the PATH: apt-get install chromium")

_WAIT = 60  # seconds
# The browser reads commands from the descriptor 3 and writes answers to 4, which another file may have in this process.
_LAUNCHER = (
    "import fcntl, os, sys\n"
    "ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]\n"
    "for end, number in zip(ends, (3, 4)): os.dup2(end, number)\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--remote-debugging-pipe",
)  # fmt: skip


class Chromium:
    """One browser process with many pages; a context manager, as its profile is a folder that goes with it."""

    def __enter__(self):
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        command = [PATH, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, str(commands), str(answers), *command],
            pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self._count, self._buffer, self._events = 0, b"", {}
        return self

    def __exit__(self, *error):
        with contextlib.suppress(OSError, AssertionError):
            self.call("Browser.close")
        for end in (self._write, self._read):
            os.close(end)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    def call(self, method, session=None, **parameters):
        """Sends a command and returns its result; events that come in between are kept."""
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        deadline = time.monotonic() + _WAIT
        while True:
            answer = self._message(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _message(self, deadline):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self._read, 1 << 20) if ready else b""
            assert data, "Chromium does not answer" if not ready else "Chromium has ended"
            self._buffer += data
        first, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(first)
        if "method" in message:
            self._events.setdefault(message.get("sessionId"), []).append(message)
        return message

    def events(self, session):
        """The events of a page so far."""
        return self._events.setdefault(session, [])

    def open(self, path, width=1280, height=800, phone=False, dark=False):
        """Opens a file as a page of a size in CSS pixels, and waits until it is loaded."""
        return Page(self, path, width, height, phone, dark)


class Page:
    """One page; `errors` and `requests` are what it has said and asked for since it was opened."""

    def __init__(self, browser, path, width, height, phone, dark):
        self._browser, self.phone = browser, phone
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        self.url = Path(path).absolute().as_uri() if "://" not in str(path) else str(path)
        self.call("Page.navigate", url=self.url)
        self.until("document.readyState == 'complete'")

    def call(self, method, **parameters):
        return self._browser.call(method, self._session, **parameters)

    def evaluate(self, script):
        """The value of an expression in the page, awaited if it is a promise."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, script):
        """Waits until an expression is true, and returns its value."""
        deadline = time.monotonic() + _WAIT
        while not (value := self.evaluate(script)):
            assert time.monotonic() < deadline, f"{script} has not become true"
            time.sleep(0.01)
        return value

    def text(self, selector):
        """The visible text of an element."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def mouse(self, kind, x, y, **more):
        """Sends `mouseMoved`, `mousePressed`, `mouseReleased` or `mouseWheel` at a place in CSS pixels."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x, y):
        """Clicks, or taps on a phone."""
        if self.phone:
            self.touch("touchStart", (x, y))
            self.touch("touchEnd")
            return
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", buttons=1, clickCount=1)

    def click_on(self, selector):
        """Clicks into the middle of an element."""
        self.click(*self.middle(selector))

    def middle(self, selector):
        """The middle of an element in CSS pixels, after it has been scrolled into view."""
        box = f"const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'nearest'}}); "
        box += "const b = e.getBoundingClientRect(); "
        return self.evaluate(f"(() => {{ {box} return [b.x + b.width / 2, b.y + b.height / 2] }})()")

    def touch(self, kind, *places):
        """Sends `touchStart`, `touchMove` or `touchEnd` with the fingers that are down."""
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in places])

    def key(self, name):
        """Presses a key, such as Escape, Enter or ArrowLeft."""
        code = {"Escape": 27, "Enter": 13, "Tab": 9}.get(name, 0)
        text = {"text": "\r"} if name == "Enter" else {"text": name} if len(name) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code, **more)

    def type(self, text):
        """Types into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def screenshot(self):
        """The PNG file of what is visible, as bytes."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    @property
    def errors(self):
        """What stands on the console as an error or a warning, and exceptions that nothing caught."""
        said = []
        for event in self._browser.events(self._session):
            given = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                said.append(given["exceptionDetails"])
            elif event["method"] == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
                said.append(given["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
                said.append([argument.get("value") for argument in given["args"]])
        return said

    @property
    def requests(self):
        """The addresses that the page has asked for, but for its own and those inside it (`blob:`, `data:`)."""
        sent = (e for e in self._browser.events(self._session) if e["method"] == "Network.requestWillBeSent")
        urls = (event["params"]["request"]["url"] for event in sent)
        return [url for url in urls if url.partition("#")[0] != self.url and not url.startswith(("blob:", "data:"))]
