"""The release recipe: from a bare machine to weights that can ship, in one budget of time.

    film the set → train the autoencoder → encode → train the transformer → export

Every stage leaves what it made in the run's folder and is skipped when that is there, so a recipe that was
stopped goes on where it was. How many steps fit is measured on this machine once, then written down, so
that a resumed run follows the same schedule.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from kinema import checkpoint
from kinema.files import atomic_path, write_text
from kinema.models.dit import Dit
from kinema.models.dit_config import small
from kinema.models.text import TextEncoder
from kinema.models.vae import VideoVae
from kinema.models.vae_config import VaeConfig
from kinema.train.dit import DitTask, DitTraining, LatentFilms
from kinema.train.filming import Filming, StoredFilms, film, filming_beside, stored
from kinema.train.latents import encode_captions, encode_films, latent_films
from kinema.train.loop import LoopConfig, Report, Task, averaged_weights, train
from kinema.train.settings import plain
from kinema.train.vae import VaeTask, VaeTraining, latent_statistics


@dataclass(frozen=True, kw_only=True)
class ReleaseConfig:
    """What is filmed and trained, and how the budget is shared."""

    budget: float
    """Seconds for everything."""
    filming: Filming
    held_out: Filming
    """Test split, for validation only."""
    vae: VaeTraining = field(default_factory=VaeTraining)
    dit: DitTraining = field(default_factory=DitTraining)
    vae_films: int = 1536
    """The autoencoder trains on the first so many films, while the others are being made."""
    vae_share: float = 0.38
    """Of the budget that filming leaves; the transformer gets the rest but a twentieth."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where the recipe is."""

    stage: str
    done: int
    of: int
    seconds: float
    """Since the recipe began (in this process)."""
    report: Report | None = None
    """In training stages."""


def lab(*, budget: float, films: int = 8000) -> ReleaseConfig:
    """For two cores and no GPU: the lab at 128 x 128, 17 frames at 8 a second.

    The autoencoder halves once more than the usual small one: a solid thing on an even floor needs no more
    latents at 128 pixels than at 64, and the transformer's cost stays what it was.
    """
    autoencoder = dataclasses.replace(
        VaeConfig.small(), base_dim=48, dim_mult=(1, 2, 4), temporal_downsample=(False, False)
    )
    return ReleaseConfig(
        budget=budget,
        filming=Filming(count=films),
        held_out=Filming(count=192, split="test", seed=1),
        vae=VaeTraining(batch=4, crop=64, model=autoencoder),
        dit=DitTraining(batch=16, model=small(width=192, layers=6, grid=(4, 4))),
    )


def whole(*, budget: float, films: int = 20000) -> ReleaseConfig:
    """For one large GPU: the whole set at 128 x 128, 33 frames at 12 a second."""
    filming = Filming(
        count=films, height=128, width=128, frames=33, fps=12.0, lab=False, events=(), split="all"
    )
    return ReleaseConfig(
        budget=budget,
        filming=filming,
        held_out=dataclasses.replace(filming, count=256, seed=1),
        vae=VaeTraining(batch=32, crop=64),
        dit=DitTraining(batch=256, model=small(width=512, layers=12, grid=(8, 8))),
        vae_share=0.25,
    )


