"""The verbs that go on from a film, on films of the set that are cut: do joins show, do colours drift?"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kinema.bench.long import drift
from kinema.bench.measure import Row
from kinema.media import write_film
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.request import ExtendInput, InterpolateInput, VideoRequest
from kinema.pipeline.segments import frame_differences, loop_seam_ratio
from kinema.pipeline.video import GeneratedVideo
from kinema.simulator.captions import generate_captions
from kinema.world.clip import ClipSpec, make_clip
from kinema.world.facts import Event

MOVING: tuple[Event, ...] = ("roll", "collide", "occlude", "drop")
"""Events whose films are cut: in a film that stands still every step is a large one."""
AROUND = 8
"""Steps on either side of a join that it is compared with."""
CHAIN = 4
"""Extensions one behind the other."""
JOIN, COLOUR = 1.5, 2.0
"""What is asked for: steps at joins over the usual step, and ΔE."""

Frames = UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True, kw_only=True)
class Joins:
    """What one film showed: steps at its joins over the usual step around them."""

    extended: float
    left: float
    """Where a bridge leaves the first film."""
    arrived: float
    """Where it comes to the second."""
    true: float
    """The simulator's own step where the film was cut to be extended."""


@dataclass(frozen=True, kw_only=True)
class Joined:
    """What the films of one seed showed."""

    set: Joins
    """A film of the length of the model's own, cut in two, and with its middle taken out."""
    slower: Joins
    """A film three times as long, in which the same happens more slowly: the first and the last third are
    gone on from."""
    looped: float
    colour: float
    """ΔE of the mean colours of the first and last frames, after a chain of extensions of the slower film."""


def step_at(frames: Frames, at: int) -> float:
    """The step into frame `at` over the median of the steps around it."""
    steps = frame_differences(frames)
    usual = float(np.median(steps[max(0, at - 1 - AROUND) : at + AROUND]))
    return steps[at - 1] / max(usual, 1e-6)


def joined(pipe: Pipeline, event: Event, seed: int, *, steps: int) -> Joined:
    """Cut held-out lab films of a seed, and go on from them in every way."""
    part, fps = pipe.model.recipe.frames, pipe.model.recipe.fps
    quarter = (part - 1) // 4
    short, prompt = _filmed(pipe, event, seed, part)
    wish = VideoRequest(prompt=prompt, seconds=2 * quarter / fps, seed=seed, num_inference_steps=steps)
    loop = pipe.generate_request(dataclasses.replace(wish, seconds=None, loop=True)).frames
    with tempfile.TemporaryDirectory() as folder:
        own, _ = _joins(pipe, wish, short, (1 + 2 * quarter, 1 + quarter, quarter), Path(folder))
    long, prompt = _filmed(pipe, event, seed, 3 * part - 2)
    wish = dataclasses.replace(wish, prompt=prompt, seconds=(part - 1) / fps)
    with tempfile.TemporaryDirectory() as folder:
        slower, longer = _joins(pipe, wish, long, (part, part, part), Path(folder))
        chained = _chained(pipe, wish, longer, Path(folder))
    colour = drift(chained, max(1, part // 2)).colour
    return Joined(set=own, slower=slower, looped=loop_seam_ratio(loop), colour=colour)


def _filmed(pipe: Pipeline, event: Event, seed: int, frames: int) -> tuple[Frames, str]:
    """A held-out film of the set and its plain caption."""
    width, height = pipe.model.recipe.size
    spec = ClipSpec(
        seed=seed, lab=True, event=event, split="test", height=height, width=width,
        frames=frames, fps=pipe.model.recipe.fps,
    )  # fmt: skip
    clip = make_clip(spec)
    assert clip.frames is not None
    return clip.frames, generate_captions(clip.facts)[0].text


def _joins(
    pipe: Pipeline, wish: VideoRequest, true: Frames, cut: tuple[int, int, int], folder: Path
) -> tuple[Joins, GeneratedVideo]:
    """Extend a film, and lead from its beginning to its end; also the extended film.

    Args:
        pipe: the model.
        wish: how it goes on.
        true: the whole film.
        cut: how many of its first frames are extended, how many a bridge leaves, how many it comes to.
        folder: for the pieces.
    """
    extended, first, last = cut
    paths = [folder / name for name in ("extended.webm", "first.webm", "last.webm")]
    for path, frames in zip(paths, (true[:extended], true[:first], true[-last:]), strict=True):
        write_film(path, frames, fps=pipe.model.recipe.fps, quality="lossless")
    longer = pipe.generate_request(dataclasses.replace(wish, source=ExtendInput(video=paths[0])))
    both = pipe.generate_request(
        dataclasses.replace(wish, source=InterpolateInput(first=paths[1], last=paths[2]))
    ).frames
    found = Joins(
        extended=step_at(longer.frames, extended),
        left=step_at(both, first),
        arrived=step_at(both, len(both) - last),
        true=step_at(true, extended),
    )
    return found, longer


def _chained(pipe: Pipeline, wish: VideoRequest, film: GeneratedVideo, folder: Path) -> Frames:
    """A film that was extended once, extended again and again as its files would be by a person."""
    for number in range(CHAIN - 1):
        path = folder / f"chain-{number}.mp4"
        film.save(path)
        film = pipe.generate_request(dataclasses.replace(wish, source=ExtendInput(video=path)))
    return film.frames


def rows(
    *, model: str = "world", films: int = 2, steps: int = 20, events: Sequence[Event] = MOVING
) -> list[Row]:
    """Medians over films of each event; the worst, and how many are within what is asked, in the notes.

    Args:
        model: as for `kinema.load`.
        films: of each event.
        steps: of the solver.
        events: that are filmed.
    """
    pipe = load(model, device="cpu", dtype="float32", memory="high")
    each = [joined(pipe, event, seed, steps=steps) for event in events for seed in range(films)]

    def row(what: str, found: list[float], at_most: float, more: str = "") -> Row:
        within = sum(value <= at_most for value in found)
        return Row(
            what=what, ours=statistics.median(found), at_most=at_most, unit="",
            note=f"{within} of {len(found)} films within; largest {max(found):.2f}{more}",
        )  # fmt: skip

    found = []
    for name, pieces in (("", [one.set for one in each]), ("slower, ", [one.slower for one in each])):
        true = statistics.median(film.true for film in pieces)
        found += [
            row(
                f"{name}extended: step at the join",
                [f.extended for f in pieces],
                JOIN,
                f"; true {true:.2f}",
            ),
            row(f"{name}connected: step out of the first film", [f.left for f in pieces], JOIN),
            row(f"{name}connected: step into the second film", [f.arrived for f in pieces], JOIN),
        ]
    return [
        *found,
        row("looped: step from end to beginning", [one.looped for one in each], JOIN),
        row(f"ΔE after {CHAIN} extensions", [one.colour for one in each], COLOUR),
    ]
