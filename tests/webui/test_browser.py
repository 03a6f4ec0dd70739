"""The studio in Chromium, with the real server and its fake backend: every action, and what was wrong before.

Needs Chromium (`apt-get install chromium`), playwright and the Node packages of `webui/` (axe-core); skips
without. `STUDIO_SCREENSHOTS=FOLDER` keeps a picture of each state.
"""

import io
import json
import re
import time

import pytest

from tests.webui import studio_page
from tests.webui.studio_page import DESKTOP, PHONE, Studio, StudioServer

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEY = "studio-test-key-0123456789"
SLOW = "pace=0.4"
"""In a prompt: ten steps of this many seconds."""


@pytest.fixture(scope="module")
def browser():
    if studio_page.CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with studio_page.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = StudioServer(tmp_path_factory.mktemp("data")).start()
    yield server
    server.stop()


@pytest.fixture
def studio(browser, server):
    server.clear()
    studio = Studio(browser, server)
    yield studio
    studio.close()
    assert studio.problems == []


@pytest.fixture
def phone(browser, server):
    server.clear()
    studio = Studio(browser, server, PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    yield studio
    studio.close()
    assert studio.problems == []


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


# What was wrong with the page before.


def test_second_video_is_queued_while_the_first_is_made(studio, server):
    for number in range(3):
        studio.make(f"Ball number {number} {SLOW}")
    studio.page.wait_for_function("() => document.querySelectorAll('[data-tile]').length === 3")
    # Each has its place and its own Cancel; the running one has the time that is left.
    studio.page.wait_for_selector("[role=listitem]:has-text('number 0') :text('left')")
    assert "Place 2" in studio.tile("number 2").inner_text()
    assert studio.button("Cancel: Ball").count() == 3
    studio.screenshot("queue")
    studio.button("Cancel: Ball number 1").click()
    studio.wait_for_videos(2)
    assert sorted(video["prompt"][:13] for video in server.videos() if video["status"] == "completed") == [
        "Ball number 0",
        "Ball number 2",
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
    assert {video["prompt"] for video in server.videos()} == {"The second one", "The third one"}


def test_length_is_told_before_and_never_changed_silently(studio, server):
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
    assert studio.button("Length: 3.1 s").is_visible()
    assert float(server.videos()[0]["seconds"]) == 3.125


def test_each_video_has_another_seed(studio, server):
    for _ in range(3):
        studio.make("The same words")
    studio.wait_for_videos(3)
    assert len({video["kinema"]["seed"] for video in server.videos()}) == 3


def test_previews_change_from_step_to_step(studio):
    studio.make(f"A preview {SLOW}")
    seen = set()
    studio.page.wait_for_selector("img.preview")
    for _ in range(100):
        if studio.completed.count():
            break
        image = studio.page.evaluate("document.querySelector('img.preview')?.src")
        seen.add(image)
        studio.page.wait_for_timeout(100)
    assert len(seen - {None}) >= 4


def test_videos_play_under_the_pointer(studio, server):
    server.make("It moves")
    studio.wait_for_videos(1)
    assert studio.page.locator("[role=listitem] video").count() == 0
    studio.tile("It moves").hover()
    studio.page.wait_for_function("() => document.querySelector('[role=listitem] video')?.currentTime > 0.2")
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
    phone.make(f"On the phone {SLOW}")
    page.wait_for_selector("[data-status=in_progress]")
    for selector in ("#prompt", "[data-status=in_progress]"):
        box = page.locator(selector).bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= PHONE["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    phone.screenshot("phone-queue")
    phone.wait_for_videos(1)
    # Without a pointer that hovers, videos in view play.
    page.wait_for_function("() => document.querySelector('[role=listitem] video')?.currentTime > 0")
    phone.screenshot("phone")


# Every action.


def test_settings_become_the_request(studio, server):
    page = studio.page
    studio.button("Aspect: ").click()
    page.get_by_role("radio", name="Landscape").click(force=True)
    studio.button("Quality: ").click()
    page.get_by_role("radio", name="Fast").click(force=True)
    studio.button("Seed: Random").click()
    page.get_by_role("checkbox", name="Random").uncheck()
    page.get_by_role("spinbutton", name="Number").fill("42")
    page.keyboard.press("Escape")
    studio.button("More settings: ").click()
    page.get_by_label("Negative prompt").fill("blur")
    page.get_by_role("checkbox", name="Loop").check()
    studio.screenshot("settings")
    page.keyboard.press("Escape")
    studio.make("With settings")
    studio.wait_for_videos(1)
    video = server.videos()[0]
    assert video["kinema"]["seed"] == 42
    assert video["kinema"]["width"] > video["kinema"]["height"]
    settings = server.settings()
    assert settings["num_inference_steps"] == 5
    assert settings["negative_prompt"] == "blur"
    assert settings["loop"] is True
    # Copy settings: all of it comes back into an empty bar.
    studio.goto()
    page.reload()
    studio.wait_for_videos(1)
    page.locator("[data-tile]").focus()
    page.keyboard.press("s")
    page.wait_for_function("() => document.querySelector('#prompt').value === 'With settings'")
    for chip in ("Aspect: Landscape", "Quality: Fast", "Seed: 42"):
        assert studio.button(chip).is_visible()


def test_estimate_follows_the_settings(studio):
    page = studio.page
    page.wait_for_function("() => document.body.innerText.includes('≈ 21 s')")
    studio.button("Length: ").click()
    page.get_by_role("radio", name="4.1 s").click(force=True)
    page.wait_for_function("() => document.body.innerText.includes('≈ 41 s')")


def test_images_by_drop_paste_file_and_camera(studio, server):
    page = studio.page
    drop_file(page, "main")
    page.get_by_alt_text("Image: First frame").wait_for()
    page.evaluate(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], 'x.png', {type: 'image/png'}));
            document.querySelector('#prompt').dispatchEvent(
                new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true}));
        }""",
        list(png("blue")),
    )
    page.get_by_alt_text("Image: Last frame").wait_for()
    studio.screenshot("images")
    studio.make("Between two images")
    studio.wait_for_videos(1)
    page.get_by_role("button", name="Remove the image (First frame)").click()
    page.get_by_role("button", name="Remove the image (Last frame)").click()
    studio.button("Add an image").click()
    page.set_input_files(
        "input[type=file]", {"name": "a.png", "mimeType": "image/png", "buffer": png("green")}
    )
    page.get_by_alt_text("Image: First frame").wait_for()
    page.get_by_role("button", name="Remove the image (First frame)").click()
    studio.button("Add an image").click()
    studio.button("Use the camera").click()
    page.wait_for_function("() => document.querySelector('.popover video')?.videoWidth > 0")
    studio.button("Take the picture").click()
    page.get_by_alt_text("Image: First frame").wait_for()
    studio.make("From the camera")
    studio.wait_for_videos(2)
    drop_file(page, "main", name="text.txt", data=b"no image")
    page.get_by_role("alert").wait_for()


def test_actions_on_a_video(studio, server, tmp_path):
    page = studio.page
    source = server.make("A red ball rolls")
    studio.wait_for_videos(1)
    studio.tile("A red ball rolls").locator("[data-tile]").click()
    page.get_by_role("heading", name="A red ball rolls").wait_for()
    page.wait_for_function("() => document.querySelector('.player video')?.readyState >= 2")
    studio.screenshot("detail")

    def actions(name):
        page.evaluate("id => location.hash = `/video/${id}`", source["id"])
        page.get_by_role("heading", name="A red ball rolls").wait_for()
        page.locator(".panel").get_by_role("button", name=name, exact=True).click()

    def newest(number):
        deadline = time.monotonic() + 60
        while True:
            videos = server.videos()
            if len(videos) == number and videos[0]["status"] == "completed":
                return videos[0]
            assert time.monotonic() < deadline, [video["status"] for video in videos]
            time.sleep(0.2)

    actions("Remix")
    studio.make("A blue ball rolls")
    assert newest(2)["remixed_from_video_id"] == source["id"]
    actions("Extend")
    studio.screenshot("extend")
    studio.make("It rolls on")
    extended = newest(3)
    assert float(extended["seconds"]) > float(source["seconds"])
    assert [one["id"] for one in extended["kinema"]["sources"]] == [source["id"]]
    actions("Loop")
    newest(4)
    assert server.settings()["loop"] is True
    actions("Upscale 2×")
    upscaled = newest(5)
    assert upscaled["kinema"]["width"] == 2 * source["kinema"]["width"]
    actions("Variations")
    page.wait_for_url("**/#/compare/**")
    page.wait_for_function("() => document.querySelectorAll('figure video').length === 5")
    studio.button("Play all from the start").click()
    studio.screenshot("variations")
    newest(9)
    page.evaluate("id => location.hash = `/video/${id}`", extended["id"])
    tree = page.locator(".panel ul")
    tree.first.wait_for()
    assert "It rolls on" in tree.first.inner_text()
    assert "A red ball rolls" in tree.nth(1).inner_text()
    studio.screenshot("history")
    actions("Add to favourites")
    with page.expect_download() as download:
        actions("Download")
    download.value.save_as(tmp_path / "video.mp4")
    assert (tmp_path / "video.mp4").read_bytes()[4:8] == b"ftyp"
    page.evaluate("location.hash = '/'")
    studio.button("Favourites", exact=True).click()
    studio.wait_for_videos(1)
    assert [video["id"] for video in server.videos() if video["kinema"]["favorite"]] == [source["id"]]


def test_extending_backward_and_a_loop_of_a_video_that_exists(studio, server):
    source = server.make("A red ball rolls")
    studio.wait_for_videos(1)
    bodies = []
    studio.page.on(
        "request",
        lambda request: request.url.endswith("/extensions") and bodies.append(request.post_data_json),
    )
    studio.completed.first.focus()
    studio.page.keyboard.press("E")
    studio.page.wait_for_function("() => document.activeElement.id === 'prompt'")
    studio.page.keyboard.press("Enter")
    studio.wait_for_videos(2)
    earlier = server.videos()[0]
    assert bodies[0]["backward"] is True
    assert earlier["kinema"]["sources"][0]["id"] == source["id"]
    studio.completed.first.focus()
    studio.page.keyboard.press("l")
    studio.wait_for_videos(3)
    loop = server.videos()[0]
    assert loop["kinema"]["task"] == "extend"
    assert server.settings()["loop"] is True


def test_connecting_by_dragging_one_on_another_and_from_the_menu(studio, server):
    first, second = server.make("A red ball rolls"), server.make("A blue cube slides")
    studio.wait_for_videos(2)
    studio.tile("A red ball").drag_to(studio.tile("A blue cube"))
    studio.page.get_by_text("Connect", exact=True).wait_for()
    studio.screenshot("connect")
    studio.make("The ball becomes a cube")
    studio.wait_for_videos(3)
    assert [one["id"] for one in server.videos()[0]["kinema"]["sources"]] == [first["id"], second["id"]]
    studio.tile("A blue cube").hover()
    studio.button("More actions: A blue cube slides").click()
    studio.page.get_by_role("menuitem", name="Connect with").click()
    studio.page.get_by_text("Choose the video that it leads to.").wait_for()
    studio.tile("A red ball").locator("[data-tile]").click()
    studio.make("And back again")
    studio.wait_for_videos(4)
    assert [one["id"] for one in server.videos()[0]["kinema"]["sources"]] == [second["id"], first["id"]]


def test_mask_of_an_edit(studio, server):
    page = studio.page
    server.make("A red ball rolls")
    studio.wait_for_videos(1)
    bodies = []
    page.on(
        "request", lambda request: request.url.endswith("/edits") and bodies.append(request.post_data_json)
    )
    studio.tile("A red ball").hover()
    studio.button("Edit with a mask: A red ball rolls").click()
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.35, box["y"] + box["height"] * 0.5, steps=4)
    page.mouse.up()
    studio.screenshot("mask")
    studio.make("A green ball rolls")
    studio.wait_for_videos(2)
    white = mask_of(bodies[0])
    assert 0.005 < white.mean() < 0.1
    columns = white.any(axis=0).nonzero()[0] / white.shape[1]
    assert 0.15 < columns.min() < 0.25
    assert 0.35 < columns.max() < 0.45
    # Undo takes the stroke back; areas and Invert do what they say.
    page.evaluate("id => location.hash = `/video/${id}`", server.videos()[1]["id"])
    page.keyboard.press("m")
    studio.button("Left", exact=True).click()
    studio.button("Top", exact=True).click()
    studio.button("Undo the last stroke").click()
    studio.button("Invert").click()
    studio.make("Only the right side")
    studio.wait_for_videos(3)
    white = mask_of(bodies[1])
    half = white.shape[1] // 2
    assert not white[:, : half - 1].any()
    assert white[:, half + 1 :].all()


def mask_of(body):
    """White pixels of the mask in a request."""
    import base64

    import numpy as np
    from PIL import Image

    data = base64.b64decode(body["mask"]["image_url"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("L")) > 128


def test_player(studio, server):
    page = studio.page
    video = server.make("A red ball rolls")
    studio.goto(f"#/video/{video['id']}")
    page.wait_for_function("() => document.querySelector('.player video')?.currentTime > 0")
    element = page.locator(".player video")
    studio.button("Pause").click()
    studio.button("One frame forward").click()
    page.wait_for_timeout(200)
    before = element.evaluate("video => video.currentTime")
    studio.button("One frame forward").click()
    page.wait_for_timeout(200)
    assert element.evaluate("video => video.currentTime") - before == pytest.approx(1 / 8, abs=0.02)
    page.keyboard.press(",")
    page.wait_for_timeout(200)
    assert element.evaluate("video => video.currentTime") == pytest.approx(before, abs=0.02)
    studio.button("Speed: 1×").click()
    assert element.evaluate("video => video.playbackRate") == 2
    studio.button("Repeat").click()
    assert element.evaluate("video => video.loop") is False


def test_folders_and_search(studio, server):
    page = studio.page
    for prompt in ("A red ball rolls", "A blue cube slides", "A green ball falls"):
        server.make(prompt)
    studio.wait_for_videos(3)
    studio.button("New folder").click()
    page.get_by_label("Name of the folder").fill("Balls")
    page.keyboard.press("Enter")
    studio.tile("A red ball").drag_to(studio.button("Balls", exact=True))
    studio.tile("A green ball").hover()
    studio.button("More actions: A green ball falls").click()
    page.get_by_role("menuitem", name="Move to folder: Balls").click()
    studio.button("Balls", exact=True).click()
    studio.wait_for_videos(2)
    studio.screenshot("folder")
    page.reload()
    studio.wait_for_videos(3)
    assert studio.button("Balls", exact=True).is_visible()
    page.fill("#search", "ball rol")
    studio.wait_for_videos(1)
    page.fill("#search", "nothing like this")
    page.get_by_text("No video has the words").wait_for()
    studio.button("Clear the search").click()
    studio.wait_for_videos(3)


def test_storyboard(studio, server):
    page = studio.page
    page.get_by_role("link", name="Storyboard").click()
    bodies = []
    page.on(
        "request",
        lambda request: (
            request.method == "POST"
            and request.url.endswith("/v1/videos")
            and bodies.append(request.post_data_json)
        ),
    )
    for number, prompt in enumerate(("A ball rolls", "It hits a box", "The box falls", "All is still"), 1):
        page.get_by_label(f"What shot {number} shows").fill(prompt)
    # A length by the handle of the timeline, with the keyboard and with the pointer.
    page.get_by_role("slider", name="Length of shot 2").focus()
    page.keyboard.press("ArrowRight")
    handle = page.get_by_role("slider", name="Length of shot 1").bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(handle["x"] + 90, handle["y"] + 10, steps=5)
    page.mouse.up()
    assert float(page.get_by_role("slider", name="Length of shot 1").get_attribute("aria-valuenow")) > 2
    page.locator("li", has_text="Shot 3").get_by_text("Blend").click()
    drop_file(page, "li:has-text('Shot 2')")
    page.get_by_alt_text("First image of shot 2").wait_for()
    # Dragging a card changes the order; the buttons do the same.
    page.locator("li .head").nth(3).drag_to(page.locator("li .head").nth(2))
    assert page.get_by_label("What shot 3 shows").input_value() == "All is still"
    studio.button("Move shot 3 later").click()
    assert page.get_by_label("What shot 3 shows").input_value() == "The box falls"
    studio.screenshot("storyboard")
    # The estimate follows.
    page.wait_for_function("() => /about 9\\d s, 1 GB/.test(document.querySelector('.estimate').innerText)")
    studio.button("Make the video").click()
    page.wait_for_selector(".result video")
    shots = bodies[0]["storyboard"]
    assert [shot["prompt"] for shot in shots] == [
        "A ball rolls",
        "It hits a box",
        "The box falls",
        "All is still",
    ]
    assert [shot["transition"] for shot in shots] == ["cut", "cut", "blend", "cut"]
    assert shots[1]["image"]["image_url"].startswith("data:image/png")
    assert shots[1]["seconds"] > 2
    assert shots[2]["seconds"] == shots[1]["seconds"] + 2.25
    studio.button("Play from shot 3").last.click()
    page.wait_for_function(
        "from => document.querySelector('.result video').currentTime >= from", arg=shots[2]["seconds"]
    )
    studio.screenshot("storyboard-result")
    # Several lines in the prompt bar become a storyboard.
    page.evaluate("location.hash = '/'")
    studio.write("One thing\nAnother thing\nThe last thing")
    studio.button("Make a storyboard of 3 shots").click()
    assert page.get_by_label("What shot 3 shows").input_value() == "The last thing"


def test_words_outside_of_the_models_world(studio):
    page = studio.page
    words = ["a", "red", "ball", "rolls", "to", "the", "left", "cube"]
    page.route(
        "**/v1/models/*/vocabulary",
        lambda route: route.fulfill(json={"words": words, "examples": ["A red ball rolls.", "A cube."]}),
    )
    page.reload()
    page.locator("#prompt").press_sequentially("A red bal")
    page.wait_for_timeout(300)
    assert page.locator(".hint").count() == 0  # the word is not finished
    page.locator("#prompt").press_sequentially(" rolls in the forest ")
    assert "forest" in page.locator(".hint").inner_text()
    studio.screenshot("hint")
    page.get_by_role("button", name="“bal” – use ball").click()
    assert page.input_value("#prompt").startswith("A red ball rolls")
    studio.button("Model: ").click()
    assert "8 words" in page.get_by_role("dialog").inner_text()


def test_examples_vary(studio):
    page = studio.page
    seen = set()
    for _ in range(5):
        seen |= set(page.locator(".examples .button").all_inner_texts())
        studio.button("Other examples").click()
    assert len(seen) > 8
    page.locator(".examples .button").first.click()
    assert page.input_value("#prompt") in page.locator(".examples").inner_text()


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


def test_key_is_asked_for_and_may_expire(browser, tmp_path):
    server = StudioServer(tmp_path, key=KEY).start()
    studio = Studio(browser, server)
    studio.expected_errors += ["Failed to load resource"]
    page = studio.page
    try:
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
        assert KEY not in json.dumps(
            page.evaluate("[{...localStorage}, {...sessionStorage}, document.cookie]")
        )
        # The session ends: the page asks again and keeps what was written and sent.
        studio.context.clear_cookies()
        studio.make("Not lost")
        page.get_by_role("dialog").wait_for()
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        page.get_by_role("dialog").wait_for(state="detached")
        page.evaluate("location.hash = '/'")
        studio.wait_for_videos(2)
        assert studio.problems == []
    finally:
        studio.close()
        server.stop()


def test_page_survives_a_lost_connection(studio):
    studio.expected_errors += ["Failed to load resource", "net::ERR"]
    studio.context.set_offline(True)
    studio.make("Sent later")
    studio.page.get_by_text("Waits for the server").wait_for()
    studio.context.set_offline(False)
    studio.wait_for_videos(1)


def test_errors_are_told(studio):
    page = studio.page
    page.press("#prompt", "Enter")
    assert page.get_by_role("alert").inner_text().strip() == "Write what the video shows."
    studio.expected_errors += ["Failed to load resource"]
    page.route("**/v1/videos", lambda route: route.request.method == "POST" and route.fulfill(
        status=400, json={"error": {"message": "Too long.", "type": "x", "param": "seconds", "code": None}}
    ) or route.continue_())  # fmt: skip
    studio.make("Refused")
    page.get_by_text("Too long.").wait_for()
    assert page.input_value("#prompt") == "Refused"


# A person's ten tasks.


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
        for _ in range(30):
            self.page.wait_for_timeout(50)
            if prompt in (self.page.evaluate("document.activeElement.ariaLabel") or ""):
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


# Many videos, accessibility, speed.


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A server with 2,000 videos: rows and hard links of one that was made."""
    data = tmp_path_factory.mktemp("gallery")
    server = StudioServer(data).start()
    first = server.make("A red ball rolls")
    server.stop()
    fill_gallery(data, first["id"], 2000)
    server.start()
    yield server
    server.stop()


