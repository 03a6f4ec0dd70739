"""Refinement: what the model knows must come in, and windows must agree with the whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.media import psnr, resize
from kinema.pipeline.conditioning import Conditioning, ImageCondition, TimedPrompt
from kinema.pipeline.decoder import FrameChunk, StreamingDecoder, choose_tiling
from kinema.pipeline.multidiffusion import Tile, multidiffusion, tile_grid
from kinema.pipeline.pipeline import Pipeline
from kinema.pipeline.progress import SamplingStep
from kinema.pipeline.resolve import ResolvedRequest, VideoRequest
from kinema.pipeline.segments import Segment, empty_timeline
from kinema.pipeline.upscale import UpscaleConfig, check_upscale, upscale
from kinema.shapes import LatentShape, VideoShape
from tests.fixtures import oracle


def downsample(video: np.ndarray) -> np.ndarray:
    """Half the size, by the mean of each square."""
    f, h, w, c = video.shape
    return video.reshape(f, h // 2, 2, w // 2, 2, c).mean((2, 4)).round().astype(np.uint8)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Up to the rounding of the smaller film's pixels."""
    return a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 2


def sharpness(video: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels."""
    values = video.astype(float)
    return float(np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=2)).mean())


def request_for(
    pipe: Pipeline, video: np.ndarray, *, num_inference_steps: int = 4, images=()
) -> ResolvedRequest:
    size = VideoShape(frames=len(video), height=video.shape[1], width=video.shape[2])
    condition = Conditioning(prompts=(TimedPrompt(prompt="a ball"),), images=images).resolve_frames(size)
    return ResolvedRequest(
        segments=(Segment(conditioning=condition, video_shape=size),),
        timeline=empty_timeline(size),
        fps=8.0,
        num_inference_steps=num_inference_steps,
        guidance_scale=pipe.model.sampling_defaults.guidance_scale,
        flow_shift=1.0,
        seed=0,
        request=VideoRequest(prompt="a ball"),
    )


def upscale_video(
    pipe: Pipeline, resolved: ResolvedRequest, video: np.ndarray, factor: int, config=None
) -> np.ndarray:
    parts = upscale(pipe, resolved, video, factor, config)
    return np.concatenate([event.frames for event in parts if isinstance(event, FrameChunk)])


@pytest.fixture(scope="module")
def large():
    return oracle.simulated_video(3, side=64)


def smaller_model(large: np.ndarray, side: int) -> Pipeline:
    """A model that knows the large film, but was trained for windows of `side` pixels."""
    pipe = oracle.oracle_pipeline({"a ball": large})
    recipe = dataclasses.replace(pipe.model.recipe, size=(side, side))
    model = dataclasses.replace(pipe.model, recipe=recipe)
    return Pipeline(model, device=pipe.device, policy=pipe.choice)


@pytest.mark.parametrize("upsample", ["pixels", "latents"])
def test_a_true_velocity_brings_the_detail(large, upsample) -> None:
    low = downsample(large)
    pipe = smaller_model(large, 64)
    made = upscale_video(pipe, request_for(pipe, low), low, 2, UpscaleConfig(upsample=upsample))
    lanczos = np.stack([resize(frame, (64, 64)) for frame in low])
    assert psnr(made, large) > psnr(lanczos, large) + 10
    assert abs(sharpness(made) / sharpness(large) - 1) < abs(sharpness(lanczos) / sharpness(large) - 1)


def test_tiles_give_the_same_video(large) -> None:
    low = downsample(large)
    pipe = smaller_model(large, 32)
    made = upscale_video(pipe, request_for(pipe, low), low, 2)
    assert same(made, large)
    # Three by three windows, with the prompt and without, in the one of four steps that begins below 0.4.
    assert len(pipe.model.oracle.calls) == 9 * 2


def test_a_long_video_is_upscaled_in_temporal_tiles(large) -> None:
    film = oracle.simulated_video(1, frames=33)
    pipe = oracle.oracle_pipeline({"a ball": film}, frames=17)
    low = downsample(film)
    assert same(upscale_video(pipe, request_for(pipe, low), low, 2), film)
    assert set(pipe.model.oracle.calls) == {(0, 5), (2, 5), (4, 5)}


def test_any_number_of_frames_comes_back(large) -> None:
    low = downsample(large)[:15]
    pipe = smaller_model(large, 64)
    made = upscale_video(pipe, request_for(pipe, downsample(large)), low, 2)
    assert same(made[:13], large[:13])
    assert made.shape == (15, 64, 64, 3)


def test_four_is_two_passes(large) -> None:
    small = downsample(downsample(large))
    pipe = smaller_model(large, 64)
    # The oracle knows one size; in the first pass a plain enlargement stands in for it.
    knows = pipe.model.oracle

    def forward(latents, sigma, context, *, cache):
        if latents.shape[-1] == knows.films[0].shape[-1]:
            return type(knows).forward(knows, latents, sigma, context, cache=cache)
        return torch.zeros_like(latents.repeat(context.batch, 1, 1, 1, 1))

    knows.forward = forward
    # What stands in is not the film at that size, so nothing of it may be kept.
    free = UpscaleConfig(back_projection=False)
    events = list(upscale(pipe, request_for(pipe, small), small, 4, free))
    made = np.concatenate([event.frames for event in events if isinstance(event, FrameChunk)])
    assert np.array_equal(made, large)
    steps = [event for event in events if isinstance(event, SamplingStep)]
    assert [step.index for step in steps] == list(range(steps[0].total))
    assert len(steps) == 2


def test_a_little_noise_keeps_more_of_the_enlargement(large) -> None:
    """The level says how much is made anew: a network that says nothing leaves the noise that was put in."""
    low = downsample(large)
    pipe = smaller_model(large, 64)
    pipe.model.oracle.forward = lambda latents, time, context, **_: torch.zeros_like(
        latents.repeat(context.batch, 1, 1, 1, 1)
    )
    request = request_for(pipe, low, num_inference_steps=10)
    a, b = (
        upscale_video(pipe, request, low, 2, UpscaleConfig(sigma=level, back_projection=False))
        for level in (0.2, 0.6)
    )
    enlarged = np.stack([resize(frame, (64, 64)) for frame in low])
    assert psnr(a, enlarged) > psnr(b, enlarged) + 3


def test_images_keep_their_own_detail(large) -> None:
    low = downsample(large)
    pipe = smaller_model(large, 64)
    other = oracle.simulated_video(4, side=64)[0]
    picture = ImageCondition(image=downsample(other[None])[0], original=other)
    low[0] = picture.image
    made = upscale_video(pipe, request_for(pipe, low, images=(picture,)), low, 2)
    assert same(made[0], other)
    assert same(made[1:], large[1:])


def test_back_projection_keeps_the_pixel_means(large) -> None:
    """Whatever the network says, squares of the larger film have the means of the smaller one's pixels."""
    low = downsample(large)
    pipe = smaller_model(oracle.simulated_video(4, side=64), 64)
    request = request_for(pipe, low)
    kept, lost = (
        upscale_video(pipe, request, low, 2, UpscaleConfig(back_projection=each)) for each in (True, False)
    )
    assert psnr(downsample(kept), low) > psnr(downsample(lost), low) + 10


@settings(max_examples=60)
@given(
    film=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12)),
    window=st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(1, 8)),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    patch=st.sampled_from([1, 2]),
)
def test_multidiffusion_of_a_field_is_the_field(film, window, overlap, patch) -> None:
    """They cover everything, are no larger than asked, and blend to what each of them says."""
    shape = LatentShape(frames=film[0], height=film[1] * patch, width=film[2] * patch)
    size = LatentShape(frames=window[0], height=window[1] * patch, width=window[2] * patch)
    cuts = tile_grid(shape, size, overlap=overlap, patch=patch)
    field = torch.randn(1, 2, shape.frames, shape.height, shape.width)
    asked = torch.linspace(0.1, 1, shape.frames, dtype=torch.float64)[None]

    def of(cut: Tile):
        assert len(cut.frames) <= size.frames
        assert len(cut.rows) <= size.height
        assert cut.rows.start % patch == cut.rows.stop % patch == 0

        def velocity(latents, sigma):
            assert torch.equal(sigma, asked[:, cut.frames.start : cut.frames.stop])
            assert torch.equal(latents, cut.crop(field))
            return cut.crop(field) * 2

        return velocity

    assert torch.allclose(multidiffusion(of, cuts)(field, asked), 2 * field, atol=1e-5)


