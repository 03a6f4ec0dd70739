"""Live video over HTTP: speed, time to the first frame and to that of a changed prompt, and memory.

Beside it: the time of one video of the model's own length in a process that has loaded the model.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from benchmarks.harness import BenchRow, run_subprocess
from kinema.errors import UserError

PROMPTS = (
    "a blue cube falls down",
    "a green cone slides to the left",
    "a yellow ball bounces",
    "a red cylinder slides to the right",
    "a purple ball rolls to the left",
)
MIN_PAUSE_S, MAX_PAUSE_S = 6.0, 14.0
"""Time between two changes of the prompt; drawn between them, so that changes come anywhere in a block."""
START_TIMEOUT_S = 120.0
NUM_MORE_SESSIONS = 5
MIN_SPEED, MAX_LATENCY_S, MAX_FIRST_FRAME_S = 1.5, 1.0, 0.4
_GENERATE = """
import json, sys, time
import kinema
pipe = kinema.load(sys.argv[1])
seconds = []
for seed in range(6):
    start = time.perf_counter()
    video = pipe.generate("a red ball rolls to the right", seed=seed)
    seconds.append(time.perf_counter() - start)
print(json.dumps([len(video.frames) / video.fps, *seconds[1:]]))
"""


@dataclass(kw_only=True)
class _Watcher:
    """Reads the events of a session in a thread.

    Attributes:
        shot_at: when the first frames of each prompt came, by its number.
    """

    shot_at: dict[int, float] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def watch(self, url: str) -> None:
        """Read until the session ends."""
        with contextlib.suppress(httpx.HTTPError), httpx.stream("GET", url, timeout=60) as response:
            name = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: ") and name == "frames":
                    self._add(json.loads(line.removeprefix("data: ")))

    def _add(self, frames: dict) -> None:
        with self.changed:
            self.shot_at.setdefault(frames["shot"], time.monotonic())
            self.changed.notify_all()

    @property
    def shot(self) -> int:
        """Number of the prompt that the last frames show; -1 before the first ones."""
        return max(self.shot_at, default=-1)

    def wait_for_shot(self, shot: int) -> float:
        """Wait for a frame after shot `shot`; when it came."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.shot > shot, START_TIMEOUT_S):
                raise UserError("no frame came; see the server's log")
            return min(at for number, at in self.shot_at.items() if number > shot)


@contextlib.contextmanager
def _running_server(model: str) -> Iterator[tuple[str, psutil.Process]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            server = subprocess.Popen(
                [sys.executable, "-m", "kinema", "serve", "--model", model, "--port", str(port),
                 "--data", f"{folder}/data"],
                stdout=file, stderr=file,
            )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"{url}/readyz").is_success:
                        break
                if server.poll() is not None or time.monotonic() > deadline:
                    raise UserError(f"the server does not start: {log.read_text()[-500:]}")
                time.sleep(0.2)
            yield f"{url}/v1", psutil.Process(server.pid)
        finally:
            server.terminate()
            server.wait()


def _largest_worker_mib(server: psutil.Process) -> float:
    sizes = [0]
    for process in server.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            sizes.append(process.memory_info().rss)
    return max(sizes) / 2**20


def _time_video(model: str) -> BenchRow:
    length_s, *seconds = json.loads(run_subprocess(_GENERATE, model).stdout.splitlines()[-1])
    return BenchRow(
        label=f"one video of {length_s:.1f} s, model in memory, median",
        ours=statistics.median(seconds),
        note=f"longest {max(seconds):.2f} s of {len(seconds)}",
    )


def _open_session(client: httpx.Client, url: str, model: str, *, seed: int) -> tuple[str, _Watcher, float]:
    """Open a session and wait for its first frame: its URL, its watcher, and the seconds waited."""
    start = time.monotonic()
    created = client.post(f"{url}/live", json={"prompt": "a red ball rolls to the right", "seed": seed})
    if created.is_error:
        raise UserError(f"{model} makes no live video: {created.json()['error']['message']}")
    session = f"{url}/live/{created.json()['id']}"
    watcher = _Watcher()
    threading.Thread(target=watcher.watch, args=(f"{session}/events",), daemon=True).start()
    return session, watcher, watcher.wait_for_shot(-1) - start


def run_benchmark(*, model: str, seconds: float) -> list[BenchRow]:
    """Watch a live video for a time, change its prompt every few seconds.

    Args:
        model: as for `kinema serve`.
        seconds: length of the session.

    Raises:
        UserError: the server does not start, or makes no frames.
    """
    pause = random.Random(0)
    latencies, speeds, memory, steps = [], [], [], []
    with _running_server(model) as (url, server), httpx.Client(timeout=60) as client:
        session, watcher, first_frame_s = _open_session(client, url, model, seed=0)
        first_at = time.monotonic()
        number = 0
        while time.monotonic() - first_at < seconds:
            time.sleep(pause.uniform(MIN_PAUSE_S, MAX_PAUSE_S))
            shot, changed_at = watcher.shot, time.monotonic()
            client.patch(session, json={"prompt": PROMPTS[number % len(PROMPTS)]}).raise_for_status()
            latencies.append(watcher.wait_for_shot(shot) - changed_at)
            state = client.get(session).json()
            speeds.append(state["speed"])
            steps.append(state["num_inference_steps"])
            memory.append(_largest_worker_mib(server))
            number += 1
        client.delete(session)
        later_s = []
        for seed in range(1, NUM_MORE_SESSIONS + 1):
            session, _, waited_s = _open_session(client, url, model, seed=seed)
            later_s.append(waited_s)
            client.delete(session)
    return [
        _time_video(model),
        BenchRow(label="first frame, first session", ours=first_frame_s),
        BenchRow(
            label="first frame, later sessions, median",
            ours=statistics.median(later_s),
            at_most=MAX_FIRST_FRAME_S,
            note=f"longest {max(later_s):.2f} s of {len(later_s)}",
        ),
        BenchRow(
            label="video over real time, median",
            ours=statistics.median(speeds),
            at_least=MIN_SPEED,
            unit="",
            note=f"lowest {min(speeds):.2f}; {min(steps)} to {max(steps)} steps",
        ),
        BenchRow(
            label="changed prompt to frame, median",
            ours=statistics.median(latencies),
            at_most=MAX_LATENCY_S,
            note=f"longest {max(latencies):.2f} s of {len(latencies)}",
        ),
        BenchRow(
            label="memory of the worker at the end",
            ours=memory[-1],
            unit="MiB",
            note=f"after the first change {memory[0]:.0f} MiB",
        ),
    ]
