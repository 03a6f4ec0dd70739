"""Starting the page, and a server for it where none is given."""

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
"""Seconds until a server that was started must answer; a large model takes long to read."""


def create_app(client: Client, folder: Path) -> FastAPI:
    """The page as an ASGI application.

    Raises:
        UserError: the server does not answer.
    """
    with warnings.catch_warnings():
        # Of the libraries below gradio; whoever opens a page can do nothing about them.
        warnings.simplefilter("ignore")
        import gradio as gr

        from kinema.webui.app import CSS, THEME, build_app

        blocks = build_app(client, folder)
        inner = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        return gr.mount_gradio_app(
            inner, blocks, path="/", theme=THEME, css=CSS, footer_links=[], ssr_mode=False,
            allowed_paths=[str(folder)], show_error=True,
        )  # fmt: skip


def serve_ui(server: str | None, *, key: str | None, port: int, data: Path, model: str, device: str) -> None:
    """Serve the page on this machine until told to stop.

    Args:
        server: address of a running server. None: one is started, and ends with the page.
        key: API key of that server, if it asks for one.
        port: of the page; 0 takes any that is free.
        data: folder of a server that is started here.
        model: of a server that is started here.
        device: of a server that is started here.

    Raises:
        UserError: the port is taken, or the server can't be reached or started.
    """
    # Ending as for Ctrl-C, so that the server that was started ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(port))
        if server is None:
            print("kinema: starting a server for the page ...", file=sys.stderr, flush=True)
            server = stack.enter_context(start_server(data=data, model=model, device=device))
        client = stack.enter_context(Client(server, key=key))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kinema-studio-")))
        made = create_app(client, folder)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        print(
            f"kinema: the studio is at {address} (films are made by {client.server})",
            file=sys.stderr,
            flush=True,
        )
        config = uvicorn.Config(made, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def start_server(*, data: Path, model: str, device: str) -> Generator[str]:
    """A server in a process of its own, for as long as the block lasts; its address.

    Raises:
        UserError: it ended, or did not answer in time; the message is its own last line.
    """
    with _listen(0) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "kinema", "serve", "--port", str(port), "--data", str(data),
        "--model", model, "--device", device,
    ]  # fmt: skip
    # It listens to this machine alone and needs no keys; those set for another server are not its own.
    kept = {name: value for name, value in os.environ.items() if name != "KINEMA_API_KEYS"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=kept)
    last: collections.deque[str] = collections.deque(maxlen=20)
    reader = threading.Thread(target=_forward_stderr, args=(process, last), daemon=True)
    reader.start()
    try:
        _wait_until_ready(process, address, reader, last)
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
    until = time.monotonic() + STARTUP_TIMEOUT
    with httpx.Client(base_url=address, timeout=2, trust_env=False) as http:
        while time.monotonic() < until:
            if process.poll() is not None:
                reader.join(5)
                said = [line.removeprefix("kinema: ") for line in last_lines if line.startswith("kinema: ")]
                why = said[-1] if said else "look at what it said above"
                raise UserError(f"the server ended before it was ready: {why}")
            with contextlib.suppress(httpx.HTTPError):
                if http.get("/healthz").status_code == 200:
                    return
            time.sleep(0.2)
    raise UserError(
        f"the server was not ready within {STARTUP_TIMEOUT:g} seconds; start it alone with: kinema serve"
    )


def _forward_stderr(process: subprocess.Popen[str], last_lines: collections.deque[str]) -> None:
    """Pass on what the server says, and keep the end of it."""
    if process.stderr is not None:
        for line in process.stderr:
            last_lines.append(line.rstrip())
            sys.stderr.write(line)


@contextlib.contextmanager
def _listen(port: int) -> Generator[socket.socket]:
    """A socket that only this machine reaches."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise UserError(f"can't listen on port {port}: {error}; choose another --port") from None
        yield listener
