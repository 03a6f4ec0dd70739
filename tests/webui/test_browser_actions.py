"""The studio in Chromium: every action."""

import io

import pytest

from tests.webui.studio_page import drop_file, expect, png

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_settings_become_the_request(studio, server):
    page = studio.page
    studio.button("Aspect: ").click()
    page.get_by_role("radio", name="Landscape").dispatch_event("click")
    studio.button("Quality: ").click()
    page.get_by_role("radio", name="Fast").dispatch_event("click")
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
    studio.write("")
    page.locator("[data-tile]").focus()
    page.keyboard.press("s")
    page.wait_for_function("() => document.querySelector('#prompt').value === 'With settings'")
    for chip in ("Aspect: Landscape", "Quality: Fast", "Seed: 42"):
        studio.button(chip).wait_for()


def test_estimate_follows_the_settings(studio):
    page = studio.page
    page.wait_for_function("() => document.body.innerText.includes('≈ 21 s')")
    studio.button("Length: ").click()
    page.get_by_role("radio", name="4.1 s").dispatch_event("click")
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
        return server.wait_for(lambda videos: len(videos) == number and videos[0]["status"] == "completed")[0]

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
    expect(tree.first).to_contain_text("It rolls on")
    expect(tree.nth(1)).to_contain_text("A red ball rolls")
    studio.screenshot("history")
    actions("Add to favourites")
    with page.expect_download() as download:
        actions("Download")
    download.value.save_as(tmp_path / "video.mp4")
    assert (tmp_path / "video.mp4").read_bytes()[4:8] == b"ftyp"
    page.evaluate("location.hash = '/'")
    studio.button("Favourites", exact=True).click()
    studio.wait_for_videos(1)
    favourites = [source["id"]]
    server.wait_for(
        lambda videos: [video["id"] for video in videos if video["kinema"]["favorite"]] == favourites
    )


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

    def wait_for_frame(number):
        # The middle of the frame.
        time = (number + 0.5) / 8
        page.wait_for_function(
            "time => Math.abs(document.querySelector('.player video').currentTime - time) < 0.02", arg=time
        )

    page.get_by_role("slider", name="Position").fill("4")
    wait_for_frame(4)
    studio.button("One frame forward").click()
    wait_for_frame(5)
    studio.button("One frame forward").click()
    wait_for_frame(6)
    page.keyboard.press(",")
    wait_for_frame(5)
    # Two steps before the element has reported the first.
    page.evaluate(
        "() => { for (let i = 0; i < 2; i++)"
        " document.body.dispatchEvent(new KeyboardEvent('keydown', { key: ',', bubbles: true })); }"
    )
    wait_for_frame(3)
    studio.button("Speed: 1×").click()
    expect(element).to_have_js_property("playbackRate", 2)
    studio.button("Repeat").click()
    expect(element).to_have_js_property("loop", False)


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
    server.wait_for(lambda videos: [video["kinema"]["folder"] for video in videos].count("Balls") == 2)
    page.reload()
    studio.wait_for_videos(3)
    studio.button("Balls", exact=True).wait_for()
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
    expect(page.get_by_label("What shot 3 shows")).to_have_value("All is still")
    studio.button("Move shot 3 later").click()
    expect(page.get_by_label("What shot 3 shows")).to_have_value("The box falls")
    studio.screenshot("storyboard")
    # The estimate follows: here ten times the length, which the model rounds to whole frames.
    sliders = page.get_by_role("slider", name="Length of shot")
    total = sum(float(slider.get_attribute("aria-valuenow")) for slider in sliders.all())
    possible = [(4 * groups + 1) / 8 for groups in range(40)]
    seconds = 10 * min(possible, key=lambda value: abs(value - total))
    expect(page.locator(".estimate")).to_have_text(
        f"{total:g} s, 4 shots, about {seconds:.0f} s, 1 GB of memory"
    )
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
    expect(page.get_by_label("What shot 3 shows")).to_have_value("The last thing")


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
    assert studio.audit() == []
    page.get_by_role("button", name="Instead of “bal”: ball?").click()
    assert page.input_value("#prompt").startswith("A red ball rolls")
    studio.button("Model: ").click()
    assert "8 words" in page.get_by_role("dialog").inner_text()


def test_check_of_a_video_against_its_prompt(studio, server):
    page = studio.page
    page.route(
        "**/v1/models/*/vocabulary",
        lambda route: route.fulfill(json={"words": ["a", "red", "ball"], "examples": []}),
    )
    verdicts = {"colour": True, "direction": False}
    answers = {
        "A red ball rolls": {"scored": True, "reason": "", "verdicts": verdicts, "is_correct": False},
        "A dog": {"scored": False, "reason": "It names no object.", "verdicts": {}, "is_correct": None},
    }
    videos = {prompt: server.make(prompt)["id"] for prompt in answers}

    def answer(route):
        video_id = route.request.url.split("/")[-2]
        (answered,) = [answers[prompt] for prompt, known in videos.items() if known == video_id]
        route.fulfill(json={"object": "video.check", "id": video_id, "objects": ["1 red ball"], **answered})

    page.route("**/v1/videos/*/check", answer)
    page.reload()
    studio.goto(f"#/video/{videos['A red ball rolls']}")
    check = page.get_by_role("region", name="Does it show the prompt?")
    expect(check).to_contain_text("Not quite.")
    expect(check).to_contain_text("colours: yes")
    expect(check).to_contain_text("direction: no")
    assert studio.audit() == []
    studio.screenshot("check")
    page.evaluate("id => location.hash = `/video/${id}`", videos["A dog"])
    expect(check).to_contain_text("can’t be scored")


def test_examples_vary(studio):
    page = studio.page
    seen = set()
    for _ in range(5):
        seen |= set(page.locator(".examples .button").all_inner_texts())
        studio.button("Other examples").click()
    assert len(seen) > 8
    page.locator(".examples .button").first.click()
    assert page.input_value("#prompt") in page.locator(".examples").inner_text()
