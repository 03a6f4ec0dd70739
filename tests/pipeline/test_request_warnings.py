"""Warnings before a video is generated: words and images that the model does not know."""

import itertools
import json

import numpy as np
import pytest
import torch

from kinema.models.lora.reader import open_lora
from kinema.models.lora.writer import save_lora
from kinema.pipeline import unknown_words
from kinema.pipeline.pipeline import load
from kinema.pipeline.prompt_vocabulary import lora_vocabulary, model_vocabulary
from kinema.pipeline.request import Keyframe, Lora, Shot, VideoRequest
from kinema.pipeline.request_warnings import request_warnings
from kinema.pipeline.unknown_words import EXAMPLE_PROMPTS, find_unknown_words


@pytest.fixture(scope="module")
def pipe():
    return load("world", device="cpu")


def warnings(pipe, **fields):
    """The warnings, without what prompts were rewritten to."""
    resolved = pipe.resolve(VideoRequest(**fields))
    return tuple(one for one in pipe.warnings(resolved) if one not in resolved.rewriting_notes)


@pytest.mark.parametrize("prompt", [
    *EXAMPLE_PROMPTS,
    "two balls rolled to the left and stopped",
    "A blue ball is bouncing!",
])  # fmt: skip
def test_prompts_in_the_models_own_words_give_no_warning(pipe, prompt):
    assert warnings(pipe, prompt=prompt) == ()


@pytest.mark.parametrize(("prompt", "word", "nearest"), [
    ("a marble rolls to the left", "marble", "ball"),
    ("a football rolls to the left", "football", "ball"),
    ("a crate stands on the floor", "crate", "box"),
    ("a ball rolls through a forest", "forest", None),
    ("a purpel ball rolls to the left", "purpel", "purple"),
])  # fmt: skip
def test_other_words_are_named_with_what_to_write(pipe, prompt, word, nearest):
    (message,) = warnings(pipe, prompt=prompt, rewrite_prompt=False)
    assert f"world was not trained on {word!r}" in message
    assert (f"(try {nearest!r})" in message) == (nearest is not None)
    assert EXAMPLE_PROMPTS[0] in message
    assert "\n" not in message


@pytest.mark.parametrize("prompt", ["a marble rolls to the left", "Two red crates!", "a scarlet football"])
def test_words_that_the_rewriter_reads_as_known_ones_give_no_warning(pipe, prompt):
    """'crate' is read as 'box'; the warning advised to write what would happen anyway."""
    assert warnings(pipe, prompt=prompt) == ()
    assert warnings(pipe, prompt=prompt, rewrite_prompt=False)
    request = VideoRequest(prompt=prompt, loras=(Lora(file="style.safetensors"),))
    assert request_warnings(pipe.model, request, (128, 128)), "prompts with a LoRA are not rewritten"


def test_shots_are_checked_too(pipe):
    board = (Shot(prompt="a red ball rolls to the left"), Shot(prompt="a teapot", seconds=2.0))
    (message,) = warnings(pipe, storyboard=board, seconds=4.0)
    assert "'teapot'" in message


def test_a_prompt_of_thousands_of_unknown_words_is_answered_at_once(monkeypatch):
    """Each word took a millisecond: one request of a server kept all others waiting for seconds."""
    looked_up = []
    monkeypatch.setattr(unknown_words, "_nearest_word", lambda word, _: looked_up.append(word) or "")
    words = ["".join(letters) for letters in itertools.product("qxyz", repeat=6)]
    found = find_unknown_words([" ".join(words), "x" * 32_000], ["ball"])
    assert len(looked_up) == len(found.words) == unknown_words.MAX_WORDS
    assert len(find_unknown_words(["x" * 32_000], ["ball"]).message("world")) < 1000


def test_open_models_have_no_vocabulary():
    assert find_unknown_words(["a teapot"], frozenset()).words == ()


def test_the_shipped_vocabulary_is_smaller_than_the_simulators(pipe):
    words = model_vocabulary(pipe.model)
    assert {"ball", "cube", "left", "hits"} <= words
    assert not {"forest", "snowman", "marble"} & words


def test_an_image_of_another_shape_is_cropped_with_a_warning(pipe):
    gray = np.full((60, 100, 3), 120, np.uint8)
    assert warnings(pipe, prompt="a red ball", image=gray) == ()
    (message,) = warnings(pipe, prompt="a red ball", image=gray, size=(128, 128))
    assert "the image has 100x60 pixels and is cropped" in message
    assert "40% of it is left out" in message


def test_a_photo_is_unlike_the_models_scenes(pipe):
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:40] = (60, 120, 220)
    photo[40:] = (40, 140, 50)
    (message,) = warnings(pipe, prompt="a red ball", keyframes=(Keyframe(seconds=0.5, image=photo),))
    assert "unlike the simulated scenes" in message


def test_words_of_a_lora_are_known(tmp_path):
    """A LoRA of `kinema train lora` records the words of its captions; damaged headers count as none."""
    vocabulary = []
    for index, header in enumerate(({"vocabulary": ["axolotl", 3]}, {"vocabulary": "axolotl"}, [], None)):
        path = tmp_path / f"{index}.safetensors"
        factors = {"blocks.0.attn1.to_q.lora_A.weight": torch.zeros(1, 4)}
        factors["blocks.0.attn1.to_q.lora_B.weight"] = torch.zeros(4, 1)
        metadata = None if header is None else {"kinema": json.dumps(header)}
        save_lora(path, factors, metadata=metadata)
        vocabulary.append(lora_vocabulary([open_lora(path)]))
    assert vocabulary == [{"axolotl"}, frozenset(), frozenset(), frozenset()]
    known = frozenset({"a"})
    assert find_unknown_words(["a axolotl"], known).words == ("axolotl",)
    assert not find_unknown_words(["a axolotl"], known | vocabulary[0]).words


def test_a_negative_prompt_without_guidance_is_named(pipe):
    (message,) = warnings(pipe, prompt="a red ball rolls to the left", negative_prompt="blurry")
    assert "without guidance" in message
    scale = {"guidance_scale": 2.0, "negative_prompt": "blurry"}
    assert warnings(pipe, prompt="a red ball rolls to the left", **scale) == ()
