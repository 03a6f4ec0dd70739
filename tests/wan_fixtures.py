"""Tiny random-weight Wan pipelines of every published variant, made and saved by diffusers itself.

diffusers is the oracle: what it saves must load here, what Kinema saves must load there, and both must
make the same film. Weights are scaled so that prompts, pictures and noise all change the film visibly; a
pipeline that ignored one of them could not pass.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

VARIANTS = ("t2v-2.1", "i2v-2.1", "flf2v-2.1", "t2v-a14b-2.2", "i2v-a14b-2.2", "ti2v-5b-2.2")
"""What `save_variant` can make."""

TEXT_WIDTH = 32
IMAGE_WIDTH = 32
IMAGE_TOKENS = 17


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a variant differs from plain 2.1 text-to-video."""

    image: bool = False
    last_image: bool = False
    clip: bool = False
    experts: int = 1
    boundary: float | None = None
    per_frame_time: bool = False
    shift: float = 3.0

    @property
    def pipeline(self) -> str:
        return "WanImageToVideoPipeline" if self.image else "WanPipeline"


SETTINGS = {
    "t2v-2.1": Variant(),
    "i2v-2.1": Variant(image=True, clip=True),
    "flf2v-2.1": Variant(image=True, last_image=True, clip=True, shift=16.0),
    "t2v-a14b-2.2": Variant(experts=2, boundary=0.875, shift=12.0),
    "i2v-a14b-2.2": Variant(image=True, experts=2, boundary=0.9, shift=5.0),
    "ti2v-5b-2.2": Variant(per_frame_time=True, shift=5.0),
}


def tokenizer():
    """A UMT5 tokenizer of a few words and every letter, built in memory."""
    from transformers import T5TokenizerFast

    words = ["a", "the", "red", "ball", "rolls", "to", "left", "right", "two", "cat", "film", "of", "blurry"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0) for word in words]
    pieces += [(letter, -6.0) for letter in string.ascii_letters + string.digits + string.punctuation]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, additional_special_tokens=[])


def text_encoder(vocabulary: int):
    """A two-layer UMT5 encoder."""
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(1)
    model = UMT5EncoderModel(
        UMT5Config(
            vocab_size=vocabulary,
            d_model=TEXT_WIDTH,
            d_kv=8,
            d_ff=48,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    )
    return model.eval()


def image_encoder():
    """A three-layer CLIP vision tower on 56 x 56 pictures: 16 patches and one class token."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(2)
    model = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=IMAGE_WIDTH,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=56,
            patch_size=14,
            hidden_act="gelu",
        )
    )
    processor = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    return model.eval(), processor


def vae(*, residual: bool):
    """The 2.1 or 2.2 autoencoder, eight channels wide."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(3)
    if residual:
        z = 12
        model = AutoencoderKLWan(
            base_dim=8,
            decoder_base_dim=12,
            z_dim=z,
            num_res_blocks=1,
            is_residual=True,
            in_channels=12,
            out_channels=12,
            patch_size=2,
            scale_factor_spatial=16,
            latents_mean=torch.linspace(-0.5, 0.5, z).tolist(),
            latents_std=torch.linspace(0.6, 1.4, z).tolist(),
        )
    else:
        model = AutoencoderKLWan(base_dim=8, z_dim=16)
    enliven(model)
    with torch.no_grad():  # pictures that use the whole range, rather than grey
        model.decoder.conv_out.weight.mul_(1.5)
        model.encoder.conv_out.weight.mul_(10.0)
    return model.eval()


def transformer(variant: Variant, *, channels: int, seed: int):
    """A two-layer transformer of four heads."""
    from diffusers import WanTransformer3DModel

    torch.manual_seed(seed)
    extra = channels + 4 if variant.image else 0
    model = WanTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=channels + extra,
        out_channels=channels,
        text_dim=TEXT_WIDTH,
        freq_dim=256,
        ffn_dim=96,
        num_layers=2,
        image_dim=IMAGE_WIDTH if variant.clip else None,
        added_kv_proj_dim=64 if variant.clip else None,
        pos_embed_seq_len=2 * IMAGE_TOKENS if variant.last_image else None,
    )
    enliven(model)
    with torch.no_grad():  # at their usual size random weights hardly listen to text or picture
        for name, parameter in model.named_parameters():
            if ".attn2." in name and name.endswith("weight") and "norm" not in name:
                parameter.mul_(4.0)
            elif "proj_out.weight" in name or "text_embedder.linear_2.weight" in name:
                parameter.mul_(3.0)
            elif "patch_embedding.weight" in name:
                parameter[:, channels:].mul_(4.0)
    return model.eval()


def enliven(model: nn.Module) -> None:
    """Give norms and biases random values: at their usual ones and zeros they would hide faults."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma") or ("norm" in name and name.endswith("weight")):
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.add_(0.1 * noise)
            elif "pos_embed" in name:
                parameter.copy_(0.3 * noise)


def pipeline(name: str):
    """A diffusers pipeline of a variant, ready to run."""
    import diffusers

    variant = SETTINGS[name]
    words = tokenizer()
    autoencoder = vae(residual=variant.per_frame_time)
    channels = autoencoder.config.z_dim
    parts = {
        "tokenizer": words,
        "text_encoder": text_encoder(len(words)),
        "vae": autoencoder,
        "transformer": transformer(variant, channels=channels, seed=4),
        "scheduler": diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            num_train_timesteps=1000,
            flow_shift=variant.shift,
        ),
        "expand_timesteps": variant.per_frame_time,
        "boundary_ratio": variant.boundary,
    }
    if variant.experts == 2:
        parts["transformer_2"] = transformer(variant, channels=channels, seed=5)
    if variant.clip:
        parts["image_encoder"], parts["image_processor"] = image_encoder()
    made = getattr(diffusers, variant.pipeline)(**parts)
    made.set_progress_bar_config(disable=True)
    return made


def save_variant(name: str, folder: Path, *, shard: str = "10GB") -> Path:
    """Save a variant in diffusers' own layout. `shard` is the largest file, as diffusers writes sizes."""
    pipeline(name).save_pretrained(folder, max_shard_size=shard)
    return folder


def load_peer(name: str, folder: Path, *, image: bool | None = None):
    """diffusers' own reading of a folder. `image` chooses its image pipeline for TI2V, which has both."""
    import diffusers

    variant = SETTINGS[name]
    kind = (
        diffusers.WanImageToVideoPipeline
        if (variant.image if image is None else image)
        else diffusers.WanPipeline
    )
    made = kind.from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    return made


class Saved:
    """Folders of variants, each saved once, when first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getitem__(self, name: str) -> Path:
        folder = self.root / name
        return folder if folder.is_dir() else save_variant(name, folder)
