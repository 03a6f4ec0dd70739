"""The model that ships: it is there, it is small, and it makes films from words."""

from pathlib import Path

import numpy as np

import kinema

CHECKPOINT_DIR = Path(kinema.__file__).parent / "weights" / "world"


def test_size_limit():
    assert sum(path.stat().st_size for path in CHECKPOINT_DIR.rglob("*")) < 100 * 2**20
    assert all(path.stat().st_size <= 15 * 2**20 for path in CHECKPOINT_DIR.rglob("*.safetensors"))


def test_text_to_video_is_deterministic():
    pipe = kinema.load("world")
    prompt = "a red ball rolls to the left"
    film = pipe.generate(prompt, num_inference_steps=4, seed=3)
    assert film.frames.shape == (17, 128, 128, 3)
    assert film.fps == 8
    assert np.array_equal(film.frames, pipe.generate(prompt, num_inference_steps=4, seed=3).frames)
    assert not np.array_equal(film.frames, pipe.generate(prompt, num_inference_steps=4, seed=4).frames)


def test_prompt_controls_colour_and_direction():
    """Not how well, which the model card measures: that the words are heeded at all."""
    pipe = kinema.load("world")

    def middle(direction: str) -> np.ndarray:
        film = pipe.generate(
            f"a red ball rolls to the {direction}", num_inference_steps=12, seed=0
        ).frames.astype(float)
        redness = np.clip(film[..., 0] - film[..., 1:3].max(-1) - 40, 0, None)
        assert redness.sum((1, 2)).min() > 0, "a red thing is in view throughout"
        columns = np.arange(film.shape[2])
        return (redness.sum(1) * columns).sum(1) / redness.sum((1, 2))

    left, right = middle("left"), middle("right")
    assert left[-1] < left[0] - 12
    assert right[-1] > right[0] + 12