def test_tiles_overlap_as_requested() -> None:
    shape, size = (LatentShape(frames=1, height=n, width=n) for n in (16, 8))
    starts = {cut.rows.start for cut in tile_grid(shape, size, overlap=0.5, patch=2)}
    assert starts == {0, 4, 8}


def test_large_frames_are_decoded_in_tiles() -> None:
    assert choose_tiling(8, 512) is None
    tiling = choose_tiling(24, 528)
    assert tiling is not None
    assert tiling.tile % 24 == tiling.overlap % 24 == 0
    vae = oracle.exact_vae(spatial=8)
    film = torch.rand(1, 3, 5, 64, 640).mul(2).sub(1)
    with torch.no_grad():
        latents = vae.encode(film)
    parts = [*StreamingDecoder(vae, total=5).decode(latents)]
    made = np.concatenate([part.frames for part in parts])
    assert (oracle.to_float(made) - film).abs().max() < 0.005


def test_impossible_upscaling_is_refused(large) -> None:
    model = oracle.oracle_model({"a ball": large})
    with pytest.raises(UserError, match="give 2 or 4"):
        check_upscale(model, 3)
    for changes, words in [
        ({"pictures": "channels"}, "can't refine"),
        ({"guidance": (3.0, 3.0), "boundary": 0.3}, "below 0.3"),
    ]:
        other = dataclasses.replace(model, recipe=dataclasses.replace(model.recipe, **changes))
        with pytest.raises(UserError, match=words):
            check_upscale(other, 2)
    with pytest.raises(UserError, match="level is above 0"):
        UpscaleConfig(sigma=1.0)
