"""Start the page, and a server if no address of one is given."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Generator
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

from kinema.errors import UserError
from kinema.webui.client import Client

STARTUP_TIMEOUT = 180.0
"""Seconds within which a started server must answer; large models load slowly."""


def create_app(client: Client, folder: Path) -> FastAPI:
    """The page as an ASGI application.

    Raises:
        UserError: the server does not answer.
    """
    with warnings.catch_warnings():
        # Warnings of the libraries of gradio, which a user of the page can't act on.
        warnings.simplefilter("ignore")
        import gradio as gr

        from kinema.webui.app import CSS, THEME, build_app

        blocks = build_app(client, folder)
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        return gr.mount_gradio_app(
            app, blocks, path="/", theme=THEME, css=CSS, footer_links=[], ssr_mode=False,
            allowed_paths=[str(folder)], show_error=True,
        )  # fmt: skip


def serve_ui(server: str | None, *, key: str | None, port: int, data: Path, model: str, device: str) -> None:
    """Serve the page on this machine until SIGTERM or Ctrl-C.

    Args:
        server: address of a running server; None starts one, which ends with the page.
        key: API key of that server, if it needs one.
        port: port of the page; 0 takes a free one.
        data: folder of the started server.
        model: model of the started server.
        device: device of the started server.

    Raises:
        UserError: the port is taken, or the server can't be reached or started.
    """
    # SIGTERM ends the process like Ctrl-C, so that the started server ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(port))
        if server is None:
            print("kinema: starting a server ...", file=sys.stderr, flush=True)
            server = stack.enter_context(start_server(data=data, model=model, device=device))
        client = stack.enter_context(Client(server, key=key))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kinema-studio-")))
        app = create_app(client, folder)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        print(
            f"kinema: the studio is at {address}, the server at {client.server}",
            file=sys.stderr,
            flush=True,
        )
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def start_server(*, data: Path, model: str, device: str) -> Generator[str]:
    """Run a server in a separate process while the block runs; yields its address.

    Raises:
        UserError: it ended, or did not answer in time; the message is its last line.
    """
    with _listen(0) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "kinema", "serve", "--port", str(port), "--data", str(data),
        "--model", model, "--device", device,
    ]  # fmt: skip
    # It listens on this machine only and needs no keys; KINEMA_API_KEYS belongs to another server.
    environment = {name: value for name, value in os.environ.items() if name != "KINEMA_API_KEYS"}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    last_lines: collections.deque[str] = collections.deque(maxlen=20)
    reader = threading.Thread(target=_forward_stderr, args=(process, last_lines), daemon=True)
    reader.start()
    try:
        _wait_until_ready(process, address, reader, last_lines)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(
    process: subprocess.Popen[str], address: str, reader: threading.Thread, last_lines: collections.deque[str]
) -> None:
    deadline = time.monotonic() + STARTUP_TIMEOUT
    with httpx.Client(base_url=address, timeout=2, trust_env=False) as http:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                reader.join(5)
                errors = [line.removeprefix("kinema: ") for line in last_lines if line.startswith("kinema: ")]
                reason = errors[-1] if errors else "see its output above"
                raise UserError(f"the server ended before it was ready: {reason}")
            with contextlib.suppress(httpx.HTTPError):
                if http.get("/healthz").status_code == 200:
                    return
            time.sleep(0.2)
    raise UserError(
        f"the server was not ready within {STARTUP_TIMEOUT:g} seconds; start it alone with: kinema serve"
    )


def _forward_stderr(process: subprocess.Popen[str], last_lines: collections.deque[str]) -> None:
    """Copy the stderr of the server to ours, and keep its last lines."""
    if process.stderr is not None:
        for line in process.stderr:
            last_lines.append(line.rstrip())
            sys.stderr.write(line)


@contextlib.contextmanager
def _listen(port: int) -> Generator[socket.socket]:
    """A socket that listens on this machine only."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise UserError(f"can't listen on port {port}: {error}; choose another --port") from None
        yield listener
