"""The built page: up to date with its sources, served with safe headers, and without other hosts."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from kinema.server.app import create_app
from kinema.server.routes.studio import static_dir
from kinema.server.settings import Settings, parse_keys

REPOSITORY = Path(__file__).parents[2]
SOURCES = REPOSITORY / "webui"
KEY = "test-key-0123456789abcdef"


def source_digest():
    """As webui/manifest.mjs computes it."""
    top = [
        "index.html", "manifest.mjs", "package-lock.json", "package.json", "svelte.config.js",
        "tsconfig.json", "vite.config.ts",
    ]  # fmt: skip
    paths = [SOURCES / name for name in top]
    paths += [
        path for folder in ("src", "public") for path in (SOURCES / folder).rglob("*") if path.is_file()
    ]
    digest = hashlib.sha256()
    for name in sorted(path.relative_to(SOURCES).as_posix() for path in paths):
        content = (SOURCES / name).read_bytes()
        digest.update(f"{name}\n{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), model="testcard", workers=0, studio=True)
    # No lifespan: neither workers nor deliveries are needed for files.
    return TestClient(create_app(settings), base_url="http://127.0.0.1:8000")


def test_built_files_are_of_these_sources():
    manifest = json.loads((static_dir() / "manifest.json").read_text())
    assert manifest["sources"] == source_digest(), "build the page again: make webui"


def test_lock_file_names_no_registry():
    lock = json.loads((SOURCES / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    package = json.loads((SOURCES / "package.json").read_text())
    assert "dependencies" not in package
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["devDependencies"].values())


def test_page_and_its_files_are_served(client):
    page = client.get("/studio/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) >= 3
    for address in addresses:
        assert address.startswith(("/studio/", "./"))
        file = client.get("/studio/" + address.removeprefix("/studio/").removeprefix("./"))
        assert file.status_code == 200
        if "assets/" in address:
            assert "immutable" in file.headers["cache-control"]


def test_address_without_slash_leads_to_the_page(client):
    response = client.get("/studio", follow_redirects=False)
    assert response.status_code == 307
    assert response.headers["location"] == "/studio/"


def test_page_may_load_only_from_this_server(client):
    policy = client.get("/studio/").headers["content-security-policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";") if part.strip())
    assert directives["script-src"] == "'self'"
    assert directives["frame-ancestors"] == "'none'"
    for name, sources in directives.items():
        assert set(sources.split()) <= {"'self'", "'none'", "data:", "blob:", "'unsafe-inline'"}, name
    assert "'unsafe-inline'" not in directives["script-src"]


@pytest.mark.parametrize("name", ["../app.py", "%2e%2e/%2e%2e/app.py", "assets/none.js", "assets"])
def test_only_files_of_the_page_are_served(client, name):
    assert client.get(f"/studio/{name}").status_code == 404


def test_built_files_refer_to_no_other_host():
    allowed = ("http://www.w3.org/", "https://svelte.dev/e/")
    for path in static_dir().rglob("*"):
        if path.suffix in (".js", ".css", ".html", ".svg"):
            for address in re.findall(r"https?://[\w./-]+", path.read_text(encoding="utf-8")):
                assert address.startswith(allowed), (path.name, address)


def test_server_with_keys_shows_the_page_to_anybody_and_videos_to_nobody(tmp_path):
    settings = Settings(
        data_dir=tmp_path, model="testcard", workers=0, studio=True, api_keys=parse_keys(KEY), host="0.0.0.0"
    )
    client = TestClient(create_app(settings), base_url="http://example.test")
    assert client.get("/studio/").status_code == 200
    assert client.get("/v1/videos").status_code == 401
    assert client.get("/v1/videos", headers={"authorization": f"Bearer {KEY}"}).status_code == 200


def test_server_without_the_studio_has_no_page(tmp_path):
    client = TestClient(
        create_app(Settings(data_dir=tmp_path, model="testcard", workers=0)), base_url="http://127.0.0.1:8000"
    )
    assert client.get("/studio/").status_code == 404
