"""Measurements of every frame of a source, taken in one pass and kept, so that thresholds can change later.

A source is decoded once. What remains is a few hundred bytes a frame: the times of all frames, scores for
scene cuts, and at 15 frames per second luma, letterbox, motion, a perceptual hash and an 8 x 8 thumbnail.
Scenes, clips and filters are computed from these (`scenes.py`, `selection.py`) without decoding.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import safetensors.numpy
from jaxtyping import Float32, Float64, Int32, UInt8, UInt16, UInt64
from PIL import Image
from safetensors import SafetensorError, safe_open

from kinema.atomic_io import write_bytes
from kinema.data.aspect_buckets import Size
from kinema.data.item_reader import content_sha256, local_path, native_size, read_frames
from kinema.data.media_item import MediaItem
from kinema.errors import UserError
from kinema.media.types import ReadResult

if TYPE_CHECKING:
    from kinema.data.transition_network import TransitionMeter

VERSION = 1
"""Of the measurements; a change of any of them raises it, and sources are analysed again."""
ANALYSIS_SIDE = 480
"""Frames are measured with a shorter side of at most so many pixels."""
SAMPLE_RATE = 15.0
"""Measurements per second. Sources with fewer frames are measured at every frame."""
SHARPNESS_INTERVAL, PREVIEW_INTERVAL = 0.5, 1.0
"""Seconds between measurements of the sharpness, and between images for the report."""
GRAY_SIDE, PATCHES, THUMBNAIL_SIDE, PREVIEW_HEIGHT = 64, 8, 8, 90
CUT_WIDTH = 256
"""Width of the frames that the scene detector sees."""
DARK = 20
"""A row or column whose brightest pixel is at most this belongs to a black bar."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """The measurements of a source with F frames, S samples, K sharpness samples and P previews.

    Attributes:
        sha256: of the content.
        width: of the frames in pixels, upright.
        height: of the frames in pixels.
        complete: False where the file is truncated or damaged.
        end: time at which the last frame ends, in seconds.
        analysis_size: width and height of the measured frames.
        times: of the frames, in seconds from the first.
        content_change: scenedetect's score of each frame against the one before.
        sample_index: frame of each sample.
        luma_mean: mean gray value, 0 to 255.
        luma_max: largest gray value at 64 x 64.
        luma_min: smallest gray value at 64 x 64.
        content_box: left, top, right and bottom of what is not black, in pixels of the measured frame.
        motion: mean absolute gray difference to the sample before, at 64 x 64.
        patch_motion: the same of each of 8 x 8 patches.
        hashes: perceptual hashes (DCT, 64 bits) of the content box.
        thumbnails: RGB at 8 x 8.
        detail: variance of the Laplacian at a width of 256; it falls in the middle of a dissolve.
        sharpness_index: frame of each measurement of the sharpness.
        sharpness: variance of the Laplacian.
        preview_index: frame of each preview.
        preview_offsets: first byte of each preview in `preview_bytes`, and the end.
        preview_bytes: JPEG images.
        transitions: probabilities by a network that each frame is the middle of a transition, and that it
            belongs to one; no rows without a network.
    """

    sha256: str
    width: int
    height: int
    complete: bool
    end: float
    analysis_size: Size
    times: Float64[np.ndarray, " F"]
    content_change: Float32[np.ndarray, " F"]
    sample_index: Int32[np.ndarray, " S"]
    luma_mean: Float32[np.ndarray, " S"]
    luma_max: UInt8[np.ndarray, " S"]
    luma_min: UInt8[np.ndarray, " S"]
    content_box: UInt16[np.ndarray, "S 4"]
    motion: Float32[np.ndarray, " S"]
    patch_motion: Float32[np.ndarray, "S 64"]
    hashes: UInt64[np.ndarray, " S"]
    thumbnails: UInt8[np.ndarray, "S 8 8 3"]
    detail: Float32[np.ndarray, " S"]
    sharpness_index: Int32[np.ndarray, " K"]
    sharpness: Float32[np.ndarray, " K"]
    preview_index: Int32[np.ndarray, " P"]
    preview_offsets: Int32[np.ndarray, " P1"]
    preview_bytes: UInt8[np.ndarray, " B"]
    transitions: Float32[np.ndarray, "T 2"] = dataclasses.field(
        default_factory=lambda: np.zeros((0, 2), np.float32)
    )

    @property
    def num_frames(self) -> int:
        """Frames that were decoded."""
        return len(self.times)

    @property
    def fps(self) -> float:
        """Frames per second, measured; 0 for an image."""
        return self.num_frames / self.end if self.num_frames > 1 else 0.0

    def preview(self, index: int) -> bytes:
        """A preview as JPEG."""
        start, stop = self.preview_offsets[index : index + 2]
        return self.preview_bytes[start:stop].tobytes()


@dataclass(frozen=True, kw_only=True)
class AnalysisJob:
    """An item, the file for its measurements, and weights of a network for cuts, if one is used."""

    item: MediaItem
    target: Path
    cut_network: Path | None = None


@dataclass(frozen=True, kw_only=True)
class AnalysisResult:
    """What became of a job.

    Attributes:
        error: why the source can't be read; empty where it was analysed.
        num_frames: that were decoded.
        seconds: length of the source.
        stage_seconds: time of each stage on one core, for statistics.
    """

    error: str
    num_frames: int
    seconds: float
    stage_seconds: dict[str, float]


def analysis_path(folder: Path, item: MediaItem, *, network_digest: str = "") -> Path:
    """Where the measurements of an item are kept: a hash of its path, size and time of change.

    Args:
        folder: of the set.
        item: the source.
        network_digest: of the weights of the network for cuts; empty without one.
    """
    key: list[object] = [VERSION, item.path, item.member, item.kind, item.row_in_shard, item.fps]
    key += [network_digest] if network_digest else []
    path = Path(item.path)
    files = [path, *sorted(path.iterdir())] if item.kind == "frames" and path.is_dir() else [path]
    for file in files:
        status = os.stat(file)
        key += [status.st_size, status.st_mtime_ns]
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
    return folder / "analysis" / f"{digest}.safetensors"


def run_analysis(job: AnalysisJob) -> AnalysisResult:
    """Analyse a source and write its measurements; a source that can't be read leaves its reason instead."""
    import cv2

    # One source for each core: threads inside OpenCV would only wait for each other.
    cv2.setNumThreads(1)
    clock = _StageClock()
    try:
        with local_path(job.item) as path:
            analysis = analyse(job.item, path, clock, cut_network=job.cut_network)
    except UserError as error:
        message = str(error)
        write_bytes(job.target, safetensors.numpy.save({"times": np.zeros(0)}, metadata={"error": message}))
        return AnalysisResult(error=message, num_frames=0, seconds=0.0, stage_seconds=clock.seconds)
    save_analysis(job.target, analysis)
    return AnalysisResult(
        error="", num_frames=analysis.num_frames, seconds=analysis.end, stage_seconds=clock.seconds
    )


