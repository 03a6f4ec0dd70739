"""The page without a browser: forms to requests, videos to text, buttons to calls."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("httpx")

from tests.webui.fake_server import FakeServer, close_event_loops

with close_event_loops():
    gr = pytest.importorskip("gradio")

from kinema.errors import UserError
from kinema.pipeline.request import VideoRequest
from kinema.shapes import parse_size
from kinema.webui import forms
from kinema.webui.callbacks import AFTER_END, BEFORE_START, Callbacks
from kinema.webui.client import Client, CostEstimate, Video

NOTICE, PROGRESS, VIDEO, CANCEL, WATCHED_ID = range(5)


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def callbacks(server, tmp_path):
    with Client("http://server", transport=server.transport()) as client:
        yield Callbacks(client=client, model_info=client.model_info(), folder=tmp_path)


def form(callbacks, **changes):
    """The values of the form's components, in the order of the page."""
    values = {
        "aspect_ratio": next(iter(forms.size_choices(callbacks.model_info))), "seconds": 2.125, "seed": 0,
        "num_inference_steps": 4, "guidance_scale": 3.0, "negative_prompt": "", "image": None,
        "last_image": None, "loop": False,
    }  # fmt: skip
    return list({**values, **changes}.values())


def test_generation_shows_progress_previews_and_the_video(callbacks, server, tmp_path):
    updates = list(callbacks.submit_text("a red ball", *form(callbacks)))
    body = server.bodies[0][1]
    assert (body["prompt"], body["size"], body["seconds"]) == ("a red ball", "64x48", "2.125")
    assert "Queued." in updates[0][PROGRESS]
    assert updates[0][CANCEL]["interactive"]
    assert 'aria-valuenow="40"' in updates[4][PROGRESS]
    assert "Step 2 of 4." in updates[4][PROGRESS]
    assert 'alt="Preview at 40 percent"' in updates[4][PROGRESS]
    assert updates[4][WATCHED_ID] == "video_1"
    assert "Done." in updates[-1][PROGRESS]
    assert updates[-1][VIDEO] == str(tmp_path / "video_1.mp4")
    assert not updates[-1][CANCEL]["interactive"]
    assert updates[-1][WATCHED_ID] == ""
    assert all(update[NOTICE] == "" for update in updates)


def test_failed_video_shows_an_alert(callbacks, server):
    server.fail_with = "There is not enough memory; <ask> for less."
    updates = list(callbacks.submit_text("a", *form(callbacks)))
    assert 'role="alert"' in updates[-1][NOTICE]
    assert "Failed: There is" in updates[-1][NOTICE]
    assert "not enough memory; &lt;ask&gt; for less" in updates[-1][NOTICE]
    assert not updates[-1][CANCEL]["interactive"]


def test_cancellation_shows_no_alert(callbacks, server):
    running = callbacks.submit_text("a", *form(callbacks))
    watched = next(running)[WATCHED_ID]
    assert callbacks.cancel(watched) == ""
    server.fail_with = ""
    updates = callbacks.follow(lambda: callbacks.client.retrieve(watched))
    last = list(updates)[-1]
    assert "Cancelled." in last[PROGRESS]
    assert last[NOTICE] == ""


def test_cancelling_nothing_does_nothing(callbacks, server):
    assert callbacks.cancel("") == ""
    assert server.bodies == []


def test_empty_prompt_is_an_error(callbacks, server):
    (update,) = callbacks.submit_text("  ", *form(callbacks))
    assert "The prompt is empty." in update[NOTICE]
    assert server.bodies == []


