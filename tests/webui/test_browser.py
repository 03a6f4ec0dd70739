"""The page in Chromium, with the real server and its fake backend.

Needs Chromium at one of the usual places and playwright (`pip install playwright`); skips without.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
if importlib.util.find_spec("gradio") is None:
    pytest.skip("needs gradio: pip install 'kinema[studio]'", allow_module_level=True)

pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
TIMEOUT_MS = 240_000
"""Milliseconds per step; generous, because machines are shared."""
UNLABELLED_ELEMENTS_JS = """() =>
    [...document.querySelectorAll('button, input, textarea, select, [role=button]')]
    .filter(e => e.offsetParent !== null && !e.closest('[aria-hidden=true]'))
    .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('title') || e.innerText.trim()
                   || (e.labels && [...e.labels].some(l => l.innerText.trim()))
                   || (e.getAttribute('aria-labelledby'))))
    .map(e => e.outerHTML.slice(0, 160))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address that `kinema studio` prints; it starts its own server."""
    command = [
        sys.executable, "-m", "kinema", "studio", "--model", "testcard", "--port", "0",
        "--data", str(tmp_path_factory.mktemp("data")),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"the studio is at (http://\S+?)[, ]", line):
            break
    else:
        pytest.fail("the studio ended: " + "".join(lines))
    rest = threading.Thread(target=lambda: [None for _ in process.stderr], daemon=True)
    rest.start()
    yield found[1]
    process.terminate()
    assert process.wait(120) == 0
    rest.join(60)
    process.stderr.close()


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class PageSession:
    """A page that records console errors and requests to other hosts."""

    def __init__(self, chromium, address, width, height=900):
        self.page = chromium.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(TIMEOUT_MS)
        self.problems = []
        self.page.on(
            "console",
            lambda message: message.type in ("error", "warning") and self.problems.append(message.text),
        )
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self._check_url(request.url, address))
        self.page.goto(address)
        self.page.wait_for_selector("#selected")

    def _check_url(self, url, address):
        if not url.startswith((address, "data:", "blob:")):
            self.problems.append(f"requested {url}")

    def fill(self, name, text):
        self.page.fill(f"#{name} textarea, #{name} input", text)

    def click(self, name):
        # The id is on the button itself or on its parent.
        self.page.locator(f"button#{name}, #{name} button").first.click()

    def wait_for_progress_text(self, text):
        self.page.wait_for_function(
            "text => document.querySelector('#progress').innerText.includes(text)", arg=text
        )

    def count_videos(self):
        return self.page.locator("#gallery button.thumbnail-lg, #gallery .thumbnail-item").count()

    def wait_for_videos(self, number):
        self.page.wait_for_function(
            "n => document.querySelectorAll('#gallery .thumbnail-item').length === n", arg=number
        )

    def wait_enabled(self, name):
        self.page.wait_for_selector(f"button#{name}:not([disabled]), #{name} button:not([disabled])")


@pytest.mark.timeout(1800)
def test_create_cancel_remix_extend_storyboard_and_delete(chromium, address, tmp_path):
    visit = PageSession(chromium, address, 1280)
    page = visit.page
    page.wait_for_timeout(2000)  # until the load events have run
    assert page.inner_text("#progress").strip() == "No video is in progress."
    assert page.inner_text("#cancel").strip() == "Cancel"
    assert page.evaluate(UNLABELLED_ELEMENTS_JS) == []
    _screenshot(page, "empty", full_page=True)
    # Generate, and follow the progress.
    visit.fill("prompt", "A red ball rolls to the left pace=0.5")
    visit.click("generate")
    page.wait_for_selector("[role=progressbar]")
    page.wait_for_function("() => +document.querySelector('[role=progressbar]')?.ariaValueNow > 20")
    page.wait_for_selector("#progress img.preview")
    _screenshot(page, "progress")
    visit.wait_for_progress_text("Done.")
    page.wait_for_selector("#new-video video")
    visit.wait_for_videos(1)
    # Cancel.
    visit.fill("prompt", "A slow video pace=5")
    visit.click("generate")
    visit.wait_enabled("cancel")
    visit.click("cancel")
    visit.wait_for_progress_text("Cancelled.")
    # An error is shown, and disappears.
    visit.fill("prompt", "")
    visit.click("generate")
    page.wait_for_selector("#notice [role=alert]")
    assert "The prompt is empty." in page.inner_text("#notice [role=alert]")
    # Remix, extend, loop.
    visit.wait_enabled("remix")
    visit.fill("new-prompt", "A blue ball rolls to the left")
    visit.click("remix")
    visit.wait_for_videos(2)
    visit.wait_enabled("extend")
    visit.click("extend")
    visit.wait_for_videos(3)
    visit.wait_enabled("loop")
    visit.click("loop")
    visit.wait_for_videos(4)
    # Storyboard.
    page.get_by_role("tab", name="Storyboard").click()
    visit.click("add-shot")
    page.wait_for_selector("#shot-3")
    for number, prompt in enumerate(("A ball rolls", "It hits a box", "It stops"), 1):
        visit.fill(f"shot-{number}", prompt)
    visit.fill("start-2", "0.5")
    visit.fill("start-3", "1")
    visit.click("generate-storyboard")
    visit.wait_for_videos(5)
    # Interpolate between the newest and another, which is selected with the keyboard.
    page.locator("#second input").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    visit.click("interpolate")
    visit.wait_for_videos(6)
    # Download.
    visit.wait_enabled("download")
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "video.mp4")
    assert (tmp_path / "video.mp4").read_bytes()[4:8] == b"ftyp"
    _screenshot(page, "videos", full_page=True)
    # Delete, after the confirmation was declined once.
    visit.click("delete")
    page.wait_for_selector("#delete-no")
    visit.click("delete-no")
    visit.click("delete")
    visit.click("delete-yes")
    visit.wait_for_videos(5)
    assert page.evaluate(UNLABELLED_ELEMENTS_JS) == []
    assert visit.problems == []


@pytest.mark.timeout(900)
def test_phone_viewport(chromium, address):
    visit = PageSession(chromium, address, 390, 844)
    page = visit.page
    visit.fill("prompt", "A green cylinder falls pace=0.3")
    visit.click("generate")
    page.wait_for_selector("#progress img.preview")
    # The progress bar is visible without scrolling.
    page.wait_for_function(
        "() => { const r = document.querySelector('[role=progressbar]').getBoundingClientRect();"
        " return r.top >= 0 && r.bottom <= innerHeight }"
    )
    _screenshot(page, "phone")
    visit.wait_for_progress_text("Done.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("tab", name="Storyboard").click()
    page.wait_for_selector("#shot-2")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    _screenshot(page, "phone-full-page", full_page=True)
    assert visit.problems == []


@pytest.mark.timeout(900)
def test_keyboard_only(chromium, address):
    visit = PageSession(chromium, address, 1280)
    page = visit.page
    page.locator("#prompt textarea").focus()
    page.keyboard.type("A yellow cone stands still")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Generate":
            break
    page.keyboard.press("Enter")
    visit.wait_for_progress_text("Done.")
    assert visit.problems == []


def _screenshot(page, name, *, full_page=False):
    """Save a screenshot if STUDIO_SCREENSHOTS names a folder."""
    if folder := os.environ.get("STUDIO_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=full_page)
