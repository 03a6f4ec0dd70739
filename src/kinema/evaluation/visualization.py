"""Annotated frames: a strip of a video with the tracked objects drawn on it."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from kinema.evaluation.matching import shape_per_frame
from kinema.evaluation.tracking import track_objects
from kinema.frames import FrameArray

FRAMES_PER_STRIP = 7
"""Square frames in a strip; wide videos have fewer, tall ones more."""
_MIN_FRAMES, _MAX_FRAMES = 3, 10
_STRIP_HEIGHT = 150
_FRAME_SPACING = 3
_LABEL_HEIGHT = 12


def draw_annotated_strip(
    frames: FrameArray, fps: float, *, with_tracks: bool = True
) -> UInt8[np.ndarray, "strip_height strip_width 3"]:
    """Draw a few frames side by side, with the box, label and path of every tracked object.

    Args:
        frames: of the video.
        fps: frames per second.
        with_tracks: False for videos of other scenes than the lab, in which objects can't be tracked.
    """
    tracks = track_objects(frames, fps).tracks if with_tracks else ()
    scale = _STRIP_HEIGHT / frames.shape[1]
    width = round(frames.shape[2] * scale)
    num_shown = round(FRAMES_PER_STRIP * _STRIP_HEIGHT / width)
    num_shown = min(len(frames), max(_MIN_FRAMES, min(_MAX_FRAMES, num_shown)))
    shown = np.linspace(0, len(frames) - 1, num_shown).round().astype(int)
    font = ImageFont.load_default(11)
    strip = Image.new("RGB", (len(shown) * (width + _FRAME_SPACING) - _FRAME_SPACING, _STRIP_HEIGHT), "white")
    shapes = [shape_per_frame(track) for track in tracks]
    for column, frame in enumerate(shown):
        image = Image.fromarray(frames[frame]).resize((width, _STRIP_HEIGHT), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        for number, (track, track_shapes) in enumerate(zip(tracks, shapes, strict=True)):
            path = [tuple((c + 0.5) * scale) for c in track.centre[: frame + 1] if np.isfinite(c).all()]
            if len(path) > 1:
                draw.line(path, fill="black", width=1)
            if track.visible[frame]:
                left, top, right, bottom = track.box[frame] * scale
                draw.rectangle((left - 1, top - 1, right, bottom), outline="black")
                label = f"{track.colours[frame]} {track_shapes[frame] or '?'}"
                # Labels alternate between above and below, so that neighbours do not overlap.
                above, below = max(0, top - _LABEL_HEIGHT), min(_STRIP_HEIGHT - _LABEL_HEIGHT, bottom + 1)
                x = max(2, min(left, width - 2 - draw.textlength(label, font=font)))
                y = above if number % 2 == 0 else below
                draw.text((x, y), label, fill="black", font=font, stroke_width=1, stroke_fill="white")
        strip.paste(image, (column * (width + _FRAME_SPACING), 0))
    return np.asarray(strip)


def to_data_uri(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """An image as a WebP data URI, for a self-contained HTML page."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
