"""A process that decodes one uploaded file within resource limits and encodes it again.

The workers read only files that were written here, which contain nothing of the upload but its pixels. If an
upload crashes this process, the server reports that the file can't be decoded.

    python -m kinema.server.media_sandbox image SOURCE TARGET MAX_PIXELS
    python -m kinema.server.media_sandbox video SOURCE TARGET MAX_FRAME_PIXELS MAX_FRAMES MAX_TOTAL_PIXELS

Standard output is JSON with width, height, num_frames and fps.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

from kinema.errors import UserError

MAX_MEMORY_BYTES = 4 << 30
MAX_CPU_SECONDS = 120
MAX_FILE_BYTES = 4 << 30


def limit_resources() -> None:
    """Limit memory, CPU time, open files and the size of written files, where the system can."""
    with contextlib.suppress(ImportError):
        import resource

        for kind, limit in (
            (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
            (resource.RLIMIT_CPU, MAX_CPU_SECONDS),
            (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
            (resource.RLIMIT_NOFILE, 64),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(kind, (limit, limit))


def transcode_image(source: Path, target: Path, max_pixels: int) -> dict[str, float]:
    """Write an image upright, as PNG."""
    from kinema.media import images
    from kinema.media.types import Limits

    with images.try_open_image(source, Limits(max_pixels=max_pixels)) as image:
        if image is None:
            raise UserError("it is damaged, or not an image")
        try:
            array = images.to_rgb(image)
        except images.DECODE_ERRORS:
            raise UserError("it is damaged") from None
    images.save_png(target, array)
    return {"width": array.shape[1], "height": array.shape[0], "num_frames": 1, "fps": 0}


def transcode_video(
    source: Path, target: Path, max_frame_pixels: int, max_frames: int, max_total_pixels: int
) -> dict[str, float]:
    """Write a video as a zip of PNG images, which is lossless."""
    from kinema.media.probe import probe
    from kinema.media.read import frames as read_frames
    from kinema.media.types import Limits
    from kinema.media.write import open_writer

    fps = probe(source, limits=Limits(max_pixels=max_frame_pixels)).fps or 24.0
    if not 0 < fps <= 1000:
        raise UserError("its frame rate is not above 0 and at most 1000")
    frames = read_frames(source, limits=Limits(max_pixels=max_frame_pixels, max_frames=max_frames + 1))
    first = next(frames)
    height, width = first.image.shape[:2]
    num_frames = 1
    with open_writer(target, fps=fps, size=(width, height)) as writer:
        writer.write(first.image)
        while True:
            try:
                frame = next(frames)
            except StopIteration as end:
                if not end.value.complete:
                    raise UserError("it is truncated or damaged") from None
                break
            num_frames += 1
            if num_frames > max_frames or num_frames * width * height > max_total_pixels:
                raise UserError(
                    f"it is too long or too large; send at most {max_frames} frames and "
                    f"{max_total_pixels} pixels in all frames together"
                )
            writer.write(frame.image)
    return {"width": width, "height": height, "num_frames": num_frames, "fps": float(fps)}


def main() -> None:
    """Decode and encode. Exits with 2 and one line for errors that the sender can correct."""
    limit_resources()
    kind, source, target, *limits = sys.argv[1:]
    transcode = transcode_image if kind == "image" else transcode_video
    try:
        result = transcode(Path(source), Path(target), *map(int, limits))
    except UserError as error:
        # The sender does not know the server's paths.
        print(str(error).replace(source, "the file").replace(target, "the file"), file=sys.stderr)
        sys.exit(2)
    except MemoryError:
        print("it needs too much memory", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
