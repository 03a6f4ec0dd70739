"""A model of `kinema train phyworld` in PhyWorld's table, and by which mechanism it generalises."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import BenchRow
from kinema import sampling
from kinema.data import rng
from kinema.data.cropping import to_model_input
from kinema.errors import UserError
from kinema.evaluation.phyworld import (
    PUBLISHED_ERRORS,
    constant_velocity_baseline,
    final_attributes,
    horizontal_velocity,
    last_frame_baseline,
    velocity_error,
)
from kinema.frames import FrameArray, to_frames
from kinema.models.formats.loader import open_model
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.simulator.phyworld import (
    IMAGE_SIZE,
    NUM_CONDITION_FRAMES,
    NUM_FRAMES,
    RANGES,
    SCENARIOS,
    AttributePair,
    MotionRanges,
    PhyWorldClip,
    PhyWorldConfig,
    PhyWorldVideos,
    Scenario,
    Split,
)

Experiment = Literal["errors", "speeds", "attributes"]
TEST_SPEEDS = tuple(float(speed) for speed in np.arange(1.0, 4.01, 0.25))
"""In m/s; the experiment on speeds."""
_SEED = 1000
"""Of clips that no training has."""
_BATCH_SIZE = 10


class PhyWorldModel:
    """An autoencoder and a transformer that continue the first frames of a clip.

    Args:
        name: folder of an exported model.
        num_inference_steps: of the solver.

    Raises:
        UserError: the model is for other videos.
    """

    def __init__(self, name: str, *, num_inference_steps: int) -> None:
        model = open_model(name)
        defaults = model.sampling_defaults
        if defaults.num_frames != NUM_FRAMES or defaults.size != (IMAGE_SIZE, IMAGE_SIZE):
            width, height = defaults.size
            raise UserError(
                f"{name} is a model of {defaults.num_frames} frames of {width}x{height}; give the folder "
                "weights of a `kinema train phyworld`"
            )
        device = torch.device("cpu")
        self.vae: VideoVae = model.load_vae(device=device)
        self.dit = model.load_transformer(dtype=torch.float32, device=device)
        assert isinstance(self.dit, Dit)
        self.text_encoder = model.load_text_encoder(dtype=torch.float32, device=device)
        self.schedule = sampling.linear_schedule(num_inference_steps, defaults.flow_shift)

    @torch.inference_mode()
    def reconstruct(self, clip: PhyWorldClip) -> FrameArray:
        """Encode and decode a clip: what the transformer can reach at best."""
        return to_frames(self.vae.decode(self.vae.encode(_as_input([clip]))))

    @torch.inference_mode()
    def continue_clips(self, clips: list[PhyWorldClip]) -> Iterator[FrameArray]:
        """Yield the continuation of the first three frames of each clip, which are part of it.

        The noise of a clip depends on its position in the list.

        Raises:
            UserError: the latents are not numbers.
        """
        known = self.vae.encode(_as_input(clips)[:, :, :NUM_CONDITION_FRAMES])
        num_known = known.shape[2]
        num_latents = 1 + (NUM_FRAMES - 1) // self.vae.stride.temporal
        shape = (known.shape[1], num_latents, *known.shape[3:])
        noise = torch.stack([rng.normal(shape, _SEED, "phyworld", index) for index in range(len(clips))])
        latents = torch.zeros_like(noise)
        latents[:, :, :num_known] = known
        is_known = torch.arange(num_latents) < num_known
        clamp = sampling.FrameClamp(
            frames=is_known, latents=latents, sigmas=torch.where(is_known, 0.0, 1.0).double()
        )
        context = self.dit.context(self.text_encoder.encode([""] * len(clips)))

        def denoiser(latents: Tensor, sigma: Tensor) -> Tensor:
            return self.dit(latents, sigma, context)

        for step in sampling.sample(denoiser, noise, self.schedule, solver="euler", clamp=clamp):
            latents = step.latents
        if not latents.isfinite().all():
            raise UserError("the model's latents are not numbers; its training has diverged")
        for one in latents.float():
            yield to_frames(self.vae.decode(one[None]))


def _as_input(clips: list[PhyWorldClip]) -> Tensor:
    return to_model_input(np.stack([clip.frames for clip in clips]), torch.device("cpu"))


def _generate(model: PhyWorldModel, clips: list[PhyWorldClip]) -> Iterator[FrameArray]:
    for first in range(0, len(clips), _BATCH_SIZE):
        yield from model.continue_clips(clips[first : first + _BATCH_SIZE])


def run_benchmark(
    *,
    model: str,
    experiment: Experiment = "errors",
    scenarios: tuple[Scenario, ...] = SCENARIOS,
    pair: AttributePair | None = None,
    num_clips: int = 50,
    num_inference_steps: int = 20,
) -> list[BenchRow]:
    """Measure a model.

    Args:
        model: folder of its weights.
        experiment: `errors`: the velocity errors of `measure_errors`. `speeds`: `measure_speeds`.
            `attributes`: `measure_attributes`.
        scenarios: of the experiment `errors`.
        pair: of the experiment `attributes`.
        num_clips: of each row.
        num_inference_steps: of the solver.

    Raises:
        UserError: the model is for other videos, or the experiment on attributes has no pair.
    """
    loaded = PhyWorldModel(model, num_inference_steps=num_inference_steps)
    if experiment == "errors":
        return measure_errors(loaded, scenarios, num_clips)
    if experiment == "speeds":
        return measure_speeds(loaded, num_clips)
    if pair is None:
        raise UserError("the experiment on attributes needs their names: --pair colour shape")
    return measure_attributes(loaded, pair, num_clips)


def measure_errors(model: PhyWorldModel, scenarios: tuple[Scenario, ...], num_clips: int) -> list[BenchRow]:
    """Velocity errors in m/s, in and out of the training distribution.

    Of the true videos, of the autoencoder, of the model, and of two baselines; `theirs` is the paper's parser
    on its true videos, and its best model.
    """
    rows = []
    for scenario in scenarios:
        for index, split in enumerate(("in", "out")):
            clips = _clips(scenario, split, num_clips)
            parser_error, *model_errors = PUBLISHED_ERRORS[scenario]
            published = {"model": model_errors[index]}
            if split == "in":
                published["true videos"] = parser_error
            videos = {
                "true videos": [clip.frames for clip in clips],
                "autoencoder": [model.reconstruct(clip) for clip in clips],
                "model": list(_generate(model, clips)),
                "constant velocity": [constant_velocity_baseline(clip) for clip in clips],
                "last frame": [last_frame_baseline(clip) for clip in clips],
            }
            for name, frames in videos.items():
                errors = [velocity_error(clip, one) for clip, one in zip(clips, frames, strict=True)]
                rows.append(
                    BenchRow(
                        label=f"{scenario}, {split} of distribution: {name}",
                        ours=float(np.nanmean(errors)),
                        theirs=published.get(name),
                        unit="",
                        note=f"median {np.nanmedian(errors):.3f}",
                    )
                )
    return rows


def _clips(scenario: Scenario, split: Split, num_clips: int) -> list[PhyWorldClip]:
    config = PhyWorldConfig(scenarios=(scenario,), ranges=RANGES[split])
    videos = PhyWorldVideos(config=config, num_clips=num_clips, seed=_SEED + (split == "out"))
    return [videos.clip(index) for index in range(num_clips)]


def measure_speeds(model: PhyWorldModel, num_clips: int) -> list[BenchRow]:
    """Velocities that the model gives to balls that roll to the right with `TEST_SPEEDS`.

    For models whose training leaves out a range of speeds, or slow balls. `theirs` is the true velocity.
    """
    rows = []
    for number, speed in enumerate(TEST_SPEEDS):
        ranges = MotionRanges(radii=((0.7, 1.0),), speeds=((speed, speed),), direction="right")
        config = PhyWorldConfig(scenarios=("uniform",), ranges=ranges)
        videos = PhyWorldVideos(config=config, num_clips=num_clips, seed=_SEED + number)
        clips = [videos.clip(index) for index in range(num_clips)]
        velocities = np.array([horizontal_velocity(frames) for frames in _generate(model, clips)])
        rows.append(_velocity_row(speed, velocities))
    return rows


def _velocity_row(speed: float, velocities: np.ndarray) -> BenchRow:
    measured = velocities[~np.isnan(velocities)]
    note = f"dissolved {len(velocities) - len(measured)} of {len(velocities)}"
    if len(measured):
        note = f"spread {measured.std():.2f}, reversed {(measured < 0).mean():.0%}, {note}"
    return BenchRow(
        label=f"velocity of a ball with {speed:.2f} m/s",
        ours=float(measured.mean()) if len(measured) else float("nan"),
        theirs=speed,
        unit="",
        note=note,
    )


def measure_attributes(model: PhyWorldModel, pair: AttributePair, num_clips: int) -> list[BenchRow]:
    """Shares of the videos in which a body with the other combination of two attributes keeps both, or one.

    The model was trained on clips of the pair, where the attributes occur together. A body that keeps the
    first and changes the second shows that the first decides what the model takes the body for.
    """
    rows = []
    for crossed in (False, True):
        config = PhyWorldConfig(pair=dataclasses.replace(pair, crossed=crossed))
        videos = PhyWorldVideos(config=config, num_clips=num_clips, seed=_SEED)
        clips = [videos.clip(index) for index in range(num_clips)]
        counts = dict.fromkeys(
            ("keeps both", f"keeps its {pair.first}", f"keeps its {pair.second}", "keeps none", "dissolves"),
            0,
        )
        names = list(counts)
        for clip, frames in zip(clips, _generate(model, clips), strict=True):
            before, after = final_attributes(clip.frames), final_attributes(frames)
            if before is None or after is None:
                counts["dissolves"] += 1
                continue
            first, second = (before[name] == after[name] for name in (pair.first, pair.second))
            counts[names[(0 if second else 1) if first else (2 if second else 3)]] += 1
        kind = "new combination" if crossed else "combination of the training"
        rows += [
            BenchRow(label=f"{kind}: {name}", ours=count / num_clips, unit="")
            for name, count in counts.items()
        ]
    return rows
