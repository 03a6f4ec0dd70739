"""Training on PhyWorld's scenarios: all stages, another run's autoencoder, and the benchmark."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.phyworld import (
    PhyWorldModel,
    measure_attributes,
    measure_errors,
    measure_speeds,
    run_benchmark,
)

from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.text_encoders.minilm import MiniLm
from kinema.simulator.phyworld import NUM_FRAMES, AttributePair, PhyWorldConfig, PhyWorldVideos
from kinema.training.export import export_phyworld
from kinema.training.recipes.phyworld import (
    PhyWorldRunConfig,
    experiment,
    lab,
    load_trained_phyworld,
    tiny,
    train_phyworld,
)
from kinema.training.run_context import RunContext
from kinema.training.sigma_sampling import sample_sigmas


def make_context(folder: Path) -> RunContext:
    return RunContext(run_dir=folder, device=torch.device("cpu"), load_text_encoder=MiniLm.load)


def train(config: PhyWorldRunConfig, folder: Path) -> Path:
    context = make_context(folder)
    stages = [progress.stage for progress in train_phyworld(config, context)]
    assert ("autoencoder" in stages) != bool(config.autoencoder)
    assert stages[-1] == "transformer"
    return export_phyworld(config, *load_trained_phyworld(config, context), folder / "weights")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny(), tmp_path_factory.mktemp("phyworld") / "run")


def test_the_experiment_is_smaller() -> None:
    assert experiment().dit.model.width < lab().dit.model.width
    assert experiment().num_clips < lab().num_clips
    assert experiment().vae == lab().vae


def test_the_preset_gives_three_frames() -> None:
    config = lab().dit.sigma_sampling
    for seed in range(20):
        sigmas = sample_sigmas(config, 17, torch.Generator().manual_seed(seed))
        assert (sigmas[:2] == 0).all()
        assert (sigmas[2:] == sigmas[2]).all()
        assert sigmas[2] > 0


def test_the_model_continues_the_condition_frames(weights: Path) -> None:
    assert open_model(str(weights)).sampling_defaults.fps == pytest.approx(10)
    model = PhyWorldModel(str(weights), num_inference_steps=2)
    clips = [PhyWorldVideos(config=PhyWorldConfig(), num_clips=3).clip(index) for index in range(3)]
    videos = list(model.continue_clips(clips))
    assert [video.shape for video in videos] == [(NUM_FRAMES, 128, 128, 3)] * 3
    # The decoder is causal, so the condition frames are those of the encoded clip, whatever follows.
    for clip, video in zip(clips, videos, strict=True):
        assert abs(video[:3].astype(int) - model.reconstruct(clip)[:3]).max() <= 1


def test_every_experiment_has_its_rows(weights: Path) -> None:
    model = PhyWorldModel(str(weights), num_inference_steps=1)
    rows = measure_errors(model, ("uniform",), 2)
    assert [row.label for row in rows[:3]] == [
        "uniform, in of distribution: true videos",
        "uniform, in of distribution: autoencoder",
        "uniform, in of distribution: model",
    ]
    assert rows[0].ours < 0.02
    assert rows[2].theirs == 0.012
    assert len(measure_speeds(model, 1)) == 13
    shares = measure_attributes(model, AttributePair(first="colour", second="shape"), 3)
    assert sum(row.ours for row in shares[:5]) == pytest.approx(1)
    assert sum(row.ours for row in shares[5:]) == pytest.approx(1)


def test_true_videos_keep_their_attributes(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PhyWorldModel(str(weights), num_inference_steps=1)
    monkeypatch.setattr(model, "continue_clips", lambda clips: iter([clip.frames for clip in clips]))
    rows = {
        row.label: row.ours
        for row in measure_attributes(model, AttributePair(first="colour", second="size"), 8)
    }
    assert rows["new combination: keeps both"] == 1
    speeds = measure_speeds(model, 2)
    np.testing.assert_allclose([row.ours for row in speeds], [row.theirs for row in speeds], atol=0.03)


def test_another_run_lends_its_autoencoder(weights: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny(), autoencoder=str(weights))
    pair = PhyWorldConfig(pair=AttributePair(first="colour", second="shape"))
    other = train(dataclasses.replace(config, clips=pair), tmp_path / "run")
    device = torch.device("cpu")
    old, new = (open_model(str(folder)).load_vae(device=device).state_dict() for folder in (weights, other))
    assert all(torch.equal(old[name], new[name]) for name in old)
    with pytest.raises(UserError, match="does not fit"):
        list(train_phyworld(dataclasses.replace(config, autoencoder="world"), make_context(tmp_path / "b")))


def test_training_starts_from_another_transformer(weights: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny(), autoencoder=str(weights), init_from=str(weights))
    optimizer = dataclasses.replace(config.dit.loop.optimizer, learning_rate=0.0, muon_learning_rate=0.0)
    loop = dataclasses.replace(config.dit.loop, optimizer=optimizer)
    config = dataclasses.replace(config, dit=dataclasses.replace(config.dit, loop=loop))
    folders = (weights, train(config, tmp_path / "run"))
    old, new = (
        open_model(str(folder)).load_transformer(dtype=torch.float32, device=torch.device("cpu")).state_dict()
        for folder in folders
    )
    for name in old:
        torch.testing.assert_close(new[name], old[name], rtol=0.01, atol=1e-4)


def test_models_of_other_videos_are_refused() -> None:
    with pytest.raises(UserError, match="17 frames of 128x128"):
        run_benchmark(model="world")


def test_attributes_need_a_pair(weights: Path) -> None:
    with pytest.raises(UserError, match="--pair"):
        run_benchmark(model=str(weights), experiment="attributes")