def test_storyboard_is_sent_shot_by_shot(callbacks, server):
    rows = ["A ball rolls", 0, "cut", "It stops", 1.0, "blend", "", 3, "cut", *(["", 4, "cut"] * 3)]
    list(callbacks.submit_storyboard(*rows, *form(callbacks)))
    body = server.bodies[0][1]
    assert body["prompt"] == "A ball rolls Then: It stops"
    assert body["storyboard"] == [
        {"prompt": "A ball rolls", "seconds": 0.0, "transition": "cut"},
        {"prompt": "It stops", "seconds": 1.0, "transition": "blend"},
    ]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([("a", 0, "cut")], "two shots or more"),
        ([("a", 0, "cut"), ("b", None, "cut")], "Shot 2 needs a start time"),
        (
            [("a", 0, "cut"), ("b", 2, "cut"), ("c", 2, "cut")],
            "Shot 3 must begin after the shot above it, which begins at 2 s",
        ),
        ([("a", 0, "cut"), ("", 1, "cut"), (None, 2, "cut")], "two shots or more"),
    ],
)
def test_invalid_storyboards(rows, line):
    with pytest.raises(UserError, match=line):
        forms.parse_shots(rows)


def test_remix_extend_loop_and_interpolate_the_selected_video(callbacks, server):
    list(callbacks.submit_text("a red ball", *form(callbacks, seed=9)))
    server.bodies.clear()
    server.videos["other"] = {**server.videos["video_1"], "id": "other", "prompt": "a blue box"}
    list(callbacks.remix("video_1", "a green ball"))
    list(callbacks.extend("video_1", "", 2.0, BEFORE_START))
    list(callbacks.extend("video_1", "it stops", 1.5, AFTER_END))
    list(callbacks.loop("video_1"))
    list(callbacks.interpolate("video_1", "other", ""))
    assert [path for path, _ in server.bodies] == [
        "/videos/video_1/remix", "/videos/extensions", "/videos/extensions", "/videos",
        "/videos/interpolations",
    ]  # fmt: skip
    remix, before, after, loop, interpolation = (body for _, body in server.bodies)
    assert remix == {"prompt": "a green ball"}
    assert (before["prompt"], before["backward"], before["seconds"]) == ("a red ball", True, "2")
    assert (after["prompt"], after["backward"], after["seconds"]) == ("it stops", False, "1.5")
    assert (loop["loop"], loop["seed"], loop["size"], loop["seconds"]) == (True, 9, "64x48", "2.125")
    assert (interpolation["prompt"], interpolation["next_video"]) == ("a blue box", {"id": "other"})


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (lambda callbacks: callbacks.remix(None, "x"), "Choose a video first."),
        (lambda callbacks: callbacks.remix("video_1", " "), "The prompt is empty."),
        (lambda callbacks: callbacks.interpolate("video_1", None, ""), "Choose the second video."),
        (lambda callbacks: callbacks.loop("gone"), "There is no video gone."),
    ],
)
def test_missing_input_is_an_error(callbacks, server, action, line):
    (update,) = action(callbacks)
    assert line in update[NOTICE]
    assert server.bodies == []


def test_gallery_lists_completed_videos_and_keeps_the_selection(callbacks, server):
    for text in ("first", "second"):
        list(callbacks.submit_text(text, *form(callbacks)))
    server._create_video({"prompt": "still waiting"})
    gallery, selected, second, video_ids = callbacks.list_videos("video_1")
    assert video_ids == ["video_2", "video_1"]
    assert selected["value"] == "video_1"
    assert [label for _, label in gallery] == ["second, 2.125 s", "first, 2.125 s"]
    assert [value for _, value in second["choices"]] == video_ids
    assert callbacks.list_videos("gone")[1]["value"] == "video_2"


def test_selected_video_is_downloaded_once(callbacks, server, monkeypatch):
    list(callbacks.submit_text("a", *form(callbacks)))
    player, download, *buttons = callbacks.show_selected("video_1")
    assert player == download["value"]
    assert all(button["interactive"] for button in buttons)
    monkeypatch.setattr(Client, "content", lambda *_: pytest.fail("the video is cached"))
    assert callbacks.show_selected("video_1")[0] == player
    assert callbacks.show_selected(None)[0] is None
    assert not any(button["interactive"] for button in callbacks.show_selected(None)[1:])


def test_delete(callbacks, server):
    list(callbacks.submit_text("a", *form(callbacks)))
    assert callbacks.delete("video_1") == ""
    assert server.videos == {}
    assert "There is no video" in callbacks.delete("video_1")


