"""A finished video, and writing videos to files, whole or while their frames arrive."""

from __future__ import annotations

import contextlib
import html
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.pipeline.metadata import GenerationMetadata
from kinema.pipeline.progress import Event, Finished, FrameChunk
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.tail_latents import pack_latents


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneratedVideo:
    """Frames, and the metadata of what generated them.

    Attributes:
        frames: all frames.
        fps: frames per second.
        tail_latents: latents of the last groups of frames, from which the video can be extended without
            encoding it again; None where they are not known.
        metadata: the resolved request and what generated it; None for videos from elsewhere.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    fps: float
    tail_latents: Float[Tensor, "1 c g h2 w2"] | None = None
    metadata: GenerationMetadata | None = None

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.frames) / self.fps

    @property
    def prompt(self) -> str:
        """The prompt; prompts of a storyboard are joined."""
        if self.metadata is None:
            return ""
        request = self.metadata.request
        return " / ".join(shot.prompt for shot in request.storyboard) or request.prompt

    def __repr__(self) -> str:
        count, height, width = self.frames.shape[:3]
        return f"GeneratedVideo({count} frames, {width}x{height}, {self.fps:g} fps, prompt={self.prompt!r})"

    def _repr_html_(self) -> str:
        """The video as a looping animation in a notebook."""
        import base64
        import tempfile

        from kinema.media import write_video

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video.webp"
            write_video(path, self.frames, fps=self.fps)
            data = base64.b64encode(path.read_bytes()).decode()
        alt = html.escape(self.prompt, quote=True)
        return f'<img alt="{alt}" src="data:image/webp;base64,{data}">'

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the video with its metadata; the suffix chooses the format (.mp4, .webm, .gif, ...).

        An MP4 also carries the tail latents.

        Raises:
            UserError: the folder does not exist or can't be written, or the suffix is unknown.
        """
        height, width = self.frames.shape[1:3]
        with _open_file(path, fps=self.fps, size=(width, height), metadata=self.metadata) as file:
            file.write(self.frames)
            file.tail_latents = self.tail_latents


@dataclass(kw_only=True, eq=False)
class _VideoFile:
    """A video file that is being written; tail latents are appended at its end."""

    write: Callable[[np.ndarray], None]
    tail_latents: Float[Tensor, "1 c g h2 w2"] | None = None


@contextlib.contextmanager
def _open_file(
    path: str | os.PathLike[str], *, fps: float, size: tuple[int, int], metadata: GenerationMetadata | None
) -> Iterator[_VideoFile]:
    """A file with metadata and tail latents that appears when the block ends, or not at all."""
    from kinema.atomic_io import atomic_write
    from kinema.media.mp4_uuid_box import append_box, supports_box
    from kinema.media.write import open_writer

    comment = "" if metadata is None else metadata.to_json()
    if not supports_box(path):
        with open_writer(path, fps=fps, size=size, comment=comment) as writer:
            yield _VideoFile(write=writer.write)
        return
    with atomic_write(path) as temporary:
        with open_writer(temporary, fps=fps, size=size, comment=comment) as writer:
            file = _VideoFile(write=writer.write)
            yield file
        if file.tail_latents is not None and metadata is not None:
            append_box(temporary, pack_latents(file.tail_latents, model_fingerprint=metadata.fingerprint))


def write_events(
    events: Iterator[Event],
    path: str | os.PathLike[str],
    *,
    resolved: ResolvedRequest,
    metadata: Callable[[np.ndarray | None], GenerationMetadata],
    preview: str | os.PathLike[str] | None = None,
) -> Iterator[Event]:
    """Write frames to a file as they arrive, and pass all events on.

    The file appears under its name when the video is complete, or not at all. Memory does not grow with the
    length of the video.

    Args:
        events: of `Pipeline.stream`.
        path: the file; its suffix chooses the format.
        resolved: the request.
        metadata: builds the metadata, as `Pipeline.metadata` does; it gets all frames if they come in one
            chunk, else None.
        preview: a second file, an MP4 that can be watched while it grows; it keeps what it has when the
            generation is cancelled.

    Raises:
        UserError: a file can't be written, or what the events raise.
    """
    from kinema.media.fragmented_mp4 import open_fragmented

    size, fps = resolved.output_size, resolved.fps
    with contextlib.ExitStack() as stack:
        growing = None
        if preview is not None:
            growing = stack.enter_context(open_fragmented(preview, fps=fps, size=size))
        file: _VideoFile | None = None
        for event in events:
            if isinstance(event, FrameChunk):
                if file is None:
                    complete = event.frames if len(event.frames) == event.total else None
                    file = stack.enter_context(
                        _open_file(path, fps=fps, size=size, metadata=metadata(complete))
                    )
                file.write(event.frames)
                if growing is not None:
                    growing.write(event.frames)
            elif isinstance(event, Finished) and file is not None:
                file.tail_latents = event.tail_latents
            yield event
