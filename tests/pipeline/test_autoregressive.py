"""Autoregressive Wan models: blocks with a cache, few steps, new prompts; SkyReels-V2 diffusion forcing."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer import dit_config
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.kv_cache import KvCache
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.progress import FrameChunk
from kinema.pipeline.request import Shot, VideoRequest
from kinema.pipeline.streaming import StreamingConfig, default_streaming_config, stream_segments
from tests.fixtures import wan_files, wan_fixtures, wan_videos

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:diffusers", "ignore::UserWarning:transformers")


def random_dit(**changes) -> Dit:
    torch.manual_seed(0)
    model = Dit(dataclasses.replace(dit_config.tiny(), layers=3, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_blocks_with_a_cache_equal_the_mask_without_one():
    """Self-Forcing's form: blocks of 3 latent frames, finished blocks at sigma 0."""
    dit = random_dit()
    prompt = TextEmbeddings.from_list([torch.randn(5, dit.config.text_width)])
    latents = torch.randn(1, 4, 9, 4, 6)
    with torch.no_grad():
        context, cache = dit.context(prompt), KvCache()
        for start, sigma in ((0, 0.9), (3, 0.6), (6, 0.3)):
            shown = latents[:, :, : start + 3]
            sigmas = torch.zeros(1, start + 3, dtype=torch.float64)
            sigmas[:, start:] = sigma
            whole = dit(shown, sigmas, context, block_frames=(3,) * (start // 3 + 1))
            block = latents[:, :, start : start + 3]
            found = dit(block, sigmas[:, start:], context, cache=cache)
            assert (found - whole[:, :, start:]).abs().max() <= 1e-5
            assert found.abs().max() > 0.1
            cache = dit.update_cache(block, torch.zeros(1, 3, dtype=torch.float64), context, cache)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A Self-Forcing file beside the folder that has its other parts."""
    root = tmp_path_factory.mktemp("causal")
    folder = wan_files.save_folder(root / "folder")
    state = {f"model.{name}": value for name, value in wan_files.original_tensors(folder).items()}
    torch.save({"generator_ema": state, "step": 600}, root / "self_forcing_dmd.pt")
    return folder, root / "self_forcing_dmd.pt"


@pytest.fixture(scope="module")
def pipe(files) -> Pipeline:
    folder, file = files
    return load(file, device="cpu", dtype="float32", memory="high", vae=folder, text_encoder=folder)


def test_a_self_forcing_file_says_how_it_is_sampled(pipe):
    defaults = pipe.model.sampling_defaults
    assert (defaults.recipe, defaults.num_inference_steps) == ("self-forcing-4", 4)
    assert defaults.guidance_scale == (1.0,)
    assert default_streaming_config(pipe.model) == StreamingConfig(
        context_mode="cache", first=3, block=3, window=15, sink=3
    )
    resolved = pipe.resolve(VideoRequest(prompt="a cat", size=(64, 64)))
    assert resolved.is_streamed
    assert [round(1000 * sigma, 1) for sigma in resolved.sampler_config().sigmas().model_sigmas] == [
        1000.0, 937.5, 833.3, 625.0,
    ]  # fmt: skip


def test_every_video_is_sampled_in_blocks_and_prompts_change_on_the_way(pipe):
    base = VideoRequest(size=(32, 32), seed=3)
    one = pipe.generate(dataclasses.replace(base, prompt="a red ball", num_frames=37)).frames
    shots = (Shot(prompt="a red ball"), Shot(prompt="two cat", seconds=25 / 16, transition="blend"))
    two = pipe.generate(dataclasses.replace(base, storyboard=shots, num_frames=37)).frames
    assert one.shape == two.shape == (37, 32, 32, 3)
    # Block 2 ends with frame 20; block 3 has frames of the second prompt.
    assert np.array_equal(one[:21], two[:21])
    assert not np.array_equal(one[25:], two[25:])


@pytest.mark.slow
def test_the_video_does_not_depend_on_its_length(pipe):
    base = VideoRequest(prompt="a red ball", size=(32, 32), seed=3)
    short = pipe.generate(dataclasses.replace(base, num_frames=21)).frames
    longer = pipe.generate(dataclasses.replace(base, num_frames=45)).frames
    assert np.array_equal(short, longer[:21])


@pytest.mark.slow
def test_memory_is_constant_over_a_minute(pipe):
    """The cache stays at 18 latent frames; the process does not grow after the first seconds."""
    import psutil

    process, sizes = psutil.Process(), []
    request = VideoRequest(prompt="a red ball", size=(32, 32), seconds=60.0)
    shown = 0
    for event in pipe.stream(request):
        if isinstance(event, FrameChunk):
            shown += len(event.frames)
            sizes.append((shown, process.memory_info().rss))
    assert shown == 961
    after_ten_seconds = next(size for frames, size in sizes if frames >= 160)
    assert max(size for frames, size in sizes if frames > 160) - after_ten_seconds <= 16 * 2**20


@pytest.fixture(scope="module")
def skyreels(tmp_path_factory):
    import diffusers
    from diffusers import SkyReelsV2DiffusionForcingPipeline, SkyReelsV2Transformer3DModel

    torch.manual_seed(4)
    tokenizer = wan_fixtures.tokenizer()
    transformer = SkyReelsV2Transformer3DModel(
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=16,
        out_channels=16,
        text_dim=wan_fixtures.TEXT_WIDTH,
        ffn_dim=96,
        num_layers=2,
        inject_sample_info=True,
    )
    wan_fixtures.randomize_norms_and_biases(transformer)
    folder = tmp_path_factory.mktemp("skyreels") / "SkyReels-V2-DF"
    SkyReelsV2DiffusionForcingPipeline(
        tokenizer=tokenizer,
        text_encoder=wan_fixtures.text_encoder(len(tokenizer)),
        vae=wan_fixtures.vae(residual=False),
        transformer=transformer.eval(),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0
        ),
    ).save_pretrained(folder)
    return folder


def skyreels_peer(folder, **options) -> np.ndarray:
    from diffusers import SkyReelsV2DiffusionForcingPipeline, UniPCMultistepScheduler

    class Copying(UniPCMultistepScheduler):
        """The pipeline passes views of its latents and overwrites them; the scheduler keeps them as its last
        sample, and its corrector would read the new values."""

        def step(self, model_output, timestep, sample, return_dict=True):
            return super().step(model_output, timestep, sample.clone(), return_dict=return_dict)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = SkyReelsV2DiffusionForcingPipeline.from_pretrained(folder)
        peer.set_progress_bar_config(disable=True)
        peer.scheduler = Copying.from_config(peer.scheduler.config)
        frames = peer(
            prompt=wan_videos.PROMPT,
            negative_prompt=wan_videos.NEGATIVE_PROMPT,
            height=64,
            width=64,
            num_inference_steps=4,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(0),
            output_type="pil",
            **options,
        ).frames[0]
    return np.stack([np.asarray(frame) for frame in frames])


SKYREELS_REQUEST = VideoRequest(
    prompt=wan_videos.PROMPT,
    negative_prompt=wan_videos.NEGATIVE_PROMPT,
    size=(64, 64),
    num_inference_steps=4,
    guidance_scale=3.0,
)


@pytest.mark.parametrize("fps", [24, pytest.param(16, marks=pytest.mark.slow)])
def test_skyreels_equals_diffusers(skyreels, fps):
    pipe = load(skyreels, device="cpu", dtype="float32")
    assert pipe.model.description == "SkyReels-V2 DF (diffusers folder)"
    assert (pipe.model.sampling_defaults.num_frames, pipe.model.sampling_defaults.flow_shift) == (97, 8.0)
    request = dataclasses.replace(SKYREELS_REQUEST, num_frames=9, fps=float(fps))
    wan_videos.check_frames_match(
        pipe.generate(request).frames, skyreels_peer(skyreels, num_frames=9, base_num_frames=9, fps=fps)
    )


@pytest.mark.slow
def test_long_skyreels_videos_equal_diffusers(skyreels):
    """25 frames in windows of 13, each continuing the last 5 frames: one noise level for each frame."""
    pipe = load(skyreels, device="cpu", dtype="float32", memory="high")
    short = dataclasses.replace(
        pipe.model.sampling_defaults, num_frames=13, context_frames=2, context_sigma=0.0
    )
    pipe = Pipeline(
        dataclasses.replace(pipe.model, sampling_defaults=short), device=pipe.device, policy=pipe.policy
    )
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(1, 16, frames, 8, 8, generator=generator) for frames in (4, 4, 3)]
    noise = torch.cat([draws[0], *(draw[:, :, 2:] for draw in draws[1:])], dim=2)
    resolved = pipe.resolve(dataclasses.replace(SKYREELS_REQUEST, num_frames=25), noise=noise)
    config = default_streaming_config(pipe.model)
    assert (config.first, config.block, config.window) == (4, 2, 2)
    events = stream_segments(pipe.components, resolved, config)
    frames = np.concatenate([event.frames for event in events if isinstance(event, FrameChunk)])
    expected = skyreels_peer(skyreels, num_frames=25, base_num_frames=13, overlap_history=5, fps=24)
    wan_videos.check_frames_match(frames, expected)
