"""The stages that runs are made of: films, autoencoder, latents, transformer.

Every stage leaves what it made in the run's folder and is skipped when that is there, so whatever was
stopped goes on where it was. Where several processes train, the leader makes the files and the others find
them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor

from kinema import checkpoint
from kinema.atomic_io import atomic_write, write_text
from kinema.distributed.crowd import ALONE, Crowd
from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.text_encoders.base import TextEncoder
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.autoencoder.autoencoder import VideoVae
from kinema.train.dit import FACTS, DitTask, DitTraining
from kinema.train.filming import Filming, RenderDevice, film, stored
from kinema.train.films import Films, Stretches
from kinema.train.grow import grown
from kinema.train.latents import LatentFilms, encode_captions, encode_films
from kinema.train.loop import Report, averaged_weights, train
from kinema.train.precision import Precision
from kinema.train.samples import Judge, SampleConfig, looking_at_films, looking_at_reconstructions
from kinema.train.settings import plain
from kinema.train.vae import CRITIC, VaeTask, VaeTraining, latent_statistics
from kinema.train.worn import WornConfig, worn

NORMALISATION = "normalisation.json"
"""Mean and deviation of each latent channel, in a run's folder."""
WORN = "worn.safetensors"
"""Latents of films as the run's transformer makes them."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is."""

    stage: str
    done: int
    of: int
    report: Report | None = None
    """In training stages."""
    sheet: Path | None = None
    """Drawn at this step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """Where and with whom a run is carried out: what is no part of its settings."""

    run: Path
    """The run's folder."""
    device: torch.device
    encoder: Callable[[], TextEncoder]
    """Makes the text encoder when it is needed."""
    stop: Callable[[], bool] = lambda: False
    """Asked after every step; when true the run saves and ends."""
    judge: Judge | None = None
    crowd: Crowd = ALONE
    render: RenderDevice = "cpu"
    """What draws the pictures of the film set."""

    def stopped(self) -> bool:
        """Whether any process was asked to stop; all have to ask this together."""
        return self.crowd.any(self.stop())


@dataclass(frozen=True, kw_only=True, eq=False)
class Store:
    """Films of one shape, and films of that shape to validate on."""

    films: Films
    held_out: Films
    midway: bool = False
    """Whether they are stretches, which begin in the midst of what happens."""


def filmed(bench: Bench, filming: Filming, name: str, *, seconds: float = math.inf) -> Iterator[Progress]:
    """Film what a store lacks, in the folder `name` of the run, for so many seconds at most."""
    began = time.perf_counter()
    with bench.crowd.leader_first():
        if not bench.crowd.leads:
            return
        for done in film(filming, bench.run / name, render=bench.render):
            yield Progress(stage=f"film {name}", done=done, of=filming.count)
            if bench.stop() or time.perf_counter() - began > seconds:
                return


def store(bench: Bench, filming: Filming, held_out: Filming, number: int = 0) -> Store:
    """A store that is filmed."""
    films, held = names(number)
    return Store(
        films=_cut(filming, stored(filming, bench.run / films)),
        held_out=_cut(held_out, stored(held_out, bench.run / held)),
        midway=filming.stretch is not None,
    )


def _cut(filming: Filming, films: Films) -> Films:
    if filming.stretch is None:
        return films
    return Stretches(whole=films, length=filming.stretch, each=filming.stretches, seed=filming.seed)


def names(number: int) -> tuple[str, str]:
    """Folders of the films of a shape, and of those held out."""
    behind = f"-{number}" if number else ""
    return f"films{behind}", f"held-out{behind}"


def autoencoder(
    bench: Bench, task: VaeTask, config: VaeTraining, *, part: Literal["vae", "decoder"] = "vae"
) -> Iterator[Progress]:
    """Train an autoencoder, or its decoder alone, in the folder `part` of the run."""
    sheets = bench.run / "sheets" / part
    for report in train(
        task,
        config.loop,
        bench.run / part,
        settings=plain(config),
        stop=bench.stop,
        look=looking_at_reconstructions(task.vae, task.held_out, sheets, crowd=bench.crowd),
        crowd=bench.crowd,
    ):
        yield _at("autoencoder" if part == "vae" else "decoder", report, sheets)


