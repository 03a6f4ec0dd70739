"""A model whose weights are damaged gives an error, not a black video."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinema.errors import ModelOutputError, UserError
from kinema.frames import to_model_range
from kinema.pipeline.decoder import StreamingDecoder
from kinema.pipeline.pipeline import load
from kinema.pipeline.request import VideoRequest


@pytest.fixture
def pipeline():
    return load("world", device="cpu")


def damage(module: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        next(parameter for parameter in module.parameters() if parameter.is_floating_point()).fill_(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_transformer_with_damaged_weights_is_an_error_after_the_first_step(pipeline, value):
    pipeline.preload()
    damage(pipeline.components.transformers[0].get(), value)
    with pytest.raises(ModelOutputError, match="latents after step 1 of 4 are not numbers") as caught:
        pipeline.generate(VideoRequest(prompt="a red ball", seed=1, size=(64, 64), num_inference_steps=4))
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)


def test_a_decoder_with_damaged_weights_is_an_error(pipeline):
    vae = pipeline.components.vae.get()
    frames = np.zeros((5, 64, 64, 3), np.uint8)
    latents = vae.encode(to_model_range(frames))
    damage(vae.decoder, float("nan"))
    with pytest.raises(ModelOutputError, match="frames are not numbers"):
        list(StreamingDecoder(vae, total=5).decode(latents, last=True))
