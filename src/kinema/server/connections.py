"""Open connections: limits in all and for each address, and deadlines for clients that are silent or slow.

A client needs no key to open a connection. Connections without a request in progress are idle. Where a limit
is reached, the connection that has been idle for longest is closed for a new one; only where all are busy,
the new one is refused. So clients that only hold connections open can't keep out those that send requests.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections import Counter, OrderedDict
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from kinema.errors import UserError
from kinema.server.settings import Limits

log = logging.getLogger("kinema.server")

HEADER_TIMEOUT_S = 15.0
"""Time from the beginning of a connection, or of a later request, to the end of the request's headers."""
WRITE_STALL_TIMEOUT_S = 60.0
"""Time for which a client may take nothing of a response that waits for it."""
RESERVED_FILES = 256
"""File descriptors for everything but connections: the database, uploads, child processes, logs."""
_FILES_PER_CONNECTION = 2
"""A connection that downloads a video has its file open."""
_MIN_CONNECTIONS = 32


class Connections:
    """The open connections of a server.

    Args:
        max_total: limit in all.
        max_per_address: limit for each client address.
    """

    def __init__(self, *, max_total: int, max_per_address: int) -> None:
        self.max_total, self.max_per_address = max_total, max_per_address
        self._open: Counter[str] = Counter()
        self._idle: OrderedDict[LimitedProtocol, str] = OrderedDict()

    @property
    def total(self) -> int:
        """Number of open connections."""
        return self._open.total()

    def add(self, connection: LimitedProtocol, address: str) -> bool:
        """Add a connection, which is idle; others may be closed for it. False if there is no place."""
        if self._open[address] >= self.max_per_address and not self._close_idle(address):
            return False
        if self.total >= self.max_total and not self._close_idle(None):
            return False
        self._open[address] += 1
        self._idle[connection] = address
        return True

    def remove(self, connection: LimitedProtocol, address: str) -> None:
        """A connection has ended."""
        self._idle.pop(connection, None)
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def set_busy(self, connection: LimitedProtocol) -> None:
        """A request has begun."""
        self._idle.pop(connection, None)

    def set_idle(self, connection: LimitedProtocol, address: str) -> None:
        """A response is complete."""
        self._idle[connection] = address

    def _close_idle(self, address: str | None) -> bool:
        """Close the connection that has been idle for longest; whether there was one."""
        for connection, other in self._idle.items():
            if address in (None, other):
                connection.end()
                return True
        return False


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 with the limits of `Connections`, and with deadlines."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        open_connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._open_connections = open_connections
        self._address = ""
        self._is_counted = False
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Count the connection, or refuse it."""
        super().connection_made(transport)
        self._address = address_group(self.client[0] if self.client else "")
        self._is_counted = self._open_connections.add(self, self._address)
        if self._is_counted:
            self._start_header_timer()
        else:
            self._answer(503, "The server has too many connections; try again.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timers()
        self._uncount()
        super().connection_lost(exc)

    def end(self) -> None:
        """Close the connection without waiting for the client."""
        self._stop_timers()
        self._uncount()
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            # Unlike `abort`, this loses no response that the client has not read yet.
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Data of a request, complete or not."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_busy:
            self._cancel_header_timer()
            self._open_connections.set_busy(self)
        elif self._header_timer is None and not self.transport.is_closing():
            self._start_header_timer()

    def on_response_complete(self) -> None:
        """The connection is idle, unless the next request has arrived already."""
        super().on_response_complete()
        if self._is_counted and not self._is_busy:
            self._open_connections.set_idle(self, self._address)

    def pause_writing(self) -> None:
        """The client is slower than the response."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_STALL_TIMEOUT_S, self.end)

    def resume_writing(self) -> None:
        """The client has taken what was sent."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP; where a response has begun already, close the connection."""
        self._answer(400, msg)

    @property
    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_header_timer(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_TIMEOUT_S, self.end)

    def _cancel_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_timers(self) -> None:
        self._cancel_header_timer()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _uncount(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self._open_connections.remove(self, self._address)

    def _answer(self, status: int, message: str) -> None:
        """Send an error in the API's form, without the application, and close."""
        error = {"message": message, "type": "invalid_request_error", "param": "connection", "code": None}
        body = json.dumps({"error": error}).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        try:
            for event in (
                h11.Response(status_code=status, headers=headers, reason=b""),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            self.end()
            return
        self.transport.close()


def address_group(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 network that an IPv6 client can choose from."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))


def max_connections(limits: Limits) -> int:
    """How many connections the file descriptors allow, up to the limit; the soft limit is raised if possible.

    Raises:
        UserError: the system allows too few open files.
    """
    try:
        import resource
    except ImportError:  # This system has no such limit.
        return limits.max_connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    required = limits.max_connections * _FILES_PER_CONNECTION + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < required:
        soft = required if hard == resource.RLIM_INFINITY else min(required, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return limits.max_connections
    possible = (soft - RESERVED_FILES) // _FILES_PER_CONNECTION
    if possible < _MIN_CONNECTIONS:
        raise UserError(
            f"this system allows {soft} open files, too few for a server; raise the limit: ulimit -n 4096"
        )
    if possible < limits.max_connections:
        log.warning(
            "%d open files are allowed, enough for %d connections; for %d raise the limit: ulimit -n %d",
            soft, possible, limits.max_connections, required,
        )  # fmt: skip
    return min(limits.max_connections, possible)
