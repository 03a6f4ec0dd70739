"""Our transformer against diffusers' on the same random weights."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch
from diffusers import SkyReelsV2Transformer3DModel, WanTransformer3DModel, WanVACETransformer3DModel

from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.transformer.text_context import concat_contexts

BASE = DitConfig(in_channels=4, out_channels=4, width=48, heads=2, layers=3, mlp_width=96, text_width=32)
VARIANTS = {
    "text": BASE,
    "image without clip": dataclasses.replace(BASE, in_channels=12),
    "image": dataclasses.replace(BASE, in_channels=12, image_width=20),
    "first and last frame": dataclasses.replace(BASE, in_channels=12, image_width=20, image_positions=14),
    "48 channels": dataclasses.replace(BASE, in_channels=48, out_channels=48, heads=4, width=64),
}


def build_diffusers_model(config: DitConfig, seed: int = 0) -> WanTransformer3DModel:
    torch.manual_seed(seed)
    model = WanTransformer3DModel(
        patch_size=(1, config.patch_size, config.patch_size),
        num_attention_heads=config.heads,
        attention_head_dim=config.head_width,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        text_dim=config.text_width,
        ffn_dim=config.mlp_width,
        num_layers=config.layers,
        image_dim=config.image_width,
        added_kv_proj_dim=config.width if config.image_width else None,
        pos_embed_seq_len=config.image_positions,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            elif name.endswith("pos_embed"):
                parameter.normal_()
    return model.eval()


def pair(config: DitConfig) -> tuple[Dit, WanTransformer3DModel]:
    theirs = build_diffusers_model(config)
    ours = Dit(config)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours.eval(), theirs


def prompt(config: DitConfig, lengths: tuple[int, ...], seed: int = 1) -> tuple[TextEmbeddings, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(length, config.text_width, generator=generator) for length in lengths]
    padded = torch.stack([torch.nn.functional.pad(row, (0, 0, 0, 512 - len(row))) for row in rows])
    return TextEmbeddings.from_list(rows), padded


def random_latents(config: DitConfig, batch: int = 2, size: tuple[int, int, int] = (3, 4, 6)) -> torch.Tensor:
    return torch.randn(batch, config.in_channels, *size, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("grad", [False, True], ids=["inference", "autograd"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_equals_diffusers(name: str, grad: bool) -> None:
    config = VARIANTS[name]
    ours, theirs = pair(config)
    states, padded = prompt(config, (5, 9))
    latents = random_latents(config)
    image = None
    if config.image_width:
        image = torch.randn(2, config.image_positions or 7, config.image_width)
    steps = torch.tensor([937, 411])
    with torch.set_grad_enabled(grad):
        shown = image.view(4, 7, -1) if config.image_positions and image is not None else image
        expected = theirs(latents, steps, padded, shown, return_dict=False)[0]
        time = (steps.double() / 1000)[:, None].expand(2, 3)
        found = ours(latents, time, ours.context(states, image))
    assert (found - expected).abs().max() <= 2e-5
    assert expected.abs().max() > 0.1


@pytest.mark.parametrize("same", [True, False], ids=["one sigma", "first frame at sigma 0"])
def test_sigma_per_frame_equals_sigma_per_token(same: bool) -> None:
    config = VARIANTS["48 channels"]
    ours, theirs = pair(config)
    states, padded = prompt(config, (5, 512))
    latents = random_latents(config)
    steps = torch.full((2, 3), 733.0)
    if not same:
        steps[:, 0] = 0
        steps[1, 2] = 250
    with torch.no_grad():
        expected = theirs(latents, steps.repeat_interleave(6, dim=1), padded, return_dict=False)[0]
        found = ours(latents, steps.double() / 1000, ours.context(states))
    assert (found - expected).abs().max() <= 2e-5


def test_guidance_in_one_batch_equals_two_passes() -> None:
    config = VARIANTS["image"]
    ours, theirs = pair(config)
    states, padded = prompt(config, (5, 9, 1, 1))
    latents, image = random_latents(config), torch.randn(2, 7, config.image_width or 0)
    time = torch.tensor([[0.9] * 3, [0.3, 0.4, 0.5]], dtype=torch.float64)
    with torch.no_grad():
        tokens = (time * 1000).float().repeat_interleave(6, dim=1)
        expected = torch.cat(
            [theirs(latents, tokens, part, image, return_dict=False)[0] for part in padded.split(2)]
        )
        contexts = [
            ours.context(TextEmbeddings(hidden_states=rows, lengths=lengths), image)
            for rows, lengths in zip(states.hidden_states.split(2), states.lengths.split(2), strict=True)
        ]
        found = ours(latents, time, concat_contexts(contexts))
    assert (found - expected).abs().max() <= 2e-5


def test_gradients_equal_diffusers() -> None:
    config = VARIANTS["text"]
    ours, theirs = pair(config)
    states, padded = prompt(config, (5, 9))
    latents = random_latents(config)
    target = torch.randn(2, 4, 3, 4, 6)
    for model, out in (
        (theirs, theirs(latents, torch.tensor([500, 100]), padded, return_dict=False)[0]),
        (
            ours,
            ours(
                latents, torch.tensor([[0.5] * 3, [0.1] * 3]).double(), ours.context(states), recompute=True
            ),
        ),
    ):
        model.zero_grad()
        (out - target).square().mean().backward()
    found = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        assert parameter.grad is not None
        assert found[name].grad is not None, name
        scale = parameter.grad.abs().max()
        assert (found[name].grad - parameter.grad).abs().max() <= 1e-4 * scale + 1e-7, name


def test_half_precision_is_as_near_as_theirs() -> None:
    """In bfloat16 with some parameters in float32, our error is no larger than diffusers'."""
    config = VARIANTS["48 channels"]
    ours, theirs = pair(config)
    states, padded = prompt(config, (5, 9))
    latents = random_latents(config)
    steps = torch.tensor([937, 411])
    time = (steps.double() / 1000)[:, None].expand(2, 3)
    with torch.no_grad():
        exact = theirs(latents, steps, padded, return_dict=False)[0]
        for name, parameter in theirs.named_parameters():
            if not any(part in name for part in theirs._keep_in_fp32_modules):
                parameter.data = parameter.data.bfloat16()
        ours.cast(torch.bfloat16)
        assert {name: p.dtype for name, p in ours.named_parameters()} == {
            name: p.dtype for name, p in theirs.named_parameters()
        }
        half = theirs(latents.bfloat16(), steps, padded.bfloat16(), return_dict=False)[0].float()
        found = ours(latents, time, ours.context(states))
    assert found.dtype is torch.float32
    assert (found - exact).square().mean() <= 1.2 * (half - exact).square().mean()