def autoencoder_weights(bench: Bench, part: Literal["vae", "decoder"]) -> dict[str, Tensor]:
    """The averaged weights that training left in the folder `part` of the run, without a critic's."""
    weights = averaged_weights(bench.run / part)
    return {name: value for name, value in weights.items() if not name.startswith(f"{CRITIC}.")}


def finished_autoencoder(
    bench: Bench, config: VaeTraining, held_out: Films, *, part: Literal["vae", "decoder"] = "vae"
) -> VideoVae:
    """The averaged autoencoder of the run, its latents normalised by what held-out films show.

    The constants are those of the first time: a decoder that was trained further reads the same latents.
    """
    vae = VideoVae(config.model).to(bench.device)
    vae.load_state_dict(autoencoder_weights(bench, part))
    vae.eval()
    note = bench.run / NORMALISATION
    with bench.crowd.leader_first():
        if not note.is_file():
            _note_normalisation(note, *latent_statistics(vae, held_out, bench.device))
    constants = json.loads(note.read_text())
    return vae.with_latent_statistics(constants["mean"], constants["std"])


def finished_transformer(bench: Bench, config: DitConfig) -> Dit:
    """The averaged transformer of the run: the best by tracked facts, where they are known, else the last."""
    dit = Dit(config).to(bench.device)
    judged = FACTS in (checkpoint.load(bench.run / "dit").state["best_scores"] or {})
    dit.load_state_dict(averaged_weights(bench.run / "dit", best=judged))
    return dit.eval()


def kept_normalisation(bench: Bench, vae: VideoVae) -> None:
    """Have the run's autoencoder normalise its latents as `vae` does, from which it goes on."""
    with bench.crowd.leader_first():
        if not (bench.run / NORMALISATION).is_file():
            config = vae.config
            _note_normalisation(bench.run / NORMALISATION, config.latents_mean, config.latents_std)


def _note_normalisation(note: Path, mean: Sequence[float], std: Sequence[float]) -> None:
    write_text(note, json.dumps({"mean": mean, "std": std}) + "\n")


def encoded(
    bench: Bench, vae: VideoVae, stores: Sequence[Store], *, precision: Precision = "auto"
) -> Iterator[Progress]:
    """Latents of all films, and states of all captions."""
    with bench.crowd.leader_first():
        for number, one in enumerate(stores):
            path = _latents_path(bench.run, number)
            if path.is_file():
                continue
            made = []
            for progress, batch in encode_films(vae, one.films, bench.device, precision=precision):
                made.append(batch)
                yield Progress(stage="encode", done=progress.done, of=progress.of)
            held = [batch for _, batch in encode_films(vae, one.held_out, bench.device, precision=precision)]
            _save_tensors(path, {"films": torch.cat(made), "held_out": torch.cat(held)})
        path = bench.run / "states.safetensors"
        if not path.is_file():
            captioned = [films for one in stores for films in (one.films, one.held_out)]
            encoder = bench.encoder()
            texts, states = encode_captions(encoder, captioned, bench.device, precision=precision)
            lengths = torch.tensor([len(state) for state in states])
            _save_tensors(path, {"states": torch.cat(states), "lengths": lengths})
            write_text(bench.run / "texts.json", json.dumps(texts))
        row = {text: place for place, text in enumerate(json.loads((bench.run / "texts.json").read_text()))}
        for number, one in enumerate(stores):
            path = _captions_path(bench.run, number)
            if not path.is_file():
                told = {
                    "films": _rows(one.films, row),
                    "held_out": _rows(one.held_out, row),
                    "midway": one.midway,
                }
                write_text(path, json.dumps(told) + "\n")


def _rows(films: Films, row: Mapping[str, int]) -> list[list[int]]:
    return [[row[text] for text in films.captions(index)] for index in range(len(films))]


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentData:
    """What a transformer is trained on: a group for each store."""

    films: tuple[LatentFilms, ...]
    held_out: tuple[LatentFilms, ...]
    texts: tuple[str, ...]

    def prompts(self, group: int, count: int) -> list[tuple[str, int]]:
        """Plain captions of the first held-out films of a group that differ, and their rows."""
        rows = dict.fromkeys(captions[0] for captions in self.held_out[group].captions)
        return [(self.texts[row], row) for row in list(rows)[:count]]


