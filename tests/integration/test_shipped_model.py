"""The shipped model: its size, and that prompt and seed determine the video."""

from pathlib import Path

import numpy as np
import pytest

import kinema

CHECKPOINT_DIR = Path(kinema.__file__).parent / "weights" / "world"


@pytest.fixture(scope="module")
def pipe():
    return kinema.load("world")


def test_size_limit():
    assert sum(path.stat().st_size for path in CHECKPOINT_DIR.rglob("*")) < 100 * 2**20
    assert all(path.stat().st_size <= 15 * 2**20 for path in CHECKPOINT_DIR.rglob("*.safetensors"))


def test_text_to_video_is_deterministic(pipe):
    prompt = "a red ball rolls to the left"
    video = pipe.generate(prompt, num_inference_steps=4, seed=3)
    assert video.frames.shape == (17, 128, 128, 3)
    assert video.fps == 8
    assert np.array_equal(video.frames, pipe.generate(prompt, num_inference_steps=4, seed=3).frames)
    assert not np.array_equal(video.frames, pipe.generate(prompt, num_inference_steps=4, seed=4).frames)


def test_prompt_controls_colour_and_direction(pipe):
    """The prompt has an effect; the scorecard measures how exact it is."""

    def centre_x(direction: str) -> np.ndarray:
        """Horizontal centre of all red pixels in each frame."""
        prompt = f"a red ball rolls to the {direction}"
        frames = pipe.generate(prompt, num_inference_steps=12, seed=0).frames.astype(float)
        redness = np.clip(frames[..., 0] - frames[..., 1:3].max(-1) - 40, 0, None)
        assert redness.sum((1, 2)).min() > 0, "the red ball is visible in every frame"
        columns = np.arange(frames.shape[2])
        return (redness.sum(1) * columns).sum(1) / redness.sum((1, 2))

    left, right = centre_x("left"), centre_x("right")
    assert left[-1] < left[0] - 12
    assert right[-1] > right[0] + 12
