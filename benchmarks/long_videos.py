"""Long films: whether memory stays constant, how far the last seconds drift from the first, and for how long
the things in them stay what they were.

Each film is streamed to a file in a process of its own.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from benchmarks.harness import BenchRow, run_subprocess
from kinema.pipeline.streaming import ContextMode
from kinema.simulator.appearance.colours import srgb_to_lab

SHORT_SECONDS = 10.0
"""Seconds of the film whose memory is the measure."""
COMPARED_SECONDS = 5.0
"""Seconds at each end of a film that are compared."""
PROMPTS = (
    "A red ball rolls to the right.",
    "A blue cube stands to the left of a green cylinder.",
    "A yellow ball is dropped and bounces.",
)

_STREAM_SCRIPT = """
import dataclasses, json, sys
import torch
torch.set_num_threads(1)
from kinema.pipeline.pipeline import load
from kinema.pipeline.decoder import Frames
from kinema.pipeline.resolve import decide
from kinema.pipeline.streaming import stream, streaming_of
from kinema.pipeline.request import Wish
from kinema.media import writer
path, settings = sys.argv[1], json.loads(sys.argv[2])
pipe = load(settings["model"], device="cpu", dtype="float32", memory="high")
recipe = dataclasses.replace(pipe.model.recipe, long_films=settings["way"] or pipe.model.recipe.long_films)
streaming = streaming_of(dataclasses.replace(pipe.model, recipe=recipe))
if settings["noise"] is not None:
    streaming = dataclasses.replace(streaming, noise=settings["noise"])
wish = Wish(
    prompt=settings["prompt"], seconds=settings["seconds"], seed=settings["seed"], steps=settings["steps"]
)
request = decide(pipe.model, wish)
with writer(path, fps=request.fps, size=(request.film.width, request.film.height), quality="lossless") as out:
    for event in stream(pipe, request, streaming):
        if isinstance(event, Frames):
            out.write(event.images)
print(out.frames)
"""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The last seconds of a film against its first.

    Attributes:
        sharpness_ratio: ratio of the spreads of the Laplacian; 1 is as sharp.
        delta_e: CIE76 distance of the mean colours.
    """

    sharpness_ratio: float
    delta_e: float


@dataclass(frozen=True, kw_only=True)
class StreamedVideoStats:
    """A film that was streamed, and what that took."""

    drift: Drift
    survival: float
    """Seconds up to which everything stayed the same (measure 8 of the scorecard)."""
    peak_mib: float
    """Resident MiB at most."""
    cpu_seconds: float
    """Seconds."""


def compute_drift(frames: UInt8[np.ndarray, "f h w 3"], num_compared: int) -> Drift:
    """Compare the first and the last `num_compared` frames."""
    first, last = frames[:num_compared], frames[-num_compared:]
    colours = [srgb_to_lab(part.reshape(-1, 3) / 255).mean(0) for part in (first, last)]
    return Drift(
        sharpness_ratio=sharpness(last) / max(sharpness(first), 1e-6),
        delta_e=float(np.linalg.norm(colours[1] - colours[0])),
    )


def sharpness(frames: UInt8[np.ndarray, "f h w 3"]) -> float:
    """Spread of the brightness's Laplacian: how much of a film is edges."""
    grey = frames.astype(np.float32).mean(-1)
    middle = 4 * grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return float((middle - around).std())


def time_to_first_change(frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> float:
    """Seconds up to which all things of the beginning are there and the same, whatever the prompt was."""
    from kinema.evaluation.identity import measure_identity, survival_seconds
    from kinema.evaluation.permanence import measure_permanence
    from kinema.evaluation.tracking import track_objects

    film = track_objects(frames, fps)
    return survival_seconds(
        measure_identity(film, grounded=True, lost_frame=measure_permanence(film).first_lost_frame),
        film.num_frames / fps,
    )


def stream_in_subprocess(
    prompt: str,
    *,
    seconds: float,
    model: str,
    num_inference_steps: int,
    seed: int,
    context_mode: ContextMode | None,
    context_noise: float | None,
) -> StreamedVideoStats:
    """Make a film in a process of its own.

    Raises:
        RuntimeError: the process failed.
    """
    from kinema.media import read_video

    settings = {
        "prompt": prompt, "seconds": seconds, "model": model, "steps": num_inference_steps, "seed": seed, "way": context_mode,
        "noise": context_noise,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.webm"
        used = run_subprocess(_STREAM_SCRIPT, str(path), json.dumps(settings))
        film = read_video(path)
    ends = round(COMPARED_SECONDS * film.fps)
    return StreamedVideoStats(
        drift=compute_drift(film.frames, ends),
        survival=time_to_first_change(film.frames, film.fps),
        peak_mib=used.peak_mib,
        cpu_seconds=used.cpu_seconds,
    )


def run_benchmark(
    *,
    seconds: float = 60.0,
    model: str = "world",
    num_inference_steps: int = 20,
    context_mode: ContextMode | None = None,
    context_noise: float | None = None,
    prompts: Sequence[str] = PROMPTS,
) -> list[BenchRow]:
    """Memory of a long film against one of 10 s, and the drift of long films of several prompts.

    Args:
        seconds: of the long films.
        model: see `kinema.pipeline.pipeline.load`.
        num_inference_steps: of the solver.
        context_mode: None: as the model's recipe says.
        context_noise: on the context; None: as the recipe says.
        prompts: a film for each; the seed is its number.
    """
    short = stream_in_subprocess(
        prompts[0], seconds=SHORT_SECONDS, model=model, num_inference_steps=num_inference_steps, seed=0, context_mode=context_mode, context_noise=context_noise
    )  # fmt: skip
    films = [
        stream_in_subprocess(
            prompt,
            seconds=seconds,
            model=model,
            num_inference_steps=num_inference_steps,
            seed=seed,
            context_mode=context_mode,
            context_noise=context_noise,
        )
        for seed, prompt in enumerate(prompts)
    ]
    peak = max(film.peak_mib for film in films)
    worst = max(films, key=lambda film: abs(film.drift.sharpness_ratio - 1)).drift.sharpness_ratio
    cpu = statistics.median(film.cpu_seconds for film in films)
    each = ", ".join(f"{film.drift.sharpness_ratio:.2f} and {film.drift.delta_e:.1f}" for film in films)
    ends = f"last {COMPARED_SECONDS:g} s against first; sharpness and ΔE of each film: {each}"
    return [
        BenchRow(
            label=f"memory of {seconds:g} s", ours=peak, theirs=short.peak_mib, ratio=peak / short.peak_mib,
            at_most=1.05, unit="MiB", note=f"beside {SHORT_SECONDS:g} s; {cpu:.0f} core-seconds a film",
        ),
        BenchRow(label="change of sharpness", ours=abs(worst - 1), at_most=0.15, unit="", note=ends),
        BenchRow(
            label="ΔE of mean colour", ours=max(film.drift.delta_e for film in films), at_most=3.0, unit="",
            note=f"largest of {len(films)}",
        ),
        BenchRow(
            label="share of the film after the first change of a thing", at_most=0.0, unit="",
            ours=statistics.median(1 - min(1.0, film.survival / seconds) for film in films),
            note="all are the same for " + ", ".join(f"{film.survival:.0f}" for film in films) + " s",
        ),
    ]  # fmt: skip
