"""The super-resolution network: before training it is bicubic interpolation, and it reads neighbours."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.models.super_resolution import (
    SuperResolution,
    SuperResolutionConfig,
    enlarge_bicubic,
    flops_per_pixel,
)

SMALL = SuperResolutionConfig(channels=8, blocks=1, channels_2x=4, channels_4x=4)


def trained_network(seed: int = 0) -> SuperResolution:
    """A network whose last layers are not zero."""
    torch.manual_seed(seed)
    network = SuperResolution(SMALL).eval()
    for last in (network.last_2x, network.last_4x):
        torch.nn.init.normal_(last.weight, std=0.1)
    return network


@settings(max_examples=10, deadline=None)
@given(height=st.integers(3, 20), width=st.integers(3, 20), seed=st.integers(0, 99))
def test_an_untrained_network_is_bicubic_interpolation(height, width, seed):
    frames = torch.rand(2, 9, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    with torch.no_grad():
        results = SuperResolution(SMALL)(frames)
    assert set(results) == {2, 4}
    for factor, result in results.items():
        assert result.shape == (2, 3, factor * height, factor * width)
        assert torch.equal(result, enlarge_bicubic(frames[:, 3:6], factor))


def test_one_size_is_the_same_as_both():
    network, frames = trained_network(), torch.rand(1, 9, 12, 10) * 2 - 1
    with torch.no_grad():
        both = network(frames)
        for factor in (2, 4):
            assert torch.equal(network(frames, factors=(factor,))[factor], both[factor])


def test_neighbours_of_the_first_and_last_frame_are_themselves():
    video = torch.arange(4.0).reshape(1, 1, 4, 1, 1).expand(1, 3, 4, 5, 6)
    windows = [SuperResolution.neighbours(video, frame)[0, :, 0, 0].tolist() for frame in range(4)]
    assert windows[0] == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert windows[1] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert windows[3] == [2, 2, 2, 3, 3, 3, 3, 3, 3]


def test_the_result_depends_on_both_neighbours():
    network, frames = trained_network(), torch.rand(1, 9, 12, 10) * 2 - 1
    for channel in (0, 8):
        changed = frames.clone()
        changed[:, channel] += 0.5
        with torch.no_grad():
            assert not torch.equal(network(changed)[2], network(frames)[2])


def test_operations_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    network, frames = SuperResolution(SMALL), torch.zeros(1, 9, 16, 8)
    for factors in ((2,), (4,), (2, 4)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(frames, factors=factors)
        assert counter.get_total_flops() == flops_per_pixel(SMALL, factors=factors) * 16 * 8
