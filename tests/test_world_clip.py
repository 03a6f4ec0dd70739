"""Whole clips: rendered, measured from the id buffer, and the same bytes wherever they are made."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kinema.world import lab, measure
from kinema.world.clip import Clip, ClipSpec, make_clip
from kinema.world.facts import Claim
from kinema.world.record import facts_arrays, facts_json

SMALL = {"height": 32, "width": 32, "frames": 9, "fps": 3.0}


def digest(clip: Clip) -> str:
    whole = hashlib.sha256(facts_json(clip.facts).encode())
    for name, array in sorted(facts_arrays(clip.facts).items()):
        whole.update(name.encode() + array.tobytes())
    if clip.frames is not None:
        whole.update(clip.frames.tobytes())
    return whole.hexdigest()


def some() -> str:
    """What a fresh process makes of two clips, in another order."""
    specs = [ClipSpec(seed=k, **SMALL) for k in (5, 3)]
    return " ".join(digest(make_clip(spec, threads=2)) for spec in reversed(specs))


def test_the_same_bytes_in_any_process_order_and_number_of_threads():
    here = [digest(make_clip(ClipSpec(seed=k, **SMALL))) for k in (5, 3)]
    code = "from tests.test_world_clip import some; print(some())"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.split() == here[::-1]


def test_what_a_clip_holds():
    spec = ClipSpec(seed=1, **SMALL)
    clip = make_clip(spec, objects=True, depth=True)
    assert clip.frames.shape == (9, 32, 32, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.identities.shape == clip.depth.shape == (9, 32, 32)
    count = len(clip.facts.entities)
    assert [e.index for e in clip.facts.entities] == list(range(count))
    for name, array in facts_arrays(clip.facts).items():
        assert array.shape[0] == 9, name
        assert name == "cameras" or array.shape[1] == count, name
    bare = make_clip(spec)
    assert bare.identities is None
    assert bare.depth is None


def test_facts_do_not_depend_on_whether_the_clip_is_rendered():
    for seed in (0, 4):
        spec = ClipSpec(seed=seed, **SMALL)
        rendered, told = make_clip(spec), make_clip(spec, render=False)
        assert told.frames is None
        assert digest(replace(rendered, frames=None)) == digest(told)


def test_pixels_and_boxes_are_those_of_the_id_buffer():
    clip = make_clip(ClipSpec(seed=2, **SMALL), render=False, objects=True)
    tracks = clip.facts.tracks
    for frame in (0, 4, 8):
        for entity in clip.facts.entities:
            rows, columns = np.nonzero(clip.identities[frame] == entity.index + 1)
            assert tracks.pixels[frame, entity.index] == len(rows)
            box = tracks.box[frame, entity.index]
            if len(rows):
                edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert box * 32 == pytest.approx(edges)
            else:
                assert np.isnan(box).all()


def test_the_centre_of_a_ball_is_seen_where_it_is_projected():
    clip = make_clip(
        ClipSpec(seed=3, event="roll", outcome="stops", lab=True, height=96, width=96), render=False
    )
    tracks = clip.facts.tracks
    middle = (tracks.box[:, 0, :2] + tracks.box[:, 0, 2:]) / 2
    assert np.abs(middle - tracks.screen[:, 0]).max() < 0.03
    across = (tracks.box[:, 0, 3] - tracks.box[:, 0, 1]) / 2
    if clip.facts.entities[0].shape == "ball":
        assert across == pytest.approx(tracks.radius[:, 0], rel=0.25)


@pytest.mark.parametrize("outcome", ["re-emerges", "stays hidden", "comes back", "in front"])
def test_hiding_is_what_the_id_buffer_says(outcome):
    clip = make_clip(ClipSpec(seed=6, event="occlude", outcome=outcome, height=64, width=64), render=False)
    pixels = clip.facts.tracks.pixels[:, 0]
    kinds = {claim.kind for claim in clip.facts.claims}
    assert ("hides" in kinds) == bool((pixels == 0).any())
    assert pixels[0] > 0
    assert ("stays hidden" in kinds) == bool(pixels[-1] == 0)


def test_claims_of_sight_can_fail():
    clip = make_clip(ClipSpec(seed=6, event="occlude", outcome="in front", height=64, width=64), render=False)
    tracks = clip.facts.tracks
    assert not measure.visible_claim(Claim(kind="hides", subject=0, object=1), tracks)
    assert not measure.visible_claim(Claim(kind="stays hidden", subject=0, object=1), tracks)
    assert measure.visible_claim(Claim(kind="in front", subject=0, object=1), tracks)


def test_the_main_thing_is_wholly_in_view_when_its_event_happens():
    poor = 0
    seeds = range(500, 524)
    for seed in seeds:
        facts = make_clip(ClipSpec(seed=seed, height=64, width=64), render=False).facts
        box = facts.tracks.box[facts.event_frame, 0]
        hidden = any(claim.kind == "hides" for claim in facts.claims)
        inside = box[0] > 0 and box[1] > 0 and box[2] < 1 and box[3] < 1
        poor += not (inside or hidden)
    assert poor / len(seeds) <= 0.05


def test_every_clip_says_what_its_camera_does():
    for seed in (10, 11):
        facts = make_clip(ClipSpec(seed=seed, **SMALL), render=False).facts
        assert facts.claims[-1] == Claim(kind="camera", value=facts.camera)
    facts = make_clip(
        ClipSpec(seed=1, lab=True, event="camera", outcome="pan left", **SMALL), render=False
    ).facts
    assert facts.claims[0] == Claim(kind="camera", value="pan left")
    assert facts.camera == "pan left"


def test_lab_facts_know_their_side_of_the_split():
    for seed in range(6):
        for split in ("train", "test"):
            spec = ClipSpec(seed=seed, lab=True, split=split, height=32, width=32)
            assert lab.held_out(make_clip(spec, render=False).facts) == (split == "test")


def test_pairs_share_a_key_and_a_place():
    one = make_clip(ClipSpec(seed=9, event="wall pair", outcome="wall", height=32, width=32))
    two = make_clip(ClipSpec(seed=9, event="wall pair", outcome="no wall", height=32, width=32))
    assert one.facts.pair == two.facts.pair != ""
    assert (one.facts.cause, two.facts.cause) == ("wall", "no wall")
    assert one.facts.setting == two.facts.setting
    assert not np.array_equal(one.frames, two.frames)
    assert make_clip(ClipSpec(seed=9, event="roll", **SMALL), render=False).facts.pair == ""


def test_every_member_of_a_counted_group_is_seen():
    """Of three pins one stood behind another throughout, and the captions counted three."""
    facts = make_clip(ClipSpec(seed=36492982421029230, height=128, width=128), render=False).facts
    members = [entity.index for entity in facts.entities if entity.group]
    assert len(members) == 3
    assert (facts.tracks.pixels[:, members].max(0) > 0).all()
