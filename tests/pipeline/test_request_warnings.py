"""Warnings before a video is generated: words and images that the model does not know."""

import numpy as np
import pytest

from kinema.pipeline.pipeline import load
from kinema.pipeline.prompt_vocabulary import EXAMPLE_PROMPTS, find_unknown_words, model_vocabulary
from kinema.pipeline.request import Keyframe, Shot, VideoRequest


@pytest.fixture(scope="module")
def pipe():
    return load("world", device="cpu")


def warnings(pipe, **fields):
    return pipe.warnings(pipe.resolve(VideoRequest(**fields)))


@pytest.mark.parametrize("prompt", [
    *EXAMPLE_PROMPTS,
    "two balls rolled to the left and stopped",
    "A blue ball is bouncing!",
])  # fmt: skip
def test_prompts_in_the_models_own_words_give_no_warning(pipe, prompt):
    assert warnings(pipe, prompt=prompt) == ()


@pytest.mark.parametrize(("prompt", "word", "nearest"), [
    ("a marble rolls to the left", "marble", "ball"),
    ("a bowling ball rolls to the left", "bowling", "ball"),
    ("a crate stands on the floor", "crate", "cube"),
    ("a ball rolls through a forest", "forest", None),
    ("a purpel ball rolls to the left", "purpel", "purple"),
])  # fmt: skip
def test_other_words_are_named_with_what_to_write(pipe, prompt, word, nearest):
    (message,) = warnings(pipe, prompt=prompt)
    assert f"world was not trained on {word!r}" in message
    assert (f"(try {nearest!r})" in message) == (nearest is not None)
    assert EXAMPLE_PROMPTS[0] in message
    assert "\n" not in message


def test_shots_are_checked_too(pipe):
    board = (Shot(prompt="a red ball rolls to the left"), Shot(prompt="a teapot", seconds=2.0))
    (message,) = warnings(pipe, storyboard=board, seconds=4.0)
    assert "'teapot'" in message


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
