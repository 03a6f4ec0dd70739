"""What the page says and what a person may enter, without any page: forms to orders, films to sentences."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import UserError
from kinema.server.model_info import ModelInfo, size_for_aspect
from kinema.webui.client import CostEstimate, Shot, Transition, Video, VideoRequest

EXAMPLE_PROMPTS = (
    "A red ball rolls to the left.",
    "A yellow cone stands to the left of a green cube.",
    "A blue cube slides to the right.",
    "A green ball falls and bounces.",
)
"""In words that the shipped model was trained on, and short enough for their buttons."""
ASPECT_RATIOS = {"Wide": 16 / 9, "Square": 1.0, "Upright": 9 / 16}
"""What a person chooses from, beside the model's own size: width over height."""
MAX_SHOTS = 6
"""That the editor shows; the API takes more."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a person entered. None is a field left empty."""

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
    """Names that a person chooses from, and the size behind each, `WxH`; the model's own comes first."""
    own = f"{model_info.width}x{model_info.height}"
    sizes = {
        name: "x".join(map(str, size_for_aspect(model_info, shape))) for name, shape in ASPECT_RATIOS.items()
    }
    return {f"The model's own ({own})": own} | {
        f"{name} ({size})": size for name, size in sizes.items() if size != own
    }


def build_request(form: Form, prompt: str, model_info: ModelInfo, shots: Sequence[Shot] = ()) -> VideoRequest:
    """The order.

    Raises:
        UserError: nothing was written, or a number is out of range.
    """
    if not prompt.strip():
        raise UserError("Write what the film shall show.")
    seed = _parse_integer(form.seed, "The seed", 0, 2**53)
    return VideoRequest(
        prompt=prompt.strip(),
        size=size_choices(model_info).get(form.aspect_ratio),
        seconds=form.seconds,
        seed=seed,
        num_inference_steps=_parse_integer(form.num_inference_steps, "The number of steps", 1, 1000),
        guidance_scale=form.guidance_scale,
        negative_prompt=(form.negative_prompt or "").strip() or None,
        image=None if form.image is None else Path(form.image),
        last_image=None if form.last_image is None else Path(form.last_image),
        loop=form.loop,
        shots=tuple(shots),
    )


def parse_shots(rows: Sequence[tuple[str | None, float | None, str | None]]) -> tuple[Shot, ...]:
    """The shots from rows of words, beginning in seconds, and `cut` or `blend`; empty ones are left out.

    Raises:
        UserError: fewer than two shots, or one that begins before the one above it.
    """
    filled = [
        (place, (words or "").strip(), begin, kind)
        for place, (words, begin, kind) in enumerate(rows, 1)
        if (words or "").strip()
    ]
    if len(filled) < 2:
        raise UserError("A storyboard has two shots or more; for one, use the tab Words.")
    shots: list[Shot] = []
    for place, words, begin, kind in filled:
        start = 0.0 if not shots else begin
        if start is None:
            raise UserError(f"Say when shot {place} begins, in seconds.")
        if shots and start <= shots[-1].seconds:
            raise UserError(
                f"Shot {place} must begin after the shot above it, which begins at {shots[-1].seconds:g} s."
            )
        transition: Transition = "blend" if kind == "blend" else "cut"
        shots.append(Shot(prompt=words, seconds=float(start), transition=transition))
    return tuple(shots)


def video_label(video: Video) -> str:
    """A film in one line."""
    words = " ".join(video.prompt.split())
    words = words if len(words) <= 60 else words[:57].rstrip() + "..."
    state = {"queued": " (waiting)", "in_progress": f" ({video.progress} %)"}.get(video.status, "")
    if video.status == "failed":
        state = " (cancelled)" if video.cancelled else " (failed)"
    return f"{words}, {video.seconds} s{state}"


def status_text(video: Video) -> str:
    """How a film stands, as a sentence."""
    if video.status == "queued":
        return "Waiting for its turn."
    if video.status == "completed":
        return "Done."
    if video.status == "failed":
        return (
            "Cancelled." if video.cancelled else f"It failed: {video.error or 'the server does not say why.'}"
        )
    if 0 < video.step < video.num_inference_steps:
        return f"Step {video.step} of {video.num_inference_steps}."
    return (
        "Drawing the frames."
        if video.num_inference_steps and video.step >= video.num_inference_steps
        else "Reading the words."
    )


def progress_html(video: Video | None) -> str:
    """How a film stands, as HTML that screen readers follow: a bar, a sentence, and a preview if any."""
    if video is None:
        return '<p class="quiet">No film is being made.</p>'
    words = html.escape(status_text(video))
    bar = ""
    if not video.ended:
        bar = (
            f'<div class="bar" role="progressbar" aria-label="Film" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{video.progress}"><div style="width:{video.progress}%"></div></div>'
        )
    picture = ""
    if video.preview is not None and not video.ended:
        data = base64.b64encode(video.preview).decode()
        alt = f"Preview at {video.progress} percent"
        picture = f'<img class="preview" alt="{alt}" src="data:image/webp;base64,{data}">'
    part = "" if video.ended else f" {video.progress} %"
    return f'{bar}<p role="status" aria-live="polite">{words}{part}</p>{picture}'


def cost_text(estimate: CostEstimate) -> str:
    """A plan as a sentence."""
    room = (
        f"{_format_bytes(estimate.peak_memory)} of memory ({_format_bytes(estimate.available_memory)} free)"
    )
    said = f"About {_format_duration(estimate.seconds)} and {room}."
    return said if estimate.fits else f"{said} That does not fit: choose a smaller or shorter film."


def alert_html(message: str) -> str:
    """An error, as HTML that screen readers speak at once; nothing for no words."""
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
