"""Upscaling: detail that the model knows must appear, and tiles must agree with the whole frame."""

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
from kinema.pipeline.request import VideoRequest
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.segments import Segment
from kinema.pipeline.upscale import UpscaleConfig, check_upscale, upscale
from kinema.shapes import LatentShape, VideoShape
from tests.fixtures import oracle


def downsample(video: np.ndarray) -> np.ndarray:
    """Half the size, by the mean of each square."""
    f, h, w, c = video.shape
    return video.reshape(f, h // 2, 2, w // 2, 2, c).mean((2, 4)).round().astype(np.uint8)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to the rounding of the smaller video's pixels."""
    return a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 2


def sharpness(video: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels."""
    values = video.astype(float)
    return float(np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=2)).mean())


def request_for(
    pipe: Pipeline, video: np.ndarray, *, num_inference_steps: int = 4, images=()
) -> ResolvedRequest:
    size = VideoShape(frames=len(video), height=video.shape[1], width=video.shape[2])
    conditioning = Conditioning(prompts=(TimedPrompt(prompt="a ball"),), images=images).resolve_frames(size)
    resolved = pipe.resolve(VideoRequest(prompt="a ball", num_inference_steps=num_inference_steps))
    return dataclasses.replace(resolved, segments=(Segment(conditioning=conditioning, video_shape=size),))


def upscale_video(
    pipe: Pipeline, resolved: ResolvedRequest, video: np.ndarray, factor: int, config=None
) -> np.ndarray:
    parts = upscale(pipe.components, resolved, video, factor, config)
    return np.concatenate([event.frames for event in parts if isinstance(event, FrameChunk)])


@pytest.fixture(scope="module")
def large():
    return oracle.simulated_video(3, side=64)


def smaller_model(large: np.ndarray, side: int) -> Pipeline:
    """A model that knows the large video, but was trained for tiles of `side` pixels."""
    pipe = oracle.oracle_pipeline({"a ball": large})
    defaults = dataclasses.replace(pipe.model.sampling_defaults, size=(side, side))
    model = dataclasses.replace(pipe.model, sampling_defaults=defaults)
    return Pipeline(model, device=pipe.device, policy=pipe.policy)


@pytest.mark.parametrize("upsample", ["pixels", "latents"])
def test_a_true_velocity_brings_the_detail(large, upsample) -> None:
    low = downsample(large)
    pipe = smaller_model(large, 64)
    result = upscale_video(pipe, request_for(pipe, low), low, 2, UpscaleConfig(upsample=upsample))
    lanczos = np.stack([resize(frame, (64, 64)) for frame in low])
    assert psnr(result, large) > psnr(lanczos, large) + 10
    assert abs(sharpness(result) / sharpness(large) - 1) < abs(sharpness(lanczos) / sharpness(large) - 1)


def test_tiles_give_the_same_video(large) -> None:
    low = downsample(large)
    pipe = smaller_model(large, 32)
    result = upscale_video(pipe, request_for(pipe, low), low, 2)
    assert same(result, large)
    # Three by three tiles, with the prompt and without, in the one of four steps that begins below 0.4.
    assert len(pipe.model.oracle.calls) == 9 * 2


def test_a_long_video_is_upscaled_in_temporal_tiles(large) -> None:
    video = oracle.simulated_video(1, frames=33)
    pipe = oracle.oracle_pipeline({"a ball": video}, num_frames=17)
    low = downsample(video)
    assert same(upscale_video(pipe, request_for(pipe, low), low, 2), video)
    assert set(pipe.model.oracle.calls) == {(0, 5), (2, 5), (4, 5)}


def test_any_number_of_frames_comes_back(large) -> None:
    low = downsample(large)[:15]
    pipe = smaller_model(large, 64)
    result = upscale_video(pipe, request_for(pipe, downsample(large)), low, 2)
    assert same(result[:13], large[:13])
    assert result.shape == (15, 64, 64, 3)


def test_four_is_two_passes(large) -> None:
    small = downsample(downsample(large))
    pipe = smaller_model(large, 64)
    # The oracle knows one size; the first pass keeps the plain enlargement.
    knows = pipe.model.oracle

    def forward(latents, sigma, context, **options):
        if latents.shape[-1] == knows.latents[0].shape[-1]:
            return type(knows).forward(knows, latents, sigma, context, **options)
        return torch.zeros_like(latents.repeat(context.batch_size, 1, 1, 1, 1))

    knows.forward = forward
    # The enlargement is not the video at that size, so nothing of it may be kept.
    free = UpscaleConfig(back_projection=False)
    events = list(upscale(pipe.components, request_for(pipe, small), small, 4, free))
    result = np.concatenate([event.frames for event in events if isinstance(event, FrameChunk)])
    assert np.array_equal(result, large)
    steps = [event for event in events if isinstance(event, SamplingStep)]
    assert [step.index for step in steps] == list(range(steps[0].total))
    assert len(steps) == 2


def test_a_little_noise_keeps_more_of_the_enlargement(large) -> None:
    """Sigma sets how much is sampled again: a network that returns zero leaves the noise in place."""
    low = downsample(large)
    pipe = smaller_model(large, 64)
    pipe.model.oracle.forward = lambda latents, sigma, context, **_: torch.zeros_like(
        latents.repeat(context.batch_size, 1, 1, 1, 1)
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
    image = ImageCondition(image=downsample(other[None])[0], original=other)
    low[0] = image.image
    result = upscale_video(pipe, request_for(pipe, low, images=(image,)), low, 2)
    assert same(result[0], other)
    assert same(result[1:], large[1:])


def test_back_projection_keeps_the_pixel_means(large) -> None:
    """Whatever the network returns, squares of pixels have the means of the smaller video's pixels."""
    low = downsample(large)
    pipe = smaller_model(oracle.simulated_video(4, side=64), 64)
    request = request_for(pipe, low)
    kept, lost = (
        upscale_video(pipe, request, low, 2, UpscaleConfig(back_projection=each)) for each in (True, False)
    )
    assert psnr(downsample(kept), low) > psnr(downsample(lost), low) + 10


@settings(max_examples=60)
@given(
    video=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12)),
    tile=st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(1, 8)),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    patch=st.sampled_from([1, 2]),
)
def test_multidiffusion_of_a_field_is_the_field(video, tile, overlap, patch) -> None:
    """Tiles cover everything, are not larger than requested, and blend to the value that all share."""
    shape = LatentShape(frames=video[0], height=video[1] * patch, width=video[2] * patch)
    size = LatentShape(frames=tile[0], height=tile[1] * patch, width=tile[2] * patch)
    tiles = tile_grid(shape, size, overlap=overlap, patch=patch)
    field = torch.randn(1, 2, shape.frames, shape.height, shape.width)
    sigmas = torch.linspace(0.1, 1, shape.frames, dtype=torch.float64)[None]

    def denoiser_for(tile: Tile):
        assert len(tile.frames) <= size.frames
        assert len(tile.rows) <= size.height
        assert tile.rows.start % patch == tile.rows.stop % patch == 0

        def velocity(latents, sigma):
            assert torch.equal(sigma, sigmas[:, tile.frames.start : tile.frames.stop])
            assert torch.equal(latents, tile.crop(field))
            return tile.crop(field) * 2

        return velocity

    assert torch.allclose(multidiffusion(denoiser_for, tiles)(field, sigmas), 2 * field, atol=1e-5)


