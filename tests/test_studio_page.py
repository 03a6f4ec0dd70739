"""What the page does, without a browser: forms to orders, films to sentences, buttons to calls."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("httpx")

from tests.studio_server import FakeServer, event_loops_closed

with event_loops_closed():
    gr = pytest.importorskip("gradio")

from kinema.errors import UserError
from kinema.shapes import parse_size
from kinema.studio import words
from kinema.studio.acts import AFTER, BEFORE, Acts
from kinema.studio.client import Client, Order, Plan, Video

NOTICE, PROGRESS, FILM, CANCEL, WATCHED = range(5)


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def acts(server, tmp_path):
    with Client("http://films", transport=server.transport()) as client:
        yield Acts(client=client, served=client.served(), folder=tmp_path)


def form(acts, **changes):
    """The values of the form's components, as the page hands them over."""
    values = {
        "shape": next(iter(words.shapes(acts.served))), "seconds": 2.125, "seed": 0, "steps": 4,
        "guidance": 3.0, "negative": "", "first": None, "last": None, "loop": False,
    }  # fmt: skip
    return list({**values, **changes}.values())


def test_making_a_film_shows_progress_previews_and_the_film(acts, server, tmp_path):
    news = list(acts.make("a red ball", *form(acts)))
    body = server.bodies[0][1]
    assert (body["prompt"], body["size"], body["seconds"]) == ("a red ball", "64x48", "2.125")
    assert "Waiting for its turn." in news[0][PROGRESS]
    assert news[0][CANCEL]["interactive"]
    assert 'aria-valuenow="40"' in news[4][PROGRESS]
    assert "Step 2 of 4." in news[4][PROGRESS]
    assert 'alt="Preview at 40 percent"' in news[4][PROGRESS]
    assert news[4][WATCHED] == "video_1"
    assert "Done." in news[-1][PROGRESS]
    assert news[-1][FILM] == str(tmp_path / "video_1.mp4")
    assert not news[-1][CANCEL]["interactive"]
    assert news[-1][WATCHED] == ""
    assert all(part[NOTICE] == "" for part in news)


def test_a_film_that_fails_says_why_in_an_alert(acts, server):
    server.fail_with = "There is not enough memory; <ask> for less."
    news = list(acts.make("a", *form(acts)))
    assert 'role="alert"' in news[-1][NOTICE]
    assert "It failed: There is" in news[-1][NOTICE]
    assert "not enough memory; &lt;ask&gt; for less" in news[-1][NOTICE]
    assert not news[-1][CANCEL]["interactive"]


def test_cancelling_is_told_without_an_alert(acts, server):
    running = acts.make("a", *form(acts))
    watched = next(running)[WATCHED]
    assert acts.cancel(watched) == ""
    server.fail_with = ""
    last = acts.watch(lambda: acts.client.retrieve(watched))
    shown = list(last)[-1]
    assert "Cancelled." in shown[PROGRESS]
    assert shown[NOTICE] == ""


def test_cancelling_nothing_does_nothing(acts, server):
    assert acts.cancel("") == ""
    assert server.bodies == []


def test_nothing_written_is_told_in_plain_words(acts, server):
    (news,) = acts.make("  ", *form(acts))
    assert "Write what the film shall show." in news[NOTICE]
    assert server.bodies == []


def test_a_storyboard_is_told_shot_by_shot(acts, server):
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
def test_storyboards_that_do_not_do(rows, line):
    with pytest.raises(UserError, match=line):
        words.shots_of(rows)


def test_remix_extend_loop_and_connect_the_chosen_film(acts, server):
    list(acts.make("a red ball", *form(acts, seed=9)))
    server.bodies.clear()
    server.films["other"] = {**server.films["video_1"], "id": "other", "prompt": "a blue box"}
    list(acts.remix("video_1", "a green ball"))
    list(acts.extend("video_1", "", 2.0, BEFORE))
    list(acts.extend("video_1", "it stops", 1.5, AFTER))
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
def test_what_is_missing_is_told(acts, server, act, line):
    (news,) = act(acts)
    assert line in news[NOTICE]
    assert server.bodies == []


