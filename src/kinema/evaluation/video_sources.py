"""Sources of videos: a model, a folder, or the simulator."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from kinema.errors import UserError
from kinema.evaluation.everyday import can_score
from kinema.evaluation.prompt_sets import PromptItem
from kinema.evaluation.whole import SceneMeaning
from kinema.evaluation.whole_prompts import load_whole_prompts, render_scene
from kinema.frames import FrameArray
from kinema.media import probe, read_video
from kinema.simulator.annotations import ClipAnnotations
from kinema.simulator.captions import generate_captions
from kinema.simulator.captions.everyday import realize_caption
from kinema.simulator.captions.everyday.meaning import Meaning, extract_meaning
from kinema.simulator.clip import ClipSpec, make_clip

_MAX_PRE_CONTACT_MOTION = 0.05
"""Metres that a struck object may move before the contact in a reference clip."""
_MAX_SEED_TRIES = 20
_MAX_SCORED_HEIGHT = 256
"""Taller videos are scored at 128 pixels: the evaluator measures nothing more at a higher resolution."""


@dataclass(frozen=True, kw_only=True)
class VideoFormat:
    """Size, length and frame rate of generated videos."""

    height: int = 128
    width: int = 128
    num_frames: int = 33
    fps: float = 12.0

    def __str__(self) -> str:
        return f"{self.width}x{self.height}, {self.num_frames} frames at {self.fps:g} fps"


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """A video to generate."""

    prompt: str
    seed: int


@runtime_checkable
class VideoGenerator(Protocol):
    """The part of a model that the scorecard needs."""

    def generate(self, requests: Sequence[SampleRequest], video_format: VideoFormat) -> Iterable[FrameArray]:
        """Generate one video per request. The videos depend on nothing but the batch."""
        ...


@runtime_checkable
class GeneratorFactory(Protocol):
    """Loads a generator. Hashable and picklable: worker processes load their own."""

    @property
    def per_process(self) -> bool:
        """Whether every process has its own generator; otherwise this process generates all videos."""
        ...

    @property
    def batch_size(self) -> int:
        """Videos generated at once."""
        ...

    def load_generator(self) -> VideoGenerator:
        """Load the generator."""
        ...

    def fingerprint(self) -> str:
        """Identify the weights: different weights have different fingerprints."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionedVideo:
    """A video and the prompt that describes it."""

    prompt: str
    frames: FrameArray
    meaning: Meaning | SceneMeaning | None = None
    """Of a caption in everyday English, or of the whole simulator."""


def scene_seed(item: PromptItem, seed: int) -> int:
    """The simulator's seed for a prompt: the prompt's own for seed 0, a different one for every other
    seed."""
    return int(np.random.default_rng([item.seed, seed]).integers(1 << 31)) if seed else item.seed


def render_reference(item: PromptItem, video_format: VideoFormat, seed: int = 0) -> list[CaptionedVideo]:
    """Render simulator videos of a prompt's kind and outcome, with the simulator's own captions.

    The scene is sampled from `scene_seed`, from held-out combinations only, so the colours are not those of
    the prompt. An item with a swapped prompt gives a second video, of the scene with the colours exchanged.

    Raises:
        UserError: the simulator finds no such clip with so few frames.
    """
    first_seed = scene_seed(item, seed)
    if isinstance(item.meaning, SceneMeaning):
        return [_render_whole_reference(item, video_format, seed)]
    if item.meaning is not None:
        return [_render_everyday_reference(item, video_format, first_seed)]
    assert item.kind not in ("everyday", "whole")
    videos = []
    for swap in ("", "colours") if item.swapped_prompt else ("",):
        clip = None
        for offset in range(_MAX_SEED_TRIES):
            spec = ClipSpec(
                seed=first_seed + offset,
                lab=True,
                event=item.kind,
                outcome=item.outcome,
                split="test",
                height=video_format.height,
                width=video_format.width,
                num_frames=video_format.num_frames,
                fps=video_format.fps,
                swap=swap,
            )
            try:
                clip = make_clip(spec)
            except UserError:
                # Not every seed has every outcome within so few frames; try the next seed.
                continue
            if _is_usable_clip(clip.annotations):
                break
        if clip is None or clip.frames is None:
            raise UserError(
                f"the simulator finds no clip for {item.prompt!r} with {video_format}; use more frames"
            )
        videos.append(CaptionedVideo(prompt=generate_captions(clip.annotations)[0].text, frames=clip.frames))
    return videos


