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

from kinema.atomic_io import atomic_write, write_text
from kinema.data.dataset import VideoDataset, WindowedVideos
from kinema.data.latent_cache import LatentDataset, encode_captions, encode_videos
from kinema.distributed.process_group import SINGLE_PROCESS, DistContext
from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.precision import Precision
from kinema.models.text_encoders.base import TextEncoder
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.autoencoder import VideoVae
from kinema.training import checkpoint
from kinema.training.dit_task import FACTS_SCORE, DitTask, DitTrainConfig
from kinema.training.loop import StepReport, load_ema_weights, train
from kinema.training.net2net import net2net_expand
from kinema.training.overrides import to_plain
from kinema.training.render_shards import RenderConfig, RenderDevice, open_shards, render_missing
from kinema.training.resampled_latents import ResampleConfig, resample_latents
from kinema.training.vae_task import DISCRIMINATOR, VaeTask, VaeTrainConfig, latent_statistics
from kinema.training.validation_samples import SampleConfig, Scorer, reconstruction_callback, sample_callback

LATENT_STATS_FILE = "normalisation.json"
"""Mean and deviation of each latent channel, in a run's folder."""
RESAMPLED_LATENTS_FILE = "worn.safetensors"
"""Latents of films as the run's transformer makes them."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is."""

    stage: str
    done: int
    total: int
    report: StepReport | None = None
    """In training stages."""
    sheet: Path | None = None
    """Drawn at this step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RunContext:
    """Where and with whom a run is carried out: what is no part of its settings."""

    run_dir: Path
    """The run's folder."""
    device: torch.device
    load_text_encoder: Callable[[], TextEncoder]
    """Makes the text encoder when it is needed."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked after every step; when true the run saves and ends."""
    scorer: Scorer | None = None
    dist_context: DistContext = SINGLE_PROCESS
    render_device: RenderDevice = "cpu"
    """What draws the pictures of the film set."""

    def stop_requested(self) -> bool:
        """Whether any process was asked to stop; all have to ask this together."""
        return self.dist_context.any_rank(self.should_stop())


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetSplit:
    """Films of one shape, and films of that shape to validate on."""

    train: VideoDataset
    held_out: VideoDataset
    starts_midclip: bool = False
    """Whether they are stretches, which begin in the midst of what happens."""


def render_split(
    run_context: RunContext, render_config: RenderConfig, name: str, *, max_seconds: float = math.inf
) -> Iterator[Progress]:
    """Film what a store lacks, in the folder `name` of the run, for so many seconds at most."""
    began = time.perf_counter()
    with run_context.dist_context.main_process_first():
        if not run_context.dist_context.is_main:
            return
        for done in render_missing(
            render_config, run_context.run_dir / name, render_device=run_context.render_device
        ):
            yield Progress(stage=f"film {name}", done=done, total=render_config.num_clips)
            if run_context.should_stop() or time.perf_counter() - began > max_seconds:
                return


def open_split(
    run_context: RunContext,
    render_config: RenderConfig,
    held_out_config: RenderConfig,
    dataset_index: int = 0,
) -> DatasetSplit:
    """A store that is filmed."""
    films, held = split_dirs(dataset_index)
    return DatasetSplit(
        train=_cut_windows(render_config, open_shards(render_config, run_context.run_dir / films)),
        held_out=_cut_windows(held_out_config, open_shards(held_out_config, run_context.run_dir / held)),
        starts_midclip=render_config.window_frames is not None,
    )


def _cut_windows(render_config: RenderConfig, videos: VideoDataset) -> VideoDataset:
    if render_config.window_frames is None:
        return videos
    return WindowedVideos(
        videos=videos,
        window_frames=render_config.window_frames,
        windows_per_video=render_config.windows_per_clip,
        seed=render_config.seed,
    )


def split_dirs(dataset_index: int) -> tuple[str, str]:
    """Folders of the films of a shape, and of those held out."""
    behind = f"-{dataset_index}" if dataset_index else ""
    return f"films{behind}", f"held-out{behind}"


def train_autoencoder(
    run_context: RunContext, task: VaeTask, config: VaeTrainConfig, *, part: Literal["vae", "decoder"] = "vae"
) -> Iterator[Progress]:
    """Train an autoencoder, or its decoder alone, in the folder `part` of the run."""
    sheets = run_context.run_dir / "sheets" / part
    for report in train(
        task,
        config.loop,
        run_context.run_dir / part,
        settings=to_plain(config),
        should_stop=run_context.should_stop,
        validation_callback=reconstruction_callback(
            task.vae, task.held_out, sheets, dist_context=run_context.dist_context
        ),
        dist_context=run_context.dist_context,
    ):
        yield _make_progress("autoencoder" if part == "vae" else "decoder", report, sheets)


