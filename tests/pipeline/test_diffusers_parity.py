"""Whole videos against diffusers: same weights and noise give the same video, in both directions."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from safetensors import safe_open

from kinema.models.formats import safetensors_io
from kinema.pipeline.progress import SamplingStep
from kinema.pipeline.request import VideoRequest
from tests.fixtures import wan_fixtures, wan_videos
from tests.fixtures.wan_videos import CASES, check_frames_match

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:diffusers", "ignore::UserWarning:transformers")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return wan_fixtures.Saved(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def videos(saved):
    """diffusers' video of each case, results once."""
    results = {}

    def reference(case):
        if case not in results:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results[case] = wan_videos.generate_with_diffusers(saved[case.variant], case)
        return results[case]

    return reference


@pytest.mark.parametrize("case", CASES, ids=str)
def test_video_equals_diffusers(case, saved, videos):
    check_frames_match(
        wan_videos.generate_with_kinema(wan_videos.load_pipeline(saved[case.variant]), case), videos(case)
    )


def read(tensor):
    with safe_open(tensor.file, framework="pt") as opened:
        return opened.get_tensor(tensor.name)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_we_save_diffusers_loads(case, saved, videos, tmp_path):
    pipe = wan_videos.load_pipeline(saved[case.variant])
    parts = {folder.name for folder in saved[case.variant].iterdir()}
    pipe.save(tmp_path / "again", shard_bytes=200_000)
    assert len(list((tmp_path / "again" / "transformer").glob("*.safetensors"))) > 1
    for part in ("transformer", "transformer_2", "vae"):
        before = (
            safetensors_io.list_tensors(saved[case.variant] / part, component=part) if part in parts else {}
        )
        after = (
            safetensors_io.list_tensors(tmp_path / "again" / part, component=part) if part in parts else {}
        )
        assert before.keys() == after.keys()
        for name in before:
            assert torch.equal(read(before[name]), read(after[name]))
    check_frames_match(wan_videos.generate_with_diffusers(tmp_path / "again", case), videos(case))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_input_changes_the_video(case, saved):
    pipe = wan_videos.load_pipeline(saved[case.variant])
    video = wan_videos.generate_with_kinema(pipe, case)
    others = {
        "prompt": wan_videos.generate_with_kinema(pipe, case, prompt="two cat"),
        "negative": wan_videos.generate_with_kinema(pipe, case, negative_prompt="a film of the right"),
        "seed": wan_videos.generate_with_kinema(pipe, case, seed=1),
    }
    if case.image:
        others["image"] = wan_videos.generate_with_kinema(pipe, case, image_seeds=(3, 2))
    if case.last_image:
        others["last image"] = wan_videos.generate_with_kinema(pipe, case, image_seeds=(1, 3))
    for what, other in others.items():
        assert (video != other).mean() > 0.05, what


@pytest.mark.parametrize("case", [CASES[1], CASES[3]], ids=str)
def test_low_memory_generates_the_same_video(case, saved):
    short = wan_videos.load_pipeline(saved[case.variant], memory="low")
    assert np.array_equal(
        wan_videos.generate_with_kinema(short, case),
        wan_videos.generate_with_kinema(wan_videos.load_pipeline(saved[case.variant]), case),
    )
    assert not short.components.resident_bytes


def test_noise_in_place_of_the_seed(saved):
    case = CASES[0]
    pipe = wan_videos.load_pipeline(saved[case.variant])
    noise = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    assert np.array_equal(
        wan_videos.generate_with_kinema(pipe, case, noise=noise),
        wan_videos.generate_with_kinema(pipe, case, seed=5),
    )


def test_iterating_steps_gives_the_same_video(saved):
    case = CASES[0]
    pipe = wan_videos.load_pipeline(saved[case.variant])
    steps = [
        event
        for event in pipe.stream(
            VideoRequest(
                prompt=wan_videos.PROMPT,
                negative_prompt=wan_videos.NEGATIVE_PROMPT,
                size=(64, 64),
                num_frames=9,
                num_inference_steps=4,
                guidance_scale=3.0,
            )
        )
        if isinstance(event, SamplingStep)
    ]
    assert [(step.index, step.total) for step in steps] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert steps[-1].sigma == 0
    assert steps[0].preview().shape == (9, 64, 64, 3)  # decoded: the video is small
    with torch.no_grad():
        decoded = pipe.vae.decode(steps[-1].latents)
    video = ((decoded[0].permute(1, 2, 3, 0) / 2 + 0.5) * 255).round().to(torch.uint8).numpy()
    assert np.array_equal(video, wan_videos.generate_with_kinema(pipe, case))
    # The last estimate is the finished video.
    assert np.array_equal(steps[-1].preview(), video)


def test_previews_of_large_videos_are_one_pixel_for_each_latent_pixel(saved, monkeypatch):
    monkeypatch.setattr("kinema.pipeline.latent_preview.MAX_DECODED_PIXELS", 9 * 64 * 64 - 1)
    pipe = wan_videos.load_pipeline(saved[CASES[0].variant])
    request = VideoRequest(prompt="a cat", size=(64, 64), num_frames=9, num_inference_steps=1)
    step = next(event for event in pipe.stream(request) if isinstance(event, SamplingStep))
    assert step.preview().shape == (3, 8, 8, 3)


def test_the_conditioning_frame_is_kept(saved):
    case = CASES[6]
    pipe = wan_videos.load_pipeline(saved[case.variant])
    request = VideoRequest(
        prompt="a cat",
        size=(64, 64),
        num_frames=9,
        num_inference_steps=3,
        image=wan_videos.smooth_image(1),
    )
    *_, last = (event for event in pipe.stream(request) if isinstance(event, SamplingStep))
    pixels = torch.from_numpy(wan_videos.smooth_image(1).copy()).permute(2, 0, 1)[None, :, None] / 127.5 - 1
    with torch.no_grad():
        expected = pipe.vae.encode(pixels)
    torch.testing.assert_close(last.latents[:, :, :1], expected, atol=1e-5, rtol=0)


def test_eight_bits_are_near(saved):
    case = CASES[0]
    video = wan_videos.generate_with_kinema(wan_videos.load_pipeline(saved[case.variant]), case).astype(int)
    eight = wan_videos.generate_with_kinema(
        wan_videos.load_pipeline(saved[case.variant], dtype="int8"), case
    ).astype(int)
    assert 0 < np.abs(video - eight).mean() < 2
