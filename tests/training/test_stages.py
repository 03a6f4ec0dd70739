"""Rendered windows: cut, encoded and flagged."""

import dataclasses

import torch

from kinema.data.latent_cache import load_latent_datasets
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.training.render_shards import RenderConfig, render_missing
from kinema.training.run_context import RunContext
from kinema.training.stages import encode_datasets, open_split, split_dirs
from tests.fixtures.toy_training import LetterTextEncoder


def test_windows_are_cut_encoded_and_flagged(tmp_path):
    render_config = RenderConfig(
        num_clips=3,
        height=16,
        width=16,
        num_frames=13,
        events=(("still", 1.0),),
        shard_size=2,
        window_frames=9,
    )
    held_out_config = dataclasses.replace(render_config, num_clips=1, seed=1, split="test")
    for config, name in zip((render_config, held_out_config), split_dirs(0), strict=True):
        for _ in render_missing(config, tmp_path / name, num_workers=0):
            pass
    context = RunContext(run_dir=tmp_path, device=torch.device("cpu"), load_text_encoder=LetterTextEncoder)
    split = open_split(context, render_config, held_out_config)
    assert (len(split.train), len(split.held_out), split.starts_midclip) == (6, 2, True)
    vae = VideoVae(VaeConfig.tiny(patchified=True)).eval()
    for _ in encode_datasets(context, vae, [split], precision="float32"):
        pass
    data = load_latent_datasets(tmp_path)
    assert data.train[0].starts_midclip
    assert data.held_out[0].subset(0, 1).starts_midclip
    assert data.train[0].latents.shape[:3] == (6, 4, 3)
