"""Wan's settings in diffusers' words and in ours, and how each variant wants to be run."""

from __future__ import annotations

import dataclasses
from typing import Any

from kinema.errors import UserError
from kinema.models.formats.serialization import from_values
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.vae_config import VaeConfig


def parse_dit_config(values: dict[str, Any]) -> DitConfig:
    """Our settings from those of diffusers' `WanTransformer3DModel`.

    Raises:
        UserError: a setting is missing or asks for something that no Wan transformer does.
    """
    what = "transformer/config.json"
    kind = values.get("_class_name", "WanTransformer3DModel")
    if kind != "WanTransformer3DModel":
        raise UserError(f"{what} describes a {kind}, which can't be read; WanTransformer3DModel can")
    fixed = {"cross_attn_norm": True, "qk_norm": "rms_norm_across_heads"}
    for name, value in fixed.items():
        if values.get(name, value) != value:
            raise UserError(f"{what} asks for {name} = {values[name]!r}; only {value!r} is known")
    heads, head_width = (
        _positive_int(values, "num_attention_heads", what),
        _positive_int(values, "attention_head_dim", what),
    )
    patch = values.get("patch_size", [1, 2, 2])
    if len(patch) != 3 or patch[0] != 1 or patch[1] != patch[2]:
        raise UserError(f"{what} asks for patches of {patch}; only 1 x p x p is known")
    return DitConfig(
        in_channels=_positive_int(values, "in_channels", what),
        out_channels=values.get("out_channels") or _positive_int(values, "in_channels", what),
        width=heads * head_width,
        heads=heads,
        layers=_positive_int(values, "num_layers", what),
        mlp_width=_positive_int(values, "ffn_dim", what),
        patch_size=patch[1],
        text_width=values.get("text_dim", 4096),
        image_width=values.get("image_dim"),
        image_positions=values.get("pos_embed_seq_len"),
        time_channels=values.get("freq_dim", 256),
        eps=values.get("eps", 1e-6),
    )


def to_diffusers_dit_config(config: DitConfig) -> dict[str, Any]:
    """diffusers' settings of a transformer."""
    return {
        "_class_name": "WanTransformer3DModel",
        "added_kv_proj_dim": None if config.image_width is None else config.width,
        "attention_head_dim": config.head_width,
        "cross_attn_norm": True,
        "eps": config.eps,
        "ffn_dim": config.mlp_width,
        "freq_dim": config.time_channels,
        "image_dim": config.image_width,
        "in_channels": config.in_channels,
        "num_attention_heads": config.heads,
        "num_layers": config.layers,
        "out_channels": config.out_channels,
        "patch_size": [1, config.patch_size, config.patch_size],
        "pos_embed_seq_len": config.image_positions,
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 1024,
        "text_dim": config.text_width,
    }


_VAE_FIELD_NAMES = {
    "base_dim": "base_dim",
    "decoder_base_dim": "decoder_base_dim",
    "z_dim": "z_dim",
    "dim_mult": "dim_mult",
    "num_res_blocks": "num_res_blocks",
    "attn_scales": "attn_scales",
    "temporal_downsample": "temperal_downsample",
    "dropout": "dropout",
    "residual": "is_residual",
    "latents_mean": "latents_mean",
    "latents_std": "latents_std",
}
"""Our field, diffusers' name."""


def parse_vae_config(values: dict[str, Any]) -> VaeConfig:
    """Our settings from those of diffusers' `AutoencoderKLWan`.

    Raises:
        UserError: it is another autoencoder, or its settings contradict each other.
    """
    what = "vae/config.json"
    kind = values.get("_class_name", "AutoencoderKLWan")
    if kind != "AutoencoderKLWan":
        raise UserError(f"{what} describes a {kind}, which can't be read; AutoencoderKLWan can")
    patch = values.get("patch_size") or 1
    given = {ours: values[theirs] for ours, theirs in _VAE_FIELD_NAMES.items() if theirs in values}
    given |= {"patch_size": patch, "channels": values.get("in_channels", 3) // patch**2}
    config = from_values(VaeConfig, given, source=what)
    stride = (config.stride.temporal, config.stride.spatial)
    said = (values.get("scale_factor_temporal", 4), values.get("scale_factor_spatial", 8))
    if stride != said:
        raise UserError(
            f"{what} speaks of strides {said}, but its stages make {stride}; fetch the file again"
        )
    return config


def to_diffusers_vae_config(config: VaeConfig) -> dict[str, Any]:
    """diffusers' settings of an autoencoder."""
    ours = dataclasses.asdict(config)
    channels = config.channels * config.patch_size**2
    return {
        "_class_name": "AutoencoderKLWan",
        **{theirs: ours[name] for name, theirs in _VAE_FIELD_NAMES.items()},
        "in_channels": channels,
        "out_channels": channels,
        "patch_size": config.patch_size if config.patch_size > 1 else None,
        "scale_factor_temporal": config.stride.temporal,
        "scale_factor_spatial": config.stride.spatial,
    }


def build_sampling_defaults(
    dit: DitConfig, vae: VaeConfig, scheduler: dict[str, Any], boundary_ratio: Any, per_frame_sigma: bool
) -> SamplingDefaults:
    """The published defaults of the variant that these shapes are."""
    channels = 2 * vae.z_dim + vae.stride.temporal
    if dit.in_channels not in (vae.z_dim, channels):
        raise UserError(
            f"a transformer of {dit.in_channels} input channels over {vae.z_dim} latent channels is of no "
            f"known variant; {vae.z_dim} (text) and {channels} (pictures) are"
        )
    pictures = "channels" if dit.in_channels == channels else "frames" if per_frame_sigma else "none"
    plain = SamplingDefaults(image_conditioning=pictures, boundary_ratio=None, **_parse_scheduler(scheduler))
    if boundary_ratio is not None:
        guidance = (3.5, 3.5) if pictures == "channels" else (4.0, 3.0)
        return dataclasses.replace(
            plain, boundary_ratio=float(boundary_ratio), num_inference_steps=40, guidance_scale=guidance
        )
    if per_frame_sigma:
        return dataclasses.replace(plain, size=(1280, 704), num_frames=121, fps=24.0)
    return plain


def _parse_scheduler(scheduler: dict[str, Any]) -> dict[str, Any]:
    """Solver, schedule and shift from diffusers' scheduler settings."""
    kind = scheduler.get("_class_name")
    if kind == "UniPCMultistepScheduler":
        expected = {
            "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
            "solver_order": 2,
            "solver_type": "bh2",
            "final_sigmas_type": "zero",
            "lower_order_final": True,
        }
        for name, value in expected.items():
            if scheduler.get(name, value) != value:
                raise UserError(
                    f"scheduler_config.json asks for {name} = {scheduler[name]!r}; "
                    f"only {value!r} is known for Wan"
                )
        return {"solver": "unipc", "schedule": "wan", "flow_shift": float(scheduler.get("flow_shift", 3.0))}
    if kind == "FlowMatchEulerDiscreteScheduler":
        return {"solver": "euler", "schedule": "linear", "flow_shift": float(scheduler.get("shift", 3.0))}
    raise UserError(
        f"scheduler_config.json describes a {kind}, which is not known; "
        "UniPCMultistepScheduler and FlowMatchEulerDiscreteScheduler are"
    )


def _positive_int(values: dict[str, Any], name: str, what: str) -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{what} needs a whole number {name}, not {value!r}; fetch the file again")
    return value
