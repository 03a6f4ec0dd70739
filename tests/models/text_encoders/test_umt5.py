"""Wan's text and image encoders against diffusers' pipelines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline, WanPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kinema.errors import UserError
from kinema.models.clip_image_encoder import ClipImageEncoder
from kinema.models.formats.wan_encoders import load_clip, load_tokenizer, load_umt5
from kinema.models.text_encoders.base import TextEmbeddings, TextEncoder, clean_prompt
from kinema.models.text_encoders.umt5 import Umt5
from tests.fixtures import wan_fixtures

PROMPTS = ["a red  ball rolls to the left", "", "&amp;amp;lt;b&amp;gt; the cat\n\tfilm", "cat " * 700]


@pytest.fixture(scope="module")
def encoder() -> Umt5:
    tokenizer = wan_fixtures.tokenizer()
    return Umt5(wan_fixtures.text_encoder(len(tokenizer)), tokenizer)


def pipeline(encoder: Umt5) -> WanPipeline:
    return WanPipeline(
        tokenizer=encoder.tokenizer,
        text_encoder=encoder.model,
        vae=None,
        scheduler=None,
        transformer=None,
    )


def test_real_tokens_equal_the_padded_encoding(encoder: Umt5) -> None:
    found = encoder.encode(PROMPTS)
    with torch.no_grad():
        expected = pipeline(encoder)._get_t5_prompt_embeds(PROMPTS, max_sequence_length=512, device="cpu")
    assert found.lengths[-1] == 512
    assert isinstance(encoder, TextEncoder)
    padded = torch.nn.functional.pad(found.hidden_states, (0, 0, 0, 512 - found.hidden_states.shape[1]))
    assert (padded - expected).abs().max() <= 1e-5
    for row, length in zip(expected, found.lengths, strict=True):
        assert row[length:].eq(0).all()


@given(st.text(max_size=60))
def test_prompts_are_cleaned_as_in_diffusers(text: str) -> None:
    assert clean_prompt(text) == prompt_clean(text)


def test_cleaning_repairs_and_collapses() -> None:
    assert clean_prompt("  caf\u00c3\u00a9 &amp;amp; bar\n\n ") == "café & bar"


def test_states_survive_saving(encoder: Umt5, tmp_path: Path) -> None:
    encoder.model.save_pretrained(tmp_path / "text_encoder")
    encoder.tokenizer.save_pretrained(tmp_path / "tokenizer")
    arguments = {"max_tokens": 512, "dtype": torch.float32, "device": torch.device("cpu")}
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    again = load_umt5(tmp_path / "text_encoder", tokenizer, **arguments)
    assert torch.equal(again.encode(PROMPTS[:1]).hidden_states, encoder.encode(PROMPTS[:1]).hidden_states)
    assert again.hidden_size == wan_fixtures.TEXT_WIDTH
    with pytest.raises(UserError, match="is missing"):
        load_umt5(tmp_path / "missing", tokenizer, **arguments)
    with pytest.raises(UserError, match="is missing"):
        load_tokenizer(tmp_path / "missing")


def test_image_embeddings_equal_diffusers(tmp_path: Path) -> None:
    model, processor = wan_fixtures.image_encoder()
    theirs = WanImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=None,
        scheduler=None,
        image_processor=processor,
        image_encoder=model,
        transformer=None,
    )
    images = [np.random.default_rng(i).integers(0, 256, (40, 70, 3), dtype=np.uint8) for i in range(2)]
    with torch.no_grad():
        expected = theirs.encode_image([Image.fromarray(image) for image in images], device="cpu")
    ours = ClipImageEncoder(model, processor)
    assert (ours.encode(images) - expected).abs().max() <= 1e-5
    model.save_pretrained(tmp_path / "image_encoder")
    processor.save_pretrained(tmp_path / "image_processor")
    arguments = {"dtype": torch.float32, "device": torch.device("cpu")}
    again = load_clip(tmp_path / "image_encoder", tmp_path / "image_processor", **arguments)
    assert torch.equal(again.encode(images), ours.encode(images))
    with pytest.raises(UserError, match="is missing"):
        load_clip(tmp_path / "missing", tmp_path, **arguments)


def test_states_of_unequal_length_are_padded_with_zeros() -> None:
    states = TextEmbeddings.from_list([torch.ones(2, 3), torch.ones(4, 3)])
    assert states.lengths.tolist() == [2, 4]
    assert states.hidden_states[0, 2:].eq(0).all()
    assert states.to(dtype=torch.bfloat16).hidden_states.dtype is torch.bfloat16
