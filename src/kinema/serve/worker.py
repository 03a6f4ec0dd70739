"""A worker: a process that claims films from the store and makes them, one after the other.

It speaks with the server through the store and the data folder alone, and needs no server to be there:
`kinema work` with the same data folder is one worker more. The one exception is its standard input: a server
that starts it holds the other end, so that the worker ends when the server does.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.atomic_io import write_bytes
from kinema.errors import UserError
from kinema.memory import release_free_memory
from kinema.models.config_json import from_json, to_json
from kinema.serve import work
from kinema.serve.folder import FILM, PREVIEW, SPRITES, STATE, THUMBNAIL, clear, empty, folder_of, free_bytes
from kinema.serve.maker import Made, Maker, Progress, open_maker
from kinema.serve.settings import Settings
from kinema.serve.signing import identity_of, sign_video
from kinema.serve.store import Store
from kinema.serve.video import Video

log = logging.getLogger("kinema.worker")

PREVIEW_SECONDS = 0.4
"""Between two previews; people see no more."""
IDLE_SECONDS = 0.1
"""Between two looks for work."""
STUCK_SECONDS = 30.0
"""How long a worker may go on with a film that is no longer its own, before it ends itself."""
_TOO_MUCH = "There is not enough memory for this film; ask for a smaller or shorter one."


@dataclass(frozen=True, kw_only=True)
class Duty:
    """What a worker is told when it is started; see `Settings`."""

    data: str
    model: str
    device: str
    lease: float
    tries: int
    save: float
    keep: float
    place: int = 0
    """Which of several workers this is; with several GPUs it takes the one in that place."""
    sign: bool = False
    certificate: str = ""
    certificate_key: str = ""
    attached: bool = True
    """Whether standard input is held by a server, and its end means: stop."""


def command(settings: Settings, *, place: int, attached: bool) -> list[str]:
    """What starts a worker with a server's settings. It is known by its command among the processes."""
    duty = Duty(
        data=str(settings.data),
        model=settings.model,
        device=settings.device,
        place=place,
        lease=settings.lease,
        tries=settings.tries,
        save=settings.save,
        keep=settings.keep,
        sign=settings.sign,
        certificate=settings.certificate,
        certificate_key=settings.certificate_key,
        attached=attached,
    )
    return [sys.executable, "-m", "kinema.serve.worker", to_json(duty)]


class Lost(Exception):  # noqa: N818 - no error: somebody cancelled, or another worker has it
    """The film is no longer this worker's."""