def tiny(*, budget: float) -> ReleaseConfig:
    """The whole recipe in seconds, for the tests: it learns nothing worth having."""
    few = Filming(count=8, height=32, width=32, frames=9, shard=4, events=(("still", 0.7), ("roll", 0.3)))
    return ReleaseConfig(
        budget=budget,
        filming=few,
        held_out=dataclasses.replace(few, count=4, split="test", seed=1),
        vae_films=4,
        vae=VaeTraining(batch=2, crop=16, model=VaeConfig.tiny(folded=True)),
        dit=DitTraining(batch=4, model=small(width=64, layers=1, channels=4, grid=(2, 2))),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What the recipe ends with."""

    vae: VideoVae
    dit: Dit
    config: ReleaseConfig
    report: Mapping[str, object]


def release(
    config: ReleaseConfig,
    run: Path,
    encoder: Callable[[], TextEncoder],
    device: torch.device,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Run the recipe in the folder `run`; yields its progress. Afterwards `trained` gives the weights.

    Args:
        config: what to make.
        run: the recipe's folder; a recipe with the same settings goes on there.
        encoder: makes the text encoder when it is needed.
        device: where to train.
        stop: asked after every step; when true the recipe saves and ends.
    """
    began = time.perf_counter()

    def at(stage: str, done: int, of: int, report: Report | None = None) -> Progress:
        seconds = time.perf_counter() - began
        return Progress(stage=stage, done=done, of=of, seconds=seconds, report=report)

    run.mkdir(parents=True, exist_ok=True)
    first = _first(config)
    for part, name in ((config.held_out, "held-out"), (first, "films")):
        for done in film(part, run / name):
            yield at(f"film {name}", done, part.count)
            if stop():
                return
    held = stored(config.held_out, run / "held-out")
    left = max(config.budget - (time.perf_counter() - began), 1.0)

    with filming_beside(config.filming, run / "films"):
        task = VaeTask(config.vae, stored(first, run / "films"), held, device)
        loop = _fitted(run / "vae.json", task, config.vae.loop, config.vae_share * left)
        settings = plain(dataclasses.replace(config.vae, loop=loop))
        for report in train(task, loop, run / "vae", settings=settings, stop=stop):
            yield at("autoencoder", report.step, report.of, report)
    if stop():
        return
    vae = _averaged_vae(task, run, held, device)
    for done in film(config.filming, run / "films"):
        yield at("film films", done, config.filming.count)
        if stop():
            return
    films = stored(config.filming, run / "films")

    latents_path = run / "latents.safetensors"
    if not latents_path.is_file():
        made = []
        for progress, batch in encode_films(vae, films, device):
            made.append(batch)
            yield at("encode", progress.done, progress.of)
        held_made = [batch for _, batch in encode_films(vae, held, device)]
        _save_tensors(latents_path, {"films": torch.cat(made), "held_out": torch.cat(held_made)})
    data, held_data = _latent_data(config, run, encoder)

    dit_task = DitTask(config.dit, data, held_data, device)
    loop = _fitted(run / "dit.json", dit_task, config.dit.loop, (0.95 - config.vae_share) * left)
    settings = plain(dataclasses.replace(config.dit, loop=loop))
    for report in train(dit_task, loop, run / "dit", settings=settings, stop=stop):
        yield at("transformer", report.step, report.of, report)


def trained(config: ReleaseConfig, run: Path, device: torch.device) -> Trained:
    """The averaged weights of a finished recipe."""
    held = stored(config.held_out, run / "held-out")
    vae = _averaged_vae(VaeTask(config.vae, held, held, device), run, held, device)
    dit = Dit(config.dit.model).to(device)
    dit.load_state_dict(averaged_weights(run / "dit", best=False))
    scores = {name: checkpoint.load(run / name).state for name in ("vae", "dit")}
    report = {name: {"best": s["best"], "scores": s["best_scores"]} for name, s in scores.items()}
    return Trained(vae=vae.eval(), dit=dit.eval(), config=config, report=report)


def _first(config: ReleaseConfig) -> Filming:
    """The films that the autoencoder trains on: whole shards, so that the store goes on from them."""
    shards = -(-min(config.vae_films, config.filming.count) // config.filming.shard)
    count = min(shards * config.filming.shard, config.filming.count)
    return dataclasses.replace(config.filming, count=count)


def _stores(config: ReleaseConfig, run: Path) -> tuple[StoredFilms, StoredFilms]:
    return stored(config.filming, run / "films"), stored(config.held_out, run / "held-out")


def _fitted(note: Path, task: Task, loop: LoopConfig, seconds: float) -> LoopConfig:
    """The loop with as many steps as fit into `seconds` here; written down the first time."""
    if note.is_file():
        steps = int(json.loads(note.read_text())["steps"])
    else:
        # The first step also compiles and allocates; the two after it are what a step costs.
        task.loss(0, 0, loop.accumulate).value.backward()
        began = time.perf_counter()
        for step in (1, 2):
            task.loss(step, 0, loop.accumulate).value.backward()
        per_step = (time.perf_counter() - began) / 2 * loop.accumulate * 1.15
        task.module.zero_grad(set_to_none=True)
        steps = max(20, int(seconds / per_step))
        write_text(note, json.dumps({"steps": steps, "seconds_per_step": per_step}) + "\n")
    every = max(10, steps // 12)
    return dataclasses.replace(loop, steps=steps, validate_every=every, save_every=max(10, every // 2))


def _averaged_vae(task: VaeTask, run: Path, held: StoredFilms, device: torch.device) -> VideoVae:
    """The averaged autoencoder of the run, its latents normalised by what held-out films show."""
    vae = VideoVae(task.config.model).to(device)
    vae.load_state_dict(averaged_weights(run / "vae"))
    vae.eval()
    note = run / "normalisation.json"
    if note.is_file():
        constants = json.loads(note.read_text())
    else:
        mean, std = latent_statistics(vae, held, device)
        constants = {"mean": mean, "std": std}
        write_text(note, json.dumps(constants) + "\n")
    return vae.with_normalisation(constants["mean"], constants["std"])


def _latent_data(
    config: ReleaseConfig, run: Path, encoder: Callable[[], TextEncoder]
) -> tuple[LatentFilms, LatentFilms]:
    films, held = _stores(config, run)
    states_path = run / "states.safetensors"
    if not states_path.is_file():
        both = StoredFilms(pixels=(), texts=films.texts + held.texts)
        texts, states = encode_captions(encoder(), both)
        lengths = torch.tensor([len(state) for state in states])
        _save_tensors(states_path, {"states": torch.cat(states), "lengths": lengths})
        write_text(run / "texts.json", json.dumps(texts))
    texts = json.loads((run / "texts.json").read_text())
    loaded = safetensors.torch.load_file(states_path)
    states = list(loaded["states"].split(loaded["lengths"].tolist()))
    latents = safetensors.torch.load_file(run / "latents.safetensors")
    return (
        latent_films(films, latents["films"], texts, states),
        latent_films(held, latents["held_out"], texts, states),
    )


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    with atomic_path(path) as beside:
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside)