def fill_gallery(data, first_id, count):
    """Copy a finished video's row and files under new ids."""
    import os
    import sqlite3

    words = ["red", "blue", "green", "yellow", "white", "orange"], ["ball", "cube", "cone", "ring"]
    connection = sqlite3.connect(data / "store.sqlite")
    connection.row_factory = sqlite3.Row
    row = dict(connection.execute("SELECT * FROM videos WHERE id = ?", (first_id,)).fetchone())
    columns = list(row)
    rows = []
    for number in range(1, count):
        new = dict(row)
        new["id"] = f"video_{int(first_id[6:22], 16) + number:016x}{number:016x}"
        new["prompt"] = f"A {words[0][number % 6]} {words[1][number % 4]} rolls, number {number}"
        for name in ("idempotency_key", "change"):
            if name in new:
                new[name] = None if name == "idempotency_key" else number + 1000
        rows.append(tuple(new[name] for name in columns))
        folder = data / "videos" / new["id"]
        for path in (data / "videos" / first_id).rglob("*"):
            if path.is_file():
                target = folder / path.relative_to(data / "videos" / first_id)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, target)
    marks = ", ".join("?" * len(columns))
    with connection:
        connection.executemany(f"INSERT INTO videos ({', '.join(columns)}) VALUES ({marks})", rows)
    connection.close()


