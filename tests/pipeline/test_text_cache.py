"""Hidden states of prompts on disk: the same numbers, no text encoder, and bounded files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.models.text_encoders.base import TextEmbeddings
from kinema.pipeline import text_cache
from kinema.pipeline.pipeline import load
from kinema.pipeline.request import VideoRequest
from kinema.pipeline.text_cache import encode_cached
from tests.fixtures import wan_fixtures

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:diffusers", "ignore::UserWarning:transformers")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kinema" / "text"


class Encoder:
    """States that depend on the prompt; it counts what it was asked for."""

    def __init__(self):
        self.seen = []

    def __call__(self, prompts):
        self.seen += prompts
        rows = [
            torch.randn(len(prompt), 8, generator=torch.Generator().manual_seed(len(prompt))).bfloat16()
            for prompt in prompts
        ]
        return TextEmbeddings.from_list(rows)


def test_each_prompt_is_encoded_once():
    encoder = Encoder()
    first = encode_cached(["a cat", "a dog runs"], "x", encoder)
    again = encode_cached(["a dog runs", "new", "a cat"], "x", encoder)
    assert encoder.seen == ["a cat", "a dog runs", "new"]
    assert again.lengths.tolist() == [10, 3, 5]
    assert again.hidden_states.dtype is torch.bfloat16
    assert torch.equal(again.hidden_states[0], first.hidden_states[1])
    assert torch.equal(again.hidden_states[2, :5], first.hidden_states[0, :5])
    assert not again.hidden_states[2, 5:].any()
    encode_cached(["a cat"], "another encoder", encoder)
    assert encoder.seen[-1] == "a cat"


def test_damaged_files_are_encoded_again(folder):
    encoder = Encoder()
    expected = encode_cached(["a cat"], "x", encoder)
    [file] = folder.iterdir()
    for content in (b"", b"x" * 50, file.read_bytes()[:-3]):
        file.write_bytes(content)
        found = encode_cached(["a cat"], "x", encoder)
        assert torch.equal(found.hidden_states, expected.hidden_states)
    assert encoder.seen == ["a cat"] * 4


def test_a_folder_that_cannot_be_written_changes_nothing(folder):
    folder.parent.mkdir(parents=True)
    folder.write_text("a file")
    encoder = Encoder()
    assert encode_cached(["a cat"], "x", encoder).lengths.tolist() == [5]
    assert encode_cached(["a cat"], "x", encoder).lengths.tolist() == [5]
    assert len(encoder.seen) == 2


def test_the_files_that_were_not_used_for_long_are_removed(folder):
    encoder = Encoder()
    for number, prompt in enumerate(("one.", "two.", "tree")):
        encode_cached([prompt], "x", encoder)
        for file in folder.iterdir():
            if file.stat().st_mtime > 1e9:
                os.utime(file, (number, number))
    size = next(folder.iterdir()).stat().st_size
    encode_cached(["one."], "x", encoder)  # used again: now the newest
    encode_cached(["four"], "x", encoder, max_bytes=3 * size)
    assert len(list(folder.iterdir())) == 3
    encode_cached(["one.", "tree", "four"], "x", encoder)
    assert encoder.seen == ["one.", "two.", "tree", "four"]
    encode_cached(["two."], "x", encoder)
    assert encoder.seen[-1] == "two."


def test_a_known_prompt_needs_no_text_encoder(tmp_path, monkeypatch):
    model = wan_fixtures.save_variant("t2v-2.1", tmp_path / "model")
    settings = {"size": (32, 32), "num_frames": 1, "num_inference_steps": 1, "guidance_scale": 2.0}
    plain = load(model, device="cpu", dtype="float32", text_cache=False)
    expected = plain.generate("a red ball", **settings).frames
    assert np.array_equal(
        load(model, device="cpu", dtype="float32").generate("a red ball", **settings).frames, expected
    )
    pipe = load(model, device="cpu", dtype="float32")

    def refuse(*_, **__):
        raise AssertionError("the text encoder was loaded")

    monkeypatch.setattr(type(pipe.model), "load_text_encoder", refuse)
    assert np.array_equal(pipe.generate("a red ball", **settings).frames, expected)
    # Other weights are another encoder.
    [weights] = (model / "text_encoder").glob("*.safetensors")
    before = text_cache.encoder_fingerprint(pipe.model, torch.float32, torch.device("cpu"))
    os.utime(weights, (1, 1))
    assert text_cache.encoder_fingerprint(pipe.model, torch.float32, torch.device("cpu")) != before


@pytest.mark.parametrize(("dtype", "is_kept"), [("float32", False), ("bfloat16", True)])
def test_a_mapped_text_encoder_is_dropped_after_use(tmp_path, monkeypatch, dtype, is_kept):
    """Stored in float32: as it is needed, or converted, which takes too long to do it again."""
    model = wan_fixtures.save_variant("t2v-2.1", tmp_path / "wan")
    pipe = load(str(model), device="cpu", dtype=dtype, memory="high", text_cache=False)
    request = {"size": (32, 32), "num_frames": 5, "num_inference_steps": 1, "seed": 1}
    first = pipe.generate("a cat", **request).frames
    assert pipe.components.text_encoder.is_loaded == is_kept
    # The estimate counts it while prompts are encoded, and afterwards only where it is kept.
    resolved = pipe.resolve(VideoRequest(prompt="a cat", **request))
    costs = {stage.name: stage.peak_bytes for stage in pipe.estimate(resolved).costs}
    assert (costs["sample"] > costs["text"]) == is_kept
    if sys.platform == "linux" and not is_kept:
        assert f"{model}/text_encoder" not in Path("/proc/self/maps").read_text()
    # The tokenizer stays: a large one takes seconds to load.
    monkeypatch.setattr("kinema.models.formats.wan.load_tokenizer", None)
    assert np.array_equal(pipe.generate("a cat", **request).frames, first)
