"""The studio in Chromium: what was wrong with the page before, what may go wrong, and a person's ten tasks.

Needs Chromium (`apt-get install chromium`), playwright and the Node packages of `webui/` (axe-core); skips
without. `STUDIO_SCREENSHOTS=FOLDER` keeps a picture of each state.
"""

import json
import re

import pytest

from tests.webui.studio_page import PHONE, SLOW, Person, Studio, StudioServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEY = "studio-test-key-0123456789"


# What was wrong with the page before.


def test_second_video_is_queued_while_the_first_is_made(studio, server):
    for number, pace in enumerate((5, 0.1, 0.1)):
        studio.make(f"Ball number {number} pace={pace}")
    studio.page.wait_for_function("() => document.querySelectorAll('[data-tile]').length === 3")
    # Each has its place and its own Cancel; the running one has the time that is left.
    studio.page.wait_for_selector("[role=listitem]:has-text('number 0') :text('left')")
    studio.page.wait_for_selector("[role=listitem]:has-text('number 2') :text('Place 2')")
    assert studio.button("Cancel: Ball").count() == 3
    studio.screenshot("queue")
    studio.button("Cancel: Ball number 1").click()
    studio.button("Cancel: Ball number 0").click()
    studio.wait_for_videos(1)
    assert [video["prompt"][:13] for video in server.videos() if video["status"] == "completed"] == [
        "Ball number 2"
    ]


def test_delete_takes_the_video_it_is_on(studio, server):
    server.make("The first one")
    server.make("The second one")
    studio.wait_for_videos(2)
    studio.make("The third one")
    studio.wait_for_videos(3)
    studio.tile("The first one").hover()
    studio.button("More actions: The first one").click()
    studio.page.get_by_role("menuitem", name="Delete").click()
    studio.wait_for_videos(2)
    server.wait_for(lambda videos: len(videos) == 2)
    assert {video["prompt"] for video in server.videos()} == {"The second one", "The third one"}


def test_length_is_shown_before_and_never_changed_silently(studio, server):
    studio.button("Length: ").click()
    studio.page.get_by_role("spinbutton", name="Seconds").fill("60")
    assert "The model makes 60.125 s." in studio.page.get_by_role("dialog").inner_text()
    studio.page.get_by_role("spinbutton", name="Seconds").fill("900")
    assert re.search(r"Up to [\d.]+ s are possible", studio.page.get_by_role("dialog").inner_text())
    studio.page.get_by_role("spinbutton", name="Seconds").fill("3")
    studio.page.keyboard.press("Enter")
    studio.make("Three seconds")
    studio.wait_for_videos(1)
    # 25 frames at 8 per second: what the chip said.
    studio.button("Length: 3.1 s").wait_for()
    assert float(server.videos()[0]["seconds"]) == 3.125


def test_each_video_has_another_seed(studio, server):
    for _ in range(3):
        studio.make("The same words")
    studio.wait_for_videos(3)
    assert len({video["kinema"]["seed"] for video in server.videos()}) == 3


def test_previews_change_from_step_to_step(studio):
    studio.page.evaluate(
        """() => {
            window.seen = new Set();
            const look = () => {
                const image = document.querySelector('img.preview');
                if (image) window.seen.add(image.src);
            };
            const options = {subtree: true, childList: true, attributeFilter: ['src']};
            new MutationObserver(look).observe(document.body, options);
        }"""
    )
    studio.make(f"A preview {SLOW}")
    studio.wait_for_videos(1)
    assert studio.page.evaluate("window.seen.size") >= 4


def test_videos_play_under_the_pointer(studio, server):
    server.make("It moves")
    studio.wait_for_videos(1)
    assert studio.page.locator("[role=listitem] video").count() == 0
    studio.tile("It moves").hover()
    studio.page.wait_for_function("() => document.querySelector('[role=listitem] video')?.currentTime > 0.2")
    assert studio.audit() == []
    studio.screenshot("hover")


def test_tiles_say_what_they_are(studio, server):
    server.make("A red ball rolls", seconds=2.125)
    server.make("A blue cube slides", seconds=3.125)
    studio.wait_for_videos(2)
    names = [studio.completed.nth(index).get_attribute("aria-label") for index in range(2)]
    assert names[0].startswith("A blue cube slides. 3.1 s, ")
    assert names[1].startswith("A red ball rolls. 2.1 s, ")