IMAGES_IN_VIEW = """() => {
    const tiles = [...document.querySelectorAll('[role=listitem]')].filter(tile => {
        const box = tile.getBoundingClientRect();
        return box.bottom > 60 && box.top < innerHeight - 60;
    });
    const loaded = tiles.filter(tile => tile.querySelector('img')?.naturalWidth > 0);
    return [tiles.length, loaded.length];
}"""


def test_gallery_of_2000_videos(browser, gallery):
    studio = Studio(browser, gallery)
    page = studio.page
    try:
        times = []
        for _ in range(3):
            start = time.monotonic()
            page.goto(f"{gallery.address}/studio/?{time.monotonic()}")
            page.wait_for_function(
                f"() => {{ const [a, b] = ({IMAGES_IN_VIEW})(); return a > 10 && a === b }}"
            )
            times.append(time.monotonic() - start)
        page.wait_for_function("() => document.querySelector('[aria-setsize]')?.ariaSetSize === '2000'")
        print(f"2,000 videos: first screen with its images after {min(times):.2f} s")
        # Scroll through it, as fast as a wheel does: no screen without tiles.
        scroller = page.locator("section.wall")
        height = scroller.evaluate("wall => wall.scrollHeight")
        assert page.locator("[role=listitem]").count() < 200
        blank = page.evaluate(
            """async () => {
                const wall = document.querySelector('section.wall');
                let blank = 0;
                for (let top = 0; top < wall.scrollHeight; top += 700) {
                    wall.scrollTop = top;
                    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
                    for (const y of [0.2, 0.5, 0.7]) {
                        const box = wall.getBoundingClientRect();
                        const at = [box.left + box.width * 0.3, box.top + box.height * y];
                        const hits = document.elementsFromPoint(...at).concat(
                            document.elementsFromPoint(at[0] + 20, at[1]),
                            document.elementsFromPoint(at[0], at[1] - 20));
                        const inside = wall.scrollTop + box.height * y < document.querySelector('.tiles').offsetHeight;
                        if (inside && !hits.some(hit => hit.closest('[role=listitem]'))) blank++;
                    }
                }
                return blank;
            }"""
        )
        assert height > 20_000
        assert blank == 0
        page.wait_for_function(f"() => {{ const [a, b] = ({IMAGES_IN_VIEW})(); return a > 0 && a === b }}")
        # Search among them.
        page.fill("#search", "yellow cone 1338")
        page.wait_for_function("() => !document.querySelector('[aria-setsize]')")
        page.fill("#search", "number 1337")
        studio.wait_for_videos(1)
        studio.screenshot("search")
        assert studio.problems == []
    finally:
        studio.close()


