"""What the page does, without a browser: forms to orders, films to sentences, buttons to calls."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("httpx")

from tests.webui.fake_server import FakeServer, close_event_loops

with close_event_loops():
    gr = pytest.importorskip("gradio")

from kinema.errors import UserError
from kinema.shapes import parse_size
from kinema.webui import forms
from kinema.webui.callbacks import AFTER_END, BEFORE_START, Callbacks
from kinema.webui.client import Client, CostEstimate, Video, VideoRequest

NOTICE, PROGRESS, VIDEO, CANCEL, WATCHED_ID = range(5)


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def callbacks(server, tmp_path):
    with Client("http://films", transport=server.transport()) as client:
        yield Callbacks(client=client, model_info=client.model_info(), folder=tmp_path)


def form(callbacks, **changes):
    """The values of the form's components, as the page hands them over."""
    values = {
        "shape": next(iter(forms.size_choices(callbacks.served))), "seconds": 2.125, "seed": 0, "steps": 4,
        "guidance": 3.0, "negative": "", "first": None, "last": None, "loop": False,
    }  # fmt: skip
    return list({**values, **changes}.values())


def test_generation_shows_progress_previews_and_the_video(callbacks, server, tmp_path):
    news = list(acts.make("a red ball", *form(acts)))
    body = server.bodies[0][1]
    assert (body["prompt"], body["size"], body["seconds"]) == ("a red ball", "64x48", "2.125")
    assert "Waiting for its turn." in news[0][PROGRESS]
    assert news[0][CANCEL]["interactive"]
    assert 'aria-valuenow="40"' in news[4][PROGRESS]
    assert "Step 2 of 4." in news[4][PROGRESS]
    assert 'alt="Preview at 40 percent"' in news[4][PROGRESS]
    assert news[4][WATCHED_ID] == "video_1"
    assert "Done." in news[-1][PROGRESS]
    assert news[-1][VIDEO] == str(tmp_path / "video_1.mp4")
    assert not news[-1][CANCEL]["interactive"]
    assert news[-1][WATCHED_ID] == ""
    assert all(part[NOTICE] == "" for part in news)


def test_failed_video_shows_an_alert(callbacks, server):
    server.fail_with = "There is not enough memory; <ask> for less."
    news = list(acts.make("a", *form(acts)))
    assert 'role="alert"' in news[-1][NOTICE]
    assert "It failed: There is" in news[-1][NOTICE]
    assert "not enough memory; &lt;ask&gt; for less" in news[-1][NOTICE]
    assert not news[-1][CANCEL]["interactive"]


def test_cancellation_shows_no_alert(callbacks, server):
    running = acts.make("a", *form(acts))
    watched = next(running)[WATCHED_ID]
    assert acts.cancel(watched) == ""
    server.fail_with = ""
    last = acts.watch(lambda: acts.client.retrieve(watched))
    shown = list(last)[-1]
    assert "Cancelled." in shown[PROGRESS]
    assert shown[NOTICE] == ""


def test_cancelling_nothing_does_nothing(callbacks, server):
    assert acts.cancel("") == ""
    assert server.bodies == []


def test_empty_prompt_is_an_error(callbacks, server):
    (news,) = acts.make("  ", *form(acts))
    assert "Write what the film shall show." in news[NOTICE]
    assert server.bodies == []


def test_storyboard_is_sent_shot_by_shot(callbacks, server):
    rows = ["A ball rolls", 0, "cut", "It stops", 1.0, "blend", "", 3, "cut", *(["", 4, "cut"] * 3)]
    list(acts.tell(*rows, *form(acts)))
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
        ([("a", 0, "cut"), ("b", None, "cut")], "Say when shot 2 begins"),
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
    list(acts.make("a red ball", *form(acts, seed=9)))
    server.bodies.clear()
    server.films["other"] = {**server.films["video_1"], "id": "other", "prompt": "a blue box"}
    list(acts.remix("video_1", "a green ball"))
    list(acts.extend("video_1", "", 2.0, BEFORE_START))
    list(acts.extend("video_1", "it stops", 1.5, AFTER_END))
    list(acts.loop("video_1"))
    list(acts.connect("video_1", "other", ""))
    assert [path for path, _ in server.bodies] == [
        "/videos/video_1/remix", "/videos/extensions", "/videos/extensions", "/videos", "/videos/connections",
    ]  # fmt: skip
    remix, before, after, loop, bridge = (body for _, body in server.bodies)
    assert remix == {"prompt": "a green ball"}
    assert (before["prompt"], before["backward"], before["seconds"]) == ("a red ball", True, "2")
    assert (after["prompt"], after["backward"], after["seconds"]) == ("it stops", False, "1.5")
    assert (loop["loop"], loop["seed"], loop["size"], loop["seconds"]) == (True, 9, "64x48", "2.125")
    assert (bridge["prompt"], bridge["next_video"]) == ("a blue box", {"id": "other"})


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (lambda acts: acts.remix(None, "x"), "Choose a film first."),
        (lambda acts: acts.remix("video_1", " "), "Write what shall be different."),
        (lambda acts: acts.connect("video_1", None, ""), "Choose the film to lead to."),
        (lambda acts: acts.loop("gone"), "There is no video gone."),
    ],
)
def test_missing_input_is_an_error(callbacks, server, act, line):
    (news,) = act(acts)
    assert line in news[NOTICE]
    assert server.bodies == []


