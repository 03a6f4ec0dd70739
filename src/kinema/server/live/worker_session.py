"""A live session in a worker: takes commands, makes frames just in time, and records them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import select
import socket
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from kinema.errors import UserError
from kinema.pipeline.request import Transition, VideoRequest
from kinema.server.backends.base import Backend, JobProgress, JobResult
from kinema.server.backends.live import TAIL_FRAMES, LiveSource
from kinema.server.live.messages import (
    CLAIMED_FILE,
    LIVE_DIR,
    MAX_LINE_BYTES,
    REQUEST_FILE,
    Message,
    parse_head,
)
from kinema.server.live.pace import FIRST_STEPS, Pace
from kinema.server.live.recording import Branch, Recording, decode_jpeg
from kinema.server.model_info import ModelInfo

log = logging.getLogger("kinema.worker")

IDLE_POLL_S = 0.05
MAX_RECORDED_BYTES = 16 * 2**30
_SEND_TIMEOUT_S = 30.0
_NUM_SAMPLE_FRAMES = 49
_WRITE_FRAMES = 32


@dataclass(frozen=True, kw_only=True)
class LiveOffer:
    """A session that the API process offers.

    Attributes:
        id: of the session.
        folder: of its files.
        port: on which the API process waits.
        secret: proves that this process may read the folder.
        model: name of the model.
        request: prompt, seed, size and settings.
    """

    id: str
    folder: Path
    port: int
    secret: str
    model: str
    request: VideoRequest


def claim_offer(data_dir: Path, model: str) -> LiveOffer | None:
    """Take a session that waits for a worker with this model; None: there is none."""
    try:
        folders = sorted(os.scandir(data_dir / LIVE_DIR), key=lambda entry: entry.name)
    except OSError:
        return None
    for entry in folders:
        request, claimed = Path(entry.path) / REQUEST_FILE, Path(entry.path) / CLAIMED_FILE
        try:
            offer = read_offer(request)
            if offer.model != model:
                continue
            request.rename(claimed)  # Only one worker succeeds.
        except (OSError, ValueError, KeyError, TypeError, UserError):
            continue
        return offer
    return None


def read_offer(path: Path) -> LiveOffer:
    """A session's request file."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return LiveOffer(
        id=str(values["id"]),
        folder=path.parent,
        port=int(values["port"]),
        secret=str(values["secret"]),
        model=str(values["model"]),
        request=VideoRequest.from_dict(values["request"], source="the live session"),
    )


class _SessionEndError(Exception):
    """The session is over; the message says why, empty where its user ended it."""


