"""Validation samples and contact sheets."""

import dataclasses

import numpy as np
import torch
from PIL import Image

from kinema.data.latent_cache import TextEmbeddingTable
from kinema.models.transformer.dit_config import small
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.training.dit_task import LAB_SCORE, DitTask, DitTrainConfig
from kinema.training.validation_samples import SampleConfig, reconstruction_callback, sample_callback
from tests.fixtures.training_data import TEXT_EMBEDDINGS, perturb, random_latents, static_squares

CPU = torch.device("cpu")


def test_sample_callback_is_deterministic_and_returns_scores(tmp_path):
    dataset = random_latents()
    config = DitTrainConfig(precision="float32", model=small(width=64, layers=1, channels=4, grid=(2, 2)))
    task = perturb(DitTask(config, [dataset], [dataset], CPU))
    vae = VideoVae(VaeConfig.tiny(patchified=True)).eval()
    table = TextEmbeddingTable(TEXT_EMBEDDINGS, CPU)
    prompts = [("one", 0), ("two", 1)]
    scored = []

    def scorer(samples):
        scored.append(samples)
        return {LAB_SCORE: 0.5}

    def callback(samples):
        shape = task.latent_shape(0)
        return sample_callback(task.dit, vae, table, prompts, shape, samples, tmp_path, scorer=scorer)

    one_by_one = SampleConfig(num_samples=2, num_inference_steps=2, batch_size=1)
    validate = callback(one_by_one)
    assert validate(10) == validate(20) == {LAB_SCORE: 0.5}
    assert [sample.prompt for sample in scored[0]] == ["one", "two"]
    for first, second in zip(*scored, strict=True):
        assert np.array_equal(first.frames, second.frames)
    sheets = sorted(tmp_path.glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["step-00000010.png", "step-00000020.png"]
    assert sheets[0].read_bytes() == sheets[1].read_bytes()
    # The batch size changes the samples by rounding only.
    callback(dataclasses.replace(one_by_one, batch_size=2))(30)
    for single, batched in zip(scored[0], scored[2], strict=True):
        assert np.abs(single.frames.astype(int) - batched.frames).max() <= 1


def test_reconstructions_are_shown_below_the_videos(tmp_path):
    vae = VideoVae(VaeConfig.tiny(patchified=True)).eval()
    with torch.no_grad():
        assert reconstruction_callback(vae, static_squares(2), tmp_path)(5) == {}
    with Image.open(tmp_path / "step-00000005.png") as sheet:
        assert sheet.size[1] > 4 * 96
