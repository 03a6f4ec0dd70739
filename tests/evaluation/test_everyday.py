"""Scores against a meaning: simulator clips pass under their own captions and fail under changed ones."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.evaluation.corruptions import freeze_frames
from kinema.evaluation.everyday import EVERYDAY_MEASURES, can_score, score_meaning
from kinema.evaluation.prompt_sets import build_prompt_set
from kinema.evaluation.record import build_record
from kinema.evaluation.scorecard import aggregate_records
from kinema.evaluation.video_sources import CaptionedVideo, VideoFormat, render_reference
from kinema.simulator.captions.everyday.meaning import Meaning, ObjectMeaning
from kinema.simulator.clip import ClipSpec, make_clip

FORMAT = VideoFormat(height=96, width=96, num_frames=25, fps=12.0)


@functools.cache
def lab_clip(event, outcome):
    for seed in range(40):
        try:
            clip = make_clip(
                ClipSpec(
                    seed=seed,
                    lab=True,
                    event=event,
                    outcome=outcome,
                    height=FORMAT.height,
                    width=FORMAT.width,
                    num_frames=FORMAT.num_frames,
                    fps=FORMAT.fps,
                )
            )
        except UserError:
            continue
        return clip
    raise AssertionError("no seed has this outcome")


def meaning_of(clip, **changes):
    """The meaning of the first two objects of a lab clip, with the given event."""
    objects = tuple(
        ObjectMeaning(shape="wall" if e.shape == "screen" else e.shape, colour=e.colour)
        for e in clip.annotations.entities[:2]
    )
    return Meaning(objects=objects, **changes)


def verdicts(meaning, frames):
    return score_meaning(meaning, frames, FORMAT.fps).verdicts


def test_two_objects_of_open_colours_where_the_video_has_one():
    """With a colour for each of them missing, the video was left out of the scores."""
    clip = lab_clip("roll", "keeps going")
    two_balls = Meaning(objects=(ObjectMeaning(shape="ball"), ObjectMeaning(shape="ball")))
    for frames in (clip.frames, np.full_like(clip.frames, 128)):
        found = verdicts(two_balls, frames)
        assert list(found) == list(EVERYDAY_MEASURES)
        assert found["everything"] is found["counts"] is False


def test_every_prompt_of_the_list_can_be_scored():
    assert all(can_score(item.meaning) for item in build_prompt_set("everyday"))
    unknown = Meaning(objects=(ObjectMeaning(shape="teapot"),))
    assert not can_score(unknown)


def test_a_collision_passes_and_its_changed_meanings_fail():
    clip = lab_clip("collide", "pushed")
    meaning = meaning_of(clip, event="push", actor=0, patient=1)
    assert verdicts(meaning, clip.frames)["everything"]
    swapped_roles = dataclasses.replace(meaning, actor=1, patient=0)
    assert verdicts(swapped_roles, clip.frames)["motion"] is False
    assert verdicts(dataclasses.replace(meaning, event="miss"), clip.frames)["motion"] is False
    first, second = meaning.objects
    other = next(c for c in ("red", "blue", "green") if c not in (first.colour, second.colour))
    recoloured = dataclasses.replace(meaning, objects=(dataclasses.replace(first, colour=other), second))
    assert verdicts(recoloured, clip.frames)["colours"] is False
    doubled = dataclasses.replace(meaning, objects=(first, second, ObjectMeaning(colour=other)))
    assert verdicts(doubled, clip.frames)["counts"] is False
    assert verdicts(meaning, freeze_frames(clip.frames))["motion"] is False


def test_open_attributes_match_any_value():
    clip = lab_clip("collide", "pushed")
    nothing_stated = Meaning(objects=(ObjectMeaning(), ObjectMeaning()), event="push", actor=0, patient=1)
    found = verdicts(nothing_stated, clip.frames)
    assert found["everything"]
    assert found["colours"] is None


@pytest.mark.parametrize(("outcome", "event", "wrong"), [
    ("re-emerges", "hide and come out", "hide and stay"),
    ("stays hidden", "hide and stay", "hide and come out"),
])  # fmt: skip
def test_occlusion(outcome, event, wrong):
    clip = lab_clip("occlude", outcome)
    meaning = meaning_of(clip, event=event, actor=0, patient=1)
    assert verdicts(meaning, clip.frames)["everything"]
    assert verdicts(dataclasses.replace(meaning, event=wrong), clip.frames)["motion"] is False


def test_left_and_right_are_distinguished():
    clip = lab_clip("still", "pair")
    x = clip.annotations.tracks.position[0, :2, 0]
    left, right = (0, 1) if x[0] < x[1] else (1, 0)
    meaning = meaning_of(clip, relation="left of", related=(left, right))
    assert verdicts(meaning, clip.frames)["everything"]
    assert verdicts(dataclasses.replace(meaning, related=(right, left)), clip.frames)["relation"] is False


def test_an_empty_video_fails():
    empty = np.full((9, 96, 96, 3), 128, np.uint8)
    found = verdicts(Meaning(objects=(ObjectMeaning(shape="ball"),), event="move", actor=0), empty)
    assert (found["objects"], found["counts"], found["motion"]) == (False, False, False)


def test_references_and_records():
    item = build_prompt_set("everyday")[0]
    (video,) = render_reference(item, FORMAT)
    assert isinstance(video, CaptionedVideo)
    record = build_record(0, item.kind, video.prompt, video.frames, FORMAT.fps, meaning=video.meaning)
    assert record.verdicts["everything"]
    row = aggregate_records("simulator", [record])
    assert row.measures["everything"].value == 1
    assert set(row.measures) <= {*EVERYDAY_MEASURES}


def collision_with(partner, outcome, seed):
    """A lab clip in which a ball meets an object that the seed may not choose by itself."""
    spec = ClipSpec(
        seed=seed, lab=True, event="collide", outcome=outcome, partner_shape=partner, num_frames=17, fps=8.0
    )
    return make_clip(spec)


@pytest.mark.parametrize(
    ("partner", "outcome", "seed", "is_tipped"),
    [
        # The last two end with the long axis away from the camera, as high as they were.
        ("cylinder", "tips over", 0, True),
        ("cone", "tips over", 2, True),
        ("cylinder", "tips over", 3, True),
        ("cone", "tips over", 1, True),
        ("cylinder", "pushed", 2, False),
        ("cone", "pushed", 2, False),
        ("cone", "stays", 1, False),
    ],
)
def test_a_thing_has_tipped_over_in_any_direction(partner, outcome, seed, is_tipped):
    clip = collision_with(partner, outcome, seed)
    found = score_meaning(meaning_of(clip, event="knock over", actor=0, patient=1), clip.frames, 8.0).verdicts
    assert found["motion"] is is_tipped