def test_state_dict_keys_equal_diffusers() -> None:
    for config in VARIANTS.values():
        with torch.device("meta"):
            ours, theirs = Dit(config), build_diffusers_model(config)
        assert {name: x.shape for name, x in ours.state_dict().items()} == {
            name: x.shape for name, x in theirs.state_dict().items()
        }


def randomize(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_a_control_branch_equals_diffusers(scale: float) -> None:
    config = dataclasses.replace(BASE, layers=4, control_layers=(0, 2), control_channels=6)
    torch.manual_seed(0)
    theirs = WanVACETransformer3DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.head_width,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        text_dim=config.text_width,
        ffn_dim=config.mlp_width,
        num_layers=config.layers,
        vace_layers=[0, 2],
        vace_in_channels=6,
    ).eval()
    randomize(theirs)
    ours = Dit(config).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    states, padded = prompt(config, (5, 9))
    latents, control = random_latents(config), torch.randn(2, 6, 3, 4, 6)
    steps = torch.tensor([937, 411])
    with torch.no_grad():
        expected = theirs(
            latents,
            steps,
            padded,
            control_hidden_states=control,
            control_hidden_states_scale=torch.full((2,), scale),
            return_dict=False,
        )[0]
        sigma = (steps.double() / 1000)[:, None].expand(2, 3)
        context = ours.context(states)
        found = ours(latents, sigma, context, control=control, control_scale=scale)
        without = ours(latents, sigma, context, control=control, control_scale=0.0)
    assert (found - expected).abs().max() <= 2e-5
    assert (found - without).abs().max() > 0.01


@pytest.mark.parametrize("fps", [16, 24])
def test_diffusion_forcing_equals_diffusers(fps: int) -> None:
    """SkyReels-V2: a noise level for each latent frame, and an embedding of the frame rate."""
    config = dataclasses.replace(BASE, fps_embedding=True)
    torch.manual_seed(0)
    theirs = SkyReelsV2Transformer3DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.head_width,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        text_dim=config.text_width,
        ffn_dim=config.mlp_width,
        num_layers=config.layers,
        inject_sample_info=True,
    ).eval()
    randomize(theirs)
    ours = Dit(config).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    states, padded = prompt(config, (5, 9))
    latents = random_latents(config)
    steps = torch.tensor([[0.0, 250.0, 733.0], [937.0, 937.0, 411.0]])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # diffusers takes noise levels of frames for one sample at a time.
        rows = [
            theirs(
                latents[row : row + 1],
                steps[row : row + 1],
                padded[row : row + 1],
                enable_diffusion_forcing=True,
                fps=[0 if fps == 16 else 1],
                return_dict=False,
            )[0]
            for row in range(2)
        ]
        expected = torch.cat(rows)
        found = ours(latents, steps.double() / 1000, ours.context(states, fps=float(fps)))
    assert (found - expected).abs().max() <= 2e-5
    assert expected.abs().max() > 0.1
