"""Model folders of our own layout."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.formats.native import save_checkpoint
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.progress import SamplingStep
from kinema.pipeline.request import VideoRequest
from tests.fixtures.tiny_model import build_tiny_model

SAMPLING_DEFAULTS = SamplingDefaults(
    num_inference_steps=3,
    guidance_scale=(2.5,),
    flow_shift=1.0,
    solver="euler",
    schedule="linear",
    image_conditioning="frames",
    size=(32, 32),
    num_frames=9,
    fps=8.0,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "world"
    dit, vae = build_tiny_model()
    save_checkpoint(
        folder,
        sampling_defaults=SAMPLING_DEFAULTS,
        transformer=dit,
        vae=vae,
        dtype=torch.float32,
        shard_bytes=100_000,
    )
    return folder


def test_saved_model_comes_back(model):
    dit, vae = build_tiny_model()
    opened = open_model(str(model))
    assert (opened.sampling_defaults, opened.dit, opened.vae) == (SAMPLING_DEFAULTS, dit.config, vae.config)
    cpu = torch.device("cpu")
    for mine, theirs in (
        (dit, opened.load_transformer(dtype=torch.float32, device=cpu)),
        (vae, opened.load_vae(device=cpu)),
    ):
        state = theirs.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in mine.state_dict().items())
    torch.testing.assert_close(opened.load_vae(device=cpu).latents_std, vae.latents_std)


def test_shards_keep_to_the_requested_size(model):
    files = list((model / "transformer").glob("*.safetensors"))
    assert len(files) > 1
    assert max(file.stat().st_size for file in files) < 120_000


def test_bfloat16_keeps_what_must_be_exact(tmp_path):
    dit, vae = build_tiny_model()
    save_checkpoint(tmp_path / "small", sampling_defaults=SAMPLING_DEFAULTS, transformer=dit, vae=vae)
    stored = open_model(str(tmp_path / "small")).list_tensors("transformer")
    kept = {name for name, tensor in stored.items() if tensor.dtype is torch.float32}
    assert "condition_embedder.text_std" in kept
    assert "blocks.0.scale_shift_table" in kept
    assert stored["blocks.0.attn1.to_q.weight"].dtype is torch.bfloat16


def test_native_model_generates_videos(model, tmp_path):
    pipe = load(model, device="cpu")
    video = pipe.generate("a red ball rolls to the left", seed=3)
    assert video.frames.shape == (9, 32, 32, 3)
    assert video.fps == 8
    assert np.array_equal(video.frames, pipe.generate("a red ball rolls to the left", seed=3).frames)
    assert not np.array_equal(video.frames, pipe.generate("two cats", seed=3).frames)
    pipe.save(tmp_path / "copy")
    again = load(tmp_path / "copy", device="cpu").generate("a red ball rolls to the left", seed=3)
    assert np.array_equal(video.frames, again.frames)


def sample_latents(pipe: Pipeline, request: VideoRequest) -> torch.Tensor:
    """The latents after the last sampling step."""
    return [event for event in pipe.stream(request) if isinstance(event, SamplingStep)][-1].latents


def test_native_model_takes_first_and_last_image(model):
    pipe = load(model, device="cpu")
    image = np.full((32, 32, 3), 200, dtype=np.uint8)
    first = sample_latents(pipe, VideoRequest(prompt="a ball", image=image))
    both = sample_latents(pipe, VideoRequest(prompt="a ball", image=image, last_image=255 - image))
    assert torch.equal(first[:, :, 0], both[:, :, 0])
    pixels = torch.full((1, 3, 5, 32, 32), 55 / 127.5 - 1)
    with torch.no_grad():
        expected = pipe.vae.encode(pixels)[:, :, 1]
    torch.testing.assert_close(both[:, :, -1], expected, atol=1e-5, rtol=0)


def test_an_incomplete_model_folder_is_refused(model, tmp_path):
    dit, vae = build_tiny_model()
    target = tmp_path / "broken"
    save_checkpoint(target, sampling_defaults=SAMPLING_DEFAULTS, transformer=dit, vae=vae)
    (target / "kinema.json").unlink()
    with pytest.raises(UserError, match="is not a model"):
        open_model(str(target))


def test_newer_format_is_refused(tmp_path):
    dit, vae = build_tiny_model()
    save_checkpoint(tmp_path / "new", sampling_defaults=SAMPLING_DEFAULTS, transformer=dit, vae=vae)
    index = tmp_path / "new" / "kinema.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"format_version": 3}))
    with pytest.raises(UserError, match="format 3"):
        open_model(str(tmp_path / "new"))


def test_loading_does_not_wait_for_the_compiler():
    """Importing torch's compiler takes longer than loading the small model."""
    code = (
        "import sys, torch\n"
        "from kinema.models.transformer.dit import Dit\n"
        "from kinema.models.transformer.dit_config import tiny\n"
        "with torch.device('meta'): Dit(tiny(text_conditioning='joint'))\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_prompt_is_rewritten_without_the_compiler():
    """Importing the compiler and its symbolic shapes took three seconds of the first video."""
    code = (
        "import sys, kinema\n"
        "rewriter = kinema.load('world').components.prompt_rewriter\n"
        "assert 'cube' in rewriter.rewrite('a scarlet orb bumps into a blue box', seed=0)\n"
        "sys.exit('torch._dynamo' in sys.modules or 'sympy' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
