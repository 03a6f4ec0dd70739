"""The scene classifier: what it sees of motion, and its cost."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from kinema.models.scene_classifier import (
    SIDE,
    ClassifiedAttribute,
    SceneClassifier,
    SceneClassifierConfig,
    classifier_flops,
    local_motion,
)

ATTRIBUTES = (
    ClassifiedAttribute(name="camera", values=("static", "pan left", "pan right")),
    ClassifiedAttribute(name="colours", values=("red", "blue"), several=True),
)


def shifted_texture(dx: int, dy: int, frames: int = 3) -> torch.Tensor:
    """A smooth random texture that moves by (dx, dy) pixels in each frame."""
    noise = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    texture = F.interpolate(noise, size=(96, 96), mode="bicubic")[0]
    crops = [
        texture[:, 16 - dy * i : 16 - dy * i + SIDE, 16 - dx * i : 16 - dx * i + SIDE] for i in range(frames)
    ]
    return torch.stack(crops, dim=1)[None]


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, 2), (-2, 1), (2, -2)])
def test_motion_is_measured_in_halved_frames(dx, dy):
    motion = local_motion(shifted_texture(dx, dy))
    assert motion.shape == (1, 3, 3, SIDE // 4, SIDE // 4)
    measured = motion[0, 1:, :2].mean((0, 2, 3))
    assert measured.tolist() == pytest.approx([dx / 2, dy / 2], abs=0.3)
    assert motion[0, 0, :2].eq(0).all(), "the first frame has none before it"


def test_nothing_moves_without_contrast_or_change():
    still = shifted_texture(0, 0)
    assert local_motion(still)[:, :, :2].eq(0).all()
    gray = torch.zeros(1, 3, 3, SIDE, SIDE)
    gray[:, :, 1] = 0.5
    assert local_motion(gray)[:, :, :2].abs().max() < 1e-3
    assert local_motion(torch.zeros(2, 3, 1, SIDE, SIDE)).shape == (2, 1, 3, SIDE // 4, SIDE // 4)


def test_the_cost_is_that_of_its_layers():
    config = SceneClassifierConfig(attributes=ATTRIBUTES)
    network = SceneClassifier(config)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, config.num_frames, SIDE, SIDE))
    assert classifier_flops(config) == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_one_frame_is_read_like_a_short_video():
    config = SceneClassifierConfig(attributes=ATTRIBUTES, num_frames=5)
    logits = SceneClassifier(config)(torch.zeros(2, 3, 1, SIDE, SIDE))
    assert {name: values.shape for name, values in logits.items()} == {"camera": (2, 3), "colours": (2, 2)}
