"""The studio in Chromium: a live video."""

import pytest

from tests.webui.studio_page import PHONE, Studio, expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMAGE = """() => {
    const canvas = document.querySelector('canvas');
    return canvas.toDataURL();
}"""


@pytest.fixture(autouse=True)
def no_live_video(server):
    yield
    for one in server.call("GET", "/v1/live")["data"]:
        server.call("DELETE", f"/v1/live/{one['id']}")


def start(studio, prompt="A red ball rolls"):
    studio.page.get_by_role("link", name="Live").click()
    studio.page.get_by_label("What the video shows").fill(prompt)
    studio.page.keyboard.press("Enter")
    wait_for_frames(studio)


def wait_for_frames(studio):
    """New frames appear."""
    before = studio.page.locator("canvas").evaluate(f"({IMAGE})")
    studio.page.wait_for_function(f"before => ({IMAGE})() !== before", arg=before)


def test_live_video(studio, server):
    page = studio.page
    page.get_by_role("link", name="Live").click()
    page.locator(".live .examples").wait_for()
    studio.screenshot("live-empty")
    start(studio)
    (live,) = server.call("GET", "/v1/live")["data"]
    assert live["prompt"] == "A red ball rolls"
    page.get_by_text("Playing").wait_for()
    assert studio.audit() == []
    # The prompt may change at any moment.
    page.get_by_label("What happens next?").fill("A blue cube falls")
    page.keyboard.press("Enter")
    shots = page.get_by_role("list", name="Prompts so far").get_by_role("button")
    expect(shots).to_have_count(2)
    expect(shots.nth(1)).to_contain_text("A blue cube falls")
    wait_for_frames(studio)
    studio.screenshot("live")
    # Pause, and look back to the first prompt.
    studio.button("Pause").click()
    page.get_by_text("Paused").wait_for()
    shots.nth(0).click()
    page.get_by_alt_text("Frame 1", exact=True).wait_for()
    studio.button("One frame forward").click()
    page.wait_for_function("() => document.querySelector('.screen img')?.naturalWidth > 0")
    studio.screenshot("live-look-back")
    assert studio.audit() == []
    # Branch from there.
    page.get_by_role("slider", name="Position").fill("4")
    page.get_by_label("What happens next?").fill("A green ball falls")
    page.keyboard.press("Enter")
    studio.button("Branch 2").wait_for()
    expect(shots).to_have_count(2)
    expect(shots.nth(1)).to_contain_text("A green ball falls")
    wait_for_frames(studio)
    studio.button("Branch 1").click()
    expect(shots.nth(1)).to_contain_text("A blue cube falls")
    studio.button("Back to the end").click()
    expect(shots.nth(1)).to_contain_text("A green ball falls")
    wait_for_frames(studio)
    studio.screenshot("live-branches")
    # Save it as an ordinary video.
    studio.button("Save as a video").click()
    studio.button("Open", exact=True).click()
    page.locator(".player video").wait_for()
    storyboard = server.settings()["storyboard"]
    assert [shot["prompt"] for shot in storyboard] == ["A red ball rolls", "A green ball falls"]
    # It goes on when the person comes back, and ends when they end it.
    page.get_by_role("link", name="Live").click()
    studio.button("Go on from here").or_(studio.button("Pause")).wait_for()
    studio.button("End", exact=True).click()
    page.get_by_text("The live video has ended.").wait_for()
    assert server.call("GET", "/v1/live")["data"] == []


def test_live_by_keyboard(studio, server):
    page = studio.page
    start(studio)
    page.locator(".live h1").click()
    page.keyboard.press(" ")
    page.get_by_text("Paused").wait_for()
    page.keyboard.press(",")
    page.get_by_text("Looking back").wait_for()
    page.keyboard.press(" ")
    page.get_by_text("Playing").wait_for()
    wait_for_frames(studio)


def test_address_with_a_prompt_starts(studio, server):
    studio.goto("#/live?prompt=A%20red%20ball%20rolls")
    studio.page.locator("canvas").wait_for()
    wait_for_frames(studio)
    assert server.call("GET", "/v1/live")["data"][0]["prompt"] == "A red ball rolls"


def test_live_on_a_phone(browser, server):
    studio = Studio(browser, server, PHONE, has_touch=True, is_mobile=True)
    try:
        start(studio)
        for box in studio.page.evaluate(
            "() => ['canvas', 'textarea'].map(name => document.querySelector(name).getBoundingClientRect())"
        ):
            assert box["top"] >= 0
            assert box["bottom"] <= PHONE["height"]
            assert box["right"] <= PHONE["width"]
        assert studio.audit() == []
        studio.screenshot("live-phone")
        assert studio.problems == []
    finally:
        studio.close()
