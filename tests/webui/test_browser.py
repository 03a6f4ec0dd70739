"""The page in a real Chromium, over the real server and its test card: what a person does, done.

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
"""Milliseconds until a step is given up: machines are shared."""
UNLABELLED_ELEMENTS_JS = """() => [...document.querySelectorAll('button, input, textarea, select, [role=button]')]
    .filter(e => e.offsetParent !== null && !e.closest('[aria-hidden=true]'))
    .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('title') || e.innerText.trim()
                   || (e.labels && [...e.labels].some(l => l.innerText.trim()))
                   || (e.getAttribute('aria-labelledby'))))
    .map(e => e.outerHTML.slice(0, 160))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where `kinema studio` says that it is; it starts its own server."""
    command = [
        sys.executable, "-m", "kinema", "studio", "--model", "testcard", "--port", "0",
        "--data", str(tmp_path_factory.mktemp("data")),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"the studio is at (http://\S+?)[, ]", line):
            break
    else:
        pytest.fail("the studio ended: " + "".join(said))
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
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class PageSession:
    """A page that remembers everything that should not have happened."""

    def __init__(self, chromium, address, width, height=900):
        self.page = chromium.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(TIMEOUT_MS)
        self.problems = []
        self.page.on(
            "console", lambda said: said.type in ("error", "warning") and self.problems.append(said.text)
        )
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self._check_url(request.url, address))
        self.page.goto(address)
        self.page.wait_for_selector("#chosen")

    def _check_url(self, url, address):
        if not url.startswith((address, "data:", "blob:")):
            self.problems.append(f"asked for {url}")

    def fill(self, name, text):
        self.page.fill(f"#{name} textarea, #{name} input", text)

    def click(self, name):
        # An id is on the button itself, or on what surrounds it.
        self.page.locator(f"button#{name}, #{name} button").first.click()

    def wait_for_progress_text(self, text):
        self.page.wait_for_function(
            "words => document.querySelector('#progress').innerText.includes(words)", arg=text
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
    # Nothing is there yet, and what is there says so.
    page.wait_for_timeout(2000)  # in which what happens at the opening has happened
    assert page.inner_text("#progress").strip() == "No film is being made."
    assert page.inner_text("#cancel").strip() == "Cancel"
    assert page.evaluate(UNLABELLED_ELEMENTS_JS) == []
    _screenshot(page, "empty", full_page=True)
    # Make, and watch.
    visit.fill("prompt", "A red ball rolls to the left pace=0.5")
    visit.click("make")
    page.wait_for_selector("[role=progressbar]")
    page.wait_for_function("() => +document.querySelector('[role=progressbar]')?.ariaValueNow > 20")
    page.wait_for_selector("#progress img.preview")
    _screenshot(page, "making")
    visit.wait_for_progress_text("Done.")
    page.wait_for_selector("#new-film video")
    visit.wait_for_videos(1)
    # Cancel.
    visit.fill("prompt", "A slow film pace=5")
    visit.click("make")
    visit.wait_enabled("cancel")
    visit.click("cancel")
    visit.wait_for_progress_text("Cancelled.")
    # A mistake is told in words, and goes away.
    visit.fill("prompt", "")
    visit.click("make")
    page.wait_for_selector("#notice [role=alert]")
    assert "Write what the film shall show." in page.inner_text("#notice [role=alert]")
    # Remix, extend, loop, connect.
    visit.wait_enabled("remix")
    visit.fill("again", "A blue ball rolls to the left")
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
    for number, words in enumerate(("A ball rolls", "It hits a box", "It stops"), 1):
        visit.fill(f"shot-{number}", words)
    visit.fill("begin-2", "0.5")
    visit.fill("begin-3", "1")
    visit.click("tell")
    visit.wait_for_videos(5)
    # Connect the newest to another, chosen with the keyboard.
    page.locator("#other input").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    visit.click("connect")
    visit.wait_for_videos(6)
    # Download.
    visit.wait_enabled("download")
    with page.expect_download() as given:
        page.locator("#download").click()
    given.value.save_as(tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"
    _screenshot(page, "films", full_page=True)
    # Delete, after a second thought.
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
    visit.click("make")
    page.wait_for_selector("#progress img.preview")
    # What was begun is in sight without scrolling.
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
    _screenshot(page, "phone-whole", full_page=True)
    assert visit.problems == []


@pytest.mark.timeout(900)
def test_keyboard_only(chromium, address):
    visit = PageSession(chromium, address, 1280)
    page = visit.page
    page.locator("#prompt textarea").focus()
    page.keyboard.type("A yellow cone stands still")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Make the film":
            break
    page.keyboard.press("Enter")
    visit.wait_for_progress_text("Done.")
    assert visit.problems == []


def _screenshot(page, name, *, full_page=False):
    """A picture for whoever asks for one: STUDIO_PICTURES=folder."""
    if folder := os.environ.get("STUDIO_PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=full_page)
