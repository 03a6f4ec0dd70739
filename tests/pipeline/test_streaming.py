"""Streams: sampled block by block, a long video must equal the same video sampled at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.long_videos import stream_in_subprocess
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.media import open_writer, write_video
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.kv_cache import KvCache
from kinema.pipeline.conditioning import (
    Conditioning,
    ImageCondition,
    LatentCondition,
    TimedPrompt,
    VideoCondition,
)
from kinema.pipeline.denoiser import FrameRangeDenoiser
from kinema.pipeline.pipeline import Pipeline
from kinema.pipeline.progress import FrameChunk, SamplingStep, StageProgress
from kinema.pipeline.prompts import PromptEmbeddings
from kinema.pipeline.request import EditInput, Shot, VideoRequest
from kinema.pipeline.resolve import resolve_request
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.segments import Segment
from kinema.pipeline.streaming import StreamingConfig, default_streaming_config, stream_segments
from kinema.shapes import VideoShape
from tests.fixtures import oracle
from tests.models.transformer.test_dit import CONFIGS, random_dit, random_latents, text_embeddings

CACHE = StreamingConfig(context_mode="cache", first=2, block=1, window=3, sink=1)
WINDOWS = StreamingConfig(context_mode="windows", first=3, block=2, window=1)


def request_for(
    pipe: Pipeline,
    num_frames: int,
    *prompts: TimedPrompt,
    conditioning: Conditioning | None = None,
    num_inference_steps: int = 2,
    noise: torch.Tensor | None = None,
) -> ResolvedRequest:
    """A stream of one segment of any length."""
    size = pipe.model.sampling_defaults.size
    shape = VideoShape(frames=num_frames, height=size[1], width=size[0])
    if conditioning is None:
        conditioning = Conditioning(prompts=prompts or (TimedPrompt(prompt="a ball"),)).resolve_frames(shape)
    resolved = pipe.resolve(VideoRequest(prompt="a ball", num_inference_steps=num_inference_steps))
    return dataclasses.replace(
        resolved,
        segments=(Segment(conditioning=conditioning, video_shape=shape),),
        num_frames=num_frames,
        is_streamed=True,
        noise=noise,
    )


def stream_frames(
    pipe: Pipeline, resolved: ResolvedRequest, streaming: StreamingConfig | None = None
) -> np.ndarray:
    return np.concatenate(
        [
            event.frames
            for event in stream_segments(pipe.components, resolved, streaming)
            if isinstance(event, FrameChunk)
        ]
    )


@pytest.fixture(scope="module")
def videos():
    return {"a ball": oracle.simulated_video(1, frames=33), "a cube": oracle.simulated_video(2, frames=33)}


@pytest.mark.parametrize("streaming", [CACHE, WINDOWS])
def test_a_true_velocity_gives_the_same_video_as_one_pass(videos, streaming: StreamingConfig) -> None:
    pipe = oracle.oracle_pipeline(videos, num_frames=9)
    result = stream_frames(pipe, request_for(pipe, 33, TimedPrompt(prompt="a cube")), streaming)
    whole = oracle.oracle_pipeline(videos).generate("a cube", num_inference_steps=2).frames
    assert np.array_equal(result, whole)
    assert np.array_equal(result, videos["a cube"])


@settings(max_examples=25)
@given(
    frames=st.integers(1, 9),
    first=st.integers(1, 6),
    block=st.integers(1, 4),
    window=st.integers(1, 4),
    sink=st.integers(0, 2),
    context_sigma=st.sampled_from([0.0, 0.1]),
    context_mode=st.sampled_from(["cache", "windows"]),
    steps=st.integers(1, 2),
)
def test_any_length_and_any_blocks(
    videos, frames, first, block, window, sink, context_sigma, context_mode, steps
) -> None:
    streaming = StreamingConfig(
        context_mode=context_mode,
        first=first,
        block=block,
        window=window,
        sink=sink if context_mode == "cache" else 0,
        context_sigma=context_sigma,
    )
    pipe = oracle.oracle_pipeline(videos)
    request = request_for(pipe, 4 * frames - 3, num_inference_steps=steps)
    events = list(stream_segments(pipe.components, request, streaming))
    parts = [event for event in events if isinstance(event, FrameChunk)]
    result = np.concatenate([part.frames for part in parts])
    assert np.array_equal(result, videos["a ball"][: 4 * frames - 3])
    assert [part.done for part in parts] == list(np.cumsum([len(part.frames) for part in parts]))
    assert {part.total for part in parts} == {len(result)}
    steps_done = [event for event in events if isinstance(event, SamplingStep)]
    assert [step.index for step in steps_done] == list(range(steps_done[0].total))
    # No call has more frames than a block and its context.
    assert max(count for _, count in pipe.model.oracle.calls) <= max(first, block + window)


def test_blocks_cover_a_video() -> None:
    blocks = list(StreamingConfig(first=3, block=2, window=1).blocks(8))
    assert blocks == [range(3), range(3, 5), range(5, 7), range(7, 8)]


@pytest.mark.parametrize("streaming", [CACHE, WINDOWS])
def test_prompts_apply_at_their_frames(videos, streaming: StreamingConfig) -> None:
    pipe = oracle.oracle_pipeline(videos, num_frames=9)
    prompts = (
        TimedPrompt(prompt="a ball"),
        TimedPrompt(prompt="a cube", frame=9),
        TimedPrompt(prompt="a ball", frame=13),
        TimedPrompt(prompt="a cube", frame=21),
    )
    result = stream_frames(pipe, request_for(pipe, 33, *prompts), streaming)
    ball, cube = videos["a ball"], videos["a cube"]
    expected = np.concatenate([ball[:9], cube[9:13], ball[13:21], cube[21:]])
    assert np.array_equal(result, expected)


@pytest.mark.parametrize("streaming", [CACHE, WINDOWS])
def test_a_storyboard_streams_shot_by_shot(videos, streaming: StreamingConfig) -> None:
    """A cut starts the next video at its beginning, a blend changes the prompt of the one that continues."""
    pipe = oracle.oracle_pipeline(videos, num_frames=9)
    shots = (
        Shot(prompt="a ball", seconds=0.0),
        Shot(prompt="a cube", seconds=17 / 8, transition="cut"),
        Shot(prompt="a ball", seconds=30 / 8, transition="blend"),
    )
    request = resolve_request(
        pipe.model, VideoRequest(storyboard=shots, num_frames=50, num_inference_steps=2)
    )
    assert len(request.segments) == 2
    assert request.is_streamed
    events = [
        event
        for event in stream_segments(pipe.components, request, streaming)
        if isinstance(event, FrameChunk)
    ]
    result = np.concatenate([event.frames for event in events])
    ball, cube = videos["a ball"], videos["a cube"]
    assert len(result) == events[-1].done == events[-1].total == 50
    assert np.array_equal(result[:17], ball[:17])
    assert np.array_equal(result[17:30], cube[:13])
    assert np.array_equal(result[30:50], ball[13:33])


def test_each_block_sees_only_its_own_prompts() -> None:
    """A real transformer: a block has no keys of prompts that do not apply to it."""
    dit = random_dit(CONFIGS["joint"])
    states = text_embeddings(CONFIGS["joint"], 3, 5, 2)
    prompts = PromptEmbeddings(text_embeddings=states, image_embeddings=None, prompt_index=(0, 0, 1, 1))
    denoiser = FrameRangeDenoiser(dit, prompts, guidance_scale=1.0)
    with torch.no_grad():
        alone = dit.context(
            TextEmbeddings(hidden_states=states.hidden_states[1:2, :5], lengths=states.lengths[1:2])
        )
    assert denoiser.context(range(2, 4)).num_keys == 5
    assert denoiser.context(range(1, 3)).num_keys == 8
    latents, time = random_latents(CONFIGS["joint"], frames=2), torch.full((1, 2), 0.5, dtype=torch.float64)
    with torch.no_grad():
        expected = dit(latents, time, alone, cache=KvCache(total_frames=2))
    found = denoiser.for_frames(range(2, 4))(latents, time)
    assert (found - expected).abs().max() <= 1e-6


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stream_with_cache_equals_the_masked_whole(name: str) -> None:
    """Teacher-forced: the velocity of every block behind the cache is that under the block-causal mask."""
    config = CONFIGS[name]
    dit, states = random_dit(config), text_embeddings(config, 4, 2)
    denoiser = FrameRangeDenoiser(
        dit,
        PromptEmbeddings(text_embeddings=states, image_embeddings=None, prompt_index=(0,) * 6),
        guidance_scale=2.0,
    )
    clean, noise = random_latents(config, frames=6), random_latents(config, frames=6, seed=9)
    cache, zero = KvCache(), torch.zeros(1, 6, dtype=torch.float64)
    start = 0
    for frames in (2, 1, 3):
        block = range(start, start + frames)
        part = torch.lerp(clean, noise, 0.7)[:, :, start : block.stop]
        time = torch.full((1, frames), 0.7, dtype=torch.float64)
        found = denoiser.for_frames(block, cache)(part, time)
        # The same block at the end of a masked whole whose earlier frames are clean.
        whole = torch.cat([clean[:, :, :start], part], dim=2)
        times = torch.cat([zero[:, :start], time], dim=1)
        blocks = (2, 1, 3)[: (2, 1, 3).index(frames) + 1]
        with torch.no_grad():
            context = denoiser.context(block)
            conditional, unconditional = dit(whole, times, context, block_frames=blocks).chunk(2)
            expected = unconditional + 2.0 * (conditional - unconditional)
            cache = dit.update_cache(clean[:, :, start : block.stop], zero[:, :frames], context, cache)
        assert (found - expected[:, :, start:]).abs().max() <= 1e-5
        start = block.stop


def test_the_cache_stops_growing(monkeypatch) -> None:
    pipe = oracle.oracle_pipeline({"a ball": oracle.simulated_video(1, frames=33)}, num_frames=9)
    dit, sizes = pipe.model.oracle, []
    update_cache = dit.update_cache

    def watched(*arguments, **options):
        cache = update_cache(*arguments, **options)
        sizes.append((cache.num_frames, cache.blocks[0].keys[0, 0, :, 0].tolist()))
        return cache

    monkeypatch.setattr(dit, "update_cache", watched)
    stream_frames(pipe, request_for(pipe, 33), CACHE)
    assert [size for size, _ in sizes] == [2, 3, 4, 4, 4, 4, 4]
    assert sizes[-1][1] == [0, 5, 6, 7]  # the sink, then the last three frames


def test_the_noise_does_not_depend_on_the_blocks() -> None:
    """With a velocity of zero the latents are the noise."""
    pipe = oracle.oracle_pipeline({"a ball": oracle.simulated_video(1)})
    pipe.model.oracle.forward = lambda latents, sigma, context, **_: torch.zeros_like(
        latents.repeat(context.batch_size, 1, 1, 1, 1)
    )
    drawn = []
    for streaming in (CACHE, WINDOWS, dataclasses.replace(WINDOWS, context_sigma=0.1)):
        last = {}
        for event in stream_segments(pipe.components, request_for(pipe, 17), streaming):
            if isinstance(event, SamplingStep):
                last[event.index // 2] = event.latents
        drawn.append(torch.cat(list(last.values()), dim=2))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    provided = torch.randn(drawn[0].shape)
    request = request_for(pipe, 17, noise=provided)
    steps = [
        event for event in stream_segments(pipe.components, request, CACHE) if isinstance(event, SamplingStep)
    ]
    assert torch.equal(torch.cat([step.latents for step in steps[1::2]], dim=2), provided)


@pytest.mark.parametrize("streaming", [CACHE, WINDOWS])
def test_conditioning_frames_are_clamped_in_their_blocks(videos, streaming: StreamingConfig) -> None:
    """Whatever the velocity, known frames come out: an image as the group of frames that it fills."""
    pipe = oracle.oracle_pipeline(videos)
    cube, ball = videos["a cube"], videos["a ball"]
    latents = pipe.model.oracle.latents[1][None]
    size = VideoShape(frames=33, height=32, width=32)
    conditioning = Conditioning(
        prompts=(TimedPrompt(prompt="a ball"),),
        images=(
            ImageCondition(image=cube[0]),
            ImageCondition(image=cube[16], frame=16),
            ImageCondition(image=cube[32], frame=-1),
        ),
        latents=(LatentCondition(latents=latents[:, :, 5:6], frame=5),),
        videos=(VideoCondition(frames=cube[21:29], frame=21),),
    ).resolve_frames(size)
    events = list(
        stream_segments(pipe.components, request_for(pipe, 33, conditioning=conditioning), streaming)
    )
    result = np.concatenate([event.frames for event in events if isinstance(event, FrameChunk)])
    assert np.array_equal(result[0], cube[0])
    assert (result[13:17] == cube[16]).all()
    assert np.array_equal(result[17:29], cube[17:29])
    assert (result[29:] == cube[32]).all()
    assert np.array_equal(result[1:13], ball[1:13])
    assert any(isinstance(event, StageProgress) and event.name == "images" for event in events)


def test_low_memory_streams_too(videos) -> None:
    pipe = oracle.oracle_pipeline(videos)
    low_memory = Pipeline(
        pipe.model, device=pipe.device, policy=dataclasses.replace(pipe.policy, keep_loaded=False)
    )
    assert np.array_equal(stream_frames(low_memory, request_for(low_memory, 33), CACHE), videos["a ball"])


def test_a_stopped_stream_leaves_no_file(videos, tmp_path: Path) -> None:
    pipe = oracle.oracle_pipeline(videos)
    target = tmp_path / "video.mp4"

    def generate(stop: int) -> None:
        with open_writer(target, fps=8, size=(32, 32)) as out:
            for event in stream_segments(pipe.components, request_for(pipe, 33), CACHE):
                if isinstance(event, FrameChunk):
                    out.write(event.frames)
                    if event.done >= stop:
                        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(9)
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        generate(33)
    assert not list(tmp_path.iterdir())
    generate(34)
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


def test_edits_and_short_videos_are_not_streamed(videos, tmp_path: Path) -> None:
    pipe = oracle.oracle_pipeline(videos, num_frames=17)
    assert not pipe.resolve(VideoRequest(prompt="a ball", num_frames=17)).is_streamed
    assert pipe.resolve(VideoRequest(prompt="a ball", num_frames=21)).is_streamed
    path = tmp_path / "source.webm"
    write_video(path, videos["a ball"], fps=8, quality="lossless")
    edit = pipe.resolve(VideoRequest(prompt="a ball", source=EditInput(video=path, strength=0.5)))
    assert not edit.is_streamed
    assert len(edit.segments) > 1


def test_streaming_configs(videos) -> None:
    model = oracle.oracle_model(videos, num_frames=17)
    assert default_streaming_config(model) == StreamingConfig(
        context_mode="windows", first=5, block=3, window=2
    )
    causal = dataclasses.replace(
        model, sampling_defaults=dataclasses.replace(model.sampling_defaults, streaming_mode="cache")
    )
    streaming = default_streaming_config(causal)
    assert streaming.context_mode == "cache"
    # Never more frames at once than in training.
    assert streaming.sink + streaming.window + streaming.block == 5
    for changes in (
        {"image_conditioning": "none"},
        {"guidance_scale": (3.0, 4.0), "boundary_ratio": 0.9},
    ):
        defaults = dataclasses.replace(model.sampling_defaults, **changes)
        fixed = dataclasses.replace(model, sampling_defaults=defaults)
        assert not resolve_request(fixed, VideoRequest(prompt="a ball", num_frames=33)).is_streamed
        with pytest.raises(UserError, match="end after 17 frames"):
            resolve_request(fixed, VideoRequest(prompt="a ball", num_frames=37))
        with pytest.raises(UserError, match="end after 17 frames"):
            default_streaming_config(fixed)
    with pytest.raises(UserError, match="at least 1"):
        StreamingConfig(block=0)
    with pytest.raises(UserError, match="out of range"):
        StreamingConfig(context_sigma=1.0)
    with pytest.raises(UserError, match="only a cache"):
        StreamingConfig(context_mode="windows", sink=1)


@pytest.mark.slow
def test_a_minute_takes_no_more_memory_than_ten_seconds() -> None:
    short, long = (
        stream_in_subprocess("a ball", seconds=seconds, model="world", num_inference_steps=2, seed=0)
        for seconds in (10.0, 60.0)
    )
    assert long.peak_mib <= 1.05 * short.peak_mib
