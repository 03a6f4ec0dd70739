"""Every task with a model that knows the answer: the result is the simulated video."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.evaluation.frame_statistics import frame_mae, loop_seam_ratio
from kinema.media import write_video
from kinema.pipeline.progress import FrameChunk, SamplingStep
from kinema.pipeline.request import (
    EditInput,
    ExtendInput,
    InterpolateInput,
    Keyframe,
    Shot,
    VideoRequest,
)
from kinema.pipeline.resolve import resolve_request
from kinema.pipeline.segments import crossfade
from tests.fixtures import oracle
from tests.fixtures.wan_videos import smooth_image

FPS = 8


@pytest.fixture(scope="module")
def truth():
    return oracle.simulated_video(1, frames=49)


@pytest.fixture(scope="module")
def pipe(truth):
    return oracle.oracle_pipeline({"a": truth, "b": truth[::-1].copy()}, num_frames=17)


@pytest.fixture(scope="module")
def matching_pipe(truth):
    """Released frames are placed where they agree best with the video."""
    return oracle.oracle_pipeline({"a": truth}, num_frames=17, first=None)


@pytest.fixture(scope="module")
def file(truth, tmp_path_factory):
    """Writes a part of the true video without loss."""
    folder = tmp_path_factory.mktemp("videos")

    def write(start: int | None, stop: int | None):
        path = folder / f"{start}-{stop}.webm"
        if not path.exists():
            write_video(path, truth[start:stop], fps=FPS, quality="lossless")
        return path

    return write


def check_join(frames: np.ndarray, at: int) -> None:
    """The step into frame `at` is no more than 1.5 times the median of the steps around it."""
    steps = [frame_mae(a, b) for a, b in itertools.pairwise(frames)]
    assert steps[at - 1] <= 1.5 * np.median(steps[max(0, at - 9) : at + 8])


@pytest.mark.parametrize(("seconds", "frames"), [(None, 29), (1.5, 29), (2.0, 33), (4.0, 49), (0.4, 21)])
def test_extending_continues_the_video(matching_pipe, truth, file, seconds, frames):
    video = matching_pipe.generate(
        VideoRequest(prompt="a", source=ExtendInput(video=file(0, 17)), seconds=seconds)
    )
    assert np.array_equal(video.frames, truth[:frames])


@pytest.mark.parametrize(("seconds", "start"), [(None, 20), (1.6, 20), (4.0, 0)])
def test_extending_backward_gives_the_preceding_video(matching_pipe, truth, file, seconds, start):
    video = matching_pipe.generate(
        VideoRequest(prompt="a", source=ExtendInput(video=file(33, None), backward=True), seconds=seconds)
    )
    new = len(video.frames) - 16
    assert abs(new - (33 - start)) <= 3
    assert np.array_equal(video.frames[new:], truth[33:])
    if len(resolve_request(matching_pipe.model, extend_backward_request(file, seconds)).segments) == 1:
        assert np.array_equal(video.frames, truth[33 - new :])


def extend_backward_request(file, seconds):
    return VideoRequest(prompt="a", source=ExtendInput(video=file(33, None), backward=True), seconds=seconds)


@pytest.mark.parametrize(("last", "seconds"), [(25, None), (25, 1.0), (33, 2.0), (41, 3.0)])
def test_interpolation_gives_the_video_between(matching_pipe, truth, file, last, seconds):
    video = matching_pipe.generate(
        VideoRequest(
            prompt="a", source=InterpolateInput(first=file(0, 17), last=file(last, None)), seconds=seconds
        )
    )
    assert np.array_equal(video.frames, truth)
    check_join(video.frames, 17)
    check_join(video.frames, last)


def test_a_loop_comes_back_to_where_it_begins():
    """A video that moves to and fro; the loop segment is the part of it that returns to the start."""
    still = oracle.simulated_video(2, frames=17)
    there = still[[0, 1, 2, 3, 4, 3, 2, 1] * 3]  # 24 frames, then again from 0
    endless = there[np.arange(49) % 24]
    pipe = oracle.oracle_pipeline({"a": endless}, num_frames=17, first=None)
    video = pipe.generate(VideoRequest(prompt="a", loop=True))
    # 17 frames and a loop segment of 8: the period is 24, so the loop arrives one frame late at most.
    assert len(video.frames) == 25
    assert np.array_equal(video.frames[4:25], endless[4:25])
    assert loop_seam_ratio(video.frames) <= 1.5
    assert loop_seam_ratio(still[:13]) > 1.5
    assert frame_mae(video.frames[-1], video.frames[0]) > 0, "it moves there"


@pytest.mark.parametrize("new_frames", [None, 16])
def test_an_extension_can_lead_back_to_the_beginning_of_the_video(tmp_path, new_frames):
    """The source is the first 17 frames of a video that moves to and fro."""
    there = [0, 1, 2, 3, 4, 3, 2, 1]
    endless = oracle.simulated_video(2, frames=17)[[*there * 7, 0]]
    source = tmp_path / "source.webm"
    write_video(source, endless[:17], fps=FPS, quality="lossless")
    pipe = oracle.oracle_pipeline({"a": endless}, num_frames=17, first=None)
    request = VideoRequest(prompt="a", loop=True, num_frames=new_frames, source=ExtendInput(video=source))
    video = pipe.generate(request)
    assert len(video.frames) == 17 + (new_frames or 8)
    assert np.array_equal(video.frames[4:], endless[4 : len(video.frames)])
    assert loop_seam_ratio(video.frames) <= 1.5


def test_the_seam_score_knows_a_seam():
    def video(*levels: int) -> np.ndarray:
        return np.array(levels, np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)

    assert loop_seam_ratio(video(0, 2, 4, 6, 4, 2)) == 1, "there and back again"
    assert loop_seam_ratio(video(0, 2, 4, 6)) == 3
    assert loop_seam_ratio(video(5, 5, 5)) == 1
    assert loop_seam_ratio(video(5, 5, 6)) == np.inf or loop_seam_ratio(video(5, 5, 5, 6)) == np.inf


def test_crossfade_is_slow_at_both_ends():
    a, b = (np.full((4, 2, 2, 3), level, np.uint8) for level in (0, 200))
    levels = [0.0, *crossfade(a, b)[:, 0, 0, 0].astype(float), 200.0]
    steps = np.diff(levels)
    assert (steps > 0).all()
    assert steps[0] == steps[-1] == 21
    assert max(steps[0], steps[-1]) < 0.5 * steps[1:-1].min()


def test_images_at_their_frames(pipe, truth):
    video = pipe.generate(VideoRequest(prompt="a", image=truth[0]))
    assert np.array_equal(video.frames, truth[:17])
    video = pipe.generate(VideoRequest(prompt="a", image=truth[0], last_image=truth[13]))
    assert np.array_equal(video.frames[-1], truth[13])
    assert np.array_equal(video.frames, truth[:14]), "it reaches the image in motion"


@pytest.mark.parametrize("seconds", [(1.0,), (0.625, 1.5), (3.0, 5.0)])
def test_each_keyframe_appears_once_near_its_time(pipe, seconds):
    images = [smooth_image(n, side=32) for n in range(len(seconds))]
    keys = tuple(Keyframe(seconds=s, image=image) for s, image in zip(seconds, images, strict=True))
    fields = VideoRequest(prompt="a", keyframes=keys, num_frames=49 if max(seconds) > 2 else None)
    video = pipe.generate(fields)
    for time, image in zip(seconds, images, strict=True):
        found = [n for n, frame in enumerate(video.frames) if np.abs(frame.astype(int) - image).max() <= 1]
        assert len(found) == 1
        assert abs(found[0] - time * FPS) <= 2


@pytest.mark.parametrize("length", [17, 14, 46])
def test_an_edit_with_the_true_velocity_gives_the_video_back(pipe, truth, file, length):
    video = pipe.generate(VideoRequest(prompt="a", source=EditInput(video=file(0, length), strength=0.6)))
    assert np.array_equal(video.frames, truth[:length])


def test_an_edit_changes_only_what_its_mask_shows(pipe, truth, file):
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[:, 16:] = 255
    edit = EditInput(video=file(0, 17), strength=1.0, mask=mask)
    video = pipe.generate(VideoRequest(prompt="b", source=edit))
    assert np.array_equal(video.frames[:, :, :16], truth[:17, :, :16])
    assert np.array_equal(video.frames[:, :, 16:], truth[::-1][:17, :, 16:])


def test_the_first_step_of_an_edit_is_as_noisy_as_its_strength(pipe, file):
    for strength, steps in ((0.25, 1), (0.6, 2), (1.0, 4)):
        request = resolve_request(
            pipe.model, VideoRequest(prompt="a", source=EditInput(video=file(0, 17), strength=strength))
        )
        *_, step = (event for event in pipe.stream(request) if isinstance(event, SamplingStep))
        assert step.total == steps


def test_a_storyboard_cuts_and_blends(pipe, truth):
    shots = (
        Shot(prompt="a"),
        Shot(prompt="b", seconds=1.625, transition="blend"),
        Shot(prompt="b", seconds=2.5),
    )
    video = pipe.generate(VideoRequest(storyboard=shots, seconds=3.5))
    assert len(video.frames) == 28
    back = truth[::-1]
    assert np.array_equal(video.frames[:13], truth[:13])
    assert np.array_equal(video.frames[13:20], back[13:20]), "the second prompt applies, and time continues"
    assert np.array_equal(video.frames[20:], back[:8]), "after a cut the video starts at its beginning"


def test_a_storyboard_longer_than_the_model_s_videos_is_streamed(pipe, truth):
    assert pipe.resolve(VideoRequest(storyboard=(Shot(prompt="a"),), seconds=6.0)).is_streamed
    video = pipe.generate(VideoRequest(storyboard=(Shot(prompt="a"),), seconds=6.0))
    assert np.array_equal(video.frames, truth[:48])


def test_a_storyboard_s_images(pipe, truth):
    other = smooth_image(3, side=32)
    shots = (
        Shot(prompt="a", image=truth[0]),
        Shot(prompt="b", seconds=1.0, image=other, transition="blend"),
        Shot(prompt="b", seconds=2.0, image=truth[-1]),
    )
    video = pipe.generate(VideoRequest(storyboard=shots, seconds=3.0))
    assert len(video.frames) == 24
    found = [n for n, frame in enumerate(video.frames) if np.abs(frame.astype(int) - other).max() <= 1]
    assert len(found) == 1
    assert abs(found[0] - 8) <= 2
    assert np.array_equal(video.frames[16:], truth[::-1][:8])


def test_clean_conditioning_frames_come_back(pipe, truth, file):
    """The conditioning path at every position against a plain encode."""
    from kinema.pipeline.conditioning import Conditioning, TimedPrompt, VideoCondition, encode_conditions
    from kinema.shapes import LatentShape, VideoShape

    stride = pipe.model.vae.stride
    video = VideoShape(frames=17, height=32, width=32)
    with torch.no_grad():
        plain = pipe.vae.encode(oracle.to_float(truth[:17]))
        clips = (
            VideoCondition(frames=truth[:5]),
            VideoCondition(frames=truth[5:13], frame=5),
            VideoCondition(frames=truth[13:17], frame=-4),
        )
        conditioning = Conditioning(prompts=(TimedPrompt(prompt="a"),), videos=clips)
        encoded = encode_conditions(
            conditioning, LatentShape.of(video, stride), stride, pipe.model.vae.z_dim, pipe.vae.encode
        )
    assert torch.equal(encoded.latents, plain)
    assert encoded.sigmas.tolist() == [0.0] * 5


REQUESTS = {
    "text": lambda file: VideoRequest(prompt="a"),
    "extend": lambda file: VideoRequest(prompt="a", source=ExtendInput(video=file(0, 17)), seconds=4.0),
    "backward": lambda file: VideoRequest(
        prompt="a", source=ExtendInput(video=file(33, None), backward=True), seconds=3.0
    ),
    "edit": lambda file: VideoRequest(
        prompt="b", source=EditInput(video=file(0, 33), mask=smooth_image(1, side=32))
    ),
    "story": lambda file: VideoRequest(
        storyboard=(Shot(prompt="a"), Shot(prompt="b", seconds=1.0)), seconds=2.0, loop=True
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize(("solver", "eta"), [("euler", 0.0), ("euler", 0.8), ("unipc", 0.0)])
def test_resuming_from_every_step_is_bit_exact(truth, file, name, solver, eta):
    pipe = oracle.oracle_pipeline({"a": truth, "b": truth[::-1].copy()}, num_frames=17)
    defaults = pipe.model.sampling_defaults
    object.__setattr__(defaults, "solver", solver)
    object.__setattr__(defaults, "eta", eta)
    object.__setattr__(defaults, "schedule", "wan" if solver == "unipc" else "linear")
    request = resolve_request(pipe.model, REQUESTS[name](file))
    *steps, whole = (event for event in pipe.stream(request) if isinstance(event, SamplingStep | FrameChunk))
    assert [step.index for step in steps] == list(range(steps[0].total))
    for step in steps:
        *rest, video, _ = pipe.stream(request, state=step.to_state())
        assert sum(isinstance(event, SamplingStep) for event in rest) == step.total - 1 - step.index
        assert np.array_equal(video.frames, whole.frames)


def test_a_state_of_another_video_is_refused(pipe):
    request = resolve_request(pipe.model, VideoRequest(prompt="a"))
    first = next(event for event in pipe.stream(request) if isinstance(event, SamplingStep)).to_state()
    with pytest.raises(UserError, match="another video"):
        list(pipe.stream(VideoRequest(prompt="a", num_frames=9), state=first))


IMPOSSIBLE = [
    ({"num_frames": 17, "seconds": 1.0}, "give one of them"),
    ({"seconds": -1.0}, "give no video"),
    ({"upscale": 3}, "1, 2 or 4"),
    ({"loop": True, "last_image": smooth_image(1)}, "leave out last_image"),
    ({"loop": True, "num_frames": 9}, "too few for a loop"),
    ({"storyboard": (Shot(prompt="b"),)}, "put the prompt into a shot"),
    (
        {"storyboard": (Shot(prompt="b"),), "prompt": "", "image": smooth_image(1)},
        "put the image into a shot",
    ),
    ({"storyboard": (Shot(prompt="b", seconds=1.0),), "prompt": ""}, "it begins at 0"),
    ({"storyboard": (Shot(prompt="b"), Shot(prompt="a", seconds=0.01)), "prompt": ""}, "order shots"),
    (
        {"storyboard": (Shot(prompt="b"), Shot(prompt="a", seconds=2.0)), "prompt": "", "seconds": 1.0},
        "longer",
    ),
    ({"keyframes": (Keyframe(seconds=9.0, image=smooth_image(1)),)}, "outside a video"),
    ({"keyframes": (Keyframe(seconds=-1.0, image=smooth_image(1)),)}, "0 or more"),
    ({"keyframes": tuple(Keyframe(seconds=1.0, image=smooth_image(n)) for n in (1, 2))}, "too close"),
    ({"source": ExtendInput(video="nowhere.mp4")}, "does not exist"),
    ({"source": ExtendInput(video="x.mp4"), "image": smooth_image(1)}, "leave out image"),
    ({"source": InterpolateInput(first="x.mp4", last="y.mp4"), "loop": True}, "leave out loop"),
    ({"source": EditInput(video="x.mp4"), "seconds": 2.0}, "as long as its source"),
]


@pytest.mark.parametrize(("fields", "message"), IMPOSSIBLE)
def test_impossible_requests_end_in_one_line(pipe, fields, message):
    with pytest.raises(UserError, match=message) as caught:
        resolve_request(pipe.model, VideoRequest(**({"prompt": "a"} | fields)))
    assert "\n" not in str(caught.value)


def test_noise_is_for_one_segment(pipe):
    with pytest.raises(UserError, match="leave out noise"):
        pipe.generate("a", loop=True, noise=torch.zeros(1, 192, 5, 8, 8))


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.1])
def test_impossible_strengths(strength):
    with pytest.raises(UserError, match="strength"):
        EditInput(video="x.mp4", strength=strength)
