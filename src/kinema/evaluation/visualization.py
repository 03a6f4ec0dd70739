"""Strips of a film with what the judge saw drawn on it."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from kinema.evaluation.matching import shape_per_frame
from kinema.evaluation.tracking import track_objects

FRAMES_PER_STRIP = 7
"""Frames in a strip of square ones; fewer of wide ones, more of upright ones."""
_MIN_FRAMES, _MAX_FRAMES = 3, 10
_STRIP_HEIGHT = 150
"""Pixels that a frame is high in a strip."""
_TEXT_STROKE = 1
"""Pixels of white round every letter, which may lie over anything."""


def draw_annotated_strip(
    frames: UInt8[np.ndarray, "f h w 3"], fps: float
) -> UInt8[np.ndarray, "tall wide 3"]:
    """A few frames side by side; outlined what was found, with its name and the way it came."""
    film = track_objects(frames, fps)
    zoom = _STRIP_HEIGHT / frames.shape[1]
    wide = round(frames.shape[2] * zoom)
    shown = min(
        len(frames), max(_MIN_FRAMES, min(_MAX_FRAMES, round(FRAMES_PER_STRIP * _STRIP_HEIGHT / wide)))
    )
    picked = np.linspace(0, len(frames) - 1, shown).round().astype(int)
    font = ImageFont.load_default(11)
    canvas = Image.new("RGB", (len(picked) * (wide + 3) - 3, _STRIP_HEIGHT), "white")
    kinds = [shape_per_frame(track) for track in film.tracks]
    for column, frame in enumerate(picked):
        picture = Image.fromarray(frames[frame]).resize((wide, _STRIP_HEIGHT), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for number, (track, kind) in enumerate(zip(film.tracks, kinds, strict=True)):
            before = [tuple((c + 0.5) * zoom) for c in track.centre[: frame + 1] if np.isfinite(c).all()]
            if len(before) > 1:
                draw.line(before, fill="black", width=1)
            if track.visible[frame]:
                left, top, right, bottom = track.box[frame] * zoom
                draw.rectangle((left - 1, top - 1, right, bottom), outline="black")
                name = f"{track.colours[frame]} {kind[frame] or '?'}"
                # Every other name goes below, so that neighbours do not cover each other.
                place = max(0, top - 12) if number % 2 == 0 else min(_STRIP_HEIGHT - 12, bottom + 1)
                at = max(2, min(left, wide - 2 - draw.textlength(name, font=font)))
                draw.text(
                    (at, place), name, fill="black", font=font, stroke_width=_TEXT_STROKE, stroke_fill="white"
                )
        canvas.paste(picture, (column * (wide + 3), 0))
    return np.asarray(canvas)


def to_data_uri(image: UInt8[np.ndarray, "tall wide 3"]) -> str:
    """A picture as the address of an image that stands in the page itself."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
