"""A server of its own process, and one in this process, for the tests of `kinema.serve`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import kinema
from kinema.serve.app import App, app
from kinema.serve.settings import Limits, Settings
from kinema.serve.worker import Duty, Worker

ALICE, BOB = "sk-alice-0123456789", "sk-bob-0123456789"


@dataclass(kw_only=True)
class Served:
    """A running `kinema serve`."""

    url: str
    data: Path
    log: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def start(
    data: Path, *options: str, model: str = "testcard", environment: dict[str, str] | None = None
) -> Served:
    """Start one and wait until it answers."""
    log = data.with_suffix(".log")
    # Another version of the client may be on the path of the tests; the server has the code under test alone.
    plain = {**os.environ, "PYTHONPATH": str(Path(kinema.__file__).parents[1])}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "kinema",
                "serve",
                "--port",
                "0",
                "--data",
                str(data),
                "--model",
                model,
                *options,
            ],
            stderr=file,
            stdout=file,
            env={**plain, "OMP_NUM_THREADS": "1", **(environment or {})},
        )
    before = log.stat().st_size
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = re.findall(r"on (http://127\.0\.0\.1:\d+)/v1", log.read_text())
        if found and log.stat().st_size > before:
            return Served(url=f"{found[-1]}/v1", data=data, log=log, process=process)
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def join(data: Path, *options: str) -> subprocess.Popen[bytes]:
    """`kinema work`: one worker more for the server of a data folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "kinema", "work", "--data", str(data), "--model", "testcard", *options],
        env={**os.environ, "PYTHONPATH": str(Path(kinema.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def ready(url: str) -> None:
    """Wait until the server at `url` is ready."""
    import httpx

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url.removesuffix("/v1") + "/healthz").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("not ready")


@contextlib.contextmanager
def serving(data: Path, *options: str, model: str = "testcard", environment: dict[str, str] | None = None):
    """One for the length of a block, ready; ended by SIGTERM."""
    served = start(data, *options, model=model, environment=environment)
    try:
        ready(served.url)
        yield served
    finally:
        served.process.send_signal(signal.SIGTERM)
        try:
            served.process.wait(60)
        finally:
            served.process.kill()


@contextlib.contextmanager
def within(data: Path, *, work: bool = False, **settings) -> Iterator[App]:
    """A server in this process without workers of its own; with `work`, a thread makes the films."""
    limits = settings.pop("limits", Limits(free=0))
    made = app(Settings(data=data, model="testcard", workers=0, limits=limits, **settings))
    offered(made)
    if not work:
        yield made
        return
    worker = Worker(duty(data))
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        worker.stop()
        thread.join()


def duty(data: Path, **values) -> Duty:
    given = {"model": "testcard", "device": "cpu", "lease": 5.0, "tries": 3, "save": 0.0, "keep": 3600.0,
             "attached": False, **values}  # fmt: skip
    return Duty(data=str(data), **given)


def offered(made: App) -> None:
    """Tell the server what the test card can make, as a worker would."""
    from kinema.serve import work
    from kinema.serve.testcard import TestCard

    store = made.desk.store
    work.offer(store, work.enter(store), TestCard().served)


def picture(width: int = 100, height: int = 60, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def film(path: Path, frames: int = 9, size: int = 32) -> bytes:
    from kinema.media.write import write_film

    pixels = np.random.default_rng(0).integers(0, 255, (frames, size, size, 3), dtype=np.uint8)
    write_film(path, pixels, fps=8)
    return path.read_bytes()


def until(check, seconds: float = 60.0):
    """What `check` gives once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError("it never became true")