class Worker:
    """The process's one worker: a main thread that makes films, and one that says it lives."""

    def __init__(self, duty: Duty) -> None:
        self._duty = duty
        self._data = Path(duty.data)
        # Before anything else: a certificate that does not do is told at the start.
        self._identity = identity_of(duty.certificate, duty.certificate_key) if duty.sign else None
        self._store = Store(self._data, durable=False)
        self._name = work.enter(self._store)
        self._stop = threading.Event()
        self._now: str | None = None
        self._lost_since: float | None = None

    def stop(self) -> None:
        """Save what is under way at its next step, and end."""
        self._stop.set()

    def run(self) -> None:
        """Work until told to stop."""
        threading.Thread(target=self._beat, daemon=True).start()
        if self._duty.attached:
            threading.Thread(target=self._watch, daemon=True).start()
        try:
            maker = open_maker(self._duty.model, self._duty.device, self._duty.place)
            work.offer(self._store, self._name, maker.served)
            self._serve(maker)
        finally:
            end = work.leave if self._stop.is_set() else work.bury
            end(self._store, self._name)
            self._store.close()

    def _serve(self, maker: Maker) -> None:
        while not self._stop.is_set():
            try:
                video = work.claim(self._store, self._name, lease=self._duty.lease, tries=self._duty.tries)
            except sqlite3.OperationalError as error:  # the disk is full, or the store locked for long
                log.warning("the store: %s", error)
                video = None
            if video is None:
                self._stop.wait(IDLE_SECONDS)
                continue
            self._now = video.id
            try:
                self._film(maker, video)
            finally:
                self._now, self._lost_since = None, None
            release_free_memory()

    def _film(self, maker: Maker, video: Video) -> None:
        folder = folder_of(self._data, video.id)
        try:
            self._make(maker, video, folder)
        except Lost:
            log.info("%s is no longer wanted", video.id)
            if not (folder / FILM).exists() and not self._taken_over(video):
                empty(folder)
        except MemoryError:
            self._give_up(video, folder, "out_of_memory", _TOO_MUCH)
        except Exception as error:
            full = _disk_full(error) or (isinstance(error, UserError) and free_bytes(self._data) < 2**20)
            if full:
                self._give_up(video, folder, "disk_full", "The server's disk is full; try again later.")
            elif isinstance(error, UserError):
                self._give_up(video, folder, "invalid_request", str(error))
            else:
                # The store gets a sentence, the log what its keeper needs.
                log.error("%s failed:\n%s", video.id, traceback.format_exc())
                small = "out of memory" in str(error).lower()
                self._give_up(
                    video, folder,
                    "out_of_memory" if small else "server_error",
                    _TOO_MUCH if small
                    else f"The film could not be made ({type(error).__name__}); the server's log says more.",
                )  # fmt: skip

    def _make(self, maker: Maker, video: Video, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        state = folder / STATE
        start = state if state.is_file() else None
        shown, previews, kept, steps = 0.0, video.preview, time.monotonic(), video.steps
        for event in maker.make(video.wanted, folder, start=start):
            if isinstance(event, Made):
                self._advance(video, Progress(stage="write", done=0.99, step=steps, steps=steps), previews)
                _write(folder, event)
                if self._identity is not None:
                    sign_video(folder / FILM, video.wanted, maker.served.name, self._identity)
                if not work.finish(self._store, self._name, video.id, keep=self._duty.keep):
                    raise Lost
                clear(folder)
                return
            now = time.monotonic()
            if event.preview is not None and now - shown >= PREVIEW_SECONDS:
                write_bytes(folder / PREVIEW, _preview(event.preview()))
                previews, shown = previews + 1, now
            if event.save is not None and now - kept >= self._duty.save:
                event.save(state)
                work.saved(self._store, self._name, video.id)
                kept = time.monotonic()
            steps = event.steps
            self._advance(video, event, previews)
            if self._stop.is_set():
                if event.save is not None:
                    event.save(state)
                return
        raise RuntimeError("a maker ended without a film")

    def _advance(self, video: Video, event: Progress, previews: int) -> None:
        mine = work.advance(
            self._store, self._name, video.id,
            progress=max(1, int(100 * event.done)), stage=event.stage, step=event.step, steps=event.steps,
            preview=previews,
        )  # fmt: skip
        if not mine:
            raise Lost

    def _taken_over(self, video: Video) -> bool:
        row = self._store.one("SELECT status FROM videos WHERE id = :id", {"id": video.id})
        return row is not None and row["status"] != "failed"

    def _give_up(self, video: Video, folder: Path, code: str, message: str) -> None:
        # First the disk, then the store: a full disk must have room for the sentence that says so.
        if self._taken_over(video) and not work.mine(self._store, self._name, video.id):
            return
        empty(folder)
        for pause in (0.1, 0.5, 2, 5, 0):
            try:
                work.fail(self._store, self._name, video.id, code=code, message=message, keep=self._duty.keep)
                return
            except sqlite3.OperationalError as error:
                log.warning("the store: %s", error)
                time.sleep(pause)

    def _beat(self) -> None:
        """Say that the worker lives. End the process if its film is gone and the making won't stop."""
        store = Store(self._data, durable=False)
        while True:
            with contextlib.suppress(sqlite3.OperationalError):
                work.beat(store, self._name, self._duty.lease)
                now = self._now
                if now is not None and not work.mine(store, self._name, now):
                    self._lost_since = self._lost_since or time.monotonic()
                    if self._now == now and time.monotonic() - self._lost_since > STUCK_SECONDS:
                        log.error("%s is no longer wanted, and its making does not stop", now)
                        os._exit(3)
                else:
                    self._lost_since = None
            time.sleep(self._duty.lease / 5)

    def _watch(self) -> None:
        """Stop when the server that started this worker is gone."""
        while os.read(0, 1):
            pass
        self._stop.set()
        # A server that was killed can't wait; one that drains waits and then kills.
        time.sleep(2 * STUCK_SECONDS)
        os._exit(4)


def _write(folder: Path, made: Made) -> None:
    """The film last: whoever sees it sees all."""
    from kinema.media.sheet import sprites
    from kinema.media.still import save_picture, thumbnail

    write_bytes(folder / THUMBNAIL, thumbnail(made.frames[len(made.frames) // 2], longest=512))
    save_picture(folder / SPRITES, sprites(made.frames).image)
    made.write(folder / FILM)


def _preview(frames: np.ndarray) -> bytes:
    """The middle frame, enlarged so that a page can show it as it is."""
    from kinema.media.still import resized, thumbnail

    image = frames[len(frames) // 2]
    scale = max(1, 128 // max(image.shape[:2]))
    return thumbnail(resized(image, (image.shape[1] * scale, image.shape[0] * scale)))


def _disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def main() -> None:
    """`python -m kinema.serve.worker DUTY`, the duty in JSON."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        if len(sys.argv) != 2:
            raise UserError("a worker is started with: kinema work --data DIR")
        worker = Worker(from_json(Duty, sys.argv[1], what="the worker's duty"))
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: worker.stop())
        worker.run()
    except UserError as error:
        print(f"kinema: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
