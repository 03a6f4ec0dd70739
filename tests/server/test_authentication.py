"""Keys, sessions of browsers, the throttle of wrong keys, and requests of other web pages."""

from __future__ import annotations

import pytest
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from kinema.server import authentication, browser_session
from kinema.server.authentication import MAX_WRONG_KEYS, KeyThrottle, is_public
from kinema.server.browser_session import COOKIE_NAME, BrowserSessions
from kinema.server.errors import ApiError
from kinema.server.settings import Limits, parse_keys
from tests.fixtures import server
from tests.fixtures.server import ALICE, BOB

KEYS = parse_keys(f"alice:{ALICE},bob:{BOB}")
LOCAL = "http://localhost"


@pytest.fixture
def client(tmp_path):
    """A server without keys that serves the studio."""
    with (
        server.in_process_server(tmp_path / "data", studio=True) as app,
        TestClient(app, base_url=LOCAL) as http,
    ):
        yield http


@pytest.fixture
def guarded(tmp_path):
    """A server with keys that serves the studio."""
    with (
        server.in_process_server(tmp_path / "data", studio=True, api_keys=KEYS) as app,
        TestClient(app, base_url="https://kinema.example") as http,
    ):
        yield http


def bearer(key: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"authorization": f"{scheme} {key}"}


def test_keys_are_accepted_in_two_schemes(guarded):
    for scheme in ("Bearer", "bearer", "Key"):
        assert guarded.get("/v1/videos", headers=bearer(ALICE, scheme)).status_code == 200
    for headers in ({}, bearer(ALICE, "Basic"), bearer("wrong-key-0123456789")):
        response = guarded.get("/v1/videos", headers=headers)
        assert (response.status_code, response.json()["error"]["param"]) == (401, "authorization")


