"""What the page says and what a person may enter, without any page: forms to orders, films to sentences."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import UserError
from kinema.server.model_info import ModelInfo, size_for_aspect
from kinema.studio.client import Order, Plan, Shot, Transition, Video

EXAMPLES = (
    "A red ball rolls to the left.",
    "A yellow cone stands to the left of a green cube.",
    "A blue cube slides to the right.",
    "A green ball falls and bounces.",
)
"""In words that the shipped model was trained on, and short enough for their buttons."""
SHAPES = {"Wide": 16 / 9, "Square": 1.0, "Upright": 9 / 16}
"""What a person chooses from, beside the model's own size: width over height."""
MOST_SHOTS = 6
"""That the editor shows; the API takes more."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a person entered. None is a field left empty."""

    shape: str
    seconds: float | None
    seed: float | None
    steps: float | None = None
    guidance: float | None = None
    negative: str | None = None
    first: str | None = None
    last: str | None = None
    loop: bool = False


def shapes(served: ModelInfo) -> dict[str, str]:
    """Names that a person chooses from, and the size behind each, `WxH`; the model's own comes first."""
    own = f"{served.width}x{served.height}"
    sizes = {name: "x".join(map(str, size_for_aspect(served, shape))) for name, shape in SHAPES.items()}
    return {f"The model's own ({own})": own} | {
        f"{name} ({size})": size for name, size in sizes.items() if size != own
    }


def order_of(form: Form, prompt: str, served: ModelInfo, shots: Sequence[Shot] = ()) -> Order:
    """The order.

    Raises:
        UserError: nothing was written, or a number is out of range.
    """
    if not prompt.strip():
        raise UserError("Write what the film shall show.")
    seed = _whole(form.seed, "The seed", 0, 2**53)
    return Order(
        prompt=prompt.strip(),
        size=shapes(served).get(form.shape),
        seconds=form.seconds,
        seed=seed,
        steps=_whole(form.steps, "The number of steps", 1, 1000),
        guidance=form.guidance,
        negative=(form.negative or "").strip() or None,
        first=None if form.first is None else Path(form.first),
        last=None if form.last is None else Path(form.last),
        loop=form.loop,
        shots=tuple(shots),
    )


def shots_of(rows: Sequence[tuple[str | None, float | None, str | None]]) -> tuple[Shot, ...]:
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


def label(video: Video) -> str:
    """A film in one line."""
    words = " ".join(video.prompt.split())
    words = words if len(words) <= 60 else words[:57].rstrip() + "..."
    state = {"queued": " (waiting)", "in_progress": f" ({video.progress} %)"}.get(video.status, "")
    if video.status == "failed":
        state = " (cancelled)" if video.cancelled else " (failed)"
    return f"{words}, {video.seconds} s{state}"


def state(video: Video) -> str:
    """How a film stands, as a sentence."""
    if video.status == "queued":
        return "Waiting for its turn."
    if video.status == "completed":
        return "Done."
    if video.status == "failed":
        return (
            "Cancelled." if video.cancelled else f"It failed: {video.error or 'the server does not say why.'}"
        )
    if 0 < video.step < video.steps:
        return f"Step {video.step} of {video.steps}."
    return "Drawing the frames." if video.steps and video.step >= video.steps else "Reading the words."


def progress(video: Video | None) -> str:
    """How a film stands, as HTML that screen readers follow: a bar, a sentence, and a preview if any."""
    if video is None:
        return '<p class="quiet">No film is being made.</p>'
    words = html.escape(state(video))
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


def cost(plan: Plan) -> str:
    """A plan as a sentence."""
    room = f"{_bytes(plan.memory)} of memory ({_bytes(plan.free)} free)"
    said = f"About {_time(plan.seconds)} and {room}."
    return said if plan.fits else f"{said} That does not fit: choose a smaller or shorter film."


def alert(words: str) -> str:
    """An error, as HTML that screen readers speak at once; nothing for no words."""
    return f'<p class="alert" role="alert">{html.escape(words)}</p>' if words else ""


def _whole(value: float | None, name: str, least: int, most: int) -> int | None:
    if value is None:
        return None
    if value != int(value) or not least <= value <= most:
        raise UserError(f"{name} is a whole number from {least} to {most}.")
    return int(value)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bytes(number: int) -> str:
    return f"{number / 2**30:.1f} GB"
