"""A process of its own that reads one file a stranger sent, within limits, and writes it anew.

What the workers later read was written here: nothing of the stranger's file is left but its pixels. If the
file takes this process down, the server says that it can't be read.

    python -m kinema.server.media_sandbox picture SOURCE TARGET PIXELS
    python -m kinema.server.media_sandbox film SOURCE TARGET PIXELS FRAMES ALL_PIXELS

The answer, in JSON on standard output: width, height, frames, fps.
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
    """Bound memory, time, files and what may be written."""
    with contextlib.suppress(ImportError):
        import resource

        for what, most in (
            (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
            (resource.RLIMIT_CPU, MAX_CPU_SECONDS),
            (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
            (resource.RLIMIT_NOFILE, 64),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(what, (most, most))


def transcode_image(source: Path, target: Path, max_pixels: int) -> dict[str, float]:
    """A still picture, upright, as PNG."""
    from kinema.media import images
    from kinema.media.types import Limits

    with images.try_open_image(source, Limits(max_pixels=max_pixels)) as image:
        if image is None:
            raise UserError("the picture is damaged or is none")
        try:
            array = images.to_rgb(image)
        except images.DECODE_ERRORS:
            raise UserError("the picture is damaged") from None
    images.save_png(target, array)
    return {"width": array.shape[1], "height": array.shape[0], "frames": 1, "fps": 0}


def transcode_video(
    source: Path, target: Path, max_frame_pixels: int, max_frames: int, max_total_pixels: int
) -> dict[str, float]:
    """A film as a zip of PNG pictures, which loses nothing."""
    from kinema.media.probe import probe
    from kinema.media.read import frames as read
    from kinema.media.types import Limits
    from kinema.media.write import open_writer

    told = probe(source, limits=Limits(max_pixels=max_frame_pixels))
    fps = told.fps or 24.0
    if not 0 < fps <= 1000:
        raise UserError("the film's frame rate is not possible")
    stream = read(source, limits=Limits(max_pixels=max_frame_pixels, max_frames=max_frames + 1))
    first = next(stream)
    height, width = first.image.shape[:2]
    count = 1
    with open_writer(target, fps=fps, size=(width, height)) as out:
        out.write(first.image)
        while True:
            try:
                frame = next(stream)
            except StopIteration as end:
                if not end.value.complete:
                    raise UserError("the film is cut off or damaged") from None
                break
            count += 1
            if count > max_frames or count * width * height > max_total_pixels:
                raise UserError(
                    f"the film is longer or larger than allowed; give at most {max_frames} frames and "
                    f"{max_total_pixels} pixels in all of them together"
                )
            out.write(frame.image)
    return {"width": width, "height": height, "frames": count, "fps": float(fps)}


def main() -> None:
    """Read, write, answer. Exits with 2 and one line for what the sender can put right."""
    limit_resources()
    kind, source, target, *numbers = sys.argv[1:]
    read = transcode_image if kind == "picture" else transcode_video
    try:
        told = read(Path(source), Path(target), *map(int, numbers))
    except UserError as error:
        # The sender knows their file by no path of ours.
        print(str(error).replace(source, "the file").replace(target, "the file"), file=sys.stderr)
        sys.exit(2)
    except MemoryError:
        print("it needs too much memory", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
