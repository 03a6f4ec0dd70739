"""Everything that a live session has made, on disk: latents to go on from, and the frames as JPEG.

Records are appended and never changed, one for each latent frame. A branch is a list of ranges of records, so
branches share their past. Memory does not grow with the length.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from kinema.pipeline.request import Transition

JPEG_QUALITY = 95
_INDEX = struct.Struct("<QQII")
"""Of a record: frames before it in the file, byte offset of its frames, their number, its number since the
last cut."""
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, kw_only=True)
class LiveShot:
    """A prompt of a branch.

    Attributes:
        frame: its first frame.
        prompt: what it shows.
        transition: how it begins.
    """

    frame: int
    prompt: str
    transition: Transition


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One course of the video.

    Attributes:
        spans: ranges of records, in order.
        shots: its prompts by time; those without a frame are left out when the next one comes.
        num_frames: its length.
    """

    spans: tuple[range, ...] = ()
    shots: tuple[LiveShot, ...] = ()
    num_frames: int = 0

    def with_record(self, record: int, num_frames: int) -> Branch:
        """The branch with a record appended."""
        last = self.spans[-1] if self.spans else range(record, record)
        spans = (
            (*self.spans[:-1], range(last.start, record + 1))
            if last.stop == record
            else (*self.spans, range(record, record + 1))
        )
        return replace(self, spans=spans, num_frames=self.num_frames + num_frames)

    def with_shot(self, prompt: str, transition: Transition) -> Branch:
        """The branch with another prompt from here on."""
        shots = tuple(shot for shot in self.shots if shot.frame < self.num_frames)
        transition = transition if self.num_frames else "cut"
        return replace(
            self, shots=(*shots, LiveShot(frame=self.num_frames, prompt=prompt, transition=transition))
        )

    def shots_between(self, first: int, stop: int) -> tuple[LiveShot, ...]:
        """The prompts of a part, with times from its beginning."""
        begun = [shot for shot in self.shots if shot.frame < stop]
        before = [shot for shot in begun if shot.frame <= first][-1:]
        inside = [shot for shot in begun if shot.frame > first]
        return tuple(
            replace(shot, frame=max(0, shot.frame - first), transition=shot.transition if number else "cut")
            for number, shot in enumerate([*before, *inside])
        )


@dataclass(frozen=True, kw_only=True)
class _Entry:
    frames_before: int
    offset: int
    num_frames: int
    position: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Past:
    """Latents from which a branch goes on, see `kinema.pipeline.live.LivePast`; frames first."""

    first: Float[np.ndarray, "s c h w"]
    last: Float[np.ndarray, "n c h w"]
    position: int