def latent_data(run: Path) -> LatentData:
    """What `encoded` left in a run's folder.

    Raises:
        UserError: the folder has none.
    """
    shapes = sorted(run.glob("captions*.json"), key=lambda path: (len(path.name), path.name))
    wanted = [run / name for name in ("latents.safetensors", "states.safetensors", "texts.json")]
    missing = [path.name for path in wanted if not path.is_file()]
    if missing or not shapes:
        raise UserError(
            f"{run} lacks {', '.join([*missing, *([] if shapes else ['captions.json'])])}; "
            "name a run that has encoded its films, or resume it until it has"
        )
    texts = json.loads((run / "texts.json").read_text())
    loaded = safetensors.torch.load_file(run / "states.safetensors")
    states = loaded["states"].split(loaded["lengths"].tolist())
    films, held = [], []
    for number, path in enumerate(shapes):
        latents = safetensors.torch.load_file(_latents_path(run, number))
        rows = json.loads(path.read_text())
        for name, groups in (("films", films), ("held_out", held)):
            captions = tuple(tuple(each) for each in rows[name])
            midway = rows.get("midway", False)  # Runs from before there were stretches do not say.
            groups.append(LatentFilms(latents=latents[name], captions=captions, states=states, midway=midway))
    return LatentData(films=tuple(films), held_out=tuple(held), texts=tuple(texts))


def worn_latents(
    bench: Bench, dit: Dit, films: LatentFilms, config: WornConfig, *, precision: Precision = "auto"
) -> Iterator[Progress]:
    """Latents of the first films as the transformer makes them, in the run's `worn.safetensors`."""
    with bench.crowd.leader_first():
        path = bench.run / WORN
        if path.is_file():
            return
        made = []
        for progress, batch in worn(dit, films, config, bench.device, precision=precision):
            made.append(batch)
            yield Progress(stage="wear latents", done=progress.done, of=progress.of)
            if bench.stop():
                return
        _save_tensors(path, {"worn": torch.cat(made)})


def transformer(
    bench: Bench,
    task: DitTask,
    config: DitTraining,
    vae: VideoVae,
    data: LatentData,
    samples: SampleConfig,
    *,
    group: int = 0,
) -> Iterator[Progress]:
    """Train a transformer in the folder `dit` of the run; `group` is where the sheets' prompts come from."""
    sheets, look = bench.run / "sheets" / "dit", None
    if samples.count:
        prompts = data.prompts(group, samples.count)
        look = looking_at_films(
            task.dit,
            vae,
            task.states,
            prompts,
            task.shape(group),
            samples,
            sheets,
            judge=bench.judge,
            precision=config.precision,
            crowd=bench.crowd,
        )
    for report in train(
        task,
        config.loop,
        bench.run / "dit",
        settings=plain(config),
        stop=bench.stop,
        look=look,
        crowd=bench.crowd,
    ):
        yield _at("transformer", report, sheets)


@dataclass(frozen=True, kw_only=True, eq=False)
class Started:
    """A model to go on from."""

    vae: VideoVae
    dit: dict[str, Tensor]
    config: DitConfig
    """Of the transformer."""

    def weights_for(self, config: DitConfig) -> dict[str, Tensor]:
        """The transformer's weights, grown if a wider or deeper one is wanted.

        Raises:
            UserError: it can't grow into that.
        """
        return self.dit if config == self.config else grown(self.dit, self.config, config)


def started(name: str, device: torch.device) -> Started:
    """The shipped model (`world`), or an exported one, by its folder.

    Raises:
        UserError: there is none.
    """
    model = open_model(name)
    dit = model.load_transformer(dtype=torch.float32, device=device)
    return Started(vae=model.load_vae(device=device), dit=dit.state_dict(), config=dit.config)


def _at(stage: str, report: Report, sheets: Path) -> Progress:
    sheet = None
    if report.scores is not None:
        drawn = sheets / f"step-{report.step:08d}.png"
        sheet = drawn if drawn.is_file() else None
    return Progress(stage=stage, done=report.step, of=report.of, report=report, sheet=sheet)


def _latents_path(run: Path, number: int) -> Path:
    return run / (f"latents-{number}.safetensors" if number else "latents.safetensors")


def _captions_path(run: Path, number: int) -> Path:
    return run / (f"captions-{number}.json" if number else "captions.json")


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with atomic_write(path) as beside:
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside)
