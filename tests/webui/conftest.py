"""Fixtures of the tests in Chromium: a browser, a server with the fake backend, and pages of it."""

import pytest

from tests.webui import studio_page
from tests.webui.studio_page import PHONE, Studio, StudioServer


@pytest.fixture(scope="session")
def browser():
    pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if studio_page.CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    if not studio_page.AXE.is_file():
        pytest.skip("needs axe-core: cd webui && npm ci")
    with studio_page.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = StudioServer(tmp_path_factory.mktemp("data")).start()
    yield server
    server.stop()


@pytest.fixture
def studio(browser, server):
    server.clear()
    studio = Studio(browser, server)
    yield studio
    studio.close()
    assert studio.problems == []


@pytest.fixture
def phone(browser, server):
    server.clear()
    studio = Studio(browser, server, PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    yield studio
    studio.close()
    assert studio.problems == []