def test_the_list_shows_finished_films_and_keeps_the_choice(acts, server):
    for text in ("first", "second"):
        list(acts.make(text, *form(acts)))
    server._new({"prompt": "still waiting"})
    gallery, chosen, other, order = acts.films("video_1")
    assert order == ["video_2", "video_1"]
    assert chosen["value"] == "video_1"
    assert [text for _, text in gallery] == ["second, 2.125 s", "first, 2.125 s"]
    assert [value for _, value in other["choices"]] == order
    assert acts.films("gone")[1]["value"] == "video_2"


def test_the_chosen_film_is_downloaded_once(acts, server, monkeypatch):
    list(acts.make("a", *form(acts)))
    player, download, *buttons = acts.show("video_1")
    assert player == download["value"]
    assert all(button["interactive"] for button in buttons)
    monkeypatch.setattr(Client, "download_content", lambda *_: pytest.fail("it is here already"))
    assert acts.show("video_1")[0] == player
    assert acts.show(None)[0] is None
    assert not any(button["interactive"] for button in acts.show(None)[1:])


def test_deleting(acts, server):
    list(acts.make("a", *form(acts)))
    assert acts.delete("video_1") == ""
    assert server.films == {}
    assert "There is no video" in acts.delete("video_1")


def test_opening_the_page_goes_on_with_what_is_being_made(acts, server):
    # News there must be: where a function says nothing, gradio empties all that it might have told of.
    (nothing,) = acts.resume()
    assert "No film is being made." in nothing[PROGRESS]
    assert (nothing[CANCEL]["value"], nothing[CANCEL]["interactive"]) == ("Cancel", False)
    acts.client.create(Order(prompt="a"))
    assert "Done." in list(acts.resume())[-1][PROGRESS]
    (nothing,) = acts.resume()
    assert nothing[NOTICE] == nothing[WATCHED] == ""


def test_the_plan_in_words(acts):
    assert acts.plan("a", *form(acts)) == "About 2 min and 2.0 GB of memory (8.0 GB free)."
    tight = Plan(seconds=30, memory=2**34, free=2**33)
    assert words.cost(tight).endswith("That does not fit: choose a smaller or shorter film.")
    assert acts.plan("a", *form(acts, steps=0)).startswith("No plan: The number of steps is a whole number")


@given(st.text(max_size=200), st.sampled_from(["queued", "in_progress", "completed", "failed"]))
def test_no_words_of_a_film_become_part_of_the_page(text, status):
    video = Video(id="x", status=status, progress=3, prompt=text, size="1x1", seconds="1", error=text)
    shown = words.progress(video) + words.alert(text)
    assert shown.count("<") == words.progress(
        Video(id="x", status=status, progress=3, prompt="", size="1x1", seconds="1", error="e")
    ).count("<") + (2 if text else 0)
    assert "\n" not in words.label(video)


def test_the_shipped_model_knows_every_word_of_the_examples():
    from kinema.simulator.captions.vocabulary import known_words, unknown_words

    known = known_words()
    assert [word for example in words.EXAMPLES for word in unknown_words(example, known)] == []


def test_shapes_fit_the_model(acts):
    for size in words.shapes(acts.served).values():
        assert all(side % acts.served.unit == 0 for side in parse_size(size))


@pytest.fixture
def blocks(acts, tmp_path):
    from kinema.studio.page import page

    with event_loops_closed():
        yield page(acts.client, tmp_path)


def test_everything_on_the_page_has_a_name_for_screen_readers(blocks):
    unnamed = [
        block
        for block in blocks.blocks.values()
        if isinstance(block, gr.components.Component)
        and not isinstance(block, gr.State | gr.HTML | gr.Markdown | gr.Dataset)
        and not (getattr(block, "label", None) or getattr(block, "value", None))
    ]
    assert unnamed == []


def test_each_button_hands_over_what_its_act_takes(blocks, acts):
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
        if getattr(function.fn, "__self__", None) is None or not hasattr(Acts, name):
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


def test_the_page_asks_nobody_else(blocks):
    assert blocks.analytics_enabled is False
    from kinema.studio.page import CSS, THEME

    assert "http" not in CSS
    assert THEME._stylesheets == []
