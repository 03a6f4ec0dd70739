"""Form values to requests, and videos to text and HTML, without any UI library."""

from __future__ import annotations

import base64
import html
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import UserError
from kinema.pipeline.request import Shot, Transition, VideoRequest
from kinema.server.model_info import ModelInfo, size_for_aspect
from kinema.shapes import parse_size
from kinema.webui.client import CostEstimate, Video

EXAMPLE_PROMPTS = (
    "A red ball rolls to the left.",
    "A yellow cone stands to the left of a green cube.",
    "A blue cube slides to the right.",
    "A green ball falls and bounces.",
)
"""Prompts in the vocabulary of the shipped model, short enough for buttons."""
ASPECT_RATIOS = {"Landscape": 16 / 9, "Square": 1.0, "Portrait": 9 / 16}
"""Choices besides the default size of the model: width over height."""
MAX_SHOTS = 6
"""Shots in the editor; the API takes more."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """Values of the form. None is an empty field."""

    aspect_ratio: str
    seconds: float | None
    seed: float | None
    num_inference_steps: float | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    image: str | None = None
    last_image: str | None = None
    loop: bool = False


def size_choices(model_info: ModelInfo) -> dict[str, str]:
    """Labels of the size choices, and the size of each as `WxH`; the default of the model is first."""
    default = f"{model_info.width}x{model_info.height}"
    sizes = {
        name: "x".join(map(str, size_for_aspect(model_info, ratio))) for name, ratio in ASPECT_RATIOS.items()
    }
    return {f"Default ({default})": default} | {
        f"{name} ({size})": size for name, size in sizes.items() if size != default
    }


def build_request(form: Form, prompt: str, model_info: ModelInfo, shots: Sequence[Shot] = ()) -> VideoRequest:
    """The request of a form: with `shots`, of a storyboard, whose prompt is left empty.

    Raises:
        UserError: the prompt is empty, or a number is out of range.
    """
    if not shots and not prompt.strip():
        raise UserError("The prompt is empty. Describe what the video shows.")
    size = size_choices(model_info).get(form.aspect_ratio)
    seed = _parse_integer(form.seed, "The seed", 0, 2**53)
    return VideoRequest(
        prompt="" if shots else prompt.strip(),
        size=None if size is None else parse_size(size),
        seconds=form.seconds,
        seed=secrets.randbelow(2**31) if seed is None else seed,
        num_inference_steps=_parse_integer(form.num_inference_steps, "The number of steps", 1, 1000),
        guidance_scale=form.guidance_scale,
        negative_prompt=(form.negative_prompt or "").strip() or None,
        image=None if form.image is None else Path(form.image),
        last_image=None if form.last_image is None else Path(form.last_image),
        loop=form.loop,
        storyboard=tuple(shots),
    )


def parse_shots(rows: Sequence[tuple[str | None, float | None, str | None]]) -> tuple[Shot, ...]:
    """Parse rows of prompt, start in seconds, and `cut` or `blend`; rows without a prompt are left out.

    Raises:
        UserError: there are fewer than two shots, or a shot does not begin after the one above it.
    """
    filled = [
        (number, (prompt or "").strip(), start, transition)
        for number, (prompt, start, transition) in enumerate(rows, 1)
        if (prompt or "").strip()
    ]
    if len(filled) < 2:
        raise UserError("A storyboard has two shots or more. For one shot, use the tab Text to video.")
    shots: list[Shot] = []
    for number, prompt, start, transition in filled:
        seconds = start if shots else 0.0
        if seconds is None:
            raise UserError(f"Shot {number} needs a start time in seconds.")
        if shots and seconds <= shots[-1].seconds:
            raise UserError(
                f"Shot {number} must begin after the shot above it, which begins at {shots[-1].seconds:g} s."
            )
        kind: Transition = "blend" if transition == "blend" else "cut"
        shots.append(Shot(prompt=prompt, seconds=float(seconds), transition=kind))
    return tuple(shots)


def video_label(video: Video) -> str:
    """A video in one line."""
    prompt = " ".join(video.prompt.split())
    prompt = prompt if len(prompt) <= 60 else prompt[:57].rstrip() + "..."
    state = {"queued": " (queued)", "in_progress": f" ({video.progress} %)"}.get(video.status, "")
    if video.status == "failed":
        state = " (cancelled)" if video.cancelled else " (failed)"
    return f"{prompt}, {video.seconds} s{state}"


def status_text(video: Video) -> str:
    """The status of a video as a sentence."""
    match video.status:
        case "queued":
            return "Queued."
        case "completed":
            return "Done."
        case "failed" if video.cancelled:
            return "Cancelled."
        case "failed":
            return f"Failed: {video.error or 'the server gives no reason.'}"
    if 0 < video.step < video.total_steps:
        return f"Step {video.step} of {video.total_steps}."
    sampled = video.total_steps and video.step >= video.total_steps
    return "Decoding the frames." if sampled else "Encoding the prompt."


def progress_html(video: Video | None) -> str:
    """The progress of a video as HTML for browsers and screen readers: a bar, a sentence, and a preview."""
    if video is None:
        return '<p class="quiet">No video is in progress.</p>'
    status = html.escape(status_text(video))
    bar = ""
    if not video.ended:
        bar = (
            f'<div class="bar" role="progressbar" aria-label="Video" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{video.progress}"><div style="width:{video.progress}%"></div></div>'
        )
    image = ""
    if video.preview is not None and not video.ended:
        data = base64.b64encode(video.preview).decode()
        alt = f"Preview at {video.progress} percent"
        image = f'<img class="preview" alt="{alt}" src="data:image/webp;base64,{data}">'
    percent = "" if video.ended else f" {video.progress} %"
    return f'{bar}<p role="status" aria-live="polite">{status}{percent}</p>{image}'


def cost_text(estimate: CostEstimate) -> str:
    """A cost estimate as a sentence."""
    memory = (
        f"{_format_bytes(estimate.peak_memory)} of memory ({_format_bytes(estimate.available_memory)} free)"
    )
    text = f"About {_format_duration(estimate.seconds)} and {memory}."
    return text if estimate.fits else f"{text} That does not fit: choose a smaller or shorter video."


def alert_html(message: str) -> str:
    """An error as HTML that screen readers read at once; empty without a message."""
    return f'<p class="alert" role="alert">{html.escape(message)}</p>' if message else ""


def _parse_integer(value: float | None, name: str, minimum: int, maximum: int) -> int | None:
    if value is None:
        return None
    if value != int(value) or not minimum <= value <= maximum:
        raise UserError(f"{name} is a whole number from {minimum} to {maximum}.")
    return int(value)


def _format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _format_bytes(number: int) -> str:
    return f"{number / 2**30:.1f} GB"