def load_autoencoder_weights(run_context: RunContext, part: Literal["vae", "decoder"]) -> dict[str, Tensor]:
    """The averaged weights that training left in the folder `part` of the run, without a critic's."""
    weights = load_ema_weights(run_context.run_dir / part)
    return {name: value for name, value in weights.items() if not name.startswith(f"{DISCRIMINATOR}.")}


def load_trained_autoencoder(
    run_context: RunContext,
    config: VaeTrainConfig,
    held_out: VideoDataset,
    *,
    part: Literal["vae", "decoder"] = "vae",
) -> VideoVae:
    """The averaged autoencoder of the run, its latents normalised by what held-out films show.

    The constants are those of the first time: a decoder that was trained further reads the same latents.
    """
    vae = VideoVae(config.model).to(run_context.device)
    vae.load_state_dict(load_autoencoder_weights(run_context, part))
    vae.eval()
    note = run_context.run_dir / LATENT_STATS_FILE
    with run_context.dist_context.main_process_first():
        if not note.is_file():
            _write_latent_stats(note, *latent_statistics(vae, held_out, run_context.device))
    constants = json.loads(note.read_text())
    return vae.with_latent_statistics(constants["mean"], constants["std"])


def load_trained_transformer(run_context: RunContext, config: DitConfig) -> Dit:
    """The averaged transformer of the run: the best by tracked facts, where they are known, else the last."""
    dit = Dit(config).to(run_context.device)
    judged = FACTS_SCORE in (checkpoint.load(run_context.run_dir / "dit").state["best_scores"] or {})
    dit.load_state_dict(load_ema_weights(run_context.run_dir / "dit", use_best=judged))
    return dit.eval()


def copy_latent_stats(run_context: RunContext, vae: VideoVae) -> None:
    """Have the run's autoencoder normalise its latents as `vae` does, from which it goes on."""
    with run_context.dist_context.main_process_first():
        if not (run_context.run_dir / LATENT_STATS_FILE).is_file():
            config = vae.config
            _write_latent_stats(
                run_context.run_dir / LATENT_STATS_FILE, config.latents_mean, config.latents_std
            )


def _write_latent_stats(path: Path, mean: Sequence[float], std: Sequence[float]) -> None:
    write_text(path, json.dumps({"mean": mean, "std": std}) + "\n")


def encode_datasets(
    run_context: RunContext, vae: VideoVae, splits: Sequence[DatasetSplit], *, precision: Precision = "auto"
) -> Iterator[Progress]:
    """Latents of all films, and states of all captions."""
    with run_context.dist_context.main_process_first():
        for number, one in enumerate(splits):
            path = _latents_path(run_context.run_dir, number)
            if path.is_file():
                continue
            made = []
            for progress, batch in encode_videos(vae, one.train, run_context.device, precision=precision):
                made.append(batch)
                yield Progress(stage="encode", done=progress.done, total=progress.total)
            held = [
                batch
                for _, batch in encode_videos(vae, one.held_out, run_context.device, precision=precision)
            ]
            _save_tensors(path, {"films": torch.cat(made), "held_out": torch.cat(held)})
        path = run_context.run_dir / "states.safetensors"
        if not path.is_file():
            captioned = [films for one in splits for films in (one.train, one.held_out)]
            encoder = run_context.load_text_encoder()
            texts, states = encode_captions(encoder, captioned, run_context.device, precision=precision)
            lengths = torch.tensor([len(state) for state in states])
            _save_tensors(path, {"states": torch.cat(states), "lengths": lengths})
            write_text(run_context.run_dir / "texts.json", json.dumps(texts))
        row = {
            text: place
            for place, text in enumerate(json.loads((run_context.run_dir / "texts.json").read_text()))
        }
        for number, one in enumerate(splits):
            path = _captions_path(run_context.run_dir, number)
            if not path.is_file():
                told = {
                    "films": _caption_rows(one.train, row),
                    "held_out": _caption_rows(one.held_out, row),
                    "midway": one.starts_midclip,
                }
                write_text(path, json.dumps(told) + "\n")


def _caption_rows(videos: VideoDataset, row_by_caption: Mapping[str, int]) -> list[list[int]]:
    return [[row_by_caption[text] for text in videos.captions(index)] for index in range(len(videos))]


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentDatasets:
    """What a transformer is trained on: a group for each store."""

    train: tuple[LatentDataset, ...]
    held_out: tuple[LatentDataset, ...]
    texts: tuple[str, ...]

    def prompts(self, group: int, num_prompts: int) -> list[tuple[str, int]]:
        """Plain captions of the first held-out films of a group that differ, and their rows."""
        rows = dict.fromkeys(captions[0] for captions in self.held_out[group].captions)
        return [(self.texts[row], row) for row in list(rows)[:num_prompts]]