class WorkerSession:
    """Runs a session until its user ends it or the API process is gone.

    Args:
        offer: the session.
        backend: makes the frames.
        should_stop: whether the worker has to end.
        run_save: claims and completes a job, given the backend and the `served_model` of the job.
    """

    def __init__(
        self,
        offer: LiveOffer,
        backend: Backend,
        *,
        should_stop: Callable[[], bool],
        run_save: Callable[[Backend, str], None],
    ) -> None:
        self._offer, self._backend = offer, backend
        self._should_stop, self._run_save = should_stop, run_save
        self._branches: list[Branch] = [Branch()]
        self._branch = 0
        self._is_paused = False
        self._buffer = b""

    def run(self) -> None:
        """Run; errors are sent to the user."""
        offer = self._offer
        try:
            connection = socket.create_connection(("127.0.0.1", offer.port), timeout=_SEND_TIMEOUT_S)
        except OSError as error:
            log.warning("live session %s: %s", offer.id, error)
            return
        with connection:
            self._connection = connection
            reason = ""
            try:
                self._send("hello", {"id": offer.id, "secret": offer.secret})
                self._run()
            except _SessionEndError as ended:
                reason = str(ended)
            except UserError as error:
                reason = str(error)
            except OSError as error:
                log.info("live session %s: %s", offer.id, error)
                return
            except Exception:
                log.exception("live session %s", offer.id)
                reason = "The live video failed; the server's log has details."
            with contextlib.suppress(OSError):
                self._send("ended", {"message": reason})

    def _run(self) -> None:
        request = self._offer.request
        source = self._source = self._backend.live(request)
        fixed = request.num_inference_steps is not None or source.has_fixed_steps
        steps = request.num_inference_steps or min(FIRST_STEPS, source.max_steps)
        self._pace = Pace(
            fps=source.fps,
            steps=None if source.has_fixed_steps else steps,
            max_steps=source.max_steps,
            adapts=not fixed,
        )
        self._recording = Recording(folder=self._offer.folder, latent_shape=source.latent_shape)
        try:
            source.begin(request.prompt)
            self._branches[0] = self._branches[0].with_shot(request.prompt, "cut")
            self._send_state()
            while True:
                self._loop_once()
        finally:
            self._recording.close()

    def _loop_once(self) -> None:
        if self._should_stop():
            raise _SessionEndError("The server is shutting down.")
        wait = IDLE_POLL_S
        if not self._is_paused:
            starts_in = self._pace.start_time(is_block=self._source.needs_block) - time.monotonic()
            wait = min(wait, max(0.0, starts_in))
        for message in self._receive(wait):
            self._handle(message)
        if self._is_paused:
            return
        if time.monotonic() >= self._pace.start_time(is_block=self._source.needs_block):
            self._make_frames()

    def _make_frames(self) -> None:
        begun = time.monotonic()
        chunk = self._source.next_chunk(self._pace.steps)
        record, images = self._recording.append(chunk.latents, chunk.frames, position=chunk.position)
        branch = self._branches[self._branch]
        first = branch.num_frames
        self._branches[self._branch] = branch.with_record(record, len(images))
        self._pace.note(
            begun=begun,
            ended=time.monotonic(),
            num_frames=len(images),
            is_block=chunk.is_block,
            is_first=not chunk.position,
        )
        values = {
            "branch": self._branch,
            "first": first,
            "shot": len(branch.shots) - 1,
            "sizes": [len(image) for image in images],
            "speed": round(self._pace.speed, 3),
            "num_inference_steps": self._pace.steps or self._source.max_steps,
        }
        self._send("frames", values, b"".join(images))
        if self._recording.size > MAX_RECORDED_BYTES:
            raise _SessionEndError("The live video has become too long to be kept; start a new one.")

    def _handle(self, message: Message) -> None:
        values = message.values
        match message.kind:
            case "change":
                self._change(values)
                self._send_state(values.get("number"))
            case "frame":
                branch = values["branch"]
                image = None
                if 0 <= branch < len(self._branches):
                    image = self._recording.image(self._branches[branch], values["frame"])
                self._send("frame", {"number": values["number"]}, image or b"")
            case "save":
                video = _SavedVideo(
                    self, self._backend.model_info, branch=values["branch"], first=values["first"]
                )
                self._run_save(video, values["served_model"])
                # Saving took its time; what was to be shown meanwhile is late, and not lost.
                self._pace.shown_until = max(self._pace.shown_until, time.monotonic())
            case "end":
                raise _SessionEndError

    def _change(self, values: dict[str, Any]) -> None:
        """Change the prompt, step back, pause or go on: in this order, any of them."""
        prompt: str | None = values.get("prompt")
        transition: Transition = values.get("transition") or "cut"
        frame: int | None = values.get("frame")
        if frame is not None:
            self._go_back(values.get("branch", self._branch), frame, prompt, transition)
        elif prompt is not None:
            self._source.change_prompt(prompt, transition)
            self._branches[self._branch] = self._branches[self._branch].with_shot(prompt, transition)
        if prompt is not None:
            self._pace.is_urgent = True
        paused: bool | None = values.get("paused")
        if paused is not None:
            self._is_paused = paused
        if frame is not None or paused is False:
            self._pace.shown_until = time.monotonic()

    def _go_back(self, number: int, frame: int, prompt: str | None, transition: Transition) -> None:
        branch = self._recording.truncated(self._branches[number], frame)
        past_prompt = branch.shots[-1].prompt
        self._branches.append(branch)
        self._branch = len(self._branches) - 1
        past = self._recording.past(branch, num_first=self._source.num_first, num_last=self._source.num_last)
        keep = prompt if prompt is not None and transition == "blend" else past_prompt
        self._source.go_on(past.first, past.last, past.position, prompt=keep, branch=self._branch)
        if prompt is not None:
            if transition == "cut":
                self._source.change_prompt(prompt, "cut")
            self._branches[self._branch] = branch.with_shot(prompt, transition)

    def _send_state(self, number: int | None = None) -> None:
        self._send(
            "state",
            {
                "number": number,
                "status": "paused" if self._is_paused else "playing",
                "branch": self._branch,
                "fps": self._source.fps,
                "size": list(self._source.size),
                "num_inference_steps": self._pace.steps or self._source.max_steps,
                "speed": round(self._pace.speed, 3),
                "branches": [
                    {
                        "num_frames": branch.num_frames,
                        "shots": [dataclasses.asdict(shot) for shot in branch.shots],
                    }
                    for branch in self._branches
                ],
            },
        )

    def _send(self, kind: str, values: dict[str, Any], data: bytes = b"") -> None:
        self._connection.sendall(Message(kind=kind, values=values, data=data).encode())

    def _receive(self, timeout_s: float) -> Iterator[Message]:
        """The messages that have arrived; those of the API process carry no bytes."""
        readable, _, _ = select.select([self._connection], [], [], timeout_s)
        if not readable:
            return
        data = self._connection.recv(65536)
        if not data:
            raise _SessionEndError
        self._buffer += data
        if len(self._buffer) > MAX_LINE_BYTES:
            raise _SessionEndError("The server sent a message that is too long.")
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            kind, values, _ = parse_head(line)
            yield Message(kind=kind, values=values)

    def write_video(
        self, request: VideoRequest, output: Path, *, branch: int, first: int
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Write a part of a branch as a video; some of its frames, for its images."""
        own = self._branches[branch]
        stop = min(own.num_frames, first + (request.num_frames or own.num_frames))
        kept = {first + round(n * (stop - 1 - first) / max(1, _NUM_SAMPLE_FRAMES - 1))
                for n in range(_NUM_SAMPLE_FRAMES)}  # fmt: skip
        samples: list[np.ndarray] = []

        def frames() -> Iterator[UInt8[np.ndarray, "f h w 3"]]:
            part: list[np.ndarray] = []
            for number, image in enumerate(self._recording.images(own, first, stop), first):
                part.append(decode_jpeg(image))
                if number in kept:
                    samples.append(part[-1])
                if len(part) == _WRITE_FRAMES:
                    yield np.stack(part)
                    part = []
            if part:
                yield np.stack(part)

        until = self._recording.truncated(own, stop)
        tail = self._recording.tail(until, TAIL_FRAMES if until.num_frames == stop else 0)
        self._source.write(request, frames(), tail, output)
        return np.stack(samples)


class _SavedVideo:
    """The backend of the job that saves a part of a session."""

    def __init__(self, session: WorkerSession, model_info: ModelInfo, *, branch: int, first: int) -> None:
        self._session, self.model_info = session, model_info
        self._branch, self._first = branch, first

    def live(self, request: VideoRequest) -> LiveSource:
        """Saved videos are no live ones."""
        raise UserError(f"{request.prompt!r} is a saved video")

    def generate(
        self, request: VideoRequest, output: Path, *, resume_from: Path | None
    ) -> Generator[JobProgress | JobResult]:
        """See `Backend.generate`; the frames are there."""
        del resume_from
        yield JobProgress(stage="write", fraction=0.5)
        frames = self._session.write_video(request, output, branch=self._branch, first=self._first)
        yield JobResult(sample_frames=frames)
