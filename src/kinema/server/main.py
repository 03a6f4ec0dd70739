"""`kinema serve`: listen, print the address, and shut down in good order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import cast

import uvicorn

from kinema.atomic_io import require_readable
from kinema.errors import UserError
from kinema.provenance.certificates import load_identity
from kinema.server.app import create_app
from kinema.server.connections import Connections, LimitedProtocol, max_connections
from kinema.server.data_dir import ensure_data_dir, lock_for_server
from kinema.server.quiet_log import RepeatFilter
from kinema.server.settings import Settings

log = logging.getLogger("kinema.server")

_ACCEPT_BATCH = 32
"""Connections that asyncio accepts before they are counted; more would use up the file descriptors."""
_LISTEN_BACKLOG = 2048
"""Connections that the system keeps until they are accepted."""
SHUTDOWN_TIMEOUT_S = 5
"""Time that open downloads have when the server shuts down."""
SWITCH_INTERVAL_S = 0.001
"""How long a thread of Python waits for another one; with the default of 5 ms each step of a request that a
thread does for the event loop would wait so long where the loop is busy."""
KEEP_ALIVE_TIMEOUT_S = 75
"""Idle connections are closed after this time, which is longer than clients and proxies keep theirs."""


class _UvicornServer(uvicorn.Server):
    """Ends event streams first: at shutdown they would wait for videos that no worker generates."""

    def __init__(self, config: uvicorn.Config, draining: asyncio.Event, drain_s: float) -> None:
        super().__init__(config)
        self._draining, self._drain_s = draining, drain_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen. asyncio uses one number for its batches and for the system's queue."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_LISTEN_BACKLOG)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called at SIGTERM and SIGINT. The first one begins the time that a load balancer has."""
        if not self._draining.is_set() and self._drain_s > 0 and sig == signal.SIGTERM:
            log.info("draining for %g seconds", self._drain_s)
            timer = threading.Timer(self._drain_s, super().handle_exit, (sig, None))
            timer.daemon = True
            timer.start()
        else:
            super().handle_exit(sig, frame)
        self._draining.set()


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        UserError: the address or the data folder can't be used.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for name in ("httpx", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for handler in logging.getLogger().handlers:
        handler.addFilter(RepeatFilter())
    folder = ensure_data_dir(settings.data_dir)
    if settings.sign:
        # Workers check it too, but the server would survive workers that can't start.
        load_identity(settings.certificate, settings.certificate_key)
    for lora in settings.loras:
        require_readable(lora.path.expanduser())
    open_connections = Connections(
        max_total=max_connections(settings.limits),
        max_per_address=settings.limits.max_connections_per_address,
    )
    with lock_for_server(folder), _open_listener(settings.host, settings.port) as listener:
        app = create_app(settings)
        host, port = listener.getsockname()[:2]
        shown_host = f"[{host}]" if ":" in host else host
        print(
            f"kinema: serving {settings.model} on http://{shown_host}:{port}/v1 "
            f"({len(settings.api_keys)} API keys, videos in {folder}); ready when /readyz answers 200",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        protocol = functools.partial(LimitedProtocol, open_connections=open_connections)
        config = uvicorn.Config(
            app,
            http=cast(type[asyncio.Protocol], protocol),  # uvicorn only calls it.
            loop="asyncio",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
            backlog=_ACCEPT_BATCH,
            h11_max_incomplete_event_size=64 * 1024,
        )
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        # uvicorn raises the signal again after its shutdown, which is then complete.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        _UvicornServer(config, app.state.server.draining, settings.drain_s).run(sockets=[listener])


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