def test_page_load_resumes_running_videos(callbacks, server):
    # Gradio clears the outputs of a generator that yields nothing.
    (idle,) = callbacks.resume_running()
    assert "No video is in progress." in idle[PROGRESS]
    assert (idle[CANCEL]["value"], idle[CANCEL]["interactive"]) == ("Cancel", False)
    callbacks.client.create(VideoRequest(prompt="a"))
    assert "Done." in list(callbacks.resume_running())[-1][PROGRESS]
    (idle,) = callbacks.resume_running()
    assert idle[NOTICE] == idle[WATCHED_ID] == ""


def test_cost_text(callbacks):
    assert callbacks.estimate("a", *form(callbacks)) == "About 2 min and 2.0 GB of memory (8.0 GB free)."
    tight = CostEstimate(seconds=30, peak_memory=2**34, available_memory=2**33)
    assert forms.cost_text(tight).endswith("That does not fit: choose a smaller or shorter video.")
    assert callbacks.estimate("a", *form(callbacks, num_inference_steps=0)).startswith(
        "No estimate: The number of steps is a whole number"
    )


@given(st.text(max_size=200), st.sampled_from(["queued", "in_progress", "completed", "failed"]))
def test_prompts_are_escaped(text, status):
    video = Video(id="x", status=status, progress=3, prompt=text, size="1x1", seconds="1", error=text)
    shown = forms.progress_html(video) + forms.alert_html(text)
    assert shown.count("<") == forms.progress_html(
        Video(id="x", status=status, progress=3, prompt="", size="1x1", seconds="1", error="e")
    ).count("<") + (2 if text else 0)
    assert "\n" not in forms.video_label(video)


def test_example_prompts_are_in_the_vocabulary():
    from kinema.simulator.captions.vocabulary import known_words, unknown_words

    known = known_words()
    assert [word for example in forms.EXAMPLE_PROMPTS for word in unknown_words(example, known)] == []


def test_size_choices_fit_the_model(callbacks):
    for size in forms.size_choices(callbacks.model_info).values():
        assert all(side % callbacks.model_info.size_multiple == 0 for side in parse_size(size))


@pytest.fixture
def blocks(callbacks, tmp_path):
    from kinema.webui.app import build_app

    with close_event_loops():
        yield build_app(callbacks.client, tmp_path)


def test_components_have_labels(blocks):
    unnamed = [
        block
        for block in blocks.blocks.values()
        if isinstance(block, gr.components.Component)
        and not isinstance(block, gr.State | gr.HTML | gr.Markdown | gr.Dataset)
        and not (getattr(block, "label", None) or getattr(block, "value", None))
    ]
    assert unnamed == []


def test_buttons_match_their_callbacks(blocks, callbacks):
    """Every callback has as many inputs as parameters, and as many outputs as it returns."""
    num_outputs = {
        "submit_text": 5,
        "submit_storyboard": 5,
        "remix": 5,
        "extend": 5,
        "loop": 5,
        "interpolate": 5,
        "resume_running": 5,
        "list_videos": 4,
        "show_selected": 7,
    }
    names = set()
    for function in blocks.fns.values():
        name = getattr(function.fn, "__name__", "")
        if getattr(function.fn, "__self__", None) is None or not hasattr(Callbacks, name):
            continue
        names.add(name)
        parameters = inspect.signature(function.fn).parameters.values()
        if not any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
            assert len(function.inputs) == len(parameters), name
        assert len(function.outputs) == num_outputs.get(name, 1), name
        # Gradio inspects the function, not its result, to find out whether it yields updates.
        assert inspect.isgeneratorfunction(function.fn) == (num_outputs.get(name) == 5), name
    assert names == {*num_outputs, "cancel", "estimate", "delete"}
    submit = next(
        function for function in blocks.fns.values() if getattr(function.fn, "__name__", "") == "submit_text"
    )
    assert len(submit.inputs) == 1 + len(form(callbacks))


def test_page_loads_nothing_external(blocks):
    assert blocks.analytics_enabled is False
    from kinema.webui.app import CSS, THEME

    assert "http" not in CSS
    assert THEME._stylesheets == []
