"""Where the films come from: a model, a folder, or the simulator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from kinema.errors import UserError
from kinema.evaluation.prompt_sets import PromptItem
from kinema.media import probe, read_video
from kinema.simulator.annotations import ClipAnnotations
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import ClipSpec, make_clip

_MAX_PRE_CONTACT_MOTION = 0.05
"""Metres."""
FrameArray = UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True, kw_only=True)
class VideoFormat:
    """Of the films that are made."""

    height: int = 128
    width: int = 128
    num_frames: int = 33
    fps: float = 12.0

    def __str__(self) -> str:
        return f"{self.width}x{self.height}, {self.num_frames} frames at {self.fps:g} a second"


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """A film to be made."""

    prompt: str
    seed: int


@runtime_checkable
class VideoGenerator(Protocol):
    """All that the scorecard asks of a model."""

    def generate(self, requests: Sequence[SampleRequest], video_format: VideoFormat) -> Iterable[FrameArray]:
        """The film of each order; the same whenever all orders of the batch are."""
        ...


@runtime_checkable
class GeneratorFactory(Protocol):
    """Where a generator comes from. Hashable, and little enough to be handed to another process."""

    @property
    def per_process(self) -> bool:
        """Whether every process films for itself; else this one films for all of them."""
        ...

    @property
    def batch_size(self) -> int:
        """Films in a batch."""
        ...

    def load_generator(self) -> VideoGenerator:
        """Load it."""
        ...

    def fingerprint(self) -> str:
        """Changes when the films of a prompt and seed would."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionedVideo:
    """A film and the prompt that it answers."""

    prompt: str
    frames: FrameArray


def scene_seed(item: PromptItem, seed: int) -> int:
    """The simulator's seed for an item: its own for seed 0, another one for every other seed."""
    return int(np.random.default_rng([item.seed, seed]).integers(1 << 31)) if seed else item.seed


def render_reference(item: PromptItem, video_format: VideoFormat, seed: int = 0) -> list[CaptionedVideo]:
    """The simulator's film for an item: its own caption of the kind and outcome, held-out combinations only.

    The scene is drawn from the item's seed (`scene_seed`), so the colours are not those of the item's prompt.
    An item with a swapped prompt gives the film of the swapped scene as well.

    Raises:
        UserError: the simulator finds no such clip in so few frames.
    """
    first = scene_seed(item, seed)
    told = []
    for swap in ("", "colours") if item.swapped_prompt else ("",):
        clip = None
        for again in range(20):
            spec = ClipSpec(
                seed=first + again, lab=True, event=item.kind, outcome=item.outcome, split="test",
                height=video_format.height, width=video_format.width, num_frames=video_format.num_frames, fps=video_format.fps,
                swap="colours" if swap else "",
            )  # fmt: skip
            try:
                clip = make_clip(spec)
            except UserError:
                # Some outcomes can't be had from some seeds within so few frames: the next seed can.
                continue
            if _is_usable_clip(clip.annotations):
                break
        if clip is None or clip.frames is None:
            raise UserError(
                f"the simulator finds no clip for {item.prompt!r} with {video_format}; give it more frames"
            )
        told.append(CaptionedVideo(prompt=generate_captions(clip.annotations)[0].text, frames=clip.frames))
    return told


def _is_usable_clip(facts: ClipAnnotations) -> bool:
    """Whether a clip can stand for the list's prompts: two things for the camera, nothing loose in a meeting.

    The physics engine lets some light things hop before they are touched; that is a fault of those clips,
    and the judge calls it one.
    """
    if facts.event == "camera":
        return len(facts.entities) > 1
    if facts.event != "collide":
        return True
    met = [c.first for c in facts.contacts if {c.a, c.b} == {0, 1}]
    before = facts.tracks.position[: int(met[0]) + 1 if met else None, 1]
    return bool(np.linalg.norm(before - before[0], axis=1).max() < _MAX_PRE_CONTACT_MOTION)


def pair_videos_with_prompts(folder: Path, prompt_file: Path) -> list[tuple[str, Path]]:
    """Films made elsewhere, in the order of their names, beside the lines of a text file.

    Raises:
        UserError: their numbers differ, or there are none.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give one with films in it")
    if not prompt_file.is_file():
        raise UserError(f"{prompt_file} does not exist; give a text file with one prompt a line")
    films = sorted(
        p
        for p in folder.iterdir()
        if p.is_file() and not p.name.startswith(".") and not p.samefile(prompt_file)
    )
    lines = [line.strip() for line in prompt_file.read_text().splitlines() if line.strip()]
    if not films or len(films) != len(lines):
        raise UserError(
            f"{folder} has {len(films)} films and {prompt_file} {len(lines)} prompts; "
            "give one prompt a line, in the order of the films' names"
        )
    return list(zip(lines, films, strict=True))


def load_video(path: Path) -> tuple[FrameArray, float]:
    """A film file's frames and rate, large ones at 128 pixels high: the judge sees no more in larger ones."""
    told = probe(path)
    # Scaled while it is read: a long film of full size need not fit into memory.
    size = (round(told.width * 128 / told.height), 128) if told.height > 256 else None
    film = read_video(path, size=size)
    return film.frames, film.fps
