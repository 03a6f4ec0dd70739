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
from kinema.generate.film import Film
from kinema.generate.pipeline import Pipeline, load
from kinema.generate.takes import seam, steps_of
from kinema.generate.wish import Connect, Extend, Wish
from kinema.media import write_film
from kinema.world.captions import captions
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
class Joined:
    """What one film showed: steps at joins over the usual step around them, and a distance of colours."""

    extended: float
    left: float
    """Where a bridge leaves the first film."""
    arrived: float
    """Where it comes to the second."""
    looped: float
    colour: float
    """ΔE of the mean colours of the first and last frames, after the chain of extensions."""
    true: float
    """The simulator's own step where it was cut."""


def step_at(frames: Frames, at: int) -> float:
    """The step into frame `at` over the median of the steps around it."""
    steps = steps_of(frames)
    usual = float(np.median(steps[max(0, at - 1 - AROUND) : at + AROUND]))
    return steps[at - 1] / max(usual, 1e-6)


def joined(pipe: Pipeline, event: Event, seed: int, *, steps: int) -> Joined:
    """Cut a held-out lab film after the model's usual length, and go on from it in every way."""
    recipe = pipe.model.recipe
    part = recipe.frames
    width, height = recipe.size
    spec = ClipSpec(
        seed=seed, lab=True, event=event, split="test", height=height, width=width,
        frames=3 * part - 2, fps=recipe.fps,
    )  # fmt: skip
    clip = make_clip(spec)
    assert clip.frames is not None
    true, prompt = clip.frames, captions(clip.facts)[0].text
    seconds = (part - 1) / recipe.fps

    with tempfile.TemporaryDirectory() as folder:
        first, last = Path(folder) / "first.webm", Path(folder) / "last.webm"
        write_film(first, true[:part], fps=recipe.fps, quality="lossless")
        write_film(last, true[-part:], fps=recipe.fps, quality="lossless")
        wish = Wish(prompt=prompt, seconds=seconds, seed=seed, steps=steps)
        longer = pipe.make(dataclasses.replace(wish, source=Extend(film=first)))
        both = pipe.make(dataclasses.replace(wish, source=Connect(first=first, last=last))).frames
        loop = pipe.make(dataclasses.replace(wish, seconds=None, loop=True)).frames
        chained = _chained(pipe, wish, longer, Path(folder))
    ends = max(1, part // 2)
    return Joined(
        extended=step_at(longer.frames, part),
        left=step_at(both, part),
        arrived=step_at(both, len(both) - part),
        looped=seam(loop),
        colour=drift(chained, ends).colour,
        true=step_at(true, part),
    )


def _chained(pipe: Pipeline, wish: Wish, film: Film, folder: Path) -> Frames:
    """A film that was extended once, extended again and again as its files would be by a person."""
    for number in range(CHAIN - 1):
        path = folder / f"chain-{number}.mp4"
        film.save(path)
        film = pipe.make(dataclasses.replace(wish, source=Extend(film=path)))
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

    true = statistics.median(one.true for one in each)
    return [
        row("extended: step at the join", [one.extended for one in each], JOIN, f"; true films {true:.2f}"),
        row("connected: step out of the first film", [one.left for one in each], JOIN),
        row("connected: step into the second film", [one.arrived for one in each], JOIN),
        row("looped: step from end to beginning", [one.looped for one in each], JOIN),
        row(f"ΔE after {CHAIN} extensions", [one.colour for one in each], COLOUR),
    ]
