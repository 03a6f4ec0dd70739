"""The release recipe: from a bare machine to weights that can ship, in one budget of time.

    film the set → train the autoencoder → encode → train the transformer → refine the decoder → export

A recipe that was stopped goes on where it was. How many steps fit is measured on this machine once, then
written down, so that a resumed run follows the same schedule.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import safetensors.torch

from kinema import checkpoint
from kinema.atomic_io import write_text
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import small
from kinema.models.vae.autoencoder.autoencoder import VideoVae
from kinema.models.vae.autoencoder.vae_config import VaeConfig
from kinema.simulator.annotations import Event
from kinema.train.dit import DitTask, DitTraining
from kinema.train.filming import Filming, filming_beside, stored
from kinema.train.loop import LoopConfig
from kinema.train.optimizer import OptimizerConfig
from kinema.train.pace import fitted
from kinema.train.samples import SampleConfig
from kinema.train.stages import (
    WORN,
    Bench,
    Progress,
    Store,
    autoencoder,
    autoencoder_weights,
    encoded,
    filmed,
    finished_autoencoder,
    finished_transformer,
    latent_data,
    names,
    started,
    store,
    transformer,
    worn_latents,
)
from kinema.train.vae import VaeTask, VaeTraining
from kinema.train.worn import WornConfig

MOVING: tuple[tuple[Event, float], ...] = (
    ("collide", 0.34),
    ("roll", 0.26),
    ("occlude", 0.16),
    ("drop", 0.14),
    ("camera", 0.10),
)
"""Lab events of the films that are cut into stretches, from which the model learns to go on: in longer
films the same happens more slowly."""
COUNTS = "films.json"
"""How many films of each shape the run trains on."""
CODER_LOOKS = 4
"""How often an autoencoder is validated: its films are coded in full, which takes as long as some steps."""


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
    also: tuple[Filming, ...] = ()
    """Films of other sizes and lengths, or of the lab; the transformer trains on all of them in turn."""
    start: str = ""
    """A model to go on from: `world` (shipped) or an exported folder. Its latents are kept."""
    blocks_from: str = ""
    """A model whose transformer blocks to begin with, where the autoencoder is new: `world` or a folder."""
    samples: SampleConfig = field(default_factory=SampleConfig)
    decoder: VaeTraining | None = None
    """How the decoder is trained further, alone, on all films, once the latents are made; None leaves it."""
    decoder_share: float = 0.1
    """Of the budget, for that."""
    worn: WornConfig = field(default_factory=WornConfig)
    """How latents are made for the steps of the decoder that ask for worn ones."""
    vae_films: int = 1536
    """The autoencoder trains on the first so many films, while the others are being made."""
    vae_share: float = 0.38
    """Of the budget that filming leaves; the transformer gets the rest but a twentieth."""
    film_share: float | None = None
    """After the autoencoder, films are made for so much of the budget and then it goes on with what is there.
    None waits for all of them."""


def lab(*, budget: float, films: int = 8192) -> ReleaseConfig:
    """For two cores and no GPU: the lab at 128 x 128, 17 frames at 8 a second.

    The autoencoder halves once more than the usual small one: a solid thing on an even floor needs no more
    latents at 128 pixels than at 64, and the transformer's cost stays what it was. It is wide where pixels
    come in and go out: four frames of a moving thing are four pictures, which 48 channels blurred into one.
    """
    autoencoder = dataclasses.replace(
        VaeConfig.small(),
        base_dim=96,
        z_dim=24,
        dim_mult=(1, 1, 2),
        temporal_downsample=(False, False),
        latents_mean=(0.0,) * 24,
        latents_std=(1.0,) * 24,
    )
    return ReleaseConfig(
        budget=budget,
        filming=Filming(count=films),
        held_out=Filming(count=192, split="test", seed=1),
        also=(
            Filming(count=max(64, films // 6), frames=41, seed=2, events=MOVING, stretch=17),
            Filming(count=max(64, films // 8), frames=25, seed=4, events=MOVING, stretch=17),
        ),
        vae=VaeTraining(batch=4, crop=64, compiled=True, model=autoencoder),
        vae_share=0.36,
        samples=SampleConfig(count=24),
        decoder=VaeTraining(
            seed=1,
            batch=4,
            crop=64,
            compiled=True,
            decoder_only=True,
            worn=0.5,
            model=autoencoder,
            loop=LoopConfig(
                ema=0.998,
                optimizer=OptimizerConfig(
                    learning_rate=1.5e-3, muon_learning_rate=1.5e-3, betas=(0.9, 0.99), warmup=30, decay=0.8
                ),
            ),
        ),
        dit=DitTraining(
            batch=24,
            compiled=True,
            plain_captions=0.6,
            model=small(width=192, layers=6, channels=24, grid=(4, 4)),
        ),
    )


def whole(*, budget: float, films: int = 20000) -> ReleaseConfig:
    """For one large GPU: the whole set at 128 x 128, 33 frames at 12 a second, lying and standing pictures,
    shorter and larger films, and the lab, on which the judge looks."""
    square = Filming(
        count=films, height=128, width=128, frames=33, fps=12.0, lab=False, events=(), split="all"
    )

    def other(share: float, width: int, height: int, frames: int) -> Filming:
        return dataclasses.replace(
            square, count=max(square.shard, int(films * share)), width=width, height=height, frames=frames
        )

    lab_films = dataclasses.replace(
        square, count=films // 4, lab=True, split="train", events=Filming(count=1).events
    )
    return ReleaseConfig(
        budget=budget,
        filming=square,
        held_out=dataclasses.replace(square, count=256, seed=1),
        also=(
            lab_films,
            other(0.1, 160, 96, 33),
            other(0.1, 96, 160, 33),
            other(0.1, 128, 128, 17),
            other(0.05, 192, 192, 17),
        ),
        vae=VaeTraining(batch=32, crop=64, resident=True),
        dit=DitTraining(
            batch=256,
            pictures=0.05,
            draws="step",
            compiled=True,
            model=small(width=512, layers=12, grid=(8, 8)),
        ),
        vae_share=0.25,
        film_share=0.2,
    )


def tiny(*, budget: float) -> ReleaseConfig:
    """The whole recipe in seconds, for the tests: it learns nothing worth having."""
    few = Filming(count=8, height=32, width=32, frames=9, shard=4, events=(("still", 0.7), ("roll", 0.3)))
    return ReleaseConfig(
        budget=budget,
        filming=few,
        held_out=dataclasses.replace(few, count=4, split="test", seed=1),
        also=(
            dataclasses.replace(few, count=4, width=48),
            dataclasses.replace(few, count=4, frames=13, seed=2, stretch=9),
        ),
        samples=SampleConfig(count=2, steps=2, shown=2),
        vae_films=4,
        vae=VaeTraining(batch=2, crop=16, model=VaeConfig.tiny(patchified=True)),
        decoder=VaeTraining(
            batch=2, crop=16, decoder_only=True, worn=0.5, model=VaeConfig.tiny(patchified=True)
        ),
        worn=WornConfig(films=4, steps=2, batch=2),
        dit=DitTraining(batch=4, pictures=0.2, model=small(width=64, layers=1, channels=4, grid=(2, 2))),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What the recipe ends with."""

    vae: VideoVae
    dit: Dit
    config: ReleaseConfig
    report: Mapping[str, object]


