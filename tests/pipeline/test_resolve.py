"""Resolving requests: every impossible one ends in one line that says what is possible."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.pipeline.conditioning import (
    Conditioning,
    ImageCondition,
    LatentCondition,
    TimedPrompt,
    encode_conditions,
    encode_i2v_channels,
)
from kinema.pipeline.images import load_image, resize_and_crop, size_for_aspect
from kinema.pipeline.request import Shot, VideoRequest
from kinema.pipeline.resolve import resolve_request
from kinema.shapes import LatentShape, Stride, VideoShape
from tests.fixtures import wan_fixtures
from tests.fixtures.wan_videos import smooth_image

STRIDE = Stride(temporal=4, spatial=8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return wan_fixtures.Saved(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def text_model(saved):
    return open_model(str(saved["t2v-2.1"]))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(-5, 2000), height=st.integers(-5, 2000), frames=st.integers(-3, 160))
def test_any_size_is_accepted_or_the_nearest_named(text_model, width, height, frames):
    def ask(size, count):
        return resolve_request(text_model, VideoRequest(prompt="a ball", size=size, num_frames=count))

    try:
        ask((width, height), frames)
    except UserError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message
    if message and min(width, height, frames) >= 1:
        # Following the advice, at most once for the size and once for the length, gives a valid request.
        size, count = (width, height), frames
        for _ in range(2):
            with contextlib.suppress(UserError):
                ask(size, count)
                break
            with pytest.raises(UserError) as raised:
                ask(size, count)
            near = str(raised.value).split("the nearest is ")[1]
            if near.endswith("frames"):
                count = int(near.split()[0])
            else:
                size = tuple(int(side) for side in near.split("x"))
        video = ask(size, count).video_shape
        assert (video.width, video.height, video.frames) == (*size, count)
    if not message:
        request = ask((width, height), frames)
        assert (width % 16, height % 16, frames % 4) == (0, 0, 1)
        assert request.video_shape == VideoShape(frames=frames, height=height, width=width)


def test_defaults_are_the_model_s(text_model):
    request = resolve_request(text_model, VideoRequest(prompt="a ball"))
    assert (request.video_shape.width, request.video_shape.height, request.video_shape.frames) == (
        832,
        480,
        81,
    )
    assert (request.num_inference_steps, request.guidance_scale, request.flow_shift, request.fps) == (
        50,
        (5.0,),
        3.0,
        16.0,
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_inference_steps": 0}, "0 steps"),
        ({"fps": 0.0}, "frames per second"),
        ({"flow_shift": 0.0}, "shift"),
        ({"seed": -1}, "seed"),
        ({"guidance_scale": -1.0}, "guidance"),
        ({"guidance_scale": (1.0, 2.0)}, "2 guidance scales for a model of 1 transformer;"),
        ({"image": smooth_image(1)}, "from text alone"),
        ({"image": "nowhere.png"}, "nowhere"),
        ({"prompt": "a\x00ball"}, "the prompt is not possible.*control character U[+]0000"),
        ({"negative_prompt": "\x1b[2J"}, "the negative prompt is not possible"),
        (
            {"prompt": "", "storyboard": (Shot(prompt="a"), Shot(prompt="\x9b", seconds=1.0))},
            "prompt of shot 2",
        ),
    ],
)
def test_impossible_requests(text_model, fields, message):
    with pytest.raises(UserError, match=message) as caught:
        resolve_request(text_model, VideoRequest(**{"prompt": "a ball", **fields}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variant", "image_seeds", "message"),
    [
        ("i2v-2.1", {}, "from an image; give image"),
        ("i2v-2.1", {"image": 1, "last_image": 2}, "give image alone"),
        ("flf2v-2.1", {"image": 1}, "give image and last_image"),
        ("flf2v-2.1", {}, "give image and last_image"),
        ("i2v-a14b-2.2", {}, "from an image; give image"),
    ],
)
def test_unsupported_images_are_refused(saved, variant, image_seeds, message):
    images = {name: smooth_image(seed) for name, seed in image_seeds.items()}
    with pytest.raises(UserError, match=message):
        resolve_request(open_model(str(saved[variant])), VideoRequest(prompt="a ball", **images))


def test_an_image_sets_the_proportions(saved):
    model = open_model(str(saved["i2v-a14b-2.2"]))
    tall = np.zeros((1600, 900, 3), dtype=np.uint8)
    video = resolve_request(model, VideoRequest(prompt="a ball", image=tall)).video_shape
    assert video.height % 16 == video.width % 16 == 0
    assert video.height / video.width == pytest.approx(16 / 9, rel=0.05)
    assert video.height * video.width == pytest.approx(832 * 480, rel=0.1)


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    to=st.tuples(st.integers(1, 64), st.integers(1, 64)),
)
def test_a_resized_image_fills_its_frame(width, height, to):
    image = np.full((height, width, 3), 77, dtype=np.uint8)
    resized = resize_and_crop(image, to)
    assert resized.shape == (to[1], to[0], 3)
    assert (resized == 77).all()


def test_cropping_keeps_the_middle():
    image = np.zeros((10, 30, 3), dtype=np.uint8)
    image[:, 10:20] = 255
    assert (resize_and_crop(image, (10, 10)) == 255).all()


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([8, 16, 32]))
def test_sizes_like_an_image_fit_the_model(width, height, unit):
    image = np.broadcast_to(np.uint8(0), (height, width, 3))
    assert all(side % unit == 0 and side > 0 for side in size_for_aspect(image, (832, 480), unit))


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_arrays_that_are_no_images(array):
    with pytest.raises(UserError, match="height x width x 3"):
        load_image(array)


def condition(*frames: int) -> Conditioning:
    return Conditioning(
        prompts=(TimedPrompt(prompt="a"),),
        images=tuple(
            ImageCondition(image=np.full((16, 16, 3), 10 * f % 256, np.uint8), frame=f) for f in frames
        ),
    )


def test_prompt_index_per_frame():
    story = Conditioning(
        prompts=(TimedPrompt(prompt="a"), TimedPrompt(prompt="b", frame=5), TimedPrompt(prompt="c", frame=6))
    )
    shape = LatentShape(frames=4, height=2, width=2)
    # Latent frames begin at video frames 0, 1, 5 and 9.
    assert story.prompt_index_per_frame(shape, STRIDE) == (0, 0, 1, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Conditioning(prompts=()), "no prompt"),
        (lambda: Conditioning(prompts=(TimedPrompt(prompt="a", frame=1),)), "no prompt"),
        (lambda: Conditioning(prompts=(TimedPrompt(prompt="a"), TimedPrompt(prompt="b"))), "order them"),
        (lambda: ImageCondition(image=smooth_image(1), sigma=1.0), "sigma"),
        (lambda: condition(9).resolve_frames(VideoShape(frames=9, height=16, width=16)), "0 to 8"),
        (lambda: condition(-1, 8).resolve_frames(VideoShape(frames=9, height=16, width=16)), "two images"),
    ],
)
def test_conditions_that_contradict_themselves(wrong, message):
    with pytest.raises(UserError, match=message):
        wrong()


def encode(video):
    """An encoder whose latents are the mean colour of each group, in one channel."""
    first, rest = video[:, :1, :1], video[:, :1, 1:]
    groups = rest.unflatten(2, (-1, 4)).mean(3) if rest.shape[2] else rest
    return torch.nn.functional.avg_pool3d(torch.cat([first, groups], 2), (1, 8, 8))


def test_images_on_the_latent_grid():
    shape = LatentShape(frames=3, height=2, width=2)
    video = VideoShape(frames=9, height=16, width=16)
    encoded = encode_conditions(condition(0, -1).resolve_frames(video), shape, STRIDE, 1, encode)
    assert encoded.sigmas.tolist() == [0, 1, 0]
    assert torch.allclose(encoded.latents[0, 0, :, 0, 0], torch.tensor([-1.0, 0, 246 / 127.5 - 1]))
    with pytest.raises(UserError, match="two inputs fall on latent frame 1"):
        encode_conditions(condition(1, 3), shape, STRIDE, 1, encode)


def test_conditioning_latents_and_sigmas():
    shape = LatentShape(frames=3, height=2, width=2)
    ends = torch.full((1, 1, 2, 2, 2), 5.0)
    conditioning = Conditioning(
        prompts=(TimedPrompt(prompt="a"),), latents=(LatentCondition(latents=ends, frame=-2, sigma=0.25),)
    )
    encoded = encode_conditions(conditioning, shape, STRIDE, 1, encode)
    noise = torch.ones(1, 1, 3, 2, 2)
    clamp = encoded.to_clamp(noise)
    assert clamp is not None
    assert clamp.frames.tolist() == [False, True, True]
    assert clamp.apply(noise, 1.0)[0, 0, :, 0, 0].tolist() == [1, 4, 4]
    assert encoded.restore_conditioning(noise)[0, 0, :, 0, 0].tolist() == [1, 5, 5]
    with pytest.raises(UserError, match="do not fit"):
        encode_conditions(
            Conditioning(
                prompts=(TimedPrompt(prompt="a"),), latents=(LatentCondition(latents=ends, frame=2),)
            ),
            shape,
            STRIDE,
            1,
            encode,
        )


def test_released_frames_are_not_restored():
    shape = LatentShape(frames=3, height=2, width=2)
    first = LatentCondition(latents=torch.full((1, 1, 1, 2, 2), 5.0))
    last = LatentCondition(latents=torch.full((1, 1, 1, 2, 2), 7.0), frame=2, release_sigma=0.7)
    encoded = encode_conditions(
        Conditioning(prompts=(TimedPrompt(prompt="a"),), latents=(first, last)), shape, STRIDE, 1, encode
    )
    sampled = torch.ones(1, 1, 3, 2, 2)
    assert encoded.restore_conditioning(sampled)[0, 0, :, 0, 0].tolist() == [5, 1, 1]
    clamp = encoded.to_clamp(torch.zeros_like(sampled))
    assert clamp is not None
    assert clamp.active(0.71).tolist() == [True, False, True]
    assert clamp.active(0.7).tolist() == [True, False, False]
    assert clamp.apply(sampled, 0.8, 0.9)[0, 0, :, 0, 0].tolist() == [5, 1, 7]
    # Noised by zeros to 0.5, once; then it is sampled.
    assert clamp.apply(sampled, 0.5, 0.8)[0, 0, :, 0, 0].tolist() == [5, 1, 3.5]
    assert clamp.apply(sampled, 0.4, 0.5)[0, 0, :, 0, 0].tolist() == [5, 1, 1]


def test_a_loop_that_begins_with_an_image_keeps_it():
    plain, with_image = (
        resolve_request(open_model("world"), VideoRequest(prompt="a", loop=True, image=image)).segments[-1]
        for image in (None, smooth_image(1, side=128))
    )
    assert plain.join_mode == with_image.join_mode == "loop"
    assert plain.release_sigma > 0
    assert with_image.release_sigma == 0


def test_mask_channels_count_video_frames():
    video, shape = VideoShape(frames=9, height=16, width=16), LatentShape(frames=3, height=2, width=2)
    channels = encode_i2v_channels(condition(0, 7), video, shape, STRIDE, encode)
    assert channels[0, :4, :, 0, 0].tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 1], [1, 0, 0]]