@dataclass(kw_only=True, eq=False)
class Recording:
    """The files of a session. One process writes; it is the one that reads, too.

    Attributes:
        folder: of the session.
        latent_shape: channels, height and width.
        size: bytes of all frames.
    """

    folder: Path
    latent_shape: tuple[int, int, int]
    size: int = 0
    _count: int = 0
    _num_frames: int = 0
    _files: dict[str, io.FileIO] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._files = {name: (self.folder / f"{name}.bin").open("wb+", buffering=0)
                       for name in ("index", "latents", "frames")}  # fmt: skip

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def append(
        self,
        latents: Float[np.ndarray, "c h w"],
        frames: UInt8[np.ndarray, "n h2 w2 3"],
        *,
        position: int,
    ) -> tuple[int, list[bytes]]:
        """Add a latent frame and what it shows; its number and its frames as JPEG."""
        images = [encode_jpeg(frame) for frame in frames]
        data = b"".join(_LENGTH.pack(len(image)) + image for image in images)
        entry = _INDEX.pack(self._num_frames, self.size, len(images), position)
        for name, content in (
            ("latents", latents.astype("<f4").tobytes()),
            ("frames", data),
            ("index", entry),
        ):
            self._files[name].seek(0, io.SEEK_END)
            self._files[name].write(content)
        record = self._count
        self._count += 1
        self._num_frames += len(images)
        self.size += len(data)
        return record, images

    def truncated(self, branch: Branch, frame: int) -> Branch:
        """The branch before a frame, rounded down to whole records; at least one record is kept.

        Prompts that begin later are left out.
        """
        spans: list[range] = []
        done = 0
        for span in branch.spans:
            count = self._frames_of(span)
            if done + count <= frame:
                spans.append(span)
                done += count
                continue
            record = self._record_at(span, frame - done)
            if record == span.start and not spans:
                record += 1
            spans.append(range(span.start, record))
            done += self._frames_of(spans[-1])
            break
        return Branch(
            spans=tuple(span for span in spans if span),
            shots=tuple(shot for shot in branch.shots if shot.frame < done),
            num_frames=done,
        )

    def past(self, branch: Branch, *, num_first: int, num_last: int) -> Past:
        """The latents from which the branch goes on."""
        last_record = branch.spans[-1][-1]
        position = self._entry(last_record).position + 1
        records = list(self._backwards(branch, position))
        last = records[:num_last][::-1]
        first = records[::-1][:num_first]
        return Past(first=self._latents(first), last=self._latents(last), position=position)

    def tail(self, branch: Branch, count: int) -> Float[np.ndarray, "n c h w"]:
        """The last latents since the last cut that stand for groups of frames."""
        position = self._entry(branch.spans[-1][-1]).position
        return self._latents(list(self._backwards(branch, min(count, position)))[::-1])

    def image(self, branch: Branch, frame: int) -> bytes | None:
        """A frame of a branch as JPEG; None: it has no such frame."""
        return next(self.images(branch, frame, frame + 1), None)

    def images(self, branch: Branch, first: int, stop: int) -> Iterator[bytes]:
        """Frames of a branch as JPEG."""
        done = 0
        for span in branch.spans:
            count = self._frames_of(span)
            if done + count > first and done < stop:
                record = self._record_at(span, max(0, first - done))
                frame = done + self._entry(record).frames_before - self._entry(span.start).frames_before
                for number in range(record, span.stop):
                    if frame >= stop:
                        return
                    for image in self._images_of(number):
                        if first <= frame < stop:
                            yield image
                        frame += 1
            done += count

    def _backwards(self, branch: Branch, count: int) -> Iterator[int]:
        for span in reversed(branch.spans):
            for record in reversed(span):
                if count <= 0:
                    return
                yield record
                count -= 1

    def _latents(self, records: Sequence[int]) -> Float[np.ndarray, "n c h w"]:
        size = 4 * int(np.prod(self.latent_shape))
        data = b"".join(self._read("latents", record * size, size) for record in records)
        return np.frombuffer(data, "<f4").reshape(-1, *self.latent_shape).copy()

    def _images_of(self, record: int) -> Iterator[bytes]:
        entry = self._entry(record)
        offset = entry.offset
        for _ in range(entry.num_frames):
            (length,) = _LENGTH.unpack(self._read("frames", offset, _LENGTH.size))
            yield self._read("frames", offset + _LENGTH.size, length)
            offset += _LENGTH.size + length

    def _frames_of(self, span: range) -> int:
        if not span:
            return 0
        last = self._entry(span[-1])
        return last.frames_before + last.num_frames - self._entry(span.start).frames_before

    def _record_at(self, span: range, frame: int) -> int:
        """The record of a frame that counts from the beginning of a range; found by bisection."""
        target = self._entry(span.start).frames_before + frame
        low, high = span.start, span.stop - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self._entry(middle).frames_before <= target:
                low = middle
            else:
                high = middle - 1
        return low

    def _entry(self, record: int) -> _Entry:
        values = _INDEX.unpack(self._read("index", record * _INDEX.size, _INDEX.size))
        return _Entry(frames_before=values[0], offset=values[1], num_frames=values[2], position=values[3])

    def _read(self, name: str, offset: int, size: int) -> bytes:
        self._files[name].seek(offset)
        return self._files[name].read(size)


def encode_jpeg(frame: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """A frame as JPEG with full colour resolution."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def decode_jpeg(image: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """A frame that `encode_jpeg` wrote."""
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
