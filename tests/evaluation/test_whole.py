"""Prompts of the whole simulator: what they state is in their text, and videos are scored against it."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from kinema.data.video_shards import write_shard
from kinema.errors import UserError
from kinema.evaluation import whole
from kinema.evaluation.evaluate import evaluate_baselines
from kinema.evaluation.prompt_sets import build_prompt_set
from kinema.evaluation.record import build_record, load_records
from kinema.evaluation.scorecard import aggregate_records
from kinema.evaluation.video_sources import VideoFormat, render_reference
from kinema.evaluation.whole import MIN_ACCURACY, SceneMeaning, check_scene, score_scene
from kinema.evaluation.whole_prompts import (
    list_scenes,
    load_whole_prompts,
    meaning_of_plain_caption,
    render_scene,
)
from kinema.evaluation.whole_scores import HeldOutScorer
from kinema.models.formats.scene_classifier import load_scene_classifier, save_scene_classifier
from kinema.models.scene_classifier import SceneClassifier, SceneClassifierConfig
from kinema.simulator.scene_attributes import SCENE_ATTRIBUTES, measure_accuracy
from tests.fixtures.scenes import scene_annotations

ALL = frozenset(one.name for one in SCENE_ATTRIBUTES)
FORMAT = VideoFormat(height=128, width=128, num_frames=25, fps=12.0)


def classifier(**changes) -> SceneClassifier:
    torch.manual_seed(0)
    options = {"num_frames": 3, "widths": (8, 8, 16), "heads": 2, "layers": 1, **changes}
    return SceneClassifier(SceneClassifierConfig(attributes=SCENE_ATTRIBUTES, **options)).eval()


@pytest.fixture
def small_classifier(monkeypatch):
    """An untrained classifier of which three attributes count as reliable."""
    accuracy = dict.fromkeys(ALL, 0.5) | {"event": 0.99, "colours": MIN_ACCURACY, "floor": 0.96}
    network = classifier()
    monkeypatch.setattr(whole, "scene_classifier", lambda: (network, accuracy))
    monkeypatch.setattr("kinema.evaluation.evaluate.scene_classifier", lambda: (network, accuracy))
    return network


def test_the_set_has_every_outcome_of_every_event_and_no_scene_twice():
    prompts = load_whole_prompts()
    assert [(one.event, one.outcome, one.style) for one in prompts] == [scene[1:] for scene in list_scenes()]
    assert len({one.scene_seed for one in prompts}) == len(prompts)
    assert len({(one.event, one.outcome) for one in prompts}) * 4 == len(prompts)


@pytest.mark.parametrize("index", [0, 57, 118, 211])
def test_stored_prompts_are_those_of_their_scenes(index):
    stored, scene = load_whole_prompts()[index], list(list_scenes())[index]
    found, clip = render_scene(*scene, render=False)
    assert found == stored
    assert clip.annotations.event == stored.event
    assert clip.annotations.outcome == stored.outcome
    again, _ = render_scene(stored.scene_seed, *scene[1:], render=False)
    assert again == stored


def test_stated_colours_are_in_the_text_of_the_objects():
    for one in load_whole_prompts():
        stated = one.meaning.stated
        assert stated["event"] == {one.event}
        assert stated["outcome"] == {f"{one.event}: {one.outcome}"}
        assert ("floor" in stated) == (one.style == "rich")
        for colour in stated["colours"] & {"red", "blue"}:
            words = {"red": "red|crimson|scarlet", "blue": "blue|cobalt"}[colour]
            assert re.search(rf"\b({words})\b", one.prompt), one.prompt
    texts = [one for one in load_whole_prompts() if "on a red carpet" in one.prompt]
    assert any("red" not in one.meaning.stated["colours"] for one in texts)


def test_verdicts_compare_what_is_stated_with_what_is_seen():
    meaning = SceneMeaning(
        stated={
            "event": frozenset({"roll"}),
            "colours": frozenset({"red", "blue"}),
            "floor": frozenset({"snow"}),
            "place": frozenset({"night"}),
            "materials": frozenset(),
        }
    )
    seen = {name: frozenset() for name in ALL} | {
        "event": frozenset({"roll"}),
        "colours": frozenset({"red", "blue", "green"}),
        "floor": frozenset({"snow"}),
        "place": frozenset({"dawn"}),
    }
    verdicts = check_scene(meaning, seen, ALL)
    assert verdicts["event"] is True
    assert verdicts["colours"] is True, "other colours may be in the background"
    assert verdicts["setting"] is False
    assert verdicts["outcome"] is verdicts["materials"] is None
    assert verdicts["everything"] is False
    without_place = check_scene(meaning, seen, ALL - {"place"})
    assert without_place["setting"] is True
    assert without_place["everything"] is True
    missing = check_scene(meaning, {**seen, "colours": frozenset({"red"})}, ALL)
    assert missing["colours"] is False
    assert set(check_scene(meaning, seen, frozenset()).values()) == {None}


def test_a_dolly_looks_like_a_zoom():
    meaning = SceneMeaning(stated={"camera": frozenset({"dolly out"})})
    seen = {"camera": frozenset({"zoom out"})}
    assert check_scene(meaning, seen, ALL)["camera move"] is True
    assert check_scene(meaning, {"camera": frozenset({"zoom in"})}, ALL)["camera move"] is False


def test_only_reliable_attributes_are_scored(small_classifier):
    item = next(one for one in build_prompt_set("whole") if one.meaning.stated.get("floor"))
    frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
    verdicts = score_scene(item.meaning, frames)
    seen = small_classifier.predict([frames])[0]
    assert verdicts["event"] == (item.meaning.stated["event"] <= seen["event"])
    assert verdicts["setting"] == (item.meaning.stated["floor"] <= seen["floor"])
    assert verdicts["outcome"] is verdicts["camera move"] is verdicts["shapes"] is None
    record = build_record(item.index, item.kind, item.prompt, frames, 12.0, meaning=item.meaning)
    assert record.verdicts["event"] == verdicts["event"]
    row = aggregate_records("model", [record])
    assert "outcome" not in row.measures
    assert row.measures["event"].n == 1


def test_samples_of_held_out_clips_are_scored_by_their_annotations(tmp_path, small_classifier):
    frames = np.random.default_rng(2).integers(0, 255, (2, 5, 64, 64, 3), dtype=np.uint8)
    texts = [["a red ball stands on grass", "other"], ["a blue ball stands"]]
    annotations = [scene_annotations(colour="red"), scene_annotations(colour="blue", camera="pan left")]
    write_shard(tmp_path, 0, list(frames), texts, annotations)
    scorer = HeldOutScorer(folder=tmp_path)
    scores = scorer.score([(texts[0][0], frames[0]), (texts[1][0], frames[1]), ("a teapot", frames[0])])
    seen = small_classifier.predict(list(frames))
    events = np.mean(["still" in one["event"] for one in seen])
    colours = np.mean([colour in one["colours"] for colour, one in zip(("red", "blue"), seen, strict=True)])
    assert scores == {
        "whole_event": events, "whole_colours": colours, "whole_accuracy": np.mean([events, colours])
    }  # fmt: skip
    assert scorer.score([("a teapot", frames[0])]) == {}


def test_a_plain_caption_states_the_event_the_objects_and_a_moving_camera():
    text = "a red ball stands as the camera pans left"
    meaning = meaning_of_plain_caption(text, scene_annotations(colour="red", camera="pan left"))
    assert meaning.stated["outcome"] == {"still: pair"}
    assert meaning.stated["camera"] == {"pan left"}
    assert meaning.stated["colours"] == {"red"}
    assert "floor" not in meaning.stated
    assert "camera" not in meaning_of_plain_caption(text, scene_annotations()).stated


def test_the_baseline_of_a_prompt_is_its_scene(small_classifier):
    item = build_prompt_set("whole")[5]
    (video,) = render_reference(item, FORMAT)
    assert video.prompt == item.prompt
    assert video.meaning == item.meaning
    (other,) = render_reference(item, FORMAT, seed=1)
    assert other.meaning.stated["outcome"] == item.meaning.stated["outcome"]
    assert not np.array_equal(other.frames, video.frames)


def test_the_scorecard_says_how_accurate_the_classifier_is(tmp_path, small_classifier, monkeypatch):
    items = tuple(dataclasses.replace(one) for one in build_prompt_set("whole")[:2])
    monkeypatch.setattr("kinema.evaluation.evaluate.build_prompt_set", lambda _: items)
    video_format = VideoFormat(height=64, width=64, num_frames=25, fps=12.0)
    list(evaluate_baselines("whole", video_format, tmp_path, clips_per_fault=0, workers=0))
    text = (tmp_path / "scorecard.md").read_text()
    assert "| colours | 95.0% | yes |" in text
    assert "| outcome | 50.0% | no |" in text
    assert "Accuracy on simulated videos that it never saw" in (tmp_path / "scorecard.html").read_text()
    assert len(load_records(tmp_path / "simulator")) == 2


def test_a_classifier_is_read_as_it_was_written(tmp_path):
    network = classifier()
    save_scene_classifier(tmp_path, network, dict.fromkeys(ALL, 0.75))
    read, accuracy = load_scene_classifier(tmp_path, device=torch.device("cpu"))
    assert read.config == network.config
    assert accuracy == dict.fromkeys(ALL, 0.75)
    for name, value in network.state_dict().items():
        assert torch.equal(read.state_dict()[name], value.bfloat16().float())
    (tmp_path / "accuracy.json").write_text('{"event": 0.9}')
    with pytest.raises(UserError, match="lacks background, camera"):
        load_scene_classifier(tmp_path, device=torch.device("cpu"))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="scene classifier"):
        load_scene_classifier(tmp_path, device=torch.device("cpu"))


@pytest.mark.parametrize("shape", [(25, 128, 128, 3), (17, 96, 160, 3), (3, 64, 64, 3), (1, 200, 48, 3)])
def test_videos_of_any_size_and_length_are_read(shape):
    frames = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
    seen = classifier().predict([frames, frames])
    assert seen[0] == seen[1]
    for one in SCENE_ATTRIBUTES:
        assert seen[0][one.name] <= set(one.values)
        assert one.several or len(seen[0][one.name]) == 1
    assert measure_accuracy([]) == {}


def test_the_shipped_classifier_sees_what_it_is_scored_on():
    """Held-out clips of the set itself: most of what is scored is right, and less in shuffled captions."""
    scored = whole.scored_attributes()
    assert scored
    items = [one for one in build_prompt_set("whole") if one.meaning.stated.get("floor")][:: 106 // 12]
    videos = [render_reference(one, FORMAT)[0] for one in items]
    right = [
        score_scene(one.meaning, video.frames)["everything"] for one, video in zip(items, videos, strict=True)
    ]
    others = [one.meaning for one in (*items[1:], items[0])]
    wrong = [
        score_scene(meaning, video.frames)["everything"]
        for meaning, video in zip(others, videos, strict=True)
    ]
    assert np.mean(right) >= 0.75
    assert np.mean(wrong) <= 0.25
