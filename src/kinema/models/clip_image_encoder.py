"""The CLIP image encoder of Wan 2.1 image-to-video, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

if TYPE_CHECKING:
    from transformers import CLIPVisionModel
    from transformers.image_processing_utils import BaseImageProcessor


class ClipImageEncoder:
    """Hidden states of the last but one layer of a CLIP vision model."""

    def __init__(self, model: CLIPVisionModel, processor: BaseImageProcessor) -> None:
        self.model, self.processor = model, processor

    @torch.no_grad()
    def encode(self, images: Sequence[UInt8[ndarray, "h w 3"]]) -> Float[Tensor, "b m c"]:
        """Hidden states of each image: the class token, then one per patch, row by row."""
        pixels = self.processor(images=list(images), return_tensors="pt").pixel_values
        out = self.model(
            pixel_values=pixels.to(device=self.model.device, dtype=self.model.dtype),
            output_hidden_states=True,
        )
        return out.hidden_states[-2]