def release(config: ReleaseConfig, bench: Bench) -> Iterator[Progress]:
    """Run the recipe; yields its progress. Afterwards `trained` gives the weights.

    Args:
        config: what to make.
        bench: where; a recipe with the same settings goes on there.
    """
    began = time.perf_counter()
    bench.run.mkdir(parents=True, exist_ok=True)
    begun = None if not config.start else started(config.start, bench.device)
    first = _first(config)
    for part, name in ((config.held_out, names(0)[1]), (first, names(0)[0])):
        yield from filmed(bench, part, name)
        if bench.stopped():
            return
    left = max(config.budget - (time.perf_counter() - began), 1.0)
    if begun is not None:
        vae, share = begun.vae, 0.0
    else:
        share = config.vae_share
        workers = 1 if bench.device.type == "cpu" else max(1, (os.cpu_count() or 1) - 1)
        with filming_beside(config.filming, bench.run / "films", workers=workers * bench.crowd.leads):
            films = store(bench, first, config.held_out)
            task = VaeTask(config.vae, films.films, films.held_out, bench.device)
            loop = fitted(bench, "vae.json", task, config.vae.loop, share * left, looks=CODER_LOOKS)
            yield from autoencoder(bench, task, dataclasses.replace(config.vae, loop=loop))
            del task
        if bench.stopped():
            return
        vae = finished_autoencoder(bench, config.vae, films.held_out)
    yield from _film_the_rest(config, bench, left)
    if bench.stopped():
        return
    stores = _stores(config, bench)
    yield from encoded(bench, vae, stores, precision=config.vae.precision)
    data = latent_data(bench.run)
    weights = None if begun is None else begun.weights_for(config.dit.model)
    blocks = started(config.blocks_from, bench.device).dit if config.blocks_from else None
    dit_task = DitTask(config.dit, data.films, data.held_out, bench.device, start=weights, blocks=blocks)
    spent = share + (config.film_share or 0.0)
    if config.decoder is not None:
        spent += config.decoder_share
    loop = fitted(bench, "dit.json", dit_task, config.dit.loop, (0.95 - spent) * left)
    dit = dataclasses.replace(config.dit, loop=loop)
    lab_group = next((i for i, one in enumerate((config.filming, *config.also)) if one.lab), 0)
    yield from transformer(bench, dit_task, dit, vae, data, config.samples, group=lab_group)
    if config.decoder is not None and not bench.stopped():
        weights = autoencoder_weights(bench, "vae") if begun is None else begun.vae.state_dict()
        of, latents = stores[0], None
        if config.decoder.worn:
            yield from worn_latents(
                bench,
                finished_transformer(bench, config.dit.model),
                data.films[0],
                config.worn,
                precision=config.dit.precision,
            )
            if bench.stopped():
                return
            latents = safetensors.torch.load_file(bench.run / WORN)["worn"]
        # Worn latents are normalised, by constants that the autoencoder did not have when it was trained.
        finer = dataclasses.replace(config.decoder, model=vae.config)
        task = VaeTask(finer, of.films, of.held_out, bench.device, start=weights, worn=latents)
        seconds = config.decoder_share * left
        loop = fitted(bench, "decoder.json", task, finer.loop, seconds, looks=CODER_LOOKS)
        yield from autoencoder(bench, task, dataclasses.replace(finer, loop=loop), part="decoder")


