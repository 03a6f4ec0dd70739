"""Silent, slow and broken connections: they end, and do not keep out clients that send requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn

from kinema.errors import UserError
from kinema.server import connections, quiet_log
from kinema.server.connections import Connections, LimitedProtocol, address_group, max_connections
from kinema.server.settings import Limits
from tests.fixtures import server
from tests.fixtures.server import wait_until
from tests.server import load_client


async def small_app(scope, receive, send):
    """Answers with the body; `/large` with more than a socket holds, `/wait` never."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more and scope["path"] != "/wait":
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    answer = b"x" * 2**25 if scope["path"] == "/large" else body or b"ok"
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@contextlib.contextmanager
def listening(*, max_total: int = 100, max_per_address: int = 100):
    """`small_app` behind `LimitedProtocol`: the port, and the open connections."""
    opened = Connections(max_total=max_total, max_per_address=max_per_address)

    def protocol(**arguments):
        return LimitedProtocol(**arguments, open_connections=opened)

    config = uvicorn.Config(
        small_app, http=protocol, ws="none", log_config=None, lifespan="off", loop="asyncio"
    )
    running = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets=[listener])), daemon=True)
        thread.start()
        wait_until(lambda: running.started)
        try:
            yield listener.getsockname()[1], opened
        finally:
            running.should_exit = running.force_exit = True
            thread.join()


@pytest.fixture
def connect():
    """A function that connects to a port and sends data; the sockets are closed after the test."""
    with contextlib.ExitStack() as stack:

        def open_socket(port: int, data: bytes = b"") -> socket.socket:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.settimeout(30)
            client.sendall(data)
            return client

        yield open_socket


