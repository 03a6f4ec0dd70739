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
from kinema.provenance.certificates import load_identity
from kinema.server.app import KinemaApp, create_app
from kinema.server.settings import Settings, ensure_data_dir

SHUTDOWN_TIMEOUT_S = 5
"""In which downloads may end when the server does."""
KEEP_ALIVE_TIMEOUT_S = 75
"""After which a connection without requests is closed: longer than clients and proxies keep theirs."""


class _UvicornServer(uvicorn.Server):
    """Ends event streams first: they would wait for films that nobody makes any more."""

    def __init__(self, config: uvicorn.Config, kinema_app: KinemaApp) -> None:
        super().__init__(config)
        self._kinema_app = kinema_app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called at SIGTERM and SIGINT."""
        self._kinema_app.state.draining.set()
        super().handle_exit(sig, frame)


def serve(settings: Settings) -> None:
    """Serve until told to stop.

    Raises:
        UserError: the address or the data folder can't be used.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for chatty in ("httpx", "python_multipart"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    folder = ensure_data_dir(settings.data_dir)
    if settings.sign:
        # Here too, because the server outlives workers that can't begin.
        load_identity(settings.certificate, settings.certificate_key)
    with _lock_data_dir(folder), _open_listener(settings.host, settings.port) as listener:
        made = create_app(settings)
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
            timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
            backlog=2048,
            h11_max_incomplete_event_size=64 * 1024,
        )
        # uvicorn raises the signal once more when it has ended: that is then an end in good order.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        _UvicornServer(config, made).run(sockets=[listener])


@contextlib.contextmanager
def _lock_data_dir(data_dir: Path) -> Iterator[None]:
    """Hold the data folder: two servers would take each other's workers for dead."""
    try:
        import fcntl
    except ImportError:  # not on this system; two servers are then the operator's own fault
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
