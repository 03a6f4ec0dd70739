"""The studio in Chromium: the server, a page that notes its faults, and what the tests do on it."""

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

AXE = Path(__file__).parents[2] / "webui" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip
DESKTOP = {"width": 1360, "height": 860}
PHONE = {"width": 390, "height": 844}
SLOW = "pace=0.4"
"""In a prompt: ten steps of this many seconds."""
TIMEOUT_MS = 90_000
"""Time limit of each step; generous, because machines are shared."""


class StudioServer:
    """`kinema serve --studio` with the fake backend, which can be killed and started again."""

    def __init__(self, data, *, model="testcard", key=""):
        self.data, self.model, self.key = data, model, key
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        environment = {**os.environ, "KINEMA_API_KEYS": self.key, "OMP_NUM_THREADS": "1"}
        log = self.data / "server.log"
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kinema", "serve", "--studio", "--model", self.model,
                 "--port", str(self.port), "--data", str(self.data)],
                stderr=stderr, env=environment,
            )  # fmt: skip
        deadline = time.monotonic() + 300
        while True:
            try:
                self.call("GET", "/v1/models")
                return self
            except (urllib.error.URLError, OSError):
                assert self.process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.1)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def call(self, method, path, body=None):
        headers = {"content-type": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=TIMEOUT_MS / 1000) as response:
            return json.load(response)

    def videos(self):
        return self.call("GET", "/v1/videos?limit=100")["data"]

    def settings(self, number=0):
        """The settings of the newest video, or of an older one."""
        return self.call("GET", f"/v1/videos/{self.videos()[number]['id']}")["kinema"]["settings"]

    def make(self, prompt, **fields):
        """A video made through the API; waits for it."""
        video = self.call("POST", "/v1/videos", {"prompt": prompt, "model": self.model, **fields})
        deadline = time.monotonic() + TIMEOUT_MS / 1000
        while video["status"] not in ("completed", "failed"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
            video = self.call("GET", f"/v1/videos/{video['id']}")
        assert video["status"] == "completed", video["error"]
        return video

    def wait_for(self, condition):
        """Poll the videos, the newest first, until the condition holds for them; returns them."""
        deadline = time.monotonic() + TIMEOUT_MS / 1000
        while not condition(videos := self.videos()):
            assert time.monotonic() < deadline, [(video["prompt"], video["status"]) for video in videos]
            time.sleep(0.1)
        return videos

    def clear(self):
        for video in self.videos():
            self.call("DELETE", f"/v1/videos/{video['id']}")


class Studio:
    """A page of the studio. It notes console errors, requests to other hosts, and actions of the person."""

    def __init__(
        self, browser, server, viewport=DESKTOP, *, scheme="dark", estimate=True, expected=(), **context
    ):
        self.server = server
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme, **context)
        self.context.set_default_timeout(TIMEOUT_MS)
        self.page = self.context.new_page()
        self.problems, self.expected_errors = [], list(expected)
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self._check_address(request.url))
        if estimate:
            # Colour bars cost nothing, so their server gives no estimate.
            self.page.route("**/v1/videos/estimate", self._answer_estimate)
        self.estimates = []
        self.goto()

    def _note_console(self, message):
        if message.type not in ("error", "warning"):
            return
        if any(
            part in message.text or part in message.location.get("url", "") for part in self.expected_errors
        ):
            return
        self.problems.append(f"{message.text} {message.location.get('url', '')}")

    def _check_address(self, url):
        if not url.startswith((self.server.address, "data:", "blob:")):
            self.problems.append(f"requested {url}")

    def _answer_estimate(self, route):
        body = json.loads(route.request.post_data)
        self.estimates.append(body)
        seconds = float(body["seconds"])
        route.fulfill(json={"seconds": 10 * seconds, "peak_memory": 2**30, "available_memory": 2**33})

    def goto(self, path=""):
        self.page.goto(f"{self.server.address}/studio/{path}")
        self.page.wait_for_selector("textarea, [role=dialog]")

    def close(self):
        self.context.close()

    @property
    def completed(self):
        return self.page.locator("[data-tile][data-status=completed]")

    def wait_for_videos(self, number):
        self.page.wait_for_function(
            "n => document.querySelectorAll('[data-tile][data-status=completed]').length === n", arg=number
        )

    def tile(self, prompt):
        """The newest tile with these words."""
        return self.page.locator(f"[role=listitem]:has([data-tile]):has-text({json.dumps(prompt)})").first

    def write(self, text):
        self.page.fill("#prompt", text)

    def make(self, prompt):
        self.write(prompt)
        self.page.press("#prompt", "Enter")

    def button(self, name, **options):
        return self.page.get_by_role("button", name=name, **options)

    def audit(self):
        """Serious and critical findings of axe-core."""
        self.page.evaluate(AXE.read_text(encoding="utf-8") + ";0")
        result = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{finding['id']}: {node['html'][:160]}"
            for finding in result["violations"]
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]

    def screenshot(self, name):
        """Save a screenshot if STUDIO_SCREENSHOTS names a folder."""
        if folder := os.environ.get("STUDIO_SCREENSHOTS"):
            self.page.wait_for_timeout(400)
            self.page.screenshot(path=f"{folder}/{name}.png")


class Person:
    """Does things on the page and counts them: clicks, strokes and keys that do something.

    Words that are typed do not count, nor does what only moves: the pointer, Tab, and the arrow keys.
    """

    def __init__(self, studio, way):
        self.studio, self.page, self.way, self.actions = studio, studio.page, way, 0

    def do(self, *, mouse, keyboard):
        """Take one way or the other."""
        (mouse if self.way == "mouse" else keyboard)()

    def click(self, locator):
        locator.click()
        self.actions += 1

    def press(self, key):
        self.page.keyboard.press(key)
        self.actions += 1

    def type(self, text):
        self.page.keyboard.type(text)

    def at_tile(self, prompt):
        """Move to a tile without an action."""
        if self.way == "mouse":
            self.studio.tile(prompt).hover()
            return
        # Escape goes from the prompt to the videos.
        self.page.locator("#prompt").focus()
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Home")
        for position in range(1, 30):
            self.page.wait_for_function(
                "n => document.activeElement.closest('[role=listitem]')?.ariaPosInSet === String(n)",
                arg=position,
            )
            if prompt in self.page.evaluate("document.activeElement.ariaLabel"):
                return
            self.page.keyboard.press("ArrowRight")
        raise AssertionError(f"no tile {prompt!r}")

    def menu(self, prompt, name):
        self.click(self.studio.tile(prompt).get_by_role("button", name="More actions"))
        self.click(self.page.get_by_role("menuitem", name=name))

    def start(self):
        self.actions = 0

    def finish(self):
        assert self.actions <= 3, self.actions


@contextlib.contextmanager
def chromium():
    """A headless browser."""
    from playwright import sync_api

    with sync_api.sync_playwright() as driver:
        sync_api.expect.set_options(timeout=TIMEOUT_MS)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def expect(locator):
    """Assertions that wait until they hold; playwright is optional, so it is imported late."""
    from playwright import sync_api

    return sync_api.expect(locator)


def png(colour="red", size=(80, 60)):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def drop_file(page, selector, name="image.png", data=None):
    """Drop an image as the file manager would."""
    handle = page.evaluate_handle(
        """([bytes, name]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/png'}));
            return transfer;
        }""",
        [list(data or png()), name],
    )
    page.dispatch_event(selector, "dragover", {"dataTransfer": handle})
    page.dispatch_event(selector, "drop", {"dataTransfer": handle})