def _render_everyday_reference(
    item: PromptItem, video_format: VideoFormat, first_seed: int
) -> CaptionedVideo:
    """Render any scene of the lab, with a caption in everyday English that the evaluator can score."""
    for offset in range(_MAX_SEED_TRIES):
        spec = ClipSpec(
            seed=first_seed + offset,
            lab=True,
            split="test",
            height=video_format.height,
            width=video_format.width,
            num_frames=video_format.num_frames,
            fps=video_format.fps,
        )
        try:
            clip = make_clip(spec)
        except UserError:
            continue
        caption = realize_caption(clip.annotations, random.Random(first_seed + offset))
        meaning = extract_meaning(caption)
        if clip.frames is not None and can_score(meaning) and _is_usable_clip(clip.annotations):
            return CaptionedVideo(prompt=caption.text, frames=clip.frames, meaning=meaning)
    raise UserError(f"the simulator finds no clip for {item.prompt!r} with {video_format}; use more frames")


def _render_whole_reference(item: PromptItem, video_format: VideoFormat, seed: int) -> CaptionedVideo:
    """Render a scene of the whole simulator with the event, outcome and caption style of a prompt of its set.

    With the format that the set was made for and seed 0 it is the scene that the prompt describes.
    """
    stored = load_whole_prompts()[item.index]
    found, clip = render_scene(
        stored.scene_seed if seed == 0 else scene_seed(item, seed),
        stored.event,
        stored.outcome,
        stored.style,
        height=video_format.height,
        width=video_format.width,
        num_frames=video_format.num_frames,
        fps=video_format.fps,
    )
    assert clip.frames is not None
    return CaptionedVideo(prompt=found.prompt, frames=clip.frames, meaning=found.meaning)


def _is_usable_clip(annotations: ClipAnnotations) -> bool:
    """Whether a clip can serve as a reference: two objects for a camera move, no early motion in a collision.

    In the physics engine some light objects hop before they are touched. The evaluator correctly reports that
    as a fault, so such clips are not references.
    """
    if annotations.event == "camera":
        return len(annotations.entities) > 1
    if annotations.event != "collide":
        return True
    contacts = [c.first for c in annotations.contacts if {c.a, c.b} == {0, 1}]
    before = annotations.tracks.position[: int(contacts[0]) + 1 if contacts else None, 1]
    return bool(np.linalg.norm(before - before[0], axis=1).max() < _MAX_PRE_CONTACT_MOTION)


def pair_videos_with_prompts(folder: Path, prompt_file: Path) -> list[tuple[str, Path]]:
    """Pair the videos of a folder, in the order of their names, with the lines of a text file.

    Raises:
        UserError: their numbers differ, or there are none.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; pass a folder of videos")
    if not prompt_file.is_file():
        raise UserError(f"{prompt_file} does not exist; pass a text file with one prompt per line")
    videos = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and not path.samefile(prompt_file)
    )
    prompts = [line.strip() for line in prompt_file.read_text().splitlines() if line.strip()]
    if not videos or len(videos) != len(prompts):
        raise UserError(
            f"{folder} has {len(videos)} videos and {prompt_file} {len(prompts)} prompts; "
            "write one prompt per line, in the order of the file names"
        )
    return list(zip(prompts, videos, strict=True))


def load_video(path: Path) -> tuple[FrameArray, float]:
    """The frames and the frame rate of a video file; videos above 256 pixels in height are scaled to 128."""
    info = probe(path)
    # Scaled while it is read: a long video at full size may not fit into memory.
    size = (round(info.width * 128 / info.height), 128) if info.height > _MAX_SCORED_HEIGHT else None
    video = read_video(path, size=size)
    return video.frames, video.fps
