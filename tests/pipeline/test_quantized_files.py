"""Videos from quantised files: those of diffusers with the same weights, dequantised."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kinema.pipeline.pipeline import load
from kinema.pipeline.request import VideoRequest
from tests.fixtures import wan_files, wan_videos

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:diffusers", "ignore::UserWarning:transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return wan_files.save_folder(tmp_path_factory.mktemp("quantized") / "folder")


@pytest.mark.parametrize("kind", [pytest.param("Q4_K", marks=pytest.mark.slow), "fp8_scaled"])
def test_video_equals_that_of_the_dequantised_folder(folder, tmp_path, kind):
    import diffusers

    original = wan_files.original_tensors(folder)
    if kind == "fp8_scaled":
        file = tmp_path / "wan_fp8_scaled.safetensors"
        stored, exact = wan_files.fp8_scaled(original, suffix="scale_weight", per_row=False)
        save_file(stored, file)
    else:
        file = tmp_path / f"wan-{kind}.gguf"
        exact = wan_files.write_gguf(file, original, kind)
    dequantised = wan_files.replace_weights(folder, tmp_path / "dequantised", exact)
    request = VideoRequest(
        prompt=wan_videos.PROMPT,
        negative_prompt=wan_videos.NEGATIVE_PROMPT,
        size=(wan_videos.SIDE, wan_videos.SIDE),
        num_frames=5,
        num_inference_steps=3,
        guidance_scale=3.0,
    )
    frames = (
        load(file, device="cpu", dtype="float32", vae=folder, text_encoder=folder).generate(request).frames
    )
    assert np.array_equal(frames, load(dequantised, device="cpu", dtype="float32").generate(request).frames)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = diffusers.WanPipeline.from_pretrained(dequantised)
        peer.set_progress_bar_config(disable=True)
        video = peer(
            prompt=wan_videos.PROMPT,
            negative_prompt=wan_videos.NEGATIVE_PROMPT,
            height=wan_videos.SIDE,
            width=wan_videos.SIDE,
            num_frames=5,
            num_inference_steps=3,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(0),
            output_type="pil",
        ).frames[0]
    wan_videos.check_frames_match(frames, np.stack([np.asarray(frame) for frame in video]))
