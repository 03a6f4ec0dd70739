"""Live sessions in the API process: offers them to workers, passes commands on, and frames to the clients."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import logging
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kinema.atomic_io import write_bytes
from kinema.pipeline.request import VideoRequest
from kinema.server.errors import ApiError, bad_request, not_found
from kinema.server.job_store import JobFilter, JobStore
from kinema.server.live.messages import LIVE_DIR, MAX_LINE_BYTES, REQUEST_FILE, Message, parse_head
from kinema.server.settings import Settings

log = logging.getLogger("kinema.server")

LiveStatus = Literal["waiting", "playing", "paused", "ended"]
ID_PREFIX = "live_"
REPLY_TIMEOUT_S = 30.0
"""Time within which a worker answers: it may be making a block, or writing a video."""
PAUSE_WITHOUT_VIEWER_S = 15.0
KEEP_ENDED_S = 60.0
"""Time for which an ended session can still be read."""
_WATCH_INTERVAL_S = 1.0
_VIEWER_QUEUE = 16
"""Messages that wait for a slow viewer; older ones are dropped."""


@dataclass(frozen=True, kw_only=True)
class SessionEvent:
    """A server-sent event.

    Attributes:
        name: `state` or `frames`.
        data: JSON; None for a state, which the reader asks for.
    """

    name: str
    data: str | None = None


@dataclass(kw_only=True, eq=False)
class LiveSession:
    """A session.

    Attributes:
        id: of the session.
        owner: whose.
        model: name of the model.
        request: prompt, seed, size and settings.
        folder: of its files.
        secret: that the worker shows.
        status: where it is.
        error: why it ended; empty: its owner ended it.
        warnings: about the prompt.
        created_at: seconds since 1970.
        state: what the worker reported last.
        speed: times real time, of the last blocks.
        num_inference_steps: of the last block.
        viewers: open event streams.
    """

    id: str
    owner: str
    model: str
    request: VideoRequest
    folder: Path
    secret: str
    fps: float
    size: tuple[int, int]
    created_at: int
    warnings: tuple[str, ...] = ()
    status: LiveStatus = "waiting"
    error: str = ""
    branch: int = 0
    branches: list[dict[str, Any]] = field(default_factory=list)
    speed: float = 0.0
    num_inference_steps: int | None = None
    viewers: set[asyncio.Queue[SessionEvent]] = field(default_factory=set)
    begun_at: float = field(default_factory=time.monotonic)
    unwatched_since: float | None = field(default_factory=time.monotonic)
    paused_unwatched: bool = False
    ended_at: float | None = None
    writer: asyncio.StreamWriter | None = None
    replies: dict[int, asyncio.Future[Message]] = field(default_factory=dict)
    next_number: int = 0

    @property
    def num_frames(self) -> int:
        """Length of the current branch."""
        return int(self.branches[self.branch]["num_frames"]) if self.branches else 0

    def publish(self, event: SessionEvent) -> None:
        """Send an event to all viewers; a slow one misses the oldest."""
        for queue in self.viewers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)


class LiveSessions:
    """All live sessions of a server. Everything here runs on the event loop.

    Args:
        settings: limits, and the data folder.
        store: of the jobs.
    """

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self._settings, self._store = settings, store
        self._folder = settings.data_dir / LIVE_DIR
        self._sessions: dict[str, LiveSession] = {}
        self._port = 0

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Listen for workers while the block runs, and end all sessions afterwards."""
        await asyncio.to_thread(self._clean_up)
        server = await asyncio.start_server(self._serve_worker, "127.0.0.1", 0, limit=MAX_LINE_BYTES)
        self._port = server.sockets[0].getsockname()[1]
        watcher = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watcher.cancel()
            for session in list(self._sessions.values()):
                self._end(session, "The server is shutting down.")
            server.close()
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _clean_up(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True)
        # Videos of sessions that an earlier process had: their frames are gone.
        page = self._store.list_jobs(JobFilter(status="queued"), after=None, limit=500, newest_first=True)
        for job in page.jobs:
            if job.served_model.startswith(ID_PREFIX):
                self._store.cancel(job.id, owner=job.owner, retention_s=self._settings.retention_s)

    def list_own(self, owner: str) -> list[LiveSession]:
        """The owner's sessions that have not ended."""
        return [s for s in self._sessions.values() if s.owner == owner and s.status != "ended"]

    def find(self, session_id: str, owner: str) -> LiveSession:
        """The owner's session.

        Raises:
            ApiError: there is none.
        """
        session = self._sessions.get(session_id)
        if session is None or session.owner != owner:
            raise not_found(f"There is no live session {session_id[:100]!r}; it has ended.", param="live_id")
        return session

    async def open(
        self,
        owner: str,
        *,
        model: str,
        request: VideoRequest,
        fps: float,
        size: tuple[int, int],
        warnings: tuple[str, ...],
        num_workers: int,
    ) -> LiveSession:
        """Offer a session to the workers of this machine.

        Raises:
            ApiError: the owner has one, or all workers have one.
        """
        if self.list_own(owner):
            raise ApiError(
                409, "You have a live session already; end it first, or go on with it.",
                code="live_exists", param="prompt", retry=False,
            )  # fmt: skip
        active = [session for session in self._sessions.values() if session.status != "ended"]
        if len(active) >= num_workers:
            raise ApiError(
                429, "All workers of this server are taken by live sessions; try again later.",
                code="live_busy", headers={"retry-after": "30", "retry-after-ms": "30000"},
            )  # fmt: skip
        session_id = f"{ID_PREFIX}{time.time_ns():016x}{secrets.token_hex(8)}"
        session = LiveSession(
            id=session_id,
            owner=owner,
            model=model,
            request=request,
            folder=self._folder / session_id,
            secret=secrets.token_hex(16),
            fps=fps,
            size=size,
            created_at=int(time.time()),
            warnings=warnings,
        )
        self._sessions[session_id] = session
        offer = {
            "id": session_id, "port": self._port, "secret": session.secret, "model": model,
            "request": request.to_dict(),
        }  # fmt: skip

        def write() -> None:
            session.folder.mkdir(mode=0o700)
            write_bytes(session.folder / REQUEST_FILE, json.dumps(offer).encode())

        try:
            await asyncio.to_thread(write)
        except OSError:
            self._sessions.pop(session_id)
            raise
        return session

    async def change(self, session: LiveSession, values: dict[str, Any]) -> None:
        """Change prompt, position or pause, and wait until the worker has done so.

        Raises:
            ApiError: the session is not running, or there is no such branch or frame.
        """
        self._require_running(session)
        branch = values.get("branch", session.branch)
        if "frame" in values:
            if not 0 <= branch < len(session.branches):
                raise bad_request(f"There is no branch {branch}.", param="branch")
            if not 0 < values["frame"] <= session.branches[branch]["num_frames"]:
                last = session.branches[branch]["num_frames"]
                raise bad_request(f"'frame' is 1 to {last} in this branch.", param="frame")
        session.paused_unwatched = False
        await self._ask(session, "change", values)

    async def image(self, session: LiveSession, branch: int, frame: int) -> bytes:
        """A frame as JPEG.

        Raises:
            ApiError: there is no such frame.
        """
        self._require_running(session)
        reply = await self._ask(session, "frame", {"branch": branch, "frame": frame})
        if not reply.data:
            raise not_found(f"There is no frame {frame} in branch {branch}.", param="frame")
        return reply.data

    def save(self, session: LiveSession, served_model: str, *, branch: int, first: int) -> None:
        """Have the worker complete the job with this `served_model`."""
        self._send(session, "save", {"served_model": served_model, "branch": branch, "first": first})

    def end(self, session: LiveSession) -> None:
        """End a session."""
        with contextlib.suppress(ApiError):
            self._send(session, "end", {})
        self._end(session, "")

    def add_viewer(self, session: LiveSession) -> asyncio.Queue[SessionEvent]:
        """An event stream begins."""
        queue: asyncio.Queue[SessionEvent] = asyncio.Queue(_VIEWER_QUEUE)
        session.viewers.add(queue)
        session.unwatched_since = None
        if session.paused_unwatched:
            session.paused_unwatched = False
            with contextlib.suppress(ApiError):
                self._send(session, "change", {"paused": False})
        return queue

    def remove_viewer(self, session: LiveSession, queue: asyncio.Queue[SessionEvent]) -> None:
        """An event stream has ended."""
        session.viewers.discard(queue)
        if not session.viewers:
            session.unwatched_since = time.monotonic()

    def _require_running(self, session: LiveSession) -> None:
        if session.writer is None:
            word = "has ended" if session.status == "ended" else "waits for a worker"
            raise ApiError(409, f"The live session {word}.", code="live_not_running", param="live_id")

    def _send(self, session: LiveSession, kind: str, values: dict[str, Any]) -> None:
        self._require_running(session)
        assert session.writer is not None
        session.writer.write(Message(kind=kind, values=values).encode())

    async def _ask(self, session: LiveSession, kind: str, values: dict[str, Any]) -> Message:
        number = session.next_number
        session.next_number += 1
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        session.replies[number] = reply
        try:
            self._send(session, kind, {**values, "number": number})
            return await asyncio.wait_for(reply, REPLY_TIMEOUT_S)
        except TimeoutError:
            raise ApiError(
                503, "The worker of the live session does not answer; try again.", code="live_silent"
            ) from None
        finally:
            session.replies.pop(number, None)

    async def _serve_worker(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A worker has connected."""
        session: LiveSession | None = None
        try:
            hello = await asyncio.wait_for(_read_message(reader), REPLY_TIMEOUT_S)
            session = self._sessions.get(str(hello.values.get("id")))
            secret = str(hello.values.get("secret"))
            if session is None or session.status == "ended" or session.writer is not None:
                return
            if hello.kind != "hello" or not hmac.compare_digest(secret, session.secret):
                session = None
                return
            session.writer = writer
            while True:
                self._take(session, await _read_message(reader))
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError, ValueError, KeyError):
            pass
        finally:
            writer.close()
            if session is not None and session.writer is writer:
                self._end(session, "The worker of the live session has ended.")

    def _take(self, session: LiveSession, message: Message) -> None:
        """A message of a worker."""
        values = message.values
        match message.kind:
            case "state":
                session.status, session.branch = values["status"], values["branch"]
                session.branches = values["branches"]
                session.fps, session.size = values["fps"], tuple(values["size"])
                session.speed = values["speed"]
                session.num_inference_steps = values["num_inference_steps"]
                session.publish(SessionEvent(name="state"))
            case "frames":
                own = session.branches[values["branch"]]
                own["num_frames"] = values["first"] + len(values["sizes"])
                session.speed = values["speed"]
                session.num_inference_steps = values["num_inference_steps"]
                if session.viewers:
                    session.publish(SessionEvent(name="frames", data=_frames_json(message)))
            case "ended":
                self._end(session, values["message"])
        reply = session.replies.get(values.get("number", -1))
        if reply is not None and not reply.done():
            reply.set_result(message)

    def _end(self, session: LiveSession, reason: str) -> None:
        if session.status == "ended":
            return
        session.status, session.error, session.ended_at = "ended", reason, time.monotonic()
        for reply in session.replies.values():
            if not reply.done():
                reply.set_exception(
                    ApiError(409, "The live session has ended.", code="live_not_running", param="live_id")
                )
        session.publish(SessionEvent(name="state"))
        writer, session.writer = session.writer, None
        if writer is not None:
            writer.close()
        shutil.rmtree(session.folder, ignore_errors=True)

    async def _watch(self) -> None:
        """Pause and end sessions that nobody watches, or whose worker others wait for."""
        limits = self._settings.limits
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            now = time.monotonic()
            for session in list(self._sessions.values()):
                if session.status == "ended":
                    if session.ended_at is not None and now - session.ended_at > KEEP_ENDED_S:
                        del self._sessions[session.id]
                    continue
                unwatched_s = 0.0 if session.unwatched_since is None else now - session.unwatched_since
                if unwatched_s > limits.max_live_unwatched_s:
                    self._finish(session, "Nobody watched the live session.")
                elif unwatched_s > PAUSE_WITHOUT_VIEWER_S and session.status == "playing":
                    session.paused_unwatched = True
                    with contextlib.suppress(ApiError):
                        self._send(session, "change", {"paused": True})
                elif (
                    now - session.begun_at > limits.max_live_s_while_others_wait and await self._others_wait()
                ):
                    self._finish(session, "Others wait for this server; start a new live session later.")

    def _finish(self, session: LiveSession, reason: str) -> None:
        with contextlib.suppress(ApiError):
            self._send(session, "end", {})
        self._end(session, reason)

    async def _others_wait(self) -> bool:
        page = await asyncio.to_thread(
            self._store.list_jobs, JobFilter(status="queued"), after=None, limit=1, newest_first=False
        )
        return any(not job.served_model.startswith(ID_PREFIX) for job in page.jobs)


async def _read_message(reader: asyncio.StreamReader) -> Message:
    line = await reader.readuntil(b"\n")
    kind, values, size = parse_head(line)
    if not 0 <= size <= 2**30:
        raise ValueError(f"a message of {size} bytes")
    data = await reader.readexactly(size) if size else b""
    return Message(kind=kind, values=values, data=data)


def _frames_json(message: Message) -> str:
    values, images, offset = message.values, [], 0
    for size in values["sizes"]:
        images.append(base64.b64encode(message.data[offset : offset + size]).decode())
        offset += size
    return json.dumps(
        {"branch": values["branch"], "first": values["first"], "shot": values["shot"], "images": images}
    )
