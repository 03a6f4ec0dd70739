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

from kinema.bench.measure import Row, child
from kinema.pipeline.streaming import ContextMode
from kinema.world.look.colours import lab

SHORT = 10.0
"""Seconds of the film whose memory is the measure."""
ENDS = 5.0
"""Seconds at each end of a film that are compared."""
PROMPTS = (
    "A red ball rolls to the right.",
    "A blue cube stands to the left of a green cylinder.",
    "A yellow ball is dropped and bounces.",
)

_STREAM = """
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
        sharpness: ratio of the spreads of the Laplacian; 1 is as sharp.
        colour: CIE76 distance of the mean colours.
    """

    sharpness: float
    colour: float


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """A film that was streamed, and what that took."""

    drift: Drift
    survival: float
    """Seconds up to which everything stayed the same (measure 8 of the scorecard)."""
    peak: float
    """Resident MiB at most."""
    cpu: float
    """Seconds."""


def drift(frames: UInt8[np.ndarray, "f h w 3"], ends: int) -> Drift:
    """Compare the first and the last `ends` frames."""
    first, last = frames[:ends], frames[-ends:]
    colours = [lab(part.reshape(-1, 3) / 255).mean(0) for part in (first, last)]
    return Drift(
        sharpness=sharpness(last) / max(sharpness(first), 1e-6),
        colour=float(np.linalg.norm(colours[1] - colours[0])),
    )


def sharpness(frames: UInt8[np.ndarray, "f h w 3"]) -> float:
    """Spread of the brightness's Laplacian: how much of a film is edges."""
    grey = frames.astype(np.float32).mean(-1)
    middle = 4 * grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return float((middle - around).std())


def unchanged(frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> float:
    """Seconds up to which all things of the beginning are there and the same, whatever the prompt was."""
    from kinema.evaluation.identity import measure_identity, survival_seconds
    from kinema.evaluation.permanence import measure_permanence
    from kinema.evaluation.tracking import track_objects

    film = track_objects(frames, fps)
    return survival_seconds(
        measure_identity(film, grounded=True, lost_frame=measure_permanence(film).first_lost_frame),
        film.num_frames / fps,
    )


def streamed(
    prompt: str,
    *,
    seconds: float,
    model: str,
    steps: int,
    seed: int,
    way: ContextMode | None,
    noise: float | None,
) -> Streamed:
    """Make a film in a process of its own.

    Raises:
        RuntimeError: the process failed.
    """
    from kinema.media import read_film

    settings = {
        "prompt": prompt, "seconds": seconds, "model": model, "steps": steps, "seed": seed, "way": way,
        "noise": noise,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.webm"
        used = child(_STREAM, str(path), json.dumps(settings))
        film = read_film(path)
    ends = round(ENDS * film.fps)
    return Streamed(
        drift=drift(film.frames, ends),
        survival=unchanged(film.frames, film.fps),
        peak=used.peak,
        cpu=used.cpu,
    )


def rows(
    *,
    seconds: float = 60.0,
    model: str = "world",
    steps: int = 20,
    way: ContextMode | None = None,
    noise: float | None = None,
    prompts: Sequence[str] = PROMPTS,
) -> list[Row]:
    """Memory of a long film against one of 10 s, and the drift of long films of several prompts.

    Args:
        seconds: of the long films.
        model: see `kinema.pipeline.pipeline.load`.
        steps: of the solver.
        way: None: as the model's recipe says.
        noise: on the context; None: as the recipe says.
        prompts: a film for each; the seed is its number.
    """
    short = streamed(
        prompts[0], seconds=SHORT, model=model, steps=steps, seed=0, way=way, noise=noise
    )  # fmt: skip
    films = [
        streamed(prompt, seconds=seconds, model=model, steps=steps, seed=seed, way=way, noise=noise)
        for seed, prompt in enumerate(prompts)
    ]
    peak = max(film.peak for film in films)
    worst = max(films, key=lambda film: abs(film.drift.sharpness - 1)).drift.sharpness
    cpu = statistics.median(film.cpu for film in films)
    each = ", ".join(f"{film.drift.sharpness:.2f} and {film.drift.colour:.1f}" for film in films)
    ends = f"last {ENDS:g} s against first; sharpness and ΔE of each film: {each}"
    return [
        Row(
            what=f"memory of {seconds:g} s", ours=peak, theirs=short.peak, ratio=peak / short.peak,
            at_most=1.05, unit="MiB", note=f"beside {SHORT:g} s; {cpu:.0f} core-seconds a film",
        ),
        Row(what="change of sharpness", ours=abs(worst - 1), at_most=0.15, unit="", note=ends),
        Row(
            what="ΔE of mean colour", ours=max(film.drift.colour for film in films), at_most=3.0, unit="",
            note=f"largest of {len(films)}",
        ),
        Row(
            what="share of the film after the first change of a thing", at_most=0.0, unit="",
            ours=statistics.median(1 - min(1.0, film.survival / seconds) for film in films),
            note="all are the same for " + ", ".join(f"{film.survival:.0f}" for film in films) + " s",
        ),
    ]  # fmt: skip
