"""Whole clips: rendering, measurements in the id buffer, determinism across processes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.simulator import annotate, lab_split
from kinema.simulator.annotation_io import annotations_to_arrays, annotations_to_json
from kinema.simulator.annotations import Claim
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import Clip, ClipSpec, make_clip, render_larger

SMALL = {"height": 32, "width": 32, "num_frames": 9, "fps": 3.0}


def clip_digest(clip: Clip) -> str:
    whole = hashlib.sha256(annotations_to_json(clip.annotations).encode())
    for name, array in sorted(annotations_to_arrays(clip.annotations).items()):
        whole.update(name.encode() + array.tobytes())
    if clip.frames is not None:
        whole.update(clip.frames.tobytes())
    return whole.hexdigest()


def digests_of_two_clips() -> str:
    """What a fresh process makes of two clips, in another order."""
    specs = [ClipSpec(seed=k, **SMALL) for k in (5, 3)]
    return " ".join(clip_digest(make_clip(spec, threads=2)) for spec in reversed(specs))


def test_the_same_bytes_in_any_process_order_and_number_of_threads():
    here = [clip_digest(make_clip(ClipSpec(seed=k, **SMALL))) for k in (5, 3)]
    code = "from tests.simulator.test_clip import digests_of_two_clips; print(digests_of_two_clips())"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.split() == here[::-1]


def test_clip_contents():
    spec = ClipSpec(seed=1, **SMALL)
    clip = make_clip(spec, object_ids=True, depth=True)
    assert clip.frames.shape == (9, 32, 32, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.object_ids.shape == clip.depth.shape == (9, 32, 32)
    count = len(clip.annotations.entities)
    assert [e.index for e in clip.annotations.entities] == list(range(count))
    for name, array in annotations_to_arrays(clip.annotations).items():
        assert array.shape[0] == 9, name
        assert name == "cameras" or array.shape[1] == count, name
    bare = make_clip(spec)
    assert bare.object_ids is None
    assert bare.depth is None


def test_annotations_do_not_depend_on_rendering():
    for seed in (0, 4):
        spec = ClipSpec(seed=seed, **SMALL)
        rendered, captions = make_clip(spec), make_clip(spec, render=False)
        assert captions.frames is None
        assert clip_digest(replace(rendered, frames=None)) == clip_digest(captions)


def test_pixels_and_boxes_are_those_of_the_id_buffer():
    clip = make_clip(ClipSpec(seed=2, **SMALL), render=False, object_ids=True)
    tracks = clip.annotations.tracks
    for frame in (0, 4, 8):
        for entity in clip.annotations.entities:
            rows, columns = np.nonzero(clip.object_ids[frame] == entity.index + 1)
            assert tracks.pixels[frame, entity.index] == len(rows)
            box = tracks.box[frame, entity.index]
            if len(rows):
                edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert box * 32 == pytest.approx(edges)
            else:
                assert np.isnan(box).all()


def test_ball_is_visible_where_its_centre_projects():
    clip = make_clip(
        ClipSpec(seed=3, event="roll", outcome="stops", lab=True, height=96, width=96), render=False
    )
    tracks = clip.annotations.tracks
    middle = (tracks.box[:, 0, :2] + tracks.box[:, 0, 2:]) / 2
    assert np.abs(middle - tracks.screen[:, 0]).max() < 0.03
    across = (tracks.box[:, 0, 3] - tracks.box[:, 0, 1]) / 2
    if clip.annotations.entities[0].shape == "ball":
        assert across == pytest.approx(tracks.radius[:, 0], rel=0.25)


@pytest.mark.parametrize("outcome", ["re-emerges", "stays hidden", "comes back", "in front"])
def test_occlusion_claims_match_the_id_buffer(outcome):
    clip = make_clip(ClipSpec(seed=6, event="occlude", outcome=outcome, height=64, width=64), render=False)
    pixels = clip.annotations.tracks.pixels[:, 0]
    kinds = {claim.kind for claim in clip.annotations.claims}
    assert ("hides" in kinds) == bool((pixels == 0).any())
    assert pixels[0] > 0
    assert ("stays hidden" in kinds) == bool(pixels[-1] == 0)


def test_visibility_claims_can_fail():
    clip = make_clip(ClipSpec(seed=6, event="occlude", outcome="in front", height=64, width=64), render=False)
    tracks = clip.annotations.tracks
    assert not annotate.claim_holds_in_pixels(Claim(kind="hides", subject=0, object=1), tracks)
    assert not annotate.claim_holds_in_pixels(Claim(kind="stays hidden", subject=0, object=1), tracks)
    assert annotate.claim_holds_in_pixels(Claim(kind="in front", subject=0, object=1), tracks)


def test_main_object_is_in_view_at_the_event():
    poor = 0
    seeds = range(500, 524)
    for seed in seeds:
        annotations = make_clip(ClipSpec(seed=seed, height=64, width=64), render=False).annotations
        box = annotations.tracks.box[annotations.event_frame, 0]
        hidden = any(claim.kind == "hides" for claim in annotations.claims)
        inside = box[0] > 0 and box[1] > 0 and box[2] < 1 and box[3] < 1
        poor += not (inside or hidden)
    assert poor / len(seeds) <= 0.05


def test_every_clip_claims_its_camera_move():
    for seed in (10, 11):
        annotations = make_clip(ClipSpec(seed=seed, **SMALL), render=False).annotations
        assert annotations.claims[-1] == Claim(kind="camera", value=annotations.camera)
    annotations = make_clip(
        ClipSpec(seed=1, lab=True, event="camera", outcome="pan left", **SMALL), render=False
    ).annotations
    assert annotations.claims[0] == Claim(kind="camera", value="pan left")
    assert annotations.camera == "pan left"


def test_lab_annotations_match_their_split():
    for seed in range(6):
        for split in ("train", "test"):
            spec = ClipSpec(seed=seed, lab=True, split=split, height=32, width=32)
            assert lab_split.is_held_out(make_clip(spec, render=False).annotations) == (split == "test")


def test_pairs_share_an_id_and_an_environment():
    one = make_clip(ClipSpec(seed=9, event="wall pair", outcome="wall", height=32, width=32))
    two = make_clip(ClipSpec(seed=9, event="wall pair", outcome="no wall", height=32, width=32))
    assert one.annotations.pair_id == two.annotations.pair_id != ""
    assert (one.annotations.cause, two.annotations.cause) == ("wall", "no wall")
    assert one.annotations.environment == two.annotations.environment
    assert not np.array_equal(one.frames, two.frames)
    assert make_clip(ClipSpec(seed=9, event="roll", **SMALL), render=False).annotations.pair_id == ""


def test_every_member_of_a_counted_group_is_visible():
    """Of three pins one stood behind another throughout, and the captions counted three."""
    annotations = make_clip(ClipSpec(seed=36492982421029230, height=128, width=128), render=False).annotations
    members = [entity.index for entity in annotations.entities if entity.group]
    assert len(members) == 3
    assert (annotations.tracks.pixels[:, members].max(0) > 0).all()


@pytest.mark.parametrize("shape", ["ring", "cube"])
def test_the_first_object_of_a_lab_clip_has_the_main_shape(shape):
    spec = ClipSpec(seed=2, lab=True, event="roll", num_frames=17, fps=8.0)
    plain = make_clip(spec, render=False).annotations
    changed = make_clip(replace(spec, main_shape=shape), render=False).annotations
    assert plain.entities[0].shape != shape
    assert changed.entities[0].shape == shape
    assert shape in generate_captions(changed)[0].text


@pytest.mark.parametrize("outcome", ["pushed", "tips over", "stays"])
def test_a_ball_of_the_lab_hits_a_cone(outcome):
    spec = ClipSpec(
        seed=3, lab=True, event="collide", outcome=outcome, num_frames=17, fps=8.0, partner_shape="cone"
    )
    annotations = make_clip(spec, render=False).annotations
    assert [entity.shape for entity in annotations.entities] == ["ball", "cone"]
    assert annotations.outcome == outcome
    assert "cone" in generate_captions(annotations)[0].text


@pytest.mark.parametrize("options", [{"main_shape": "ring"}, {"partner_shape": "cone"}])
def test_shapes_of_ones_choice_outside_the_lab_are_refused(options):
    with pytest.raises(UserError, match="lab=True"):
        ClipSpec(seed=2, **options)


def test_larger_renders_show_the_same_moments():
    spec = ClipSpec(seed=4, lab=True, height=64, width=64, num_frames=9, fps=8.0, event="roll")
    frames, larger = render_larger(spec, (2, 4), (1, 7))
    assert np.array_equal(frames, make_clip(spec).frames)
    for factor, large in larger.items():
        assert large.shape == (2, 64 * factor, 64 * factor, 3)
        means = large.reshape(2, 64, factor, 64, factor, 3).mean((2, 4))
        right = np.abs(means - frames[[1, 7]]).mean()
        assert right < 1.5
        assert np.abs(means - frames[[7, 1]]).mean() > 2 * right
