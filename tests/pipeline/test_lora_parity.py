"""Videos with LoRAs against diffusers' `load_lora_weights`, on tiny random Wan models."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from kinema.models.lora.writer import save_lora
from kinema.pipeline.progress import SamplingStep
from kinema.pipeline.request import Lora, VideoRequest
from tests.fixtures import wan_fixtures, wan_videos
from tests.fixtures.lora_files import random_factors, write_family
from tests.fixtures.wan_videos import FRAMES, NEGATIVE_PROMPT, PROMPT, SIDE, STEPS, Case, check_frames_match

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:diffusers", "ignore::UserWarning:transformers")

T2V = Case(variant="t2v-2.1")
A14B = Case(variant="t2v-a14b-2.2")
IMAGES = (Case(variant="i2v-2.1", image=True), Case(variant="ti2v-5b-2.2"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return wan_fixtures.Saved(tmp_path_factory.mktemp("wan"))


def generate(pipe, case, loras=()):
    return pipe.generate(
        PROMPT,
        negative_prompt=NEGATIVE_PROMPT,
        size=(SIDE, SIDE),
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        guidance_scale=case.guidance_scale,
        seed=0,
        image=wan_videos.smooth_image(1) if case.image else None,
        loras=loras,
    ).frames


def with_diffusers(folder, case, files, *, strength=None):
    """The video of diffusers; the second of two files is for the expert for low noise."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = wan_fixtures.load_peer(case.variant, folder, image=case.image)
        for number, file in enumerate(files):
            options = {"load_into_transformer_2": True} if number else {}
            peer.load_lora_weights(
                str(file.parent),
                weight_name=file.name,
                adapter_name=f"lora{number}",
                low_cpu_mem_usage=False,
                **options,
            )
        if strength is not None:
            peer.set_adapters(["lora0"], [strength])
        options = {"image": Image.fromarray(wan_videos.smooth_image(1))} if case.image else {}
        if len(case.guidance_scale) == 2:
            options["guidance_scale_2"] = case.guidance_scale[1]
        video = peer(
            prompt=PROMPT,
            negative_prompt=NEGATIVE_PROMPT,
            height=SIDE,
            width=SIDE,
            num_frames=FRAMES,
            num_inference_steps=STEPS,
            guidance_scale=case.guidance_scale[0],
            generator=torch.Generator().manual_seed(0),
            output_type="pil",
            **options,
        ).frames[0]
    return np.stack([np.asarray(frame) for frame in video])


def write_loras(folder, case, family, config, *, alpha=None):
    """A file, or a pair for two experts; biases where the family has them."""
    experts = wan_fixtures.SETTINGS[case.variant].experts
    files = []
    for expert in range(experts):
        factors = random_factors(config, seed=expert)
        biases = None
        if family == "C":
            generator = torch.Generator().manual_seed(9)
            biases = {
                name: 0.3 * torch.randn(len(up), generator=generator) for name, (_, up) in factors.items()
            }
        noise = "" if experts == 1 else ("_high_noise", "_low_noise")[expert]
        files.append(
            write_family(folder / f"{family}{noise}.safetensors", family, factors, alpha=alpha, biases=biases)
        )
    return files


def check_family(saved, tmp_path, case, family, *, alpha=None):
    folder = saved[case.variant]
    pipe = wan_videos.load_pipeline(folder)
    files = write_loras(tmp_path, case, family, pipe.model.dit, alpha=alpha)
    without = generate(pipe, case)
    ours = generate(pipe, case, [Lora(file=file) for file in files])
    assert (ours != without).mean() > 0.3
    check_frames_match(ours, with_diffusers(folder, case, files))
    assert np.array_equal(generate(pipe, case), without)


def test_pair_for_two_experts_equals_diffusers(saved, tmp_path):
    check_family(saved, tmp_path, A14B, "A")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["A", "B", "C", "D"])
@pytest.mark.parametrize("case", [T2V, *IMAGES, A14B], ids=str)
def test_all_families_and_variants_equal_diffusers(case, family, saved, tmp_path):
    check_family(saved, tmp_path, case, family, alpha=2.0 if family in "BD" else None)


@pytest.mark.parametrize(
    "lora_format",
    ["original", *(pytest.param(one, marks=pytest.mark.slow) for one in ("kohya", "diffusers"))],
)
def test_diffusers_loads_our_files(lora_format, saved, tmp_path):
    folder = saved[T2V.variant]
    pipe = wan_videos.load_pipeline(folder)
    factors = random_factors(pipe.model.dit)
    tensors = {
        f"{name}.lora_{part}.weight": factor
        for name, pair in factors.items()
        for part, factor in zip("AB", pair, strict=True)
    }
    file = tmp_path / "ours.safetensors"
    save_lora(file, tensors, alpha=2.0, lora_format=lora_format)
    ours = generate(pipe, T2V, [Lora(file=file, strength=0.7)])
    check_frames_match(ours, with_diffusers(folder, T2V, [file], strength=0.7))
    assert (ours != generate(pipe, T2V, [Lora(file=file)])).mean() > 0.1


def test_high_noise_file_changes_high_noise_steps_alone(saved, tmp_path):
    folder = saved[A14B.variant]
    pipe = wan_videos.load_pipeline(folder)
    (high, low) = write_loras(tmp_path, A14B, "A", pipe.model.dit)
    request = VideoRequest(
        prompt=PROMPT,
        negative_prompt=NEGATIVE_PROMPT,
        size=(SIDE, SIDE),
        num_frames=5,
        num_inference_steps=STEPS,
        guidance_scale=A14B.guidance_scale,
    )

    def latents(loras):
        events = pipe.stream(dataclasses.replace(request, loras=tuple(Lora(file=file) for file in loras)))
        return [event.latents for event in events if isinstance(event, SamplingStep)]

    base, with_high, with_low = latents(()), latents((high,)), latents((low,))
    boundary = pipe.model.sampling_defaults.boundary_ratio
    schedule = pipe.resolve(request).sampler_config().sigmas()
    num_high = sum(sigma >= boundary for sigma in schedule.model_sigmas)
    assert 0 < num_high < STEPS
    assert not torch.equal(base[0], with_high[0])
    for step in range(num_high):
        assert torch.equal(base[step], with_low[step])
    assert not torch.equal(base[num_high], with_low[num_high])
