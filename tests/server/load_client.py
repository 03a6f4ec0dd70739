"""Clients of the load test, as processes of their own: plain sockets, which take little of the processor.

`python load_client.py hold PORT` keeps idle, silent and slow connections open until it is ended.
`python load_client.py create PORT` makes videos, asks for /healthz meanwhile, and prints what it saw as JSON.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import selectors
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

NUM_CLIENTS, NUM_CREATES = 40, 1000
PERIOD_S = 60.0
PROBE_INTERVAL_S = 0.1
TRICKLE_INTERVAL_S = 5.0
REOPEN_AFTER_S = 10.0
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
SLOW_BODY = (
    b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
    b"Content-Type: application/json\r\n\r\n{"
)
OTHERS = (
    (500, HEALTH + b"\r\n", b""),
    (1100, b"", b""),
    (40, HEALTH, b"x: y\r\n"),
    (40, SLOW_BODY, b" "),
)
"""Number, what a connection sends at first, and what it sends from time to time."""


class Loop:
    """Calls functions at their times, and when sockets can be read."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, function))

    def watch(self, sock: socket.socket, function: Callable[[], None]) -> None:
        self._selector.register(sock, selectors.EVENT_READ, function)

    def close(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        sock.close()

    def run(self, is_done: Callable[[], bool]) -> None:
        while not is_done():
            wait = max(0.0, self._timers[0][0] - time.perf_counter()) if self._timers else None
            for key, _ in self._selector.select(wait):
                key.data()
            while self._timers and self._timers[0][0] <= time.perf_counter():
                heapq.heappop(self._timers)[2]()


class OpenConnection:
    """A connection that is opened again whenever the server closes it."""

    def __init__(self, loop: Loop, port: int, data: bytes, trickle: bytes) -> None:
        self._loop, self._port, self._data, self._trickle = loop, port, data, trickle
        self._socket: socket.socket | None = None

    def open(self) -> None:
        try:
            self._socket = socket.create_connection(("127.0.0.1", self._port), 30)
            self._socket.sendall(self._data)
        except OSError:
            self._loop.call_at(time.perf_counter() + REOPEN_AFTER_S, self.open)
            return
        self._socket.setblocking(False)
        self._loop.watch(self._socket, self._read)
        if self._trickle:
            self._loop.call_at(time.perf_counter() + TRICKLE_INTERVAL_S, self._send)

    def _send(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(self._trickle)
            self._loop.call_at(time.perf_counter() + TRICKLE_INTERVAL_S, self._send)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                if self._socket.recv(2**16):
                    return
            except ConnectionError:
                pass
            self._loop.close(self._socket)
            self._socket = None
            self._loop.call_at(time.perf_counter() + REOPEN_AFTER_S, self.open)


def hold(port: int) -> None:
    loop = Loop()
    start, number = time.perf_counter(), 0
    for count, data, trickle in OTHERS:
        for _ in range(count):
            number += 1
            # All of them within three seconds.
            loop.call_at(start + number * 0.0018, OpenConnection(loop, port, data, trickle).open)
    loop.run(lambda: False)


@dataclass(kw_only=True)
class Client:
    """Sends requests on one connection, one after the other, each at its time or after the one before.

    A connection that the server has closed between two requests is opened again; the request is sent again
    too, with the same Idempotency-Key.
    """

    loop: Loop
    port: int
    requests: list[tuple[float, bytes]]
    seconds: list[float] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    retries: int = 0
    _socket: socket.socket | None = None
    _begin: float = 0.0
    _answer: bytes = b""

    def start(self) -> None:
        self.loop.call_at(self.requests[0][0], self._begin_request)

    def _begin_request(self) -> None:
        self._begin = time.perf_counter()
        self._send()

    def _send(self) -> None:
        self._answer = b""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self.port), 30)
                self._socket.setblocking(False)
                self.loop.watch(self._socket, self._read)
            self._socket.sendall(self.requests[0][1])
        except ConnectionError:
            self._reopen()

    def _reopen(self) -> None:
        if self._socket is not None:
            self.loop.close(self._socket)
            self._socket = None
        self.retries += 1
        self.loop.call_at(time.perf_counter() + 0.001, self._send)

    def _read(self) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):
            data = self._socket.recv(2**16)
        if not data:
            if self._begin:
                self._reopen()
            else:
                self.loop.close(self._socket)
                self._socket = None
            return
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(length):
            return
        self.seconds.append(time.perf_counter() - self._begin)
        self.answers.append(self._answer)
        self._begin = 0.0
        del self.requests[0]
        if self.requests:
            self.loop.call_at(max(self.requests[0][0], time.perf_counter()), self._begin_request)


def create_request(client: int, number: int) -> bytes:
    body = json.dumps({"prompt": f"client {client}", "num_inference_steps": 1, "seconds": "1"}).encode()
    return (
        b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Idempotency-Key: %d-%d\r\nContent-Length: %d\r\n\r\n%s" % (client, number, len(body), body)
    )


def create(port: int) -> None:
    loop, start, each = Loop(), time.perf_counter() + 0.5, NUM_CREATES // NUM_CLIENTS
    clients = []
    for client in range(NUM_CLIENTS):
        times = [start + (number + client / NUM_CLIENTS) * PERIOD_S / each for number in range(each)]
        requests = [(when, create_request(client, number)) for number, when in enumerate(times)]
        clients.append(Client(loop=loop, port=port, requests=requests))
    num_probes = int(PERIOD_S / PROBE_INTERVAL_S)
    probes = [(start + n * PROBE_INTERVAL_S, HEALTH + b"\r\n") for n in range(num_probes)]
    prober = Client(loop=loop, port=port, requests=probes)
    for client in (*clients, prober):
        client.start()
    loop.run(lambda: not any(client.requests for client in (*clients, prober)))
    answers = [answer for client in clients for answer in client.answers]
    bad = [answer.decode() for answer in (*answers, *prober.answers) if b" 200 " not in answer[:20]]
    json.dump(
        {
            "ids": [json.loads(answer.partition(b"\r\n\r\n")[2]).get("id") for answer in answers],
            "seconds": [second for client in clients for second in client.seconds],
            "probe_seconds": prober.seconds,
            "retries": sum(client.retries for client in clients),
            "cpu_s": time.process_time(),
            "bad": bad[:3],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    {"hold": hold, "create": create}[sys.argv[1]](int(sys.argv[2]))
