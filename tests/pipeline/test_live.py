"""Live videos: any prompts at any time, and going on from any point of the past, with the oracle model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.pipeline.live import LivePast, LiveSampler, LiveState
from kinema.pipeline.pipeline import load
from kinema.pipeline.request import VideoRequest
from kinema.pipeline.streaming import StreamingConfig
from tests.fixtures import oracle

CACHE = StreamingConfig(context_mode="cache", first=3, block=2, window=3, sink=1)
WINDOWS = StreamingConfig(context_mode="windows", first=3, block=2, window=1)
CONFIGS = pytest.mark.parametrize("config", [CACHE, WINDOWS], ids=["cache", "windows"])


@pytest.fixture(scope="module")
def videos():
    return {"a ball": oracle.simulated_video(1, frames=33), "a cube": oracle.simulated_video(2, frames=33)}


def live(videos, config: StreamingConfig) -> LiveSampler:
    pipe = oracle.oracle_pipeline(videos, num_frames=9)
    resolved = pipe.resolve(VideoRequest(prompt="a ball", num_inference_steps=2))
    return LiveSampler(pipe.components, resolved, config)


def play(
    sampler: LiveSampler, state: LiveState, count: int
) -> tuple[LiveState, list[np.ndarray], list[torch.Tensor]]:
    frames, latents = [], []
    for _ in range(count):
        state, output = sampler.next_frames(state)
        frames.append(output.frames)
        latents.append(output.latents)
    return state, frames, latents


@CONFIGS
def test_the_frames_are_those_of_the_video_one_latent_frame_at_a_time(videos, config):
    sampler = live(videos, config)
    _, frames, _ = play(sampler, sampler.begin(sampler.encode_prompt("a ball")), 9)
    assert [len(part) for part in frames] == [1] + [4] * 8
    assert np.array_equal(np.concatenate(frames), videos["a ball"])


@pytest.mark.parametrize("shown", [1, 2, 3, 4])
@CONFIGS
def test_a_new_prompt_acts_on_the_next_frame_also_within_a_block(videos, config, shown):
    sampler = live(videos, config)
    cube = sampler.encode_prompt("a cube")
    state, before, _ = play(sampler, sampler.begin(sampler.encode_prompt("a ball")), shown)
    blended, after, _ = play(sampler, sampler.change_prompt(state, cube, "blend"), 9 - shown)
    assert blended.position == 9
    seen = np.concatenate([*before, *after])
    change = 4 * shown - 3
    assert np.array_equal(seen[:change], videos["a ball"][:change])
    if config.context_mode == "cache":
        assert np.array_equal(seen[change:], videos["a cube"][change:])
    else:
        # The oracle looks its context up in the video of the new prompt, where it is not.
        assert len(seen) == 33


@CONFIGS
def test_a_cut_begins_a_new_video(videos, config):
    sampler = live(videos, config)
    state, _, _ = play(sampler, sampler.begin(sampler.encode_prompt("a ball")), 4)
    _, after, _ = play(sampler, sampler.change_prompt(state, sampler.encode_prompt("a cube"), "cut"), 5)
    assert np.array_equal(np.concatenate(after), videos["a cube"][:17])


@pytest.mark.parametrize("position", [1, 2, 5, 7])
@CONFIGS
def test_a_video_goes_on_from_any_point_of_its_past(videos, config, position):
    sampler = live(videos, config)
    ball = sampler.encode_prompt("a ball")
    _, _, latents = play(sampler, sampler.begin(ball), 9)
    past = LivePast(
        first=torch.cat(latents[: config.sink], 2) if config.sink else latents[0][:, :, :0],
        last=torch.cat(latents[max(0, position - sampler.num_kept) : position], 2),
        position=position,
    )
    state = sampler.go_on(past, ball, branch=1)
    assert state.position == position
    _, frames, _ = play(sampler, state, 9 - position)
    assert np.array_equal(np.concatenate(frames), videos["a ball"][4 * position - 3 :])


def test_what_is_kept_does_not_grow(videos):
    sampler = live(videos, CACHE)
    state = sampler.begin(sampler.encode_prompt("a ball"))
    for _ in range(9):
        state, _ = sampler.next_frames(state)
        assert state.context.cache.num_frames <= CACHE.sink + CACHE.window


def test_a_model_that_can_not_stream_is_refused(videos):
    pipe = oracle.oracle_pipeline(videos, num_frames=9)
    resolved = pipe.resolve(VideoRequest(prompt="a ball"))
    defaults = dataclasses.replace(pipe.model.sampling_defaults, image_conditioning="none")
    model = dataclasses.replace(pipe.model, sampling_defaults=defaults)
    with pytest.raises(UserError, match="can't continue"):
        LiveSampler(dataclasses.replace(pipe.components, model=model), resolved)


def test_the_shipped_model_makes_the_same_live_video_again_and_another_branch():
    pipe = load("world", device="cpu")
    sampler = pipe.live(VideoRequest(prompt="a red ball rolls to the left", num_inference_steps=1, seed=4))
    prompt = sampler.encode_prompt("a red ball rolls to the left")
    output = [play(sampler, sampler.begin(prompt, branch=branch), 2)[1] for branch in (0, 0, 1)]
    first, again, other = (np.concatenate(frames) for frames in output)
    assert first.shape == (5, 128, 128, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
