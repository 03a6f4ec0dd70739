"""Strips of a film with what the judge saw drawn on it."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from kinema.evaluate.scene import shapes_seen
from kinema.evaluate.tracks import parse

SHOWN = 7
"""Frames in a strip of square ones; fewer of wide ones, more of upright ones."""
_LEAST, _MOST = 3, 10
_TALL = 150
"""Pixels that a frame is high in a strip."""
_HALO = 1
"""Pixels of white round every letter, which may lie over anything."""


def strip(frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> UInt8[np.ndarray, "tall wide 3"]:
    """A few frames side by side; outlined what was found, with its name and the way it came."""
    film = parse(frames, fps)
    zoom = _TALL / frames.shape[1]
    wide = round(frames.shape[2] * zoom)
    shown = min(len(frames), max(_LEAST, min(_MOST, round(SHOWN * _TALL / wide))))
    picked = np.linspace(0, len(frames) - 1, shown).round().astype(int)
    font = ImageFont.load_default(11)
    canvas = Image.new("RGB", (len(picked) * (wide + 3) - 3, _TALL), "white")
    kinds = [shapes_seen(track) for track in film.tracks]
    for column, frame in enumerate(picked):
        picture = Image.fromarray(frames[frame]).resize((wide, _TALL), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for number, (track, kind) in enumerate(zip(film.tracks, kinds, strict=True)):
            before = [tuple((c + 0.5) * zoom) for c in track.centre[: frame + 1] if np.isfinite(c).all()]
            if len(before) > 1:
                draw.line(before, fill="black", width=1)
            if track.seen[frame]:
                left, top, right, bottom = track.box[frame] * zoom
                draw.rectangle((left - 1, top - 1, right, bottom), outline="black")
                name = f"{track.colours[frame]} {kind[frame] or '?'}"
                # Every other name goes below, so that neighbours do not cover each other.
                place = max(0, top - 12) if number % 2 == 0 else min(_TALL - 12, bottom + 1)
                at = max(2, min(left, wide - 2 - draw.textlength(name, font=font)))
                draw.text((at, place), name, fill="black", font=font, stroke_width=_HALO, stroke_fill="white")
        canvas.paste(picture, (column * (wide + 3), 0))
    return np.asarray(canvas)


def embedded(picture: UInt8[np.ndarray, "tall wide 3"]) -> str:
    """A picture as the address of an image that stands in the page itself."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
