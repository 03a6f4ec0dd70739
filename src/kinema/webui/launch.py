"""`kinema studio`: the API's server with the page, as a child process that is started again when it dies."""

from __future__ import annotations

import collections
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path

from kinema.errors import UserError

DEFAULT_PORT = 7860
STARTUP_TIMEOUT_S = 60.0
"""Time within which a started server must answer; its model may be loaded later."""
QUICK_END_S = 10.0
"""A server that ends sooner than this after its start has a lasting reason."""
MAX_QUICK_ENDS = 4
RESTART_DELAY_S = 0.5
STOP_TIMEOUT_S = 30.0
RETENTION_S = 100 * 365 * 86400
"""Videos of the studio stay until their user deletes them."""


def data_folder() -> Path:
    """The studio's own data folder of this user, where applications of this system keep theirs."""
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "kinema-studio"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "kinema-studio"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "kinema-studio"


def run_studio(
    *, port: int | None, data: Path, model: str, device: str, open_browser: bool, page: str = ""
) -> None:
    """Show the studio on this machine until SIGTERM or Ctrl-C.

    Args:
        port: of the page; None takes 7860, or a free one where that is taken; 0 takes a free one.
        data: folder of the videos and the queue.
        model: the model to serve.
        device: its device.
        open_browser: whether to open the page in the user's browser.
        page: which view of the page, as the end of its address.

    Raises:
        UserError: the port is taken, or the server does not start; the message is its last line.
    """
    # SIGTERM ends the process like Ctrl-C, so that the server ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = _choose_port(port)
    address = f"http://127.0.0.1:{port}/studio/{page}"

    def announce() -> None:
        print(
            f"kinema: the studio is at {address} (videos in {data}); Ctrl-C ends it",
            file=sys.stderr,
            flush=True,
        )
        if open_browser:
            webbrowser.open(address)

    with tempfile.TemporaryDirectory(prefix="kinema-studio-") as folder:
        settings = Path(folder) / "studio.toml"
        settings.write_text(f"studio = true\nretention_s = {RETENTION_S}\n", encoding="utf-8")
        command = [
            sys.executable, "-m", "kinema", "serve", "--port", str(port), "--data", str(data),
            "--model", model, "--device", device, "--settings", str(settings),
        ]  # fmt: skip
        keep_running(command, port=port, announce=announce)


def keep_running(command: list[str], *, port: int, announce: Callable[[], None]) -> None:
    """Run a server, and start it again whenever it ends, until this process gets a signal to end.

    Args:
        command: starts the server.
        port: on which it answers `/healthz`.
        announce: called when it answers for the first time.

    Raises:
        UserError: it does not start, or ends again and again right after its start.
    """
    is_announced, quick_ends = False, 0
    while True:
        started_at = time.monotonic()
        with _child(command) as (process, last_lines):
            if _wait_until_ready(process, port) and not is_announced:
                announce()
                is_announced = True
            code = process.wait()
        if code == 2 or not is_announced:
            raise UserError(_reason(last_lines, code))
        quick_ends = quick_ends + 1 if time.monotonic() - started_at < QUICK_END_S else 0
        if quick_ends >= MAX_QUICK_ENDS:
            raise UserError(f"the server ended {quick_ends} times in a row: {_reason(last_lines, code)}")
        print(
            f"kinema: the server has ended ({_describe(code)}); starting it again",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(RESTART_DELAY_S * 2**quick_ends)


@contextlib.contextmanager
def _child(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], collections.deque[str]]]:
    """A process whose standard error is passed on; it ends with the block."""
    # The server listens on this machine only and needs no keys; KINEMA_API_KEYS belongs to another server.
    environment = {name: value for name, value in os.environ.items() if name != "KINEMA_API_KEYS"}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    last_lines: collections.deque[str] = collections.deque(maxlen=20)
    reader = threading.Thread(target=_forward_stderr, args=(process, last_lines), daemon=True)
    reader.start()
    try:
        yield process, last_lines
        reader.join(5)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _forward_stderr(process: subprocess.Popen[str], last_lines: collections.deque[str]) -> None:
    if process.stderr is None:
        return
    with process.stderr as lines:
        for line in lines:
            last_lines.append(line.rstrip())
            # The studio says where the page is; the server's own address line would be another one.
            if "kinema: serving" not in line:
                sys.stderr.write(line)


def _wait_until_ready(process: subprocess.Popen[str], port: int) -> bool:
    deadline = time.monotonic() + STARTUP_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(port):
            return True
        time.sleep(0.1)
    return False


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/studio/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reason(last_lines: collections.deque[str], code: int) -> str:
    errors = [line.removeprefix("kinema: ") for line in last_lines if line.startswith("kinema: ")]
    errors = [line for line in errors if not line.startswith("serving")]
    return errors[-1] if errors else f"the server has ended ({_describe(code)}); its output is above"


def _describe(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _choose_port(port: int | None) -> int:
    if port is None:
        try:
            return _free_port(DEFAULT_PORT)
        except UserError:
            return _free_port(0)
    return _free_port(port)


def _free_port(port: int) -> int:
    """The port, if nobody listens on it; 0 stands for any.

    Raises:
        UserError: it is taken, or there is no such port.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise UserError(f"can't listen on port {port}: {error}; choose another --port") from None
        return int(listener.getsockname()[1])