def trained(config: ReleaseConfig, bench: Bench) -> Trained:
    """The averaged weights of a finished recipe: the transformer's best by tracked facts, where they are
    known, else its last."""
    part = "vae" if config.decoder is None else "decoder"
    if config.start:
        vae = started(config.start, bench.device).vae
        if config.decoder is not None:
            vae.load_state_dict(autoencoder_weights(bench, part))
        parts = ("dit",) if config.decoder is None else (part, "dit")
    else:
        held = stored(config.held_out, bench.run / names(0)[1])
        vae = finished_autoencoder(bench, config.vae, held, part=part)
        parts = (part, "dit")
    scores = {name: checkpoint.load(bench.run / name).state for name in parts}
    report = {name: {"best": s["best"], "scores": s["best_scores"]} for name, s in scores.items()}
    return Trained(
        vae=vae.eval(), dit=finished_transformer(bench, config.dit.model), config=config, report=report
    )


def _film_the_rest(config: ReleaseConfig, bench: Bench, left: float) -> Iterator[Progress]:
    """Films of every shape, all of them or as many as their share of the budget allows."""
    note = bench.run / COUNTS
    if config.film_share is not None and note.is_file():
        return
    seconds = float("inf") if config.film_share is None else config.film_share * left
    each = (config.filming, *config.also)
    pixels = [one.count * one.frames * one.height * one.width for one in each]
    for number, filming in enumerate(each):
        films, held = names(number)
        yield from filmed(bench, _held_out(config, number), held)
        yield from filmed(bench, filming, films, seconds=seconds * pixels[number] / sum(pixels))
        if bench.stopped():
            return
    with bench.crowd.leader_first():
        if not note.is_file():
            counts = [len(stored(one, bench.run / names(n)[0])) for n, one in enumerate(each)]
            write_text(note, json.dumps(counts) + "\n")


def _stores(config: ReleaseConfig, bench: Bench) -> list[Store]:
    """The films of every shape, as many as there were when the recipe went on without waiting for more."""
    counts = json.loads((bench.run / COUNTS).read_text())
    filmings = [
        dataclasses.replace(one, count=count)
        for one, count in zip((config.filming, *config.also), counts, strict=True)
    ]
    return [store(bench, one, _held_out(config, n), n) for n, one in enumerate(filmings)]


def _held_out(config: ReleaseConfig, number: int) -> Filming:
    if number == 0:
        return config.held_out
    one = config.also[number - 1]
    split = "test" if one.lab else "all"
    return dataclasses.replace(one, count=max(4, config.held_out.count // 4), seed=one.seed + 1, split=split)


def _first(config: ReleaseConfig) -> Filming:
    """The films that the autoencoder trains on: whole shards, so that the store goes on from them."""
    shards = -(-min(config.vae_films, config.filming.count) // config.filming.shard)
    count = min(shards * config.filming.shard, config.filming.count)
    return dataclasses.replace(config.filming, count=count)
