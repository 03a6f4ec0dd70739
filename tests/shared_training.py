"""One process of a training that several share: `torchrun ... shared_training.py RUN STEPS [critic]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from kinema.models.vae.autoencoder.vae_config import VaeConfig

from kinema.distributed.crowd import joined
from kinema.models.transformer.dit_config import small
from kinema.train.dit import DitTask, DitTraining
from kinema.train.films import HeldFilms
from kinema.train.latents import LatentFilms
from kinema.train.loop import LoopConfig, train
from kinema.train.optimizer import OptimizerConfig
from kinema.train.vae import VaeTask, VaeTraining

CPU = torch.device("cpu")


def films(count, frames, height, width, seed):
    latents = torch.randn(count, 4, frames, height, width, generator=torch.Generator().manual_seed(seed))
    states = (torch.eye(384)[:3], torch.eye(384)[3:5], torch.eye(384)[9:10])
    return LatentFilms(latents=latents, captions=((0, 1), (1,)) * (count // 2), states=states)


def reports(run, steps, crowd):
    """A transformer on films of two shapes and on pictures, with both optimisers."""
    config = DitTraining(
        batch=6,
        pictures=0.2,
        # Shards add up in another order, and bfloat16 would round the difference up.
        precision="float32",
        model=small(width=64, layers=2, channels=4, grid=(2, 2)),
        loop=LoopConfig(
            steps=steps,
            validate_every=5,
            save_every=5,
            optimizer=OptimizerConfig(learning_rate=3e-3, muon_learning_rate=1e-2, warmup=2),
        ),
    )
    groups = [films(12, 3, 4, 4, 0), films(8, 2, 4, 8, 1)]
    task = DitTask(config, groups, [groups[0].part(0, 4)], CPU)
    return list(train(task, config.loop, run, settings={}, crowd=crowd))


def squares(count: int = 4, frames: int = 5, side: int = 32) -> HeldFilms:
    """Films of a bright square that moves."""
    pixels = np.full((count, frames, side, side, 3), 90, np.uint8)
    for film in range(count):
        for frame in range(frames):
            left = 4 + 2 * frame + film
            pixels[film, frame, 10:20, left : left + 8] = (220, 40 * film, 30)
    return HeldFilms(pixels=pixels, texts=(("a square",),) * count)


def reports_with_critic(run, steps, crowd):
    """An autoencoder on films of a square that moves, against a critic."""
    config = VaeTraining(
        batch=4,
        crop=16,
        adversarial=0.3,
        precision="float32",
        model=VaeConfig.tiny(patchified=True),
        loop=LoopConfig(steps=steps, validate_every=5, save_every=5),
    )
    task = VaeTask(config, squares(), squares(), CPU)
    return list(train(task, config.loop, run, settings={}, crowd=crowd))


if __name__ == "__main__":
    torch.set_num_threads(1)
    trained = reports_with_critic if sys.argv[3:] == ["critic"] else reports
    with joined("cpu") as crowd:
        done = trained(Path(sys.argv[1]), int(sys.argv[2]), crowd)
        if crowd.leads:
            told = {"losses": [r.loss for r in done], "norms": [r.norm for r in done]}
            told["scores"] = [dict(r.scores) for r in done if r.scores]
            Path(sys.argv[1], "told.json").write_text(json.dumps(told))
