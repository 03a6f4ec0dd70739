"""Wan's settings: diffusers' JSON to our configs and back, and the sampling defaults of each variant."""

from __future__ import annotations

import dataclasses
from typing import Any

from kinema.errors import UserError
from kinema.models.formats.serialization import from_values
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.vae_config import VaeConfig

_TRANSFORMER_CLASSES = ("WanTransformer3DModel", "WanVACETransformer3DModel", "SkyReelsV2Transformer3DModel")


def parse_dit_config(values: dict[str, Any]) -> DitConfig:
    """Our settings from those of diffusers' transformers of the Wan family.

    Raises:
        UserError: a setting is missing or has a value that no Wan transformer has.
    """
    source = "transformer/config.json"
    class_name = values.get("_class_name", "WanTransformer3DModel")
    if class_name not in _TRANSFORMER_CLASSES:
        raise UserError(
            f"{source} describes a {class_name}, which can't be read; "
            f"give a {' or '.join(_TRANSFORMER_CLASSES)}"
        )
    fixed = {"cross_attn_norm": True, "qk_norm": "rms_norm_across_heads"}
    for name, value in fixed.items():
        if values.get(name, value) != value:
            raise UserError(f"{source} has {name} = {values[name]!r}; only {value!r} is supported")
    heads, head_width = (
        _positive_int(values, "num_attention_heads", source),
        _positive_int(values, "attention_head_dim", source),
    )
    patch = values.get("patch_size", [1, 2, 2])
    if len(patch) != 3 or patch[0] != 1 or patch[1] != patch[2]:
        raise UserError(f"{source} has patches of {patch}; only 1 x p x p is supported")
    control_layers: tuple[int, ...] = ()
    if class_name == "WanVACETransformer3DModel":
        control_layers = tuple(values.get("vace_layers") or (0, 5, 10, 15, 20, 25, 30, 35))
    try:
        return DitConfig(
            in_channels=_positive_int(values, "in_channels", source),
            out_channels=values.get("out_channels") or _positive_int(values, "in_channels", source),
            width=heads * head_width,
            heads=heads,
            layers=_positive_int(values, "num_layers", source),
            mlp_width=_positive_int(values, "ffn_dim", source),
            patch_size=patch[1],
            text_width=values.get("text_dim", 4096),
            image_width=values.get("image_dim"),
            image_positions=values.get("pos_embed_seq_len"),
            time_channels=values.get("freq_dim", 256),
            eps=values.get("eps", 1e-6),
            control_layers=control_layers,
            control_channels=values.get("vace_in_channels", 96),
            fps_embedding=bool(values.get("inject_sample_info", False)),
        )
    except (ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{source}: {reason}; download the file again") from None


def to_diffusers_dit_config(config: DitConfig) -> dict[str, Any]:
    """diffusers' settings of a transformer."""
    extra: dict[str, Any] = {"_class_name": "WanTransformer3DModel"}
    if config.control_layers:
        extra = {
            "_class_name": "WanVACETransformer3DModel",
            "vace_layers": list(config.control_layers),
            "vace_in_channels": config.control_channels,
        }
    elif config.fps_embedding:
        extra = {"_class_name": "SkyReelsV2Transformer3DModel", "inject_sample_info": True}
    return {
        **extra,
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
"""From the names of our fields to diffusers' names."""


def parse_vae_config(values: dict[str, Any]) -> VaeConfig:
    """Our settings from those of diffusers' `AutoencoderKLWan`.

    Raises:
        UserError: it is another kind of autoencoder, or its settings contradict each other.
    """
    source = "vae/config.json"
    class_name = values.get("_class_name", "AutoencoderKLWan")
    if class_name != "AutoencoderKLWan":
        raise UserError(f"{source} describes a {class_name}, which can't be read; give an AutoencoderKLWan")
    patch = values.get("patch_size") or 1
    settings = {ours: values[theirs] for ours, theirs in _VAE_FIELD_NAMES.items() if theirs in values}
    settings |= {"patch_size": patch, "channels": values.get("in_channels", 3) // patch**2}
    config = from_values(VaeConfig, settings, source=source)
    stride = (config.stride.temporal, config.stride.spatial)
    declared = (values.get("scale_factor_temporal", 4), values.get("scale_factor_spatial", 8))
    if stride != declared:
        raise UserError(
            f"{source} declares strides {declared}, but its stages have {stride}; download the file again"
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
    dit: DitConfig,
    vae: VaeConfig,
    scheduler: dict[str, Any],
    boundary_ratio: Any,
    per_frame_sigma: bool,
    *,
    diffusion_forcing: bool = False,
) -> SamplingDefaults:
    """The published sampling defaults of the Wan variant with these shapes.

    Args:
        dit: the config of each transformer.
        vae: the config of the autoencoder.
        scheduler: diffusers' scheduler settings.
        boundary_ratio: of `model_index.json`; None for models without experts.
        per_frame_sigma: whether each latent frame has its own timestep (Wan 2.2 TI2V-5B).
        diffusion_forcing: whether it was trained with independent noise levels of frames (SkyReels-V2 DF).

    Raises:
        UserError: the shapes or the scheduler are those of no known variant.
    """
    channels, with_control = 2 * vae.z_dim + vae.stride.temporal, 3 * vae.z_dim
    if dit.in_channels not in (vae.z_dim, channels, with_control):
        raise UserError(
            f"a transformer of {dit.in_channels} input channels with {vae.z_dim} latent channels is of no "
            f"known variant; {vae.z_dim} (text), {channels} (images) and {with_control} (control videos) are "
            "known"
        )
    if dit.control_layers:
        conditioning = "control"
    elif dit.in_channels == with_control:
        conditioning = "control_channels"
    elif dit.in_channels == channels:
        conditioning = "channels"
    else:
        conditioning = "frames" if per_frame_sigma or diffusion_forcing else "none"
    plain = SamplingDefaults(
        image_conditioning=conditioning, boundary_ratio=None, **_parse_scheduler(scheduler)
    )
    if boundary_ratio is not None:
        guidance = (3.5, 3.5) if conditioning == "channels" else (4.0, 3.0)
        return dataclasses.replace(
            plain, boundary_ratio=float(boundary_ratio), num_inference_steps=40, guidance_scale=guidance
        )
    if diffusion_forcing:
        # 17 frames of a video are the context of the next 80; a little noise on them hides the seam.
        return dataclasses.replace(
            plain,
            size=(960, 544),
            num_frames=97,
            fps=24.0,
            guidance_scale=(6.0,),
            context_frames=5,
            context_sigma=0.02,
        )
    if per_frame_sigma:
        return dataclasses.replace(plain, size=(1280, 704), num_frames=121, fps=24.0)
    return plain


def published_scheduler(dit: DitConfig, *, experts: int) -> dict[str, Any]:
    """The scheduler settings, in diffusers' form, of the Wan variant with these shapes."""
    if dit.out_channels == 48:
        shift = 5.0
    elif experts == 2:
        shift = 12.0 if dit.in_channels == dit.out_channels else 5.0
    elif dit.image_positions is not None:
        shift = 16.0
    else:
        shift = 8.0 if dit.fps_embedding else 3.0
    return {"_class_name": "UniPCMultistepScheduler", "flow_shift": shift}


def variant_name(dit: DitConfig, *, experts: int, diffusion_forcing: bool) -> str:
    """What people call the Wan variant with these shapes."""
    billions = {1536: "1.3B", 3072: "5B", 5120: "A14B" if experts == 2 else "14B"}.get(dit.width)
    if dit.control_layers:
        name = "Wan VACE"
    elif diffusion_forcing:
        name = "SkyReels-V2 DF"
    elif dit.out_channels == 48:
        name = "Wan 2.2 TI2V"
    elif dit.in_channels == 3 * dit.out_channels:
        name = "Wan Fun-Control"
    else:
        task = "T2V" if dit.in_channels == dit.out_channels else "FLF2V" if dit.image_positions else "I2V"
        is_new = experts == 2 or (task == "I2V" and dit.image_width is None)
        name = f"Wan {'2.2' if is_new else '2.1'} {task}"
    return name if billions is None else f"{name}-{billions}"


def _parse_scheduler(scheduler: dict[str, Any]) -> dict[str, Any]:
    """Solver, schedule and shift from diffusers' scheduler settings."""
    class_name = scheduler.get("_class_name")
    if class_name == "UniPCMultistepScheduler":
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
                    f"scheduler_config.json has {name} = {scheduler[name]!r}; only {value!r} is supported"
                )
        return {"solver": "unipc", "schedule": "wan", "flow_shift": float(scheduler.get("flow_shift", 3.0))}
    if class_name == "FlowMatchEulerDiscreteScheduler":
        return {"solver": "euler", "schedule": "linear", "flow_shift": float(scheduler.get("shift", 3.0))}
    raise UserError(
        f"scheduler_config.json describes a {class_name}, which is not supported; "
        "use UniPCMultistepScheduler or FlowMatchEulerDiscreteScheduler"
    )


def _positive_int(values: dict[str, Any], name: str, source: str) -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{source} needs a positive integer {name}, not {value!r}; download the file again")
    return value
