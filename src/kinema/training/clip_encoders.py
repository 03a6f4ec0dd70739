"""What fine-tuning reads of a clip: latents, and for image-to-video models the conditions of its first frame.

The encoders are loaded when the first clip needs them, so that a run whose clips are all encoded never loads
the autoencoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.frames import to_frames
from kinema.models.clip_image_encoder import ClipImageEncoder
from kinema.models.formats.fingerprint import fingerprint
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.formats.wan import WanCheckpoint
from kinema.models.precision import Precision, autocast
from kinema.pipeline.conditioning import Conditioning, ImageCondition, TimedPrompt, encode_i2v_channels
from kinema.pipeline.lazy_module import LazyModule
from kinema.shapes import LatentShape, VideoShape
from kinema.training.finetune_task import CONDITION, IMAGE_EMBEDDINGS


class ModelClipEncoder:
    """A `kinema.data.encoded_set.ClipEncoder` of a model.

    Args:
        model: its autoencoder, and for Wan 2.1 image-to-video its image encoder, are used.
        device: of the encoders.
        precision: of the autoencoder.
    """

    def __init__(
        self, model: ModelCheckpoint, device: torch.device, *, precision: Precision = "auto"
    ) -> None:
        self.model, self.device, self.precision = model, device, precision
        self._vae = LazyModule(lambda: model.load_vae(device=device), keep_loaded=True)
        self._clip = LazyModule(self._load_image_encoder, keep_loaded=True)

    @cached_property
    def fingerprint(self) -> str:
        """Of the weights of the encoders and the kind of condition."""
        folders = ["vae", "image_encoder"] if self.model.has_image_encoder else ["vae"]
        parts = [fingerprint(self.model.part(name)) for name in folders]
        return " ".join([*parts, self.model.sampling_defaults.image_conditioning, self.precision])

    def encode(self, frames: Float[Tensor, "b 3 f h w"]) -> Mapping[str, Tensor]:
        """`latents`, and for models that read images as channels `condition` and `image_embeddings`."""
        encoded = {"latents": self._encode_latents(frames)}
        if self.model.sampling_defaults.image_conditioning != "channels":
            return encoded
        images = [to_frames(clip[None, :, :1])[0] for clip in frames]
        shape = VideoShape(frames=frames.shape[2], height=frames.shape[3], width=frames.shape[4])
        encoded[CONDITION] = torch.cat([self._encode_condition(image, shape) for image in images])
        if self.model.has_image_encoder:
            encoded[IMAGE_EMBEDDINGS] = self._clip.get().encode(images).float()
        return encoded

    def _encode_latents(self, frames: Float[Tensor, "b 3 f h w"]) -> Float[Tensor, "b c f2 h2 w2"]:
        with torch.no_grad(), autocast(self.precision, self.device):
            return self._vae.get().encode(frames.to(self.device)).float()

    def _encode_condition(
        self, image: UInt8[np.ndarray, "h w 3"], shape: VideoShape
    ) -> Float[Tensor, "1 k f2 h2 w2"]:
        """The condition of a request with `image` as its first frame."""
        stride = self.model.vae.stride
        return encode_i2v_channels(
            Conditioning(prompts=(TimedPrompt(prompt=""),), images=(ImageCondition(image=image),)),
            shape,
            LatentShape.of(shape, stride),
            stride,
            self._encode_latents,
        )

    def _load_image_encoder(self) -> ClipImageEncoder:
        assert isinstance(self.model, WanCheckpoint)
        return self.model.load_image_encoder(dtype=torch.float32, device=self.device)


def text_fingerprint(model: ModelCheckpoint) -> str:
    """Identifies the text encoder of a model."""
    folder = model.part("text_encoder")
    return fingerprint(folder) if folder.is_dir() else "minilm"