def test_tiles_overlap_as_requested() -> None:
    shape, size = (LatentShape(frames=1, height=n, width=n) for n in (16, 8))
    starts = {tile.rows.start for tile in tile_grid(shape, size, overlap=0.5, patch=2)}
    assert starts == {0, 4, 8}


def test_large_frames_are_decoded_in_tiles() -> None:
    assert choose_tiling(8, 512) is None
    tiling = choose_tiling(24, 528)
    assert tiling is not None
    assert tiling.tile % 24 == tiling.overlap % 24 == 0
    vae = oracle.exact_vae(spatial=8)
    video = torch.rand(1, 3, 5, 64, 640).mul(2).sub(1)
    with torch.no_grad():
        latents = vae.encode(video)
    parts = [*StreamingDecoder(vae, total=5).decode(latents)]
    result = np.concatenate([part.frames for part in parts])
    assert (oracle.to_float(result) - video).abs().max() < 0.005


def test_impossible_upscaling_is_refused(large) -> None:
    model = oracle.oracle_model({"a ball": large})
    with pytest.raises(UserError, match="give 2 or 4"):
        check_upscale(model, 3)
    for changes, message in [
        ({"image_conditioning": "channels"}, "can't upscale"),
        ({"guidance_scale": (3.0, 3.0), "boundary_ratio": 0.3}, "below 0.3"),
    ]:
        defaults = dataclasses.replace(model.sampling_defaults, **changes)
        other = dataclasses.replace(model, sampling_defaults=defaults)
        with pytest.raises(UserError, match=message):
            check_upscale(other, 2)
    with pytest.raises(UserError, match="sigma is above 0"):
        UpscaleConfig(sigma=1.0)