def test_phone_shows_prompt_and_result_on_one_screen(phone):
    page = phone.page
    phone.make("On the phone pace=1")
    page.wait_for_selector("[data-status=in_progress]")
    for top, bottom in page.evaluate(
        """() => ['#prompt', '[data-tile]'].map(selector => {
            const box = document.querySelector(selector).getBoundingClientRect();
            return [box.top, box.bottom];
        })"""
    ):
        assert top >= 0
        assert bottom <= PHONE["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    phone.screenshot("phone-queue")
    phone.wait_for_videos(1)
    # Without a pointer that hovers, videos in view play.
    page.wait_for_function("() => document.querySelector('[role=listitem] video')?.currentTime > 0")
    phone.screenshot("phone")


# What may go wrong.


def test_page_survives_the_servers_death(browser, tmp_path):
    server = StudioServer(tmp_path).start()
    studio = Studio(browser, server)
    studio.expected_errors += ["Failed to load resource", "net::ERR"]
    try:
        studio.make(f"It continues {SLOW}")
        studio.page.wait_for_selector("[data-status=in_progress]")
        server.kill()
        studio.page.get_by_text("The connection to the server is lost").wait_for()
        studio.screenshot("lost")
        # What is made meanwhile waits, and goes out by itself.
        studio.make("It waits")
        studio.page.get_by_text("Waits for the server").wait_for()
        server.start()
        studio.wait_for_videos(2)
        assert len(server.videos()) == 2, "nothing is made twice"
        assert studio.problems == []
    finally:
        studio.close()
        server.stop()


@pytest.fixture
def key_studio(browser, tmp_path):
    """The studio of a server that asks for `KEY`."""
    server = StudioServer(tmp_path, key=KEY).start()
    studio = Studio(browser, server, expected=["Failed to load resource"])
    try:
        yield studio
        assert studio.problems == []
    finally:
        studio.close()
        server.stop()


def test_key_is_asked_for_and_may_expire(key_studio):
    studio, page = key_studio, key_studio.page
    dialog = page.get_by_role("dialog", name="This server asks for a key")
    dialog.wait_for()
    studio.screenshot("key")
    assert studio.audit() == []
    page.get_by_label("API key").fill("wrong-key-0123456789abcdef")
    page.keyboard.press("Enter")
    page.get_by_text("The server does not accept this key.").wait_for()
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    dialog.wait_for(state="detached")
    studio.make("With a key")
    studio.wait_for_videos(1)
    studio.completed.first.click()
    page.wait_for_function("() => document.querySelector('.player video')?.readyState >= 2")
    assert KEY not in json.dumps(page.evaluate("[{...localStorage}, {...sessionStorage}, document.cookie]"))
    # The session ends: the page asks again and keeps what was written and sent.
    studio.context.clear_cookies()
    studio.make("Not lost")
    page.get_by_role("dialog").wait_for()
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for(state="detached")
    page.evaluate("location.hash = '/'")
    studio.wait_for_videos(2)


def _hold(page, path):
    """Requests to this path stay unanswered until the returned function is called."""
    waiting = []
    page.route(path, lambda route: waiting.append(route))

    def release():
        page.unroute(path)
        for route in waiting:
            route.continue_()

    return release


def test_key_dialog_stays_until_the_model_is_known(key_studio):
    studio, page = key_studio, key_studio.page
    dialog = page.get_by_role("dialog", name="This server asks for a key")
    page.get_by_label("API key").fill(KEY)
    release = _hold(page, "**/v1/models")
    with page.expect_request("**/v1/models"):
        page.keyboard.press("Enter")
    assert dialog.is_visible()
    release()
    dialog.wait_for(state="detached")
    studio.make("With a key")
    studio.wait_for_videos(1)


def test_prompt_sent_before_the_model_is_known(studio):
    release = _hold(studio.page, "**/v1/models")
    studio.page.reload()
    studio.page.wait_for_selector("#prompt")
    studio.make("Early")
    studio.page.press("#prompt", "Enter")
    release()
    studio.wait_for_videos(1)
    assert [video["prompt"] for video in studio.server.videos()] == ["Early"]


def test_page_survives_a_lost_connection(studio):
    studio.expected_errors += ["Failed to load resource", "net::ERR"]
    studio.context.set_offline(True)
    studio.make("Sent later")
    studio.page.get_by_text("Waits for the server").wait_for()
    studio.context.set_offline(False)
    studio.wait_for_videos(1)


def test_errors_are_shown(studio):
    page = studio.page
    page.press("#prompt", "Enter")
    assert page.get_by_role("alert").inner_text().strip() == "Write what the video shows."
    studio.expected_errors += ["Failed to load resource"]
    refusal = {"error": {"message": "Too long.", "type": "x", "param": "seconds", "code": None}}

    def refuse(route):
        if route.request.method == "POST":
            route.fulfill(status=400, json=refusal)
        else:
            route.continue_()

    page.route("**/v1/videos", refuse)
    studio.make("Refused")
    page.get_by_text("Too long.").wait_for()
    assert page.input_value("#prompt") == "Refused"


# A person's ten tasks.


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_ten_tasks(browser, tmp_path, way):
    server = StudioServer(tmp_path).start()
    studio = Studio(browser, server)
    page, person = studio.page, Person(studio, way)
    try:
        # 1. Make a video.
        page.wait_for_function("() => !document.querySelector('.loading')")
        person.start()
        page.locator("#prompt").focus()
        person.type("A red ball rolls")
        person.do(
            mouse=lambda: person.click(studio.button("Make", exact=True)),
            keyboard=lambda: person.press("Enter"),
        )
        studio.wait_for_videos(1)
        person.finish()
        # 2. Queue three.
        person.start()
        for prompt in ("A blue cube slides", "A green ball falls", "A white cone stands"):
            page.locator("#prompt").select_text()
            person.type(f"{prompt} pace=0.05")
            person.do(
                mouse=lambda: person.click(studio.button("Make", exact=True)),
                keyboard=lambda: person.press("Enter"),
            )
        person.finish()
        studio.wait_for_videos(4)
        # 3. Extend the second.
        person.start()
        person.at_tile("A green ball falls")
        person.do(
            mouse=lambda: person.click(studio.button("Extend: A green ball falls")),
            keyboard=lambda: person.press("e"),
        )
        page.wait_for_function("() => document.activeElement.id === 'prompt'")
        person.type("The ball lies still")
        person.press("Enter")
        studio.wait_for_videos(5)
        person.finish()
        # 4. Loop it.
        person.start()
        person.at_tile("The ball lies still")
        person.do(
            mouse=lambda: person.menu("The ball lies still", "Loop"), keyboard=lambda: person.press("l")
        )
        studio.wait_for_videos(6)
        person.finish()
        # 5. Undo a delete.
        person.start()
        person.at_tile("A white cone stands")
        person.do(
            mouse=lambda: person.menu("A white cone stands", "Delete"),
            keyboard=lambda: person.press("Delete"),
        )
        studio.wait_for_videos(5)
        person.do(
            mouse=lambda: person.click(studio.button("Undo", exact=True)),
            keyboard=lambda: person.press("Control+z"),
        )
        studio.wait_for_videos(6)
        person.finish()
        # 6. Remix with a mask.
        person.start()
        person.at_tile("A red ball rolls")
        if way == "mouse":
            person.click(studio.button("Edit with a mask: A red ball rolls"))
            box = page.locator("canvas").bounding_box()
            page.mouse.move(box["x"] + 60, box["y"] + 60)
            page.mouse.down()
            page.mouse.move(box["x"] + 120, box["y"] + 100, steps=5)
            page.mouse.up()
            person.actions += 1
        else:
            person.press("m")
            page.wait_for_function("() => document.activeElement.id === 'prompt'")
            page.get_by_role("application").focus()
            person.press(" ")
        page.locator("#prompt").focus()
        page.locator("#prompt").select_text()
        person.type("A yellow ball rolls")
        person.press("Enter")
        studio.wait_for_videos(7)
        person.finish()
        # 7. A storyboard of four shots.
        person.start()
        storyboard = page.get_by_role("link", name="Storyboard")
        if way == "mouse":
            person.click(storyboard)
        else:
            storyboard.focus()
            person.press("Enter")
        page.wait_for_function("() => document.activeElement.id.startsWith('shot-')")
        person.type("A ball rolls\nIt hits a box\nThe box falls\nAll is still")
        person.do(
            mouse=lambda: person.click(studio.button("Make the video")),
            keyboard=lambda: person.press("Control+Enter"),
        )
        page.wait_for_selector(".result video")
        person.finish()
        page.evaluate("location.hash = '/'")
        studio.wait_for_videos(8)
        # 8. Variations.
        person.start()
        person.at_tile("A blue cube slides")
        person.do(
            mouse=lambda: person.menu("A blue cube slides", "Variations"), keyboard=lambda: person.press("v")
        )
        page.wait_for_function("() => document.querySelectorAll('figure video').length === 5")
        person.finish()
        page.evaluate("location.hash = '/'")
        # 10. Continue after the server was killed.
        studio.expected_errors += ["Failed to load resource", "net::ERR"]
        studio.make(f"After the crash {SLOW}")
        page.wait_for_selector("[data-status=in_progress]")
        person.start()
        server.kill()
        server.start()
        studio.wait_for_videos(13)
        person.finish()
        assert person.actions == 0
        assert studio.problems == []
    finally:
        studio.close()
        server.stop()
