"""Few steps where the weights were made for them, and a clear line where they were not."""

from __future__ import annotations

import dataclasses

import pytest

from kinema.cli.options import GenerationArgs
from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.pipeline.distilled_settings import distilled_settings


def test_sampling_defaults_hold_the_distilled_settings() -> None:
    model = open_model("world")
    distilled = dataclasses.replace(
        model, sampling_defaults=dataclasses.replace(model.sampling_defaults, distilled_steps=2)
    )
    assert distilled_settings(distilled).num_inference_steps == 2
    assert distilled_settings(distilled).guidance_scale == 1
    with pytest.raises(ValueError, match="at least one"):
        SamplingDefaults(distilled_steps=0)


def test_undistilled_models_are_refused() -> None:
    with pytest.raises(UserError, match="not distilled"):
        GenerationArgs(fast=True).to_request("a ball")
    with pytest.raises(UserError, match="leave out fast"):
        GenerationArgs(fast=True, num_inference_steps=3).to_request("a ball")
    assert GenerationArgs(num_inference_steps=3).to_request("a ball").num_inference_steps == 3
