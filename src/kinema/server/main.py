"""`kinema serve`: listen, print the address, and shut down in good order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import uvicorn

from kinema.errors import UserError
from kinema.provenance.certificates import load_identity
from kinema.server.app import create_app
from kinema.server.settings import Settings, ensure_data_dir

SHUTDOWN_TIMEOUT_S = 5
"""Time that open downloads have when the server shuts down."""
KEEP_ALIVE_TIMEOUT_S = 75
"""Idle connections are closed after this time, which is longer than clients and proxies keep theirs."""


class _UvicornServer(uvicorn.Server):
    """Ends event streams first: at shutdown they would wait for videos that no worker generates."""

    def __init__(self, config: uvicorn.Config, draining: asyncio.Event) -> None:
        super().__init__(config)
        self._draining = draining

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called at SIGTERM and SIGINT."""
        self._draining.set()
        super().handle_exit(sig, frame)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        UserError: the address or the data folder can't be used.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for name in ("httpx", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)
    folder = ensure_data_dir(settings.data_dir)
    if settings.sign:
        # Workers check it too, but the server would survive workers that can't start.
        load_identity(settings.certificate, settings.certificate_key)
    with _lock_data_dir(folder), _open_listener(settings.host, settings.port) as listener:
        app = create_app(settings)
        host, port = listener.getsockname()[:2]
        shown_host = f"[{host}]" if ":" in host else host
        print(
            f"kinema: serving {settings.model} on http://{shown_host}:{port}/v1 "
            f"({len(settings.api_keys)} API keys, videos in {folder}); ready when /healthz answers 200",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
            backlog=2048,
            h11_max_incomplete_event_size=64 * 1024,
        )
        # uvicorn raises the signal again after its shutdown, which is then complete.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        _UvicornServer(config, app.state.server.draining).run(sockets=[listener])


@contextlib.contextmanager
def _lock_data_dir(data_dir: Path) -> Iterator[None]:
    """Lock the data folder: two servers would declare each other's workers dead."""
    try:
        import fcntl
    except ImportError:  # This system has no file locks; the operator must not start two servers.
        yield
        return
    with (data_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another server uses {data_dir}; give another --data, or add workers with --workers"
            ) from None
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def _open_listener(host: str, port: int) -> Iterator[socket.socket]:
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((name, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"can't listen on {host}:{port}: {error}; choose another --port or --host"
            ) from None
        yield listener