def analyse(
    item: MediaItem, path: Path, clock: _StageClock | None = None, *, cut_network: Path | None = None
) -> Analysis:
    """Decode a source once and measure it.

    Args:
        item: the source.
        path: of its file.
        clock: counts the time of each stage.
        cut_network: weights of the network that scores transitions; None for none.

    Raises:
        UserError: it can't be read.
    """
    clock = clock or _StageClock()
    digest = clock.run("hash", lambda: content_sha256(item, path))
    width, height = clock.run("probe", lambda: native_size(item, path))
    scale = min(1.0, ANALYSIS_SIDE / min(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    meter, end = _FrameMeter(clock, cut_network), 0.0
    stream = read_frames(item, path, size=size)
    while True:
        try:
            frame = clock.run("decode", lambda: next(stream))
        except StopIteration as stop:
            result: ReadResult = stop.value
            break
        meter.add(frame.image, frame.time)
        end = frame.time + frame.duration
    return meter.finish(
        sha256=digest, width=width, height=height, complete=result.complete, end=end, analysis_size=size
    )


def save_analysis(path: Path, analysis: Analysis) -> None:
    """Write measurements atomically as safetensors."""
    arrays, header = {}, {}
    for field in dataclasses.fields(analysis):
        value = getattr(analysis, field.name)
        if field.name == "transitions" and not len(value):
            continue
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
        else:
            header[field.name] = value
    write_bytes(path, safetensors.numpy.save(arrays, metadata={"values": json.dumps(header)}))


def load_analysis(path: Path) -> Analysis | str:
    """The measurements of a source, or the reason why it can't be read.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata()
            if "error" in header:
                return header["error"]
            names = list(file.keys())
            arrays = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError):
        raise UserError(f"{path} is missing or damaged; run `kinema data build` again") from None
    values = json.loads(header["values"])
    return Analysis(**arrays, **values | {"analysis_size": tuple(values["analysis_size"])})


class _StageClock:
    """Core-seconds of each stage. FFmpeg decodes ahead on other threads, which counts for any stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, stage: str, work: Callable[[], Result]) -> Result:
        start = time.process_time()
        try:
            return work()
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.process_time() - start


class _FrameMeter:
    """Collects the measurements frame by frame."""

    def __init__(self, clock: _StageClock, cut_network: Path | None) -> None:
        from kinema.data.content_meter import ContentMeter

        self._clock = clock
        self._transitions: TransitionMeter | None = None
        if cut_network is not None:
            from kinema.data import transition_network

            network = transition_network.load_transition_network(cut_network)
            self._transitions = transition_network.TransitionMeter(network)
        self._content = ContentMeter()
        self._times: list[float] = []
        self._change: list[float] = []
        self._samples: list[tuple[int, float, int, int, float]] = []
        self._boxes: list[tuple[int, int, int, int]] = []
        self._patches: list[np.ndarray] = []
        self._hashes: list[int] = []
        self._thumbnails: list[np.ndarray] = []
        self._detail: list[float] = []
        self._sharpness: list[tuple[int, float]] = []
        self._previews: list[tuple[int, bytes]] = []
        self._previous: np.ndarray | None = None
        self._next_sample = self._next_sharpness = self._next_preview = 0.0

    def add(self, image: UInt8[np.ndarray, "h w 3"], at: float) -> None:
        """Measure one frame."""
        import cv2

        run, index = self._clock.run, len(self._times)
        self._times.append(at)
        height = max(1, round(CUT_WIDTH * image.shape[0] / image.shape[1]))
        small = run(
            "scale",
            lambda: (
                cv2.resize(image, (CUT_WIDTH, height), interpolation=cv2.INTER_LINEAR)
                if image.shape[1] > CUT_WIDTH
                else image
            ),
        )
        self._change.append(run("cuts", lambda: self._content.change(small, index)))
        if self._transitions is not None:
            run("cut network", partial(self._transitions.add, small))
        # A hundredth of a frame of tolerance: times are rounded in the file.
        if at >= self._next_sample - 1e-4:
            self._next_sample = _next_tick(at, 1 / SAMPLE_RATE)
            gray = run("scale", lambda: cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
            self._add_sample(index, small, gray)
            if at >= self._next_sharpness - 1e-4:
                self._next_sharpness = _next_tick(at, SHARPNESS_INTERVAL)
                self._sharpness.append((index, run("sharpness", lambda: _sharpness(gray, self._boxes[-1]))))
        if at >= self._next_preview - 1e-4:
            self._next_preview = _next_tick(at, PREVIEW_INTERVAL)
            self._previews.append((index, run("previews", lambda: _preview(image))))

    def _add_sample(
        self, index: int, small: UInt8[np.ndarray, "h w 3"], gray: UInt8[np.ndarray, "h2 w2"]
    ) -> None:
        import cv2

        run = self._clock.run
        side = (GRAY_SIDE, GRAY_SIDE)
        tiny = run("scale", lambda: cv2.resize(gray, side, interpolation=cv2.INTER_AREA))
        self._thumbnails.append(
            cv2.resize(small, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
        )
        self._detail.append(run("cuts", lambda: _detail(small)))
        box = run("letterbox", lambda: _content_box(gray))
        self._boxes.append(box)
        patches = run("motion", lambda: _patch_motion(tiny, self._previous))
        self._patches.append(patches)
        self._previous = tiny
        self._samples.append(
            (index, float(tiny.mean()), int(tiny.max()), int(tiny.min()), float(patches.mean()))
        )
        self._hashes.append(run("duplicates", lambda: _perceptual_hash(gray, box)))

    def finish(
        self, *, sha256: str, width: int, height: int, complete: bool, end: float, analysis_size: Size
    ) -> Analysis:
        """The measurements of all frames."""
        samples = np.array(self._samples, np.float64).reshape(-1, 5)
        previews = [data for _, data in self._previews]
        transitions = np.zeros((0, 2), np.float32)
        if self._transitions is not None:
            transitions = self._clock.run("cut network", self._transitions.finish)
        return Analysis(
            transitions=transitions,
            sha256=sha256,
            width=width,
            height=height,
            complete=complete,
            end=end,
            analysis_size=analysis_size,
            times=np.array(self._times),
            content_change=np.array(self._change, np.float32),
            sample_index=samples[:, 0].astype(np.int32),
            luma_mean=samples[:, 1].astype(np.float32),
            luma_max=samples[:, 2].astype(np.uint8),
            luma_min=samples[:, 3].astype(np.uint8),
            motion=samples[:, 4].astype(np.float32),
            content_box=np.array(self._boxes, np.uint16).reshape(-1, 4),
            patch_motion=np.stack(self._patches).astype(np.float32),
            hashes=np.array(self._hashes, np.uint64),
            thumbnails=np.stack(self._thumbnails),
            detail=np.array(self._detail, np.float32),
            sharpness_index=np.array([index for index, _ in self._sharpness], np.int32),
            sharpness=np.array([value for _, value in self._sharpness], np.float32),
            preview_index=np.array([index for index, _ in self._previews], np.int32),
            preview_offsets=np.cumsum([0, *(len(data) for data in previews)], dtype=np.int32),
            preview_bytes=np.frombuffer(b"".join(previews), np.uint8),
        )


def _next_tick(at: float, interval: float) -> float:
    """The first multiple of an interval after a time."""
    return (int(at / interval + 1e-3) + 1) * interval


def _content_box(gray: UInt8[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels above `DARK`; the whole frame where there are none."""
    columns = np.flatnonzero(gray.max(axis=0) > DARK)
    rows = np.flatnonzero(gray.max(axis=1) > DARK)
    if not len(columns):
        return 0, 0, gray.shape[1], gray.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _patch_motion(gray: np.ndarray, previous: np.ndarray | None) -> Float32[np.ndarray, " 64"]:
    if previous is None:
        return np.zeros(PATCHES * PATCHES, np.float32)
    difference = np.abs(gray.astype(np.float32) - previous)
    step = GRAY_SIDE // PATCHES
    return difference.reshape(PATCHES, step, PATCHES, step).mean(axis=(1, 3)).ravel()


def _detail(small: UInt8[np.ndarray, "h w 3"]) -> float:
    import cv2

    return float(cv2.Laplacian(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def _sharpness(gray: UInt8[np.ndarray, "h w"], box: tuple[int, int, int, int]) -> float:
    """Variance of the Laplacian inside the content box, without its border, which black bars make sharp."""
    import cv2

    left, top, right, bottom = box
    inner = gray[top + 2 : bottom - 2, left + 2 : right - 2]
    return float(cv2.Laplacian(inner if min(inner.shape) > 2 else gray, cv2.CV_32F).var())


def _perceptual_hash(gray: UInt8[np.ndarray, "h w"], box: tuple[int, int, int, int]) -> int:
    """imagehash's phash as an integer. Bars are left out, so that a letterboxed copy is found."""
    import cv2
    import imagehash

    left, top, right, bottom = box
    inside = gray[top:bottom, left:right]
    if inside.size < 0.25 * gray.size:
        inside = gray
    # Reduced first: imagehash's own filter over a whole frame takes ten times as long.
    small = cv2.resize(inside, (GRAY_SIDE, GRAY_SIDE), interpolation=cv2.INTER_AREA)
    bits = imagehash.phash(Image.fromarray(small)).hash.ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _preview(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    small = Image.fromarray(image)
    small.thumbnail((PREVIEW_HEIGHT * 16 // 9, PREVIEW_HEIGHT))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=75)
    return buffer.getvalue()
