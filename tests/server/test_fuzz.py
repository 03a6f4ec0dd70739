"""Whatever is sent, the answer is no 5xx and nothing is left over: by schema, by chance, and by damage."""

from __future__ import annotations

import contextlib
import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from starlette.testclient import TestClient

from kinema.server import queue
from kinema.server.errors import ApiError
from kinema.server.form_parsing import unflatten
from kinema.server.settings import Limits
from tests.fixtures import server

HEALTH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much,
          HealthCheck.data_too_large]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    limits = Limits(
        min_free_bytes=0,
        max_queued=10**6,
        max_queued_per_owner=10**6,
        max_image_pixels=10**6,
        max_upload_frames=20,
    )
    with server.in_process_server(tmp_path_factory.mktemp("serve") / "data", limits=limits) as app:
        yield app


@pytest.fixture(scope="module")
def client(made):
    with TestClient(made, base_url="http://localhost") as client:
        yield client


def assert_valid_response(answer) -> None:
    assert answer.status_code < 500, answer.text
    assert answer.headers["x-request-id"]
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def assert_no_orphan_files(app) -> None:
    folders = {path.name for path in (app.desk.settings.data / "videos").iterdir()}
    assert folders == queue.existing_ids(app.desk.store, list(folders))


NAMES = st.text(max_size=12) | st.sampled_from(
    [
        "prompt",
        "model",
        "seconds",
        "size",
        "seed",
        "steps",
        "guidance",
        "loop",
        "storyboard",
        "video",
        "video[id]",
        "input_reference[image_url]",
        "storyboard[][prompt]",
        "storyboard[0][prompt]",
        "storyboard[][seconds]",
        "x",
    ]
)
VALUES = st.text(max_size=40) | st.sampled_from(
    [
        "x",
        "4",
        "-1",
        "nan",
        "1e400",
        "64x64",
        "720x1280",
        "true",
        "null",
        "[]",
        "{}",
        "[[",
        "\x00",
        "\ud7ff",
        "٤",
        "data:image/png;base64,",
        "video_00000000000000000000000000000000",
    ]
)
PATHS = st.sampled_from(["/v1/videos", "/v1/videos/edits", "/v1/videos/extensions", "/v1/videos/connections"])


def test_bracketed_names_are_what_the_client_meant():
    assert unflatten([("a", "1"), ("b[c]", "2"), ("b[d][e]", "3"), ("f[]", "4"), ("f[]", "5")]) == {
        "a": "1", "b": {"c": "2", "d": {"e": "3"}}, "f": ["4", "5"]}  # fmt: skip
    assert unflatten([("s[][p]", "1"), ("s[][q]", "2"), ("s[][p]", "3")]) == {
        "s": [{"p": "1", "q": "2"}, {"p": "3"}]
    }
    assert unflatten([("s[0][p]", "1"), ("s[1][p]", "2")]) == {"s": [{"p": "1"}, {"p": "2"}]}


@settings(max_examples=200)
@given(st.lists(st.tuples(st.text(alphabet="ab[]0", max_size=12), st.text(max_size=3)), max_size=8))
def test_no_bracketed_name_does_more_than_be_refused(items):
    with contextlib.suppress(ApiError):
        json.dumps(unflatten(items))


def fuzz_forms(app, client, many: int) -> None:
    @settings(max_examples=many, suppress_health_check=HEALTH)
    @given(PATHS, st.lists(st.tuples(NAMES, VALUES), max_size=6), st.booleans())
    def run(path, items, as_files):
        if as_files:
            answer = client.post(
                path, files=[(name, (None, value)) for name, value in items] or {"a": (None, "b")}
            )
        else:
            answer = client.post(path, json=dict(items))
        assert_valid_response(answer)

    run()
    assert_no_orphan_files(app)


def fuzz_bodies(app, client, many: int) -> None:
    """Damage done to a well-formed multipart body: bytes cut, changed and put in."""
    whole = (
        b'--B\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na ball\r\n'
        b'--B\r\nContent-Disposition: form-data; name="seconds"\r\n\r\n4\r\n'
        b'--B\r\nContent-Disposition: form-data; name="x"; filename="upload"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\x89PNG\r\n\x1a\n\r\n--B--\r\n"
    )

    @settings(max_examples=many, suppress_health_check=HEALTH)
    @given(
        st.lists(st.tuples(st.integers(0, len(whole)), st.integers(0, 6), st.binary(max_size=6)), max_size=4),
        st.sampled_from(["multipart/form-data; boundary=B", "multipart/form-data; boundary=\"B\"; charset=x",
                         "multipart/form-data", "application/x-www-form-urlencoded", "application/json"]),
    )  # fmt: skip
    def run(cuts, kind):
        body = whole
        for at, length, put in cuts:
            body = body[:at] + put + body[at + length :]
        assert_valid_response(client.post("/v1/videos", content=body, headers={"content-type": kind}))

    run()
    assert_no_orphan_files(app)


def fuzz_media(app, client, folder, many: int) -> None:
    """Damage done to well-formed pictures and films."""
    files = [server.image_bytes(24, 24, kind) for kind in ("PNG", "JPEG", "WEBP")]
    files.append(server.video_bytes(folder / "film.mp4", frames=5, size=16))

    @settings(max_examples=many, suppress_health_check=HEALTH)
    @given(
        st.integers(0, 3),
        st.lists(
            st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=4
        ),
    )
    def run(which, cuts):
        body = files[which]
        for share, length, put in cuts:
            at = int(share * len(body))
            body = body[:at] + put + body[at + length :]
        name, path = ("video", "/v1/videos/edits") if which == 3 else ("input_reference", "/v1/videos")
        assert_valid_response(client.post(path, files={"prompt": (None, "x"), name: ("upload", body)}))

    run()
    assert_no_orphan_files(app)


def run_schema_fuzz_in_process(data, many: int) -> int:
    """Requests by the API's own document, right and wrong ones, to a server; how many there were."""
    with server.running_server(data) as served:
        return run_schema_fuzz(served.url.removesuffix("/v1"), many)


def run_schema_fuzz(url: str, many: int) -> int:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=many, suppress_health_check=HEALTH, derandomize=True)
        @given(case=operation.as_strategy())
        def run(case):
            nonlocal asked
            asked += 1
            answer = case.call()
            case.validate_response(answer, checks=CHECKS)

        run()
    return asked


CHECKS = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)


def test_forms_by_chance(made, client):
    fuzz_forms(made, client, 100)


def test_damaged_bodies(made, client):
    fuzz_bodies(made, client, 150)


def test_damaged_media(made, client, tmp_path):
    fuzz_media(made, client, tmp_path, 12)


def test_requests_by_schema(tmp_path):
    assert run_schema_fuzz_in_process(tmp_path / "data", 8) > 50


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_requests_by_chance(made, client, tmp_path):
    fuzz_forms(made, client, 3000)
    fuzz_bodies(made, client, 6000)
    fuzz_media(made, client, tmp_path, 1000)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_thousand_requests_by_schema(tmp_path):
    assert run_schema_fuzz_in_process(tmp_path / "data", 200) > 2000
