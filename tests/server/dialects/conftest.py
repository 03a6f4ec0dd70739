"""A server process with API keys and large frames, shared by the tests of the clients."""

from __future__ import annotations

import pytest

from tests.fixtures import server
from tests.fixtures.server import ALICE, BOB


@pytest.fixture(scope="package")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    settings = folder / "settings.toml"
    settings.write_text(
        'callback_hosts = ["hooks.example.org"]\nstudio = true\n[limits]\nmax_frame_pixels = 1000000\n'
    )
    keys = {"KINEMA_API_KEYS": f"alice:{ALICE},bob:{BOB}"}
    with server.running_server(folder / "data", "--settings", str(settings), env=keys) as process:
        yield process


@pytest.fixture(scope="package")
def host(running):
    """Scheme, host and port."""
    return running.url.removesuffix("/v1")
