"""Long films as streams: block by block they must be what they would have been in one piece."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.long_videos import compute_drift
from benchmarks.long_videos import stream_in_subprocess as streamed_alone
from hypothesis import given, settings
from hypothesis import strategies as st
from kinema.pipeline.segment_denoiser import SegmentDenoiser

from kinema.errors import UserError
from kinema.media import open_writer
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.kv_cache import KvCache
from kinema.pipeline.conditioning import (
    Conditioning,
    EditSource,
    ImageCondition,
    LatentCondition,
    TimedPrompt,
    VideoCondition,
)
from kinema.pipeline.decoder import FrameChunk
from kinema.pipeline.denoiser import PromptEmbeddings
from kinema.pipeline.pipeline import Pipeline
from kinema.pipeline.progress import SamplingStep, StageProgress
from kinema.pipeline.resolve import ResolvedRequest, Shot, VideoRequest, resolve_request
from kinema.pipeline.segments import Segment, empty_timeline
from kinema.pipeline.streaming import (
    StreamingConfig,
    default_streaming_config,
    needs_streaming,
    stream_blocks,
)
from kinema.shapes import VideoShape
from tests.fixtures import oracle
from tests.models.transformer.test_dit import CONFIGS, random_dit, random_latents, text_embeddings

CACHE = StreamingConfig(context_mode="cache", first_block=2, block=1, window=3, sink=1)
WINDOWS = StreamingConfig(context_mode="windows", first_block=3, block=2, window=1)


def request_for(pipe: Pipeline, frames: int, *lines: TimedPrompt, **changes) -> ResolvedRequest:
    """A film of one take, of any length."""
    recipe = pipe.model.sampling_defaults
    random_latents = VideoShape(frames=frames, height=recipe.size[1], width=recipe.size[0])
    condition = changes.pop(
        "condition",
        Conditioning(prompts=lines or (TimedPrompt(prompt="a ball"),)).resolve_frames(random_latents),
    )
    fields = {
        "takes": (Segment(conditioning=condition, video_shape=random_latents),),
        "reel": empty_timeline(random_latents),
        "fps": recipe.fps,
        "steps": 2,
        "guidance": recipe.guidance_scale,
        "shift": 1.0,
        "seed": 0,
        "wish": VideoRequest(prompt="a ball"),
    }
    return ResolvedRequest(**(fields | changes))


def stream_frames(
    pipe: Pipeline, resolved: ResolvedRequest, streaming: StreamingConfig | None = None
) -> np.ndarray:
    return np.concatenate(
        [event.frames for event in stream_blocks(pipe, resolved, streaming) if isinstance(event, FrameChunk)]
    )


@pytest.fixture(scope="module")
def videos():
    return {"a ball": oracle.simulated_video(1, frames=33), "a cube": oracle.simulated_video(2, frames=33)}


@pytest.mark.parametrize("streaming", [CACHE, WINDOWS])
def test_a_true_velocity_gives_the_same_video_as_one_pass(videos, streaming: StreamingConfig) -> None:
    pipe = oracle.oracle_pipeline(films, frames=9)
    made = stream_frames(pipe, request_for(pipe, 33, TimedPrompt(prompt="a cube")), streaming)
    whole = oracle.oracle_pipeline(films).generate("a cube", steps=2).frames
    assert np.array_equal(made, whole)
    assert np.array_equal(made, films["a cube"])


@settings(max_examples=25)
@given(
    frames=st.integers(1, 9),
    first=st.integers(1, 6),
    block=st.integers(1, 4),
    window=st.integers(1, 4),
    sink=st.integers(0, 2),
    noise=st.sampled_from([0.0, 0.1]),
    way=st.sampled_from(["cache", "windows"]),
    steps=st.integers(1, 2),
)
def test_any_length_and_any_blocks(videos, frames, first, block, window, sink, noise, way, steps) -> None:
    streaming = StreamingConfig(
        context_mode=way,
        first_block=first,
        block=block,
        window=window,
        sink=sink if way == "cache" else 0,
        context_sigma=noise,
    )
    pipe = oracle.oracle_pipeline(films)
    request = request_for(pipe, 4 * frames - 3, steps=steps)
    events = list(stream_blocks(pipe, request, streaming))
    parts = [event for event in events if isinstance(event, FrameChunk)]
    made = np.concatenate([part.frames for part in parts])
    assert np.array_equal(made, films["a ball"][: 4 * frames - 3])
    assert [part.done for part in parts] == list(np.cumsum([len(part.frames) for part in parts]))
    assert {part.total for part in parts} == {len(made)}
    steps_done = [event for event in events if isinstance(event, SamplingStep)]
    assert [step.index for step in steps_done] == list(range(steps_done[0].total))
    # No call is about more frames than a block and what it sees.
    assert max(count for _, count in pipe.model.oracle.calls) <= max(first, block + window)


def test_blocks_cover_a_video() -> None:
    blocks = list(StreamingConfig(first_block=3, block=2, window=1).blocks(8))
    assert blocks == [range(3), range(3, 5), range(5, 7), range(7, 8)]


@pytest.mark.parametrize("streaming", [CACHE, WINDOWS])
def test_prompts_apply_at_their_frames(videos, streaming: StreamingConfig) -> None:
    pipe = oracle.oracle_pipeline(films, frames=9)
    lines = (
        TimedPrompt(prompt="a ball"),
        TimedPrompt(prompt="a cube", frame=9),
        TimedPrompt(prompt="a ball", frame=13),
        TimedPrompt(prompt="a cube", frame=21),
    )
    made = stream_frames(pipe, request_for(pipe, 33, *lines), streaming)
    ball, cube = films["a ball"], films["a cube"]
    expected = np.concatenate([ball[:9], cube[9:13], ball[13:21], cube[21:]])
    assert np.array_equal(made, expected)


@pytest.mark.parametrize("streaming", [CACHE, WINDOWS])
def test_a_storyboard_streams_shot_by_shot(videos, streaming: StreamingConfig) -> None:
    """A cut begins the next film anew, a blend changes who speaks in the film that goes on."""
    pipe = oracle.oracle_pipeline(films, frames=9)
    shots = (
        Shot(prompt="a ball", seconds=0.0),
        Shot(prompt="a cube", seconds=17 / 8, transition="cut"),
        Shot(prompt="a ball", seconds=30 / 8, transition="blend"),
    )
    request = resolve_request(
        pipe.model, VideoRequest(storyboard=shots, num_frames=50, num_inference_steps=2)
    )
    assert len(request.segments) > 2
    assert needs_streaming(pipe.model, request)
    events = [event for event in stream_blocks(pipe, request, streaming) if isinstance(event, FrameChunk)]
    made = np.concatenate([event.frames for event in events])
    ball, cube = films["a ball"], films["a cube"]
    assert len(made) == events[-1].done == events[-1].total == 50
    assert np.array_equal(made[:17], ball[:17])
    assert np.array_equal(made[17:30], cube[:13])
    assert np.array_equal(made[30:50], ball[13:33])


def test_each_block_sees_only_its_own_prompts() -> None:
    """A real transformer: the keys of a line that does not speak are not there at all."""
    dit = random_dit(CONFIGS["joint"])
    states = text_embeddings(CONFIGS["joint"], 3, 5, 2)
    spoken = PromptEmbeddings(text_embeddings=states, image_embeddings=None, prompt_index=(0, 0, 1, 1))
    stretches = SegmentDenoiser(dit, spoken, guidance_scale=1.0)
    with torch.no_grad():
        alone = dit.context(TextEmbeddings(hidden_states=states.states[1:2, :5], lengths=states.lengths[1:2]))
    assert stretches.context(range(2, 4)).num_keys == 5
    assert stretches.context(range(1, 3)).num_keys == 8
    latents, time = random_latents(CONFIGS["joint"], frames=2), torch.full((1, 2), 0.5, dtype=torch.float64)
    with torch.no_grad():
        expected = dit(latents, time, alone, cache=KvCache(total_frames=2))
    found = stretches.denoiser_for(range(2, 4))(latents, time)
    assert (found - expected).abs().max() <= 1e-6


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stream_with_cache_equals_the_masked_whole(name: str) -> None:
    """Teacher-forced: the velocity of every block behind the cache is that under the block-causal mask."""
    config = CONFIGS[name]
    dit, states = random_dit(config), text_embeddings(config, 4, 2)
    stretches = SegmentDenoiser(
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
        found = stretches.denoiser_for(block, cache)(part, time)
        # The same block at the end of a masked whole whose earlier frames are clean.
        whole = torch.cat([clean[:, :, :start], part], dim=2)
        times = torch.cat([zero[:, :start], time], dim=1)
        blocks = (2, 1, 3)[: (2, 1, 3).index(frames) + 1]
        with torch.no_grad():
            told = stretches.context(block)
            conditional, unconditional = dit(whole, times, told, block_frames=blocks).chunk(2)
            expected = unconditional + 2.0 * (conditional - unconditional)
            cache = dit.remember(clean[:, :, start : block.stop], zero[:, :frames], told, cache)
        assert (found - expected[:, :, start:]).abs().max() <= 1e-5
        start = block.stop


def test_the_cache_stops_growing(monkeypatch) -> None:
    pipe = oracle.oracle_pipeline({"a ball": oracle.simulated_video(1, frames=33)}, frames=9)
    dit, sizes = pipe.model.oracle, []
    remember = dit.remember

    def watched(*arguments):
        cache = remember(*arguments)
        sizes.append((cache.frames, cache.blocks[0].keys[0, 0, :, 0].tolist()))
        return cache

    monkeypatch.setattr(dit, "update_cache", watched)
    stream_frames(pipe, request_for(pipe, 33), CACHE)
    assert [size for size, _ in sizes] == [2, 3, 4, 4, 4, 4, 4]
    assert sizes[-1][1] == [0, 5, 6, 7]  # the sink, then the last three of the frames so far


def test_the_noise_does_not_depend_on_the_blocks() -> None:
    """With a velocity of zero the latents are the noise."""
    pipe = oracle.oracle_pipeline({"a ball": oracle.simulated_video(1)})
    pipe.model.oracle.forward = lambda latents, time, context, **_: torch.zeros_like(
        latents.repeat(context.batch, 1, 1, 1, 1)
    )
    drawn = []
    for streaming in (CACHE, WINDOWS, dataclasses.replace(WINDOWS, context_sigma=0.1)):
        last = {}
        for event in stream_blocks(pipe, request_for(pipe, 17), streaming):
            if isinstance(event, SamplingStep):
                last[event.index // 2] = event.latents
        drawn.append(torch.cat(list(last.values()), dim=2))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    given = torch.randn(drawn[0].shape)
    request = request_for(pipe, 17, noise=given)
    steps = [event for event in stream_blocks(pipe, request, CACHE) if isinstance(event, SamplingStep)]
    assert torch.equal(torch.cat([step.latents for step in steps[1::2]], dim=2), given)


@pytest.mark.parametrize("streaming", [CACHE, WINDOWS])
def test_conditioning_frames_are_clamped_in_their_blocks(videos, streaming: StreamingConfig) -> None:
    """Whatever the velocity, what is given comes out: a picture as the group of frames it stands for."""
    pipe = oracle.oracle_pipeline(films)
    cube, ball = films["a cube"], films["a ball"]
    latents = pipe.model.oracle.films[1][None]
    size = VideoShape(frames=33, height=32, width=32)
    condition = Conditioning(
        prompts=(TimedPrompt(prompt="a ball"),),
        images=(
            ImageCondition(image=cube[0]),
            ImageCondition(image=cube[16], frame=16),
            ImageCondition(image=cube[32], frame=-1),
        ),
        latents=(LatentCondition(latents=latents[:, :, 5:6], frame=5),),
        videos=(VideoCondition(frames=cube[21:29], frame=21),),
    ).resolve_frames(size)
    events = list(stream_blocks(pipe, request_for(pipe, 33, condition=condition), streaming))
    made = np.concatenate([event.frames for event in events if isinstance(event, FrameChunk)])
    assert np.array_equal(made[0], cube[0])
    assert (made[13:17] == cube[16]).all()
    assert np.array_equal(made[17:29], cube[17:29])
    assert (made[29:] == cube[32]).all()
    assert np.array_equal(made[1:13], ball[1:13])
    assert any(isinstance(event, StageProgress) and event.name == "pictures" for event in events)


def test_memory_low_streams_too(videos) -> None:
    pipe = oracle.oracle_pipeline(films)
    frugal = Pipeline(
        pipe.model, device=pipe.device, policy=dataclasses.replace(pipe.choice, keep_last=False)
    )
    assert np.array_equal(stream_frames(frugal, request_for(frugal, 33), CACHE), films["a ball"])


def test_a_stopped_stream_leaves_no_file(videos, tmp_path: Path) -> None:
    pipe = oracle.oracle_pipeline(films)
    target = tmp_path / "film.mp4"

    def make(stop: int) -> None:
        with open_writer(target, fps=8, size=(32, 32)) as out:
            for event in stream_blocks(pipe, request_for(pipe, 33), CACHE):
                if isinstance(event, FrameChunk):
                    out.write(event.frames)
                    if event.done >= stop:
                        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(9)
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        make(33)
    assert not list(tmp_path.iterdir())
    make(34)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_unsupported_models_are_refused(videos) -> None:
    model = oracle.oracle_model(films, frames=17)
    pipe = Pipeline(model, device=torch.device("cpu"), policy=oracle.oracle_pipeline(films).choice)
    assert not needs_streaming(model, request_for(pipe, 17))
    assert needs_streaming(model, request_for(pipe, 21))
    base = EditSource(frames=films["a ball"], sigma=0.5)
    changed = request_for(
        pipe, 33, condition=Conditioning(prompts=(TimedPrompt(prompt="a ball"),), edit_source=base)
    )
    assert not needs_streaming(model, changed)
    with pytest.raises(UserError, match="made from another"):
        next(stream_blocks(pipe, changed))
    assert default_streaming_config(model) == StreamingConfig(
        context_mode="windows", first_block=5, block=3, window=2
    )
    causal = dataclasses.replace(model, recipe=dataclasses.replace(model.recipe, streaming_mode="cache"))
    streaming = default_streaming_config(causal)
    assert streaming.context_mode == "cache"
    # Never more frames in sight than in training.
    assert streaming.sink + streaming.window + streaming.block == 5
    for changes in ({"pictures": "none"}, {"guidance": (3.0, 4.0), "boundary": 0.9}):
        fixed = dataclasses.replace(model, recipe=dataclasses.replace(model.recipe, **changes))
        assert not needs_streaming(fixed, request_for(pipe, 33))
        assert needs_streaming(fixed, request_for(pipe, 37))
        with pytest.raises(UserError, match="end after 17 frames"):
            default_streaming_config(fixed)
    with pytest.raises(UserError, match="at least 1"):
        StreamingConfig(block=0)
    with pytest.raises(UserError, match="out of range"):
        StreamingConfig(context_sigma=1.0)
    with pytest.raises(UserError, match="only a cache"):
        StreamingConfig(context_mode="windows", sink=1)


def test_drift_is_measured() -> None:
    random_latents = oracle.simulated_video(1, frames=33)
    assert compute_drift(random_latents, 8).sharpness_ratio == pytest.approx(1, abs=0.1)
    worse = random_latents.copy()
    worse[-8:] = worse[-8:].mean((1, 2), keepdims=True)
    worse[-8:, ..., 0] += 9
    found = compute_drift(worse, 8)
    assert found.sharpness_ratio < 0.01
    assert 2 < found.delta_e < 9


@pytest.mark.slow
def test_a_minute_takes_no_more_memory_than_ten_seconds() -> None:
    settings = {"model": "world", "steps": 2, "seed": 0, "way": None, "noise": None}
    short, long = (streamed_alone("a ball", seconds=seconds, **settings) for seconds in (10.0, 60.0))
    assert long.peak_mib <= 1.05 * short.peak_mib