def load_latent_datasets(run_dir: Path) -> LatentDatasets:
    """What `encode_datasets` left in a run's folder.

    Raises:
        UserError: the folder has none.
    """
    shapes = sorted(run_dir.glob("captions*.json"), key=lambda path: (len(path.name), path.name))
    wanted = [run_dir / name for name in ("latents.safetensors", "states.safetensors", "texts.json")]
    missing = [path.name for path in wanted if not path.is_file()]
    if missing or not shapes:
        raise UserError(
            f"{run_dir} lacks {', '.join([*missing, *([] if shapes else ['captions.json'])])}; "
            "name a run that has encoded its films, or resume it until it has"
        )
    texts = json.loads((run_dir / "texts.json").read_text())
    loaded = safetensors.torch.load_file(run_dir / "states.safetensors")
    states = loaded["states"].split(loaded["lengths"].tolist())
    films, held = [], []
    for number, path in enumerate(shapes):
        latents = safetensors.torch.load_file(_latents_path(run_dir, number))
        rows = json.loads(path.read_text())
        for name, groups in (("films", films), ("held_out", held)):
            captions = tuple(tuple(each) for each in rows[name])
            midway = rows.get("midway", False)  # Runs from before there were stretches do not say.
            groups.append(
                LatentDataset(
                    latents=latents[name], captions=captions, text_embeddings=states, starts_midclip=midway
                )
            )
    return LatentDatasets(train=tuple(films), held_out=tuple(held), texts=tuple(texts))


def write_resampled_latents(
    run_context: RunContext,
    dit: Dit,
    dataset: LatentDataset,
    config: ResampleConfig,
    *,
    precision: Precision = "auto",
) -> Iterator[Progress]:
    """Latents of the first films as the transformer makes them, in the run's `worn.safetensors`."""
    with run_context.dist_context.main_process_first():
        path = run_context.run_dir / RESAMPLED_LATENTS_FILE
        if path.is_file():
            return
        made = []
        for progress, batch in resample_latents(
            dit, dataset, config, run_context.device, precision=precision
        ):
            made.append(batch)
            yield Progress(stage="wear latents", done=progress.done, total=progress.total)
            if run_context.should_stop():
                return
        _save_tensors(path, {"worn": torch.cat(made)})


def train_transformer(
    run_context: RunContext,
    task: DitTask,
    config: DitTrainConfig,
    vae: VideoVae,
    data: LatentDatasets,
    samples: SampleConfig,
    *,
    group: int = 0,
) -> Iterator[Progress]:
    """Train a transformer in the folder `dit` of the run; `group` is where the sheets' prompts come from."""
    sheets, look = run_context.run_dir / "sheets" / "dit", None
    if samples.num_samples:
        prompts = data.prompts(group, samples.num_samples)
        look = sample_callback(
            task.dit,
            vae,
            task.text_table,
            prompts,
            task.latent_shape(group),
            samples,
            sheets,
            scorer=run_context.scorer,
            precision=config.precision,
            dist_context=run_context.dist_context,
        )
    for report in train(
        task,
        config.loop,
        run_context.run_dir / "dit",
        settings=to_plain(config),
        should_stop=run_context.should_stop,
        validation_callback=look,
        dist_context=run_context.dist_context,
    ):
        yield _make_progress("transformer", report, sheets)


@dataclass(frozen=True, kw_only=True, eq=False)
class InitWeights:
    """A model to go on from."""

    vae: VideoVae
    dit: dict[str, Tensor]
    dit_config: DitConfig
    """Of the transformer."""

    def dit_weights_for(self, config: DitConfig) -> dict[str, Tensor]:
        """The transformer's weights, grown if a wider or deeper one is wanted.

        Raises:
            UserError: it can't grow into that.
        """
        return self.dit if config == self.dit_config else net2net_expand(self.dit, self.dit_config, config)


def load_init_weights(name: str, device: torch.device) -> InitWeights:
    """The shipped model (`world`), or an exported one, by its folder.

    Raises:
        UserError: there is none.
    """
    model = open_model(name)
    dit = model.load_transformer(dtype=torch.float32, device=device)
    return InitWeights(vae=model.load_vae(device=device), dit=dit.state_dict(), dit_config=dit.config)


def _make_progress(stage: str, report: StepReport, sheets: Path) -> Progress:
    sheet = None
    if report.scores is not None:
        drawn = sheets / f"step-{report.step:08d}.png"
        sheet = drawn if drawn.is_file() else None
    return Progress(stage=stage, done=report.step, total=report.num_steps, report=report, sheet=sheet)


def _latents_path(run_dir: Path, dataset_index: int) -> Path:
    return run_dir / (f"latents-{dataset_index}.safetensors" if dataset_index else "latents.safetensors")


def _captions_path(run_dir: Path, dataset_index: int) -> Path:
    return run_dir / (f"captions-{dataset_index}.json" if dataset_index else "captions.json")


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with atomic_write(path) as beside:
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside)
