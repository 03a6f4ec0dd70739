"""A process that decodes one uploaded file within resource limits and encodes it again.

The workers read only files that were written here, which contain nothing of the upload but its pixels. If an
upload crashes this process, the server reports that the file can't be decoded.

    python -m kinema.server.media_sandbox image SOURCE TARGET PIXELS
    python -m kinema.server.media_sandbox video SOURCE TARGET FRAME_PIXELS FRAMES PIXELS SECONDS

The numbers are the largest allowed. Standard output is JSON with width, height, num_frames and fps.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

from kinema.errors import UserError
from kinema.server.child_process import lower_priority

MAX_MEMORY_BYTES = 3 << 30
MAX_CPU_SECONDS = {"image": 8, "video": 120}
"""A progressive JPEG of a few hundred kilobytes can take minutes."""
MAX_FILE_BYTES = 4 << 30


def limit_resources(max_cpu_seconds: int) -> None:
    """Limit memory, CPU time, open files and the size of written files, where the system can."""
    with contextlib.suppress(ImportError):
        import resource

        for kind, limit in (
            (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
            (resource.RLIMIT_CPU, max_cpu_seconds),
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
    target.write_bytes(images.encode_png(array, compress_level=1))
    return {"width": array.shape[1], "height": array.shape[0], "num_frames": 1, "fps": 0}


def transcode_video(
    source: Path,
    target: Path,
    max_frame_pixels: int,
    max_frames: int,
    max_total_pixels: int,
    *,
    max_seconds: float,
) -> dict[str, float]:
    """Write a video as a zip of PNG images, which is lossless.

    The declared length is checked before a frame is decoded, and the actual one while they are: three frames
    with hours between them are a small file, and as many frames as an hour has once they are shown.
    """
    from kinema.media.probe import probe
    from kinema.media.read import frames as read_frames
    from kinema.media.types import Limits
    from kinema.media.write import open_writer

    def check(num_frames: int, seconds: float, num_pixels: int) -> None:
        if num_frames > max_frames or num_pixels > max_total_pixels or seconds > max_seconds:
            raise UserError(
                f"it is too long or too large; send at most {max_frames} frames, {max_seconds:g} seconds and "
                f"{max_total_pixels} pixels in all frames together"
            )

    info = probe(source, limits=Limits(max_pixels=max_frame_pixels))
    check(info.num_frames or 1, info.duration or 0, (info.num_frames or 1) * info.width * info.height)
    fps = info.fps or 24.0
    if not 1 <= fps <= 1000:
        raise UserError("its frame rate is not between 1 and 1000")
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
            check(num_frames, max(num_frames / fps, frame.time), num_frames * width * height)
            writer.write(frame.image)
    return {"width": width, "height": height, "num_frames": num_frames, "fps": float(fps)}


def main() -> None:
    """Decode and encode. Exits with 2 and one line for errors that the sender can correct."""
    kind, source, target, *limits = sys.argv[1:]
    lower_priority()
    limit_resources(MAX_CPU_SECONDS[kind])
    try:
        if kind == "image":
            result = transcode_image(Path(source), Path(target), int(limits[0]))
        else:
            frame_pixels, frames, pixels = map(int, limits[:3])
            result = transcode_video(
                Path(source), Path(target), frame_pixels, frames, pixels, max_seconds=float(limits[3])
            )
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
