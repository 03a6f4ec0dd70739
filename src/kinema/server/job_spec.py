"""What a film shall be, as the store keeps it (in JSON): plain values, and names of files in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["create", "edit", "extend", "connect"]


@dataclass(frozen=True, kw_only=True)
class ShotSpec:
    """A shot of a storyboard: from `seconds` on, `prompt` speaks, and `image`, if any, is shown there."""

    prompt: str
    seconds: float
    image: str | None = None
    transition: Literal["cut", "blend"] = "cut"


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A film to be made. None leaves a choice to the model.

    Attributes:
        task: what is done with `source_video` (and, to connect, `next_video`); nothing for `create`.
        prompt: what it shows.
        negative_prompt: what it does not show.
        width: in pixels; None for verbs that take the size of their source.
        height: in pixels.
        seconds: how long; of an extension, how much is added.
        fps: frames per second.
        num_inference_steps: of the solver.
        guidance_scale: scale, 1 is off.
        seed: of the noise.
        image: file of the first frame.
        last_image: file of the last frame.
        loop: whether the end leads into the beginning.
        storyboard: shots, in the order of their times.
        source_video: file of the film that is edited, extended or connected from.
        next_video: file of the film that is connected to.
        strength: how far an edit may go from its source, 0 to 1.
        backward: whether an extension goes before the source.
    """

    task: Task = "create"
    prompt: str = ""
    negative_prompt: str | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    fps: float | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    image: str | None = None
    last_image: str | None = None
    loop: bool = False
    storyboard: tuple[ShotSpec, ...] = ()
    source_video: str | None = None
    next_video: str | None = None
    strength: float = 0.6
    backward: bool = False
