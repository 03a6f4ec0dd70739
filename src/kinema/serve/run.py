"""`kinema serve`: listen, say where, and end in good order."""

from __future__ import annotations

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
from kinema.serve.app import App, app
from kinema.serve.settings import Settings, data_folder
from kinema.serve.signing import identity_of

STREAM_SECONDS = 5
"""In which downloads may end when the server does."""
IDLE_SECONDS = 75
"""After which a connection without requests is closed: longer than clients and proxies keep theirs."""


class _Server(uvicorn.Server):
    """Ends event streams first: they would wait for films that nobody makes any more."""

    def __init__(self, config: uvicorn.Config, served: App) -> None:
        super().__init__(config)
        self._served = served

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called at SIGTERM and SIGINT."""
        self._served.desk.draining.set()
        super().handle_exit(sig, frame)


def serve(settings: Settings) -> None:
    """Serve until told to stop.

    Raises:
        UserError: the address or the data folder can't be used.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for chatty in ("httpx", "python_multipart"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    folder = data_folder(settings.data)
    if settings.sign:
        # Here too, because the server outlives workers that can't begin.
        identity_of(settings.certificate, settings.certificate_key)
    with _alone(folder), _listening(settings.host, settings.port) as listener:
        made = app(settings)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(
            f"kinema: serving {settings.model} on http://{shown}:{port}/v1 "
            f"({len(settings.keys)} API keys, films in {folder}); ready when /healthz says ok",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        config = uvicorn.Config(
            made,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=STREAM_SECONDS,
            backlog=2048,
            h11_max_incomplete_event_size=64 * 1024,
        )
        # uvicorn raises the signal once more when it has ended: that is then an end in good order.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        _Server(config, made).run(sockets=[listener])


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the data folder: two servers would take each other's workers for dead."""
    try:
        import fcntl
    except ImportError:  # not on this system; two servers are then the operator's own fault
        yield
        return
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another server uses {folder}; give another --data, or add workers with --workers"
            ) from None
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
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
