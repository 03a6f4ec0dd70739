"""Fun-Control: a control video and a first frame next to the latents, in diffusers' loop."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.media.write import write_video
from kinema.pipeline.pipeline import load
from kinema.pipeline.request import ControlInput, VideoRequest
from tests.fixtures import wan_fixtures, wan_videos

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:diffusers", "ignore::UserWarning:transformers")
SIDE, FRAMES = 32, 5


@pytest.fixture(scope="module")
def peer():
    import diffusers

    torch.manual_seed(4)
    tokenizer = wan_fixtures.tokenizer()
    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=4, attention_head_dim=16, in_channels=48, out_channels=16,
        text_dim=wan_fixtures.TEXT_WIDTH, freq_dim=256, ffn_dim=96, num_layers=2,
        image_dim=wan_fixtures.IMAGE_WIDTH, added_kv_proj_dim=64,
    )  # fmt: skip
    wan_fixtures.randomize_norms_and_biases(transformer)
    pipeline = diffusers.WanPipeline(
        tokenizer=tokenizer,
        text_encoder=wan_fixtures.text_encoder(len(tokenizer)),
        vae=wan_fixtures.vae(residual=False),
        transformer=transformer.eval(),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def folder(peer, tmp_path_factory):
    target = tmp_path_factory.mktemp("fun") / "Wan2.1-Fun-Control"
    peer.save_pretrained(target)
    encoder, processor = wan_fixtures.image_encoder()
    encoder.save_pretrained(target / "image_encoder")
    processor.save_pretrained(target / "image_processor")
    return target


def theirs(peer, channels, clip, latents) -> np.ndarray:
    """diffusers' text-to-video loop with more channels and image states at every step."""
    forward = peer.transformer.forward

    def with_channels(hidden_states, **rest):
        joined = torch.cat([hidden_states, channels.to(hidden_states)], dim=1)
        return forward(hidden_states=joined, **{**rest, "encoder_hidden_states_image": clip})

    peer.transformer.forward = with_channels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = peer(
                prompt=wan_videos.PROMPT,
                negative_prompt=wan_videos.NEGATIVE_PROMPT,
                height=SIDE,
                width=SIDE,
                num_frames=FRAMES,
                num_inference_steps=3,
                guidance_scale=3.0,
                latents=latents,
                output_type="pil",
            ).frames[0]
    finally:
        peer.transformer.forward = forward
    return np.stack([np.asarray(frame) for frame in frames])


def encode(peer, frames) -> torch.Tensor:
    video = torch.from_numpy(frames.copy()).permute(3, 0, 1, 2)[None] / 127.5 - 1
    config = peer.vae.config
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1) for values in (config.latents_mean, config.latents_std)
    )
    with torch.no_grad():
        return (peer.vae.encode(video).latent_dist.mode() - mean) / std


@pytest.mark.parametrize("with_image", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_video_is_that_of_the_same_channels_in_diffusers(peer, folder, tmp_path, with_image):
    control = np.stack([np.roll(wan_videos.smooth_image(3, SIDE), 3 * n, axis=1) for n in range(FRAMES)])
    write_video(tmp_path / "control", control, fps=16)
    image = wan_videos.smooth_image(5, SIDE)
    noise = torch.randn(1, 16, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    pipe = load(folder, device="cpu", dtype="float32", memory="high")
    assert pipe.model.description.startswith("Wan Fun-Control")
    first = torch.zeros_like(noise)
    clip_encoder = pipe.model.load_image_encoder(dtype=torch.float32, device=torch.device("cpu"))
    clip = clip_encoder.encode([image])
    if with_image:
        first[:, :, :1] = encode(peer, image[None])
    else:
        clip = torch.zeros_like(clip)
    request = VideoRequest(
        prompt=wan_videos.PROMPT,
        negative_prompt=wan_videos.NEGATIVE_PROMPT,
        size=(SIDE, SIDE),
        num_frames=FRAMES,
        num_inference_steps=3,
        guidance_scale=3.0,
        control=ControlInput(video=tmp_path / "control"),
        image=image if with_image else None,
    )
    found = pipe.generate(request, noise=noise).frames
    expected = theirs(peer, torch.cat([encode(peer, control), first], dim=1), clip, noise)
    wan_videos.check_frames_match(found, expected)
    without = pipe.generate(dataclasses.replace(request, control=None), noise=noise).frames
    assert (without != found).mean() > 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"control": ControlInput(video="x.mp4", scale=0.5)},
            "takes a control video as it is; leave out its",
        ),
        ({"references": (np.zeros((8, 8, 3), np.uint8),)}, "no control branch, which reference images needs"),
        ({"last_image": np.zeros((SIDE, SIDE, 3), np.uint8)}, "takes an image as the first frame alone"),
    ],
)
def test_what_it_cannot_do_is_one_line(folder, changes, message):
    pipe = load(folder, device="cpu", dtype="float32")
    with pytest.raises(UserError, match=message):
        pipe.resolve(VideoRequest(prompt="x", size=(SIDE, SIDE), num_frames=FRAMES, **changes))


def test_a_convolution_for_references_is_named(tmp_path):
    from safetensors.torch import save_file

    tensors = {"patch_embedding.weight": torch.zeros(128, 48, 1, 2, 2), "ref_conv.weight": torch.zeros(1)}
    save_file(tensors, tmp_path / "Wan2.1-Fun-V1.1-Control.safetensors")
    with pytest.raises(UserError, match="Fun-Control model with a convolution for references"):
        load(tmp_path / "Wan2.1-Fun-V1.1-Control.safetensors", device="cpu")