def test_first_paint(browser, server):
    studio = Studio(browser, server)
    try:
        paints = []
        for _ in range(3):
            studio.page.reload()
            studio.page.wait_for_selector("#prompt")
            paints.append(
                studio.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            )
        print(f"first contentful paint after {min(paints):.0f} ms")
        assert min(paints) > 0
    finally:
        studio.close()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_accessibility(browser, server, scheme, viewport):
    server.clear()
    studio = Studio(browser, server, viewport, scheme=scheme)
    page, name = studio.page, f"{scheme}-{viewport['width']}"
    try:
        page.wait_for_selector(".examples")
        assert studio.audit() == []
        studio.screenshot(f"empty-{name}")
        video = server.make("A red ball rolls")
        server.call("PATCH", f"/v1/videos/{video['id']}", {"folder": "Balls", "favorite": True})
        edited = server.call(
            "POST", "/v1/videos/edits", {"prompt": "A blue ball rolls", "video": {"id": video["id"]}}
        )
        server.call("POST", "/v1/videos", {"prompt": "It fails die=1", "model": "testcard"})
        server.call("POST", "/v1/videos", {"prompt": "It is made pace=1", "model": "testcard"})
        page.reload()
        page.wait_for_selector("[data-status=failed]")
        page.wait_for_selector("img.preview")
        assert studio.audit() == []
        studio.screenshot(f"wall-{name}")
        studio.button("More settings: ").click()
        page.get_by_role("dialog").wait_for()
        assert studio.audit() == []
        page.keyboard.press("Escape")
        page.evaluate("id => location.hash = `/video/${id}`", edited["id"])
        page.wait_for_selector(".player video")
        assert studio.audit() == []
        studio.screenshot(f"detail-{name}")
        page.locator(".panel").get_by_role("button", name="Edit with a mask").click()
        page.get_by_role("application").wait_for()
        assert studio.audit() == []
        studio.screenshot(f"mask-{name}")
        page.evaluate("location.hash = '/storyboard'")
        page.wait_for_selector(".cards")
        assert studio.audit() == []
        studio.screenshot(f"storyboard-{name}")
        page.evaluate("ids => location.hash = `/compare/${ids}`", f"{video['id']},{edited['id']}")
        page.wait_for_selector("figure video")
        assert studio.audit() == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert studio.problems == []
    finally:
        server.clear()
        studio.close()


def test_keyboard_reaches_everything(studio, server):
    """Tab visits every control of the page once, with a visible focus and a name."""
    server.make("A red ball rolls")
    studio.wait_for_videos(1)
    page = studio.page
    page.evaluate("document.activeElement.blur()")
    visited = []
    for _ in range(60):
        page.keyboard.press("Tab")
        entry = page.evaluate(
            """() => {
                const element = document.activeElement;
                if (element === document.body) return null;
                const name = element.ariaLabel || element.labels?.[0]?.innerText || element.innerText || element.title;
                return [name, getComputedStyle(element).outlineStyle, element.tagName];
            }"""
        )
        if entry is None or (visited and entry == visited[0]):
            break
        visited.append(entry)
    names = [name for name, _, _ in visited]
    assert all(names)
    for wanted in (
        "All videos",
        "Search",
        "Favourites",
        "Storyboard",
        "What the video shows",
        "Length: 2.1 s",
    ):
        assert any(wanted in name for name in names), wanted
    assert any(name.startswith("A red ball rolls") for name in names)
    hidden = [
        name for name, outline, tag in visited if outline == "none" and tag not in ("INPUT", "TEXTAREA")
    ]
    assert hidden == []
