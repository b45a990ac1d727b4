"""A real browser without a window, driven through its debugging pipe: no package, no port."""

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.waiting import HANG_SECONDS

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # the tests may run as root, in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """Return the browser's path, None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """One page, and everything it complained about."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, os.fdopen(answers, "rb", buffering=0)
        self._left, self._number, self._session = b"", 0, ""
        self.complaints: list[str] = []
        self.server = ""
        """The beginning of addresses that a page may ask for, besides the file itself."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def open(
        self,
        path: Path | str,
        *,
        address: str = "",
        dark: bool = False,
        width: int = 1366,
        height: int = 768,
        has_script: bool = True,
    ) -> None:
        """Show a file or an address, and wait until its script is done or, if it has none, until it is loaded."""
        self.complaints.clear()
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self._ask("Page.navigate", url="about:blank")
        self._ask("Page.navigate", url=(path if isinstance(path, str) else path.as_uri()) + address)
        is_ready = "document.body?.dataset.ready" if has_script else "document.readyState === 'complete'"
        self.when(is_ready)

    def value(self, expression: str) -> Any:
        """Return what an expression of JavaScript gives, a promise's result in place of the promise."""
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key, as its name in KeyboardEvent.key."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowUp": 38, "ArrowDown": 40}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self._ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], text=text
            )

    def type(self, text: str) -> None:
        """Put text where the keyboard writes, as an input method does."""
        self._ask("Input.insertText", text=text)

    def drop(self, path: Path) -> None:
        """Drop a file on the middle of the page."""
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._ask("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)

    def save_to(self, folder: Path) -> None:
        """Let what the page saves go to a folder."""
        self._ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def when(self, condition: str) -> None:
        """Wait until an expression of JavaScript holds."""
        wait = f"new Promise(done => {{ const look = () => ({condition}) ? done(true) : setTimeout(look, 20);"
        wait += f" setTimeout(() => done(false), {500 * HANG_SECONDS}); look(); }})"
        assert self.value(wait), (condition, self.complaints)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))

    def pdf(self) -> bytes:
        """Return the page as it is printed."""
        return base64.b64decode(self._ask("Page.printToPDF", printBackground=False)["data"])

    def close(self) -> None:
        """End the browser: it does so when nobody can command it."""
        os.close(self._commands)
        self._answers.close()

    def _ask(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            assert select.select([self._answers], [], [], HANG_SECONDS)[0], "the browser does not answer"
            block = self._answers.read(2**20)
            assert block, "the browser has ended"
            self._left += block
        message, self._left = self._left.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: str, parameters: dict[str, Any]) -> None:
        """Remember errors, warnings, and every request that is not for the file itself or data in it."""
        if event == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(parameters["args"]))
        elif event == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(parameters["entry"]))
        elif event == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            if not url.startswith(("file:", "data:", "about:", "blob:", self.server or "file:")):
                self.complaints.append(f"asked for {url}")


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[Tab]:
    """Start the browser with a profile of its own, and more flags; it ends with the block."""
    program = find_chromium()
    assert program is not None
    commands_out, commands = os.pipe()
    answers, answers_in = os.pipe()
    # The browser reads descriptor 3 and writes descriptor 4.
    shell = f'exec "$0" "$@" 3<&{commands_out} 4>&{answers_in}'
    arguments = [program, *_FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
    browser = subprocess.Popen(
        ["bash", "-c", shell, *arguments],
        pass_fds=(commands_out, answers_in),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands_out)
    os.close(answers_in)
    tab = Tab(commands, answers)
    try:
        yield tab
    finally:
        tab.close()
        with suppress(subprocess.TimeoutExpired):
            browser.wait(5)
        browser.kill()
        browser.wait()