def read_all(client: socket.socket) -> bytes:
    """What the server sends until it closes the connection; a reset counts as the end."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while chunk := client.recv(2**16):
            data += chunk
    return data


def read_until(client: socket.socket, end: bytes) -> bytes:
    """What the server sends, up to and with `end`."""
    data = b""
    while not data.endswith(end):
        chunk = client.recv(2**16)
        assert chunk, data
        data += chunk
    return data


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_silent_and_slow_headers_end_after_the_deadline(connect, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_TIMEOUT_S", 0.2)
    with listening() as (port, opened):
        for data in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"):
            assert read_all(connect(port, data)) == b""
        client = connect(port, GET)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET / HT")
        assert read_all(client) in (b"", b"ok")
        wait_until(lambda: opened.total == 0)
        # A request that takes longer than the deadline is not cut.
        client = connect(port, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n1")
        time.sleep(0.5)
        client.sendall(b"2")
        assert read_until(client, b"\r\n\r\n12")


def test_a_client_that_reads_nothing_is_cut(connect, monkeypatch):
    monkeypatch.setattr(connections, "WRITE_STALL_TIMEOUT_S", 0.2)
    with listening() as (port, opened):
        client = connect(port, b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: opened.total == 1)
        wait_until(lambda: opened.total == 0)
        assert len(read_all(client)) < 2**25


def test_the_connection_that_was_idle_longest_makes_room(connect):
    with listening(max_total=4) as (port, opened):
        busy = connect(port, b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        silent = [connect(port) for _ in range(3)]
        wait_until(lambda: opened.total == 4)
        more = connect(port, GET)
        assert more.recv(1000).startswith(b"HTTP/1.1 200")
        assert read_all(silent[0]) == b""
        silent[1].sendall(GET)
        assert silent[1].recv(1000).startswith(b"HTTP/1.1 200")
        assert opened.total == 4
        # Now silent[2] is the oldest; busy has a request in progress.
        for _ in range(10):
            assert read_until(connect(port, GET), b"\r\n\r\nok")
        assert opened.total == 4
        busy.settimeout(0.2)
        with pytest.raises(TimeoutError):
            busy.recv(1)


def test_a_new_connection_is_refused_where_all_are_busy(connect):
    with listening(max_total=10, max_per_address=2) as (port, opened):
        busy = [connect(port, b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in range(2)]
        wait_until(lambda: opened.total == 2 and not opened._idle)
        answer = read_all(connect(port))
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"too many connections" in answer
        busy.pop().close()
        wait_until(lambda: opened.total == 1)
        assert connect(port, GET).recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 50_000 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        GET + b"\x00\x01\x02\r\n\r\n",
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_not_http_is_a_400_and_nothing_is_logged_as_an_error(connect, data, caplog):
    with caplog.at_level(logging.ERROR), listening() as (port, opened):
        answer = read_all(connect(port, data))
        assert b"400" in answer.rpartition(b"HTTP/1.1")[2][:10] or answer == b""
        wait_until(lambda: opened.total == 0)
        assert connect(port, GET).recv(1000).startswith(b"HTTP/1.1 200")
    assert not caplog.records


def test_upgrades_to_web_sockets_are_plain_requests(connect):
    upgrade = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with listening() as (port, _):
        assert connect(port, upgrade).recv(1000).startswith(b"HTTP/1.1 200")


def test_addresses_of_one_network_count_as_one():
    assert address_group("10.0.0.1") == "10.0.0.1"
    assert address_group("::ffff:10.0.0.1") == "10.0.0.1"
    assert (
        address_group("2001:db8::1") == address_group("2001:db8::ffff:2") != address_group("2001:db8:0:1::1")
    )
    assert address_group("") == ""


def test_file_descriptors_are_checked_at_start(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    limits, calls = Limits(), []
    monkeypatch.setattr(resource, "setrlimit", lambda *arguments: calls.append(arguments))
    for soft, hard, expected in (
        (100_000, 100_000, 2048), (1024, 100_000, 2048), (1024, 1024, 384),
        (1024, resource.RLIM_INFINITY, 2048), (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 2048),
    ):  # fmt: skip
        monkeypatch.setattr(resource, "getrlimit", lambda _, pair=(soft, hard): pair)
        assert max_connections(limits) == expected
    assert calls[0][1] == (4352, 100_000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    with pytest.raises(UserError, match="ulimit -n"):
        max_connections(limits)


def test_messages_that_repeat_are_written_a_few_times_a_minute(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(quiet_log.time, "monotonic", lambda: now[0])
    filter_ = quiet_log.RepeatFilter()

    def write(text: str, *arguments: object) -> str | None:
        record = logging.LogRecord("a", logging.ERROR, "", 1, text, arguments, None)
        return record.getMessage() if filter_.filter(record) else None

    written = [write("accept failed %d", number) for number in range(1000)]
    assert sum(text is not None for text in written) == quiet_log.MAX_PER_MINUTE
    assert write("another") == "another"
    now[0] = 61.0
    assert write("accept failed %d", 5) == "accept failed 5 (and 980 such messages that were not written)"
    assert write("accept failed %d", 6) == "accept failed 6"


def serve_with_few_files(data: Path) -> server.RunningServer:
    """`kinema serve` with at most 1,024 open files."""
    command, env = server._command("serve", "--port", "0", "--data", str(data), "--model", "testcard")
    log = data.with_suffix(".log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-c", 'ulimit -n 1024; exec "$@"', "-", *command], stdout=file, stderr=file, env=env
        )
    found = wait_until(lambda: re.search(r"on (http://127\.0\.0\.1:\d+)/v1", log.read_text()), 120)
    return server.RunningServer(url=f"{found[1]}/v1", data=data, log=log, process=process)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_creates_beside_idle_silent_and_slow_connections(tmp_path):
    """Prints latencies, which are for a machine that does nothing else."""
    running = serve_with_few_files(tmp_path / "data")
    try:
        server.wait_until_ready(running.url)
        process = psutil.Process(running.process.pid)
        before = process.memory_info().rss
        port = running.url.split(":")[2].split("/")[0]
        others = subprocess.Popen([sys.executable, load_client.__file__, "hold", port])
        try:
            time.sleep(5)
            cpu_before = sum(process.cpu_times()[:2])
            command = [sys.executable, load_client.__file__, "create", port]
            seen = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            cpu_s, after = sum(process.cpu_times()[:2]) - cpu_before, process.memory_info().rss
            num_files = process.num_fds()
        finally:
            others.kill()
            others.wait()
        seconds, gaps = sorted(seen["seconds"]), sorted(seen["probe_seconds"])
        print(
            f"create: median {1e3 * seconds[500]:.0f} ms, p95 {1e3 * seconds[950]:.0f} ms, longest "
            f"{1e3 * seconds[-1]:.0f} ms; health: longest {1e3 * gaps[-1]:.0f} ms of {len(gaps)} answers"
        )
        print(f"processor time: server {cpu_s:.1f} s, client {seen['cpu_s']:.1f} s")
        print(f"memory {before >> 20} MiB, then {after >> 20} MiB; log {running.log.stat().st_size} bytes")
        print(f"open files {num_files}; creates sent again after a closed connection: {seen['retries']}")
        assert not seen["bad"]
        ids = seen["ids"]
        assert len(set(ids)) == len(ids) == 1000
        assert num_files < 1024
        assert after < before + 150 * 2**20
        assert running.log.stat().st_size < 100_000
        # Every create is in the database once.
        listed, page = [], {"data": [{"id": None}], "has_more": True}
        with httpx.Client(base_url=running.url, timeout=60) as http:
            while page["has_more"]:
                after_id = {"after": listed[-1]} if listed else {}
                page = http.get("/videos", params={"limit": 100, **after_id}).json()
                listed += [video["id"] for video in page["data"]]
        assert sorted(listed) == sorted(ids)
    finally:
        running.process.terminate()
        running.process.wait(120)