def test_gallery_lists_completed_videos_and_keeps_the_selection(callbacks, server):
    for text in ("first", "second"):
        list(acts.make(text, *form(acts)))
    server._new({"prompt": "still waiting"})
    gallery, chosen, other, order = acts.films("video_1")
    assert order == ["video_2", "video_1"]
    assert chosen["value"] == "video_1"
    assert [text for _, text in gallery] == ["second, 2.125 s", "first, 2.125 s"]
    assert [value for _, value in other["choices"]] == order
    assert acts.films("gone")[1]["value"] == "video_2"


def test_selected_video_is_downloaded_once(callbacks, server, monkeypatch):
    list(acts.make("a", *form(acts)))
    player, download, *buttons = acts.show("video_1")
    assert player == download["value"]
    assert all(button["interactive"] for button in buttons)
    monkeypatch.setattr(Client, "download_content", lambda *_: pytest.fail("it is here already"))
    assert acts.show("video_1")[0] == player
    assert acts.show(None)[0] is None
    assert not any(button["interactive"] for button in acts.show(None)[1:])


def test_delete(callbacks, server):
    list(acts.make("a", *form(acts)))
    assert acts.delete("video_1") == ""
    assert server.films == {}
    assert "There is no video" in acts.delete("video_1")


def test_page_load_resumes_running_videos(callbacks, server):
    # News there must be: where a function says nothing, gradio empties all that it might have told of.
    (nothing,) = acts.resume()
    assert "No film is being made." in nothing[PROGRESS]
    assert (nothing[CANCEL]["value"], nothing[CANCEL]["interactive"]) == ("Cancel", False)
    acts.client.create(VideoRequest(prompt="a"))
    assert "Done." in list(acts.resume())[-1][PROGRESS]
    (nothing,) = acts.resume()
    assert nothing[NOTICE] == nothing[WATCHED_ID] == ""


def test_cost_text(callbacks):
    assert acts.plan("a", *form(acts)) == "About 2 min and 2.0 GB of memory (8.0 GB free)."
    tight = CostEstimate(seconds=30, peak_memory=2**34, available_memory=2**33)
    assert forms.cost_text(tight).endswith("That does not fit: choose a smaller or shorter film.")
    assert acts.plan("a", *form(acts, steps=0)).startswith("No plan: The number of steps is a whole number")


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
    for size in forms.size_choices(acts.served).values():
        assert all(side % acts.served.unit == 0 for side in parse_size(size))


@pytest.fixture
def blocks(callbacks, tmp_path):
    from kinema.webui.app import build_app

    with close_event_loops():
        yield build_app(acts.client, tmp_path)


def test_components_have_labels(blocks):
    unnamed = [
        block
        for block in blocks.blocks.values()
        if isinstance(block, gr.components.Component)
        and not isinstance(block, gr.State | gr.HTML | gr.Markdown | gr.Dataset)
        and not (getattr(block, "video_label", None) or getattr(block, "value", None))
    ]
    assert unnamed == []


def test_buttons_match_their_callbacks(blocks, callbacks):
    """The wiring: as many components as the function has arguments, as many outputs as it gives."""
    counts = {
        "make": 5,
        "tell": 5,
        "remix": 5,
        "extend": 5,
        "loop": 5,
        "connect": 5,
        "resume": 5,
        "films": 4,
        "show": 7,
    }
    seen = set()
    for function in blocks.fns.values():
        name = getattr(function.fn, "__name__", "")
        if getattr(function.fn, "__self__", None) is None or not hasattr(Callbacks, name):
            continue
        seen.add(name)
        parameters = inspect.signature(function.fn).parameters.values()
        if not any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
            assert len(function.inputs) == len(parameters), name
        assert len(function.outputs) == counts.get(name, 1), name
        # Gradio looks at the function, not at what it returns, to know whether news will follow.
        assert inspect.isgeneratorfunction(function.fn) == (counts.get(name) == 5), name
    assert seen == {*counts, "cancel", "plan", "delete"}
    make = next(
        function for function in blocks.fns.values() if getattr(function.fn, "__name__", "") == "make"
    )
    assert len(make.inputs) == 1 + len(form(acts))


def test_page_loads_nothing_external(blocks):
    assert blocks.analytics_enabled is False
    from kinema.webui.app import CSS, THEME

    assert "http" not in CSS
    assert THEME._stylesheets == []
