"""How much varies with the seed where a prompt leaves something open, against the simulator's own variety.

Facts of many videos of one prompt (colours, shapes, directions, places, sizes and speeds, as far as the
prompt leaves them open) have a distribution. Its distance from that of simulated clips of the same meaning is
the total variation: half the sum of the absolute differences of the shares. It is 0 for equal distributions
and 1 for a model that shows one thing of many.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kinema.errors import UserError
from kinema.evaluation.camera_geometry import floor_positions
from kinema.evaluation.everyday import LAB_SHAPES, main_shape, score_meaning
from kinema.evaluation.tracking import Track, TrackedVideo
from kinema.frames import FrameArray
from kinema.simulator.annotations import ClipAnnotations, Event, Shape
from kinema.simulator.captions.everyday.meaning import Meaning, ObjectMeaning, order_by_role
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec

FactKind = Literal["colour", "shape", "direction", "place", "depth", "apparent size", "speed"]
FACT_KINDS: tuple[FactKind, ...] = get_args(FactKind)
NUM_BINS = 3
"""Bins of a number, with equal shares of the simulated clips."""
MISSING = "missing"
"""Value of each fact of an object that is not in the video."""
_FALLS = ("fall", "bounce", "fall without a bounce", "land on")
_MAX_SEED_TRIES = 300
_SIMULATED_SHAPES: dict[str, Shape] = {
    "ball": "ball", "cube": "cube", "cylinder": "cylinder", "cone": "cone",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OpenPrompt:
    """A prompt that leaves something open, and the simulated clips of the same meaning.

    Attributes:
        prompt: what the model gets.
        meaning: as data.
        event: of the simulated clips.
        outcome: of the simulated clips.
    """

    prompt: str
    meaning: Meaning
    event: Event
    outcome: str


def _open(
    prompt: str,
    clip: str,
    *shapes: str,
    does: str = "none",
    direction: str = "",
    relation: str = "",
    colours: Sequence[str] = ("", ""),
    count: int = 1,
) -> OpenPrompt:
    objects = tuple(
        ObjectMeaning(shape=shape, colour=colour, count=count)
        for shape, colour in zip(shapes, colours, strict=False)
    )
    event, _, outcome = clip.partition(" ")
    acts = does != "none"
    meaning = Meaning(
        objects=objects,
        event=does,
        direction=direction,
        actor=0 if acts else None,
        patient=1 if acts and len(objects) == 2 else None,
        relation=relation,
        related=(0, 1) if relation else None,
    )
    return OpenPrompt(prompt=prompt, meaning=meaning, event=event, outcome=outcome)  # pyrefly: ignore


OPEN_PROMPTS: tuple[OpenPrompt, ...] = (
    _open("a ball rolls across the floor", "roll keeps going", "ball", does="move"),
    _open("a ball rolls to the left", "roll keeps going", "ball", does="move", direction="left"),
    _open("a red ball rolls by", "roll keeps going", "ball", does="move", colours=("red",)),
    _open("a ball rolls and comes to a stop", "roll stops", "ball", does="stop"),
    _open("a ball rolls to the right and stops", "roll stops", "ball", does="stop", direction="right"),
    _open("a ball rolls into a cube", "collide pushed", "ball", "cube", does="push"),
    _open("a ball hits a blue cube", "collide pushed", "ball", "cube", does="push", colours=("", "blue")),
    _open("a ball knocks over a cylinder", "collide tips over", "ball", "cylinder", does="knock over"),
    _open("a ball rolls past a cube without touching it", "collide misses", "ball", "cube", does="miss"),
    _open(
        "a ball stops before it gets to a cylinder", "collide short of", "ball", "cylinder", does="stop short"
    ),
    _open(
        "a ball rolls behind a wall and comes out",
        "occlude re-emerges", "ball", "wall", does="hide and come out",
    ),
    _open(
        "a ball rolls behind a wall and stays there",
        "occlude stays hidden", "ball", "wall", does="hide and stay",
    ),
    _open("a ball rolls past in front of a wall", "occlude in front", "ball", "wall", does="pass in front"),
    _open("a ball falls and bounces", "drop bounces high", "ball", does="bounce"),
    _open("something falls without bouncing", "drop no bounce", "", does="fall without a bounce"),
    _open("a cube lands on another cube", "drop lands on", "cube", "cube", does="land on"),
    _open("two different things stand side by side", "still pair", "", ""),
    _open("a cube is to the left of a ball", "still pair", "cube", "ball", relation="left of"),
    _open(
        "a green thing next to a cone", "still pair", "", "cone", colours=("green", ""), relation="next to"
    ),
    _open("three cubes on the floor", "count stand", "cube", does="still", count=3),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """What a video shows of what its prompt leaves open.

    Attributes:
        values: by names such as `colour 1`; objects are numbered by their roles, the actor first. Numbers are
            metres on the floor, metres per second, and pixels of a video 128 pixels high.
        is_right: whether the video shows what the prompt says.
    """

    values: dict[str, str | float]
    is_right: bool


def read_facts(meaning: Meaning, frames: FrameArray, fps: float) -> VideoFacts:
    """The facts of a video that its prompt leaves open.

    Args:
        meaning: of the prompt.
        frames: of the lab.
        fps: frames per second.
    """
    scores = score_meaning(meaning, frames, fps)
    facts: dict[str, str | float] = {}
    for number, index in enumerate(order_by_role(meaning)):
        track = scores.scene.main_track(number)
        own = _object_facts(meaning, index, scores.video, track)
        facts |= {f"{kind} {number + 1}": value for kind, value in own.items()}
    return VideoFacts(values=facts, is_right=scores.verdicts["everything"] is True)


def _object_facts(
    meaning: Meaning, index: int, video: TrackedVideo, track: Track | None
) -> dict[FactKind, str | float]:
    obj = meaning.objects[index]
    is_actor = index == meaning.actor and meaning.event not in (*_FALLS, "still")
    is_open: dict[FactKind, bool] = {
        "place": True,
        "depth": True,
        "apparent size": True,
        "colour": not obj.colour,
        "shape": not obj.shape,
        "direction": is_actor and not meaning.direction,
        "speed": is_actor,
    }
    kinds = [kind for kind, value in is_open.items() if value]
    if track is None:
        return dict.fromkeys(kinds, MISSING)
    floor = floor_positions(video, track)[track.visible]
    first, last = floor[0], floor[-1]
    seconds = max(track.last_frame - track.first_frame, 1) / video.fps
    values: dict[FactKind, str | float] = {
        "place": float(last[0]),
        "depth": float(last[1]),
        "apparent size": track.radius / video.scale,
        "colour": track.colour,
        "shape": main_shape(track),
        "direction": "left" if last[0] < first[0] else "right",
        "speed": float(np.linalg.norm(last - first)) / seconds,
    }
    return {kind: values[kind] for kind in kinds}


def total_variation(
    facts: Sequence[Mapping[str, str | float]], reference: Sequence[Mapping[str, str | float]]
) -> dict[str, float]:
    """The total variation of each fact between videos and reference videos, 0 to 1.

    Numbers are put into `NUM_BINS` bins with equal shares of the reference.
    """
    distances = {}
    for name in reference[0]:
        edges = _bin_edges([one[name] for one in reference])
        own, other = (Counter(_category(one[name], edges) for one in videos) for videos in (facts, reference))
        distances[name] = 0.5 * sum(
            abs(own[value] / len(facts) - other[value] / len(reference)) for value in {*own, *other}
        )
    return distances


def _bin_edges(values: Sequence[str | float]) -> np.ndarray:
    numbers = [value for value in values if isinstance(value, float)]
    if not numbers:
        return np.empty(0)
    return np.nanquantile(numbers, np.arange(1, NUM_BINS) / NUM_BINS)


def _category(value: str | float, edges: np.ndarray) -> str:
    if isinstance(value, str):
        return value
    return MISSING if np.isnan(value) else str(int(np.searchsorted(edges, value)))


def simulate_open_prompt(
    item: OpenPrompt, seed: int, *, size: tuple[int, int], num_frames: int, fps: float
) -> FrameArray:
    """A simulated video of a prompt's meaning; what the prompt leaves open is the simulator's choice.

    Args:
        item: the prompt.
        seed: of the clip; several are tried.
        size: width and height in pixels.
        num_frames: of the video.
        fps: frames per second.

    Raises:
        UserError: no seed gives such a clip.
    """
    source = random.Random(f"open {item.prompt} {seed}")
    # With these shapes set, fewer clips are sampled in vain. They stand as they would have.
    shapes = [_SIMULATED_SHAPES.get(item.meaning.objects[k].shape) for k in order_by_role(item.meaning)]
    shapes = [None, None] if item.event == "count" else [*shapes, None][:2]
    for _ in range(_MAX_SEED_TRIES):
        spec = ClipSpec(
            seed=source.randrange(1 << 31),
            lab=True,
            event=item.event,
            outcome=item.outcome,
            width=size[0],
            height=size[1],
            num_frames=num_frames,
            fps=fps,
            main_shape=shapes[0],
            partner_shape=shapes[1],
        )
        try:
            annotations = make_clip(spec, render=False).annotations
        except UserError:
            continue
        if _has_meaning(annotations, item.meaning):
            frames = make_clip(spec).frames
            assert frames is not None
            return frames
    raise UserError(f"the simulator finds no clip for {item.prompt!r}; use more frames")


def _has_meaning(clip: ClipAnnotations, meaning: Meaning) -> bool:
    """Whether the objects of a clip have the stated shapes, colours, number, direction and relation."""
    entities = [entity for entity in clip.entities if entity.role in ("main", "partner")]
    objects = [obj for k in order_by_role(meaning) for obj in [meaning.objects[k]] * meaning.objects[k].count]
    claims = {(claim.kind, claim.value) for claim in clip.claims}
    return (
        len(entities) == len(objects)
        and all(
            (not obj.shape or LAB_SHAPES[obj.shape] == entity.shape) and obj.colour in ("", entity.colour)
            for obj, entity in zip(objects, entities, strict=True)
        )
        and (not meaning.direction or ("moves", meaning.direction) in claims)
        and (meaning.relation != "left of" or ("left of", "") in claims)
    )
