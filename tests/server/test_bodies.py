"""Limits of request bodies: checked before parsing, and for all open bodies together."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
import time

import httpx
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import UploadFile
from starlette.testclient import TestClient

from kinema.server import form_parsing
from kinema.server.errors import ApiError
from kinema.server.form_parsing import MAX_JSON_VALUES, hash_body, parse_json_object, parse_json_text
from kinema.server.open_bodies import OpenBodies
from kinema.server.settings import Limits
from tests.fixtures import server

MIB = 2**20


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with (
        server.in_process_server(tmp_path_factory.mktemp("server") / "data") as app,
        TestClient(app, base_url="http://localhost") as http,
    ):
        yield http


def json_list(item: str, num_bytes: int) -> bytes:
    items = ",".join([item] * (num_bytes // (len(item) + 1)))
    return f'{{"prompt":"x","storyboard":[{items}]}}'.encode()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (json_list("0", MIB), "application/json", 400),
        (json_list("[]", MIB), "application/json", 400),
        (json_list('"\\""', MIB), "application/json", 400),
        (json_list('{"":0}', MIB), "application/json", 400),
        (json_list("0", 4 * MIB), "application/json", 400),
        (b'{"prompt":"' + b"x" * 3 * MIB + b'"}', "application/json", 413),
        (b'{"prompt":"' + b'\\"' * 3 * MIB + b'"}', "application/json", 413),
        (b'{"prompt":"data:' + b'\\"' * 3 * MIB + b'"}', "application/json", 413),
        (b'{"prompt":' + b" " * 3 * MIB + b'"x"}', "application/json", 413),
        (b'{"prompt":"x","loop":' + b"[" * 70 + b"]" * 70 + b"}", "application/json", 400),
        (b"prompt=" + b"%41" * MIB, "application/x-www-form-urlencoded", 413),
        (b"prompt=" + b"%41" * (MIB // 2), "application/x-www-form-urlencoded", 400),
        (b"prompt=x" + b"&" * MIB, "application/x-www-form-urlencoded", 400),
        (b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + b"x" * 3 * MIB + b"\r\n--b--\r\n",
         "multipart/form-data; boundary=b", 413),
        (b'--b\r\nContent-Disposition: form-data; name="storyboard"\r\n\r\n[' + b"0," * MIB + b"]\r\n--b--",
         "multipart/form-data; boundary=b", 400),
        (b"--b\r\n" + b"a: b\r\n" * MIB, "multipart/form-data; boundary=b", 400),
    ],
    ids=range(16),
)  # fmt: skip
def test_bodies_with_many_values_are_refused_before_validation(client, monkeypatch, body, kind, status):
    def validate(*_):
        raise AssertionError("the body was validated")

    if status == 400 and b"%41" not in body:
        monkeypatch.setattr(pydantic.BaseModel, "model_validate", validate)
    response = client.post("/v1/videos", content=body, headers={"content-type": kind})
    assert response.status_code == status, response.text[:300]
    assert len(response.text) < 1000


def test_data_urls_do_not_count(client):
    url = "data:image/png;base64," + "A" * 3 * MIB
    for text in (json.dumps(url), json.dumps(url).replace("/", "\\/")):
        body = f'{{"prompt": "x", "input_reference": {{"image_url": {text}}}}}'
        response = client.post("/v1/videos", content=body, headers={"content-type": "application/json"})
        assert response.json()["error"]["code"] == "invalid_image"
        files = {"prompt": (None, "x"), "input_reference": (None, f'{{"image_url": {text}}}')}
        assert client.post("/v1/videos", files=files).json()["error"]["code"] == "invalid_image"
    files = {"prompt": (None, "x"), "input_reference[image_url]": (None, url)}
    assert client.post("/v1/videos", files=files).json()["error"]["code"] == "invalid_image"


def test_large_bodies_are_parsed_outside_the_event_loop(client, monkeypatch):
    threads = []

    def scan(text, max_chars):
        threads.append(threading.current_thread())
        return len(text)

    monkeypatch.setattr(form_parsing, "_scan_json", scan)
    loops = []
    run = asyncio.to_thread

    async def to_thread(*arguments):
        loops.append(threading.current_thread())
        return await run(*arguments)

    monkeypatch.setattr(form_parsing.asyncio, "to_thread", to_thread)
    client.post("/v1/videos", json={"prompt": "x" * 100_000})
    assert len(threads) == 1
    assert threads[0] not in loops


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["data:x", 'data:"x']),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def strings(value) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for part in item for text in strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [value] if isinstance(value, str) else []


@settings(max_examples=100)
@given(JSON, st.booleans())
def test_the_size_of_json_is_that_of_its_text_without_data_urls(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    urls = [one for one in strings(value) if one.startswith("data:") and '"' not in one]
    expected = len(text) - sum(len(json.dumps(one, ensure_ascii=ascii_only)) for one in urls)
    assert form_parsing._scan_json(text, len(text)) == expected
    assert parse_json_text(text) == value


def test_as_many_values_as_allowed_are_parsed():
    most = {"a": [1] * (MAX_JSON_VALUES - 2)}
    assert parse_json_object(json.dumps(most).encode(), 2 * MIB) == most
    with pytest.raises(ApiError, match="more than 10000 values"):
        parse_json_object(json.dumps({"a": [1] * MAX_JSON_VALUES}).encode(), 2 * MIB)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_fingerprints_of_different_requests_differ():
    def upload(data: bytes) -> UploadFile:
        return UploadFile(io.BytesIO(data))

    bodies = [
        {"a": ["x"]}, {"a[": "x"}, {"a": "[=x"}, {"a": {"": "x"}}, {"a": ["x", "y"]}, {"a": ["xy"]},
        {"a": "1"}, {"a": 1}, {"a": "x", "b": "y"}, {"a": "x{b=y"}, {"a": None},
        {"a": upload(b"x")}, {"a": upload(b"y")}, {"a": [["x"], "y"]}, {"a": [["x", "y"]]},
    ]  # fmt: skip
    assert len({await hash_body(body) for body in bodies}) == len(bodies)
    assert await hash_body({"a": "1", "b": upload(b"x")}) == await hash_body({"b": upload(b"x"), "a": "1"})


def test_open_bodies_have_a_limit_for_each_owner_and_in_all():
    bodies = OpenBodies(Limits(max_open_body_bytes=100, max_open_body_bytes_per_owner=60))
    bodies.add("a", 60)
    with pytest.raises(ApiError, match="Your open requests"):
        bodies.add("a", 1)
    bodies.add("b", 40)
    with pytest.raises(ApiError, match="All open requests") as caught:
        bodies.add("c", 1)
    assert caught.value.status == 429
    bodies.remove("a", 60)
    bodies.add("c", 60)
    bodies.remove("b", 40)
    bodies.remove("c", 60)
    assert bodies.total == 0


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_bodies_that_are_still_open_count_until_their_response(tmp_path):
    limits = Limits(min_free_bytes=0, max_open_body_bytes=3 * MIB, max_open_body_bytes_per_owner=3 * MIB)
    with server.in_process_server(tmp_path / "data", limits=limits) as app:
        transport = httpx.ASGITransport(app)
        release, arrived = asyncio.Event(), asyncio.Event()

        async def slow_body():
            yield b'{"prompt": "data:' + b"x" * 2 * MIB
            arrived.set()
            await release.wait()
            yield b'"}'

        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            headers = {"content-type": "application/json"}
            slow = asyncio.create_task(http.post("/v1/videos", content=slow_body(), headers=headers))
            await arrived.wait()
            large = b'{"prompt": "data:' + b"x" * 2 * MIB + b'"}'
            refused = await http.post("/v1/videos", content=large, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_bytes")
            assert int(refused.headers["retry-after"]) > 0
            assert (await http.post("/v1/videos", json={"prompt": "x"})).status_code == 200
            release.set()
            assert (await slow).status_code == 400
            # The prompt is too long, but the body is no longer refused.
            assert (await http.post("/v1/videos", content=large, headers=headers)).status_code == 400


def test_a_body_with_thousands_of_unknown_fields_is_refused_at_once(client):
    body = {"prompt": "x", **{f"field{number}": 1 for number in range(9000)}}
    shots = [{"prompt": "x", **{f"field{number}": 1 for number in range(250)}} for _ in range(30)]
    start = time.process_time()
    for path, fields in (
        ("/v1/videos", body), ("/v1/videos", {"prompt": "x", "extra_body": body}),
        ("/v1/videos", {"prompt": "x", "storyboard": shots}), ("/v1/videos/edits", body),
        ("/api/v1/videos", {"model": "testcard", **body}), ("/fal/kinema/testcard", body),
    ):  # fmt: skip
        response = client.post(path, json=fields)
        assert response.status_code in (400, 422), response.text
        assert "more than 100 unknown fields" in response.text
    # It was two minutes for each.
    assert time.process_time() - start < 20
    few = {"prompt": "x", **{f"field{number}": 1 for number in range(50)}}
    assert len(client.post("/v1/videos", json=few).json()["kinema"]["ignored"]) == 50


def test_a_client_that_disconnects_within_a_body_is_no_fault_of_the_server(client, caplog):
    """Each one was a traceback of sixty lines in the log."""
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    async def run():
        for content_type in (b"application/json", b"application/x-www-form-urlencoded"):
            headers = [(b"host", b"localhost"), (b"content-type", content_type), (b"content-length", b"9")]
            await client.app(
                {"type": "http", "method": "POST", "path": "/v1/videos", "raw_path": b"/v1/videos",
                 "root_path": "", "scheme": "http", "query_string": b"", "headers": headers,
                 "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1)}, receive, send,
            )  # fmt: skip

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert sent == []
    assert not caplog.records
