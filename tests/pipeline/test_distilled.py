"""Step-distilled weights: recipes by name, and the same videos as diffusers in four steps."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kinema import sampling
from kinema.errors import UserError
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.sampling_recipes import RECIPES, apply_recipe, fast_defaults, find_recipe, recognize_recipe
from kinema.pipeline.pipeline import load
from kinema.pipeline.request import Lora, VideoRequest
from kinema.pipeline.sampler import SamplerConfig
from tests.fixtures import wan_fixtures, wan_videos

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:diffusers", "ignore::UserWarning:transformers")


@pytest.mark.parametrize(
    ("file", "recipe"),
    [
        ("Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32.safetensors", "lightning-4"),
        ("Wan2.2-Lightning_T2V-A14B-4steps-lora_HIGH_fp16.safetensors", "lightning-4"),
        ("wan2.2_i2v_A14b_high_noise_lightx2v_4step.safetensors", "lightning-4"),
        ("FastWan2.1-T2V-1.3B-Diffusers", "fastwan-3"),
        ("Wan21_CausVid_14B_T2V_lora_rank32.safetensors", "causvid-9"),
        ("rCM_Wan2.1_T2V_14B_480p.pt", "rcm-4"),
        ("self_forcing_dmd.pt", "self-forcing-4"),
        ("krea-realtime-video-14b.safetensors", "self-forcing-4"),
        ("wan2.1_t2v_14B_fp8_scaled.safetensors", None),
        ("Wan2.1-T2V-1.3B-Diffusers", None),
    ],
)
def test_published_files_are_recognised(file, recipe):
    found = recognize_recipe(file)
    assert (None if found is None else found.name) == recipe


def test_metadata_is_read_where_a_file_was_renamed():
    found = recognize_recipe("x.safetensors", {"modelspec.title": "Wan2.1 lightx2v distill"})
    assert found is not None
    assert found.name == "lightning-4"


def model_timesteps(name: str) -> list[float]:
    defaults = apply_recipe(SamplingDefaults(), find_recipe(name))
    config = SamplerConfig.from_defaults(
        defaults, num_inference_steps=defaults.num_inference_steps, flow_shift=defaults.flow_shift
    )
    return [round(1000 * sigma, 1) for sigma in config.sigmas().model_sigmas]


def test_timesteps_are_the_published_ones():
    # Timesteps 1000, 750, 500, 250 under shift 5: 5s / (1 + 4s).
    assert model_timesteps("lightning-4") == [1000.0, 937.5, 833.3, 625.0]
    assert model_timesteps("self-forcing-4") == [1000.0, 937.5, 833.3, 625.0]
    assert model_timesteps("fastwan-3") == [1000.0, 757.0, 522.0]
    assert model_timesteps("causvid-9") == [999, 934, 862, 756, 603, 410, 250, 140, 74]
    angles = (math.atan(80), 1.3, 1.0, 0.6)
    assert model_timesteps("rcm-4") == [
        round(1000 * math.tan(angle) / (1 + math.tan(angle)), 1) for angle in angles
    ]


def test_every_recipe_is_without_guidance():
    for recipe in RECIPES:
        defaults = apply_recipe(SamplingDefaults(boundary_ratio=0.9, guidance_scale=(3.0, 4.0)), recipe)
        assert defaults.guidance_scale == (1.0, 1.0)
        assert fast_defaults(defaults, name="x") == defaults


def test_lcm_notes_again_with_fresh_noise():
    clean = torch.randn(1, 4, 2, 3, 3)
    noise = sampling.AncestralNoise(eta=0.0, seeds=((7,),))

    def denoiser(latents, sigma):
        return (latents - clean) / sigma[:, None, :, None, None].float()

    steps = list(
        sampling.sample(
            denoiser,
            torch.randn_like(clean),
            sampling.fixed_schedule((1.0, 0.757, 0.522)),
            solver="lcm",
            ancestral=noise,
        )
    )
    for step in steps:
        torch.testing.assert_close(step.clean, clean, atol=1e-5, rtol=0)
    residual = (steps[0].latents - (1 - 0.757) * clean) / 0.757
    fresh = (noise.renoise(torch.zeros_like(clean), 1.0, 0)).to(clean)
    torch.testing.assert_close(residual, fresh, atol=1e-5, rtol=0)
    torch.testing.assert_close(steps[-1].latents, clean, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="needs seeds"):
        sampling.sample(denoiser, clean, sampling.fixed_schedule((1.0,)), solver="lcm")


def save_lora(file, *, width: int = 64, layers: int = 2, seed: int = 0):
    """A LoRA of the attention's layers under original names, as lightx2v's extracted files have them."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for block in range(layers):
        for layer in ("self_attn.q", "self_attn.v", "cross_attn.o"):
            stem = f"diffusion_model.blocks.{block}.{layer}"
            tensors[f"{stem}.lora_down.weight"] = torch.randn(4, width, generator=generator) * 0.3
            tensors[f"{stem}.lora_up.weight"] = torch.randn(width, 4, generator=generator) * 0.3
    save_file(tensors, file)
    return file