def test_wrong_keys_are_throttled_without_locking_out_known_ones(guarded, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(authentication.time, "monotonic", lambda: now[0])
    assert guarded.get("/v1/videos", headers=bearer(ALICE)).status_code == 200
    wrong = [
        guarded.get("/v1/videos", headers=bearer(f"wrong-key-{number}"))
        for number in range(MAX_WRONG_KEYS + 5)
    ]
    statuses = [response.status_code for response in wrong]
    assert statuses == [401] * MAX_WRONG_KEYS + [429] * 5
    assert 0 < int(wrong[-1].headers["retry-after"]) <= 61
    # Bob's key is right, but the answer does not tell; Alice has called before.
    assert guarded.get("/v1/videos", headers=bearer(BOB)).status_code == 429
    assert guarded.get("/v1/videos", headers=bearer(ALICE)).status_code == 200
    assert guarded.get("/healthz").status_code == 200
    now[0] += 61
    assert guarded.get("/v1/videos", headers=bearer(BOB)).status_code == 200
    assert guarded.get("/v1/videos", headers=bearer("wrong-key-again")).status_code == 401


def test_the_throttle_counts_each_address_and_forgets_the_oldest(monkeypatch):
    monkeypatch.setattr(authentication, "_MAX_REMEMBERED", 10)
    throttle = KeyThrottle()
    for _ in range(MAX_WRONG_KEYS):
        throttle.note_wrong("a")
    with pytest.raises(ApiError):
        throttle.check("a", "key")
    throttle.check("b", "key")
    for number in range(100):
        throttle.note_wrong(f"c{number}")
        throttle.note_right(f"c{number}", "key")
    assert len(throttle._wrong) == len(throttle._known) == 10
    throttle.check("a", "key")


@pytest.mark.parametrize(
    ("method", "path", "public"),
    [
        ("GET", "/healthz", True), ("GET", "/readyz", True), ("GET", "/studio", True),
        ("GET", "/studio/a.js", True), ("HEAD", "/studio/", True), ("POST", "/studio/", False),
        ("POST", "/studio/session", False),
        ("DELETE", "/studio/session", True), ("GET", "/studiox", False), ("GET", "/v1/videos", False),
        ("GET", "/metrics", False), ("POST", "/healthz", False), ("GET", "/files/x", True),
        ("GET", "/v1/../studio/", False),
    ],
)  # fmt: skip
def test_paths_without_a_key(method, path, public):
    assert is_public(method, path) is public


def test_a_browser_s_session_replaces_the_key(guarded):
    assert guarded.post("/studio/session").status_code == 401
    begun = guarded.post("/studio/session", headers=bearer(ALICE))
    assert begun.status_code == 204
    cookie = begun.headers["set-cookie"]
    assert ALICE not in cookie
    for part in (COOKIE_NAME, "HttpOnly", "SameSite=strict", "Secure", "Path=/"):
        assert part in cookie
    same = {"sec-fetch-site": "same-origin"}
    assert guarded.get("/v1/videos").status_code == 200
    assert guarded.get("/v1/videos", headers=same).status_code == 200
    assert guarded.post("/v1/videos", json={"prompt": "x"}, headers=same).status_code == 200
    own = {"origin": "https://kinema.example"}
    assert guarded.post("/v1/videos", json={"prompt": "x"}, headers=own).status_code == 200
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {},
    ):
        response = guarded.post("/v1/videos", json={"prompt": "x"}, headers=headers)
        assert response.status_code == 403, headers
    assert guarded.get("/v1/videos", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert guarded.delete("/studio/session", headers=same).status_code == 204
    assert guarded.get("/v1/videos").status_code == 401


def test_cookies_are_bound_to_the_secret_the_key_and_the_time(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    sessions = BrowserSessions(tmp_path / "a", KEYS)
    cookie = sessions.create(KEYS[0])
    assert sessions.find_key(cookie) == KEYS[0]
    assert BrowserSessions(tmp_path / "a", KEYS).find_key(cookie) == KEYS[0]
    assert BrowserSessions(tmp_path / "a", KEYS[1:]).find_key(cookie) is None
    assert BrowserSessions(tmp_path / "b", KEYS).find_key(cookie) is None
    assert (tmp_path / "a" / "session_secret").stat().st_mode & 0o077 == 0
    name, expiry, signature = cookie.split(".")
    other = KEYS[1].sha256[:16]
    for wrong in (
        "", ".", "..", "\xff", f"{name}.{int(expiry) + 1}.{signature}", f"{other}.{expiry}.{signature}",
        f"{name}.{expiry}.", f"{name}..{signature}", f"{name}.²³.{signature}",
        f"{name}.{'9' * 5000}.{signature}", f"{name}.{expiry}.é",
    ):  # fmt: skip
        assert sessions.find_key(wrong) is None
    monkeypatch.setattr(browser_session.time, "time", lambda: int(expiry) + 1)
    assert sessions.find_key(cookie) is None


def test_other_pages_can_t_use_the_studio_or_upload_on_a_server_without_keys(client):
    files = {"prompt": (None, "x"), "input_reference": ("a.png", server.image_bytes())}
    for headers in (
        {"host": "evil.example"}, {"host": "evil.example", "origin": "http://evil.example"},
        {"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe"},
        {"host": "localhost.evil.example"}, {"origin": "http://localhost:1234"},
    ):  # fmt: skip
        for method, path in (("GET", "/studio/"), ("GET", "/v1/videos"), ("POST", "/studio/session")):
            response = client.request(method, path, headers=headers)
            assert response.status_code == 403, (headers, path)
            assert response.json()["error"]["param"] in ("host", "origin")
        assert client.post("/v1/videos", files=files, headers=headers).status_code == 403
    assert client.get("/v1/videos").json()["data"] == []
    for headers in ({}, {"origin": LOCAL}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
        assert client.get("/studio/", headers=headers).status_code == 200
        assert client.post("/v1/videos", files=files, headers=headers).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document", "sec-fetch-mode": "navigate"}
    assert client.get("/studio/", headers=link).status_code == 200
    assert client.post("/v1/videos", files=files, headers=link).status_code == 403
    assert client.post("/studio/session").headers.get("set-cookie") is None


def test_the_studio_loads_nothing_from_elsewhere(client):
    for path in ("/studio", "/studio/", "/studio/nothing"):
        headers = client.get(path, follow_redirects=False).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "content-security-policy" not in client.get("/v1/videos").headers


def test_live_is_not_ready(tmp_path, monkeypatch):
    with (
        server.in_process_server(tmp_path / "data", limits=Limits(min_free_bytes=2**60)) as app,
        TestClient(app, base_url=LOCAL) as client,
    ):
        assert client.get("/healthz").json() == {"status": "ok"}
        assert (client.get("/readyz").status_code, client.get("/readyz").json()["error"]["code"]) == (
            503,
            "disk_full",
        )
        monkeypatch.setattr(app.state.server.files, "free_bytes", lambda: 2**61)
        server.publish_fake_model(app)
        assert client.get("/readyz").json() == {"status": "ok", "model": "testcard", "workers": 1}
        app.state.server.draining.set()
        assert client.get("/readyz").json()["error"]["code"] == "draining"
        assert client.get("/healthz").status_code == 200


def test_a_server_without_a_loaded_model_is_live_and_not_ready(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "publish_fake_model", lambda _: None)
    with (
        server.in_process_server(tmp_path / "data") as app,
        TestClient(app, base_url=LOCAL) as client,
    ):
        assert client.get("/healthz").status_code == 200
        response = client.get("/readyz")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "starting")


def test_event_streams_have_a_limit_for_each_owner_and_in_all(tmp_path):
    limits = Limits(min_free_bytes=0, max_event_streams=3, max_event_streams_per_owner=2)
    with server.in_process_server(tmp_path / "data", limits=limits) as app:
        state = app.state.server
        state.open_event_stream("a")
        state.open_event_stream("a")
        with pytest.raises(ApiError, match="your event streams"):
            state.open_event_stream("a")
        state.open_event_stream("b")
        with pytest.raises(ApiError, match="Too many event streams"):
            state.open_event_stream("c")
        for owner in ("a", "a", "b"):
            state.close_event_stream(owner)
        assert not state.open_event_streams


def test_a_stream_that_never_begins_is_not_counted(tmp_path):
    """The client is gone before the response begins."""
    import asyncio

    from kinema.server.routes.events import EventStreamResponse

    async def events():
        yield "event"

    async def gone(*_):
        raise OSError("gone")

    with server.in_process_server(tmp_path / "data") as app:
        state = app.state.server
        response = EventStreamResponse(state, "a", events())
        assert state.open_event_streams.total() == 1

        async def run() -> None:
            scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
            with pytest.raises((OSError, ExceptionGroup, ClientDisconnect)):
                await response(scope, gone, gone)

        asyncio.run(run())
        assert state.open_event_streams.total() == 0
