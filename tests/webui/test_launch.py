"""The launcher: it starts a server, starts it again when it dies, and says what is wrong when it can't."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from kinema.errors import UserError
from kinema.webui import launch

# A stand-in for `kinema serve`: it answers every path, and ends when /die is asked for.
SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(9)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass
with open(sys.argv[2], "a") as file:
    file.write(f"{os.getpid()}\\n")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
LAUNCHER = """
import signal, sys
from kinema.webui import launch
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
launch.keep_running(sys.argv[2:], port=int(sys.argv[1]), announce=lambda: print("ready", flush=True))
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_killed_server_is_started_again_on_the_same_port(tmp_path):
    port, pids = free_port(), tmp_path / "pids"
    server = [sys.executable, "-c", SERVER, str(port), str(pids)]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(port), *server], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    first = int(pids.read_text())
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(pids.read_text().split()) == 2 and launch._answers(port))
    second = int(pids.read_text().split()[1])
    assert second != first
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output == ""  # the page is announced once
    assert "the server has ended (signal 9); starting it again" in errors
    wait_until(lambda: not is_alive(second))


def test_reason_of_a_server_that_does_not_start_is_its_own_line():
    code = "import sys; print('kinema: the folder is full', file=sys.stderr); sys.exit(2)"
    with pytest.raises(UserError, match=r"^the folder is full$"):
        launch.keep_running([sys.executable, "-c", code], port=free_port(), announce=lambda: None)


def test_server_that_dies_again_and_again_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "RESTART_DELAY_S", 0.0)
    port = free_port()
    announced = []

    def kill_server():
        announced.append(True)
        threading.Thread(target=kill_all, daemon=True).start()

    def kill_all():
        import http.client

        for _ in range(2000):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
                connection.request("GET", "/die")
                connection.getresponse()
            except OSError:
                time.sleep(0.01)
            except http.client.HTTPException:
                pass

    with pytest.raises(UserError, match="ended 4 times in a row"):
        launch.keep_running(
            [sys.executable, "-c", SERVER, str(port), str(tmp_path / "pids")], port=port, announce=kill_server
        )
    assert announced == [True]


def test_default_port_that_is_taken_is_replaced_and_a_chosen_one_is_not(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        monkeypatch.setattr(launch, "DEFAULT_PORT", port)
        assert launch._choose_port(None) not in (0, port)
        with pytest.raises(UserError, match="choose another --port"):
            launch._choose_port(port)


def test_data_folder_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if sys.platform.startswith("linux"):
        assert launch.data_folder() == tmp_path / "kinema-studio"


def test_videos_of_the_studio_stay(tmp_path, monkeypatch):
    """The settings that the launcher writes are settings of the server."""
    from kinema.server.settings import load_settings

    written = {}

    def remember(command, *, port, announce):
        settings = command[command.index("--settings") + 1]
        written["settings"] = load_settings(launch.Path(settings), data_dir=tmp_path)
        written["command"] = command

    monkeypatch.setattr(launch, "keep_running", remember)
    monkeypatch.setattr(launch.signal, "signal", lambda *_: None)
    launch.run_studio(port=0, data=tmp_path, model="testcard", device="cpu", open_browser=False)
    assert written["settings"].studio
    assert written["settings"].retention_s > 50 * 365 * 86400
    assert "--model" in written["command"]