def diffusers_in_four_steps(variant: str, folder, lora=None) -> np.ndarray:
    from diffusers import FlowMatchEulerDiscreteScheduler

    class FourSteps(FlowMatchEulerDiscreteScheduler):
        def set_timesteps(self, num_inference_steps=None, device=None, **options):
            del num_inference_steps, options
            super().set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25], device=device)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = wan_fixtures.load_peer(variant, folder)
        peer.scheduler = FourSteps(shift=5.0)
        if lora is not None:
            peer.load_lora_weights(str(lora), low_cpu_mem_usage=False)
        video = peer(
            prompt=wan_videos.PROMPT,
            height=wan_videos.SIDE,
            width=wan_videos.SIDE,
            num_frames=wan_videos.FRAMES,
            num_inference_steps=4,
            guidance_scale=1.0,
            generator=torch.Generator().manual_seed(0),
            output_type="pil",
        ).frames[0]
    return np.stack([np.asarray(frame) for frame in video])


REQUEST = VideoRequest(
    prompt=wan_videos.PROMPT, size=(wan_videos.SIDE, wan_videos.SIDE), num_frames=wan_videos.FRAMES
)


def test_a_distilled_lora_in_four_steps_equals_diffusers(tmp_path):
    folder = wan_fixtures.save_variant("t2v-2.1", tmp_path / "model")
    file = save_lora(tmp_path / "Wan21_T2V_lightx2v_cfg_step_distill_lora_rank4.safetensors")
    pipe = load(folder, device="cpu", dtype="float32")
    request = dataclasses.replace(REQUEST, loras=(Lora(file=file),))
    resolved = pipe.resolve(request)
    assert (resolved.request.recipe, resolved.num_inference_steps) == ("lightning-4", 4)
    frames = pipe.generate(request).frames
    wan_videos.check_frames_match(frames, diffusers_in_four_steps("t2v-2.1", folder, file))
    fast = pipe.resolve(dataclasses.replace(request, recipe="fast"))
    assert fast.defaults == resolved.defaults
    usual = pipe.resolve(dataclasses.replace(request, recipe="none"))
    assert (usual.num_inference_steps, usual.guidance_scale) == (50, (5.0,))


def test_two_experts_change_by_step(tmp_path):
    folder = wan_fixtures.save_variant("t2v-a14b-2.2", tmp_path / "model")
    pipe = load(folder, device="cpu", dtype="float32")
    request = dataclasses.replace(REQUEST, recipe="lightning-4")
    assert pipe.resolve(request).boundary_ratio == 0.9375
    frames = pipe.generate(request).frames
    wan_videos.check_frames_match(frames, diffusers_in_four_steps("t2v-a14b-2.2", folder))
    with pytest.raises(UserError, match=r"has no weights for few steps; add a step-distilled LoRA"):
        pipe.resolve(dataclasses.replace(REQUEST, recipe="fast"))
    with pytest.raises(UserError, match=r"no recipe 'lightning'; give fast .* lightning-4"):
        pipe.resolve(dataclasses.replace(REQUEST, recipe="lightning"))
    with pytest.raises(UserError, match=r"fastwan-3 has 3 steps, not 5"):
        pipe.resolve(dataclasses.replace(REQUEST, recipe="fastwan-3", num_inference_steps=5))


def test_a_lora_of_another_size_is_one_line(tmp_path):
    folder = wan_fixtures.save_variant("t2v-2.1", tmp_path / "model")
    file = save_lora(tmp_path / "lightx2v_14B.safetensors", width=128)
    with pytest.raises(UserError) as error:
        load(folder, device="cpu", dtype="float32").resolve(
            dataclasses.replace(REQUEST, loras=(Lora(file=file),))
        )
    assert "\n" not in str(error.value)
