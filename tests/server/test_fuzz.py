"""Fuzzing by schema, at random and with damaged files: no response is a 5xx, and no files are left over."""

from __future__ import annotations

import contextlib
import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from starlette.testclient import TestClient

from kinema.server.errors import ApiError
from kinema.server.form_parsing import unflatten
from kinema.server.settings import Limits
from tests.fixtures import server

HEALTH_CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much,
          HealthCheck.data_too_large]  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    limits = Limits(
        min_free_bytes=0,
        max_queued=10**6,
        max_queued_per_owner=10**6,
        max_image_pixels=10**6,
        max_upload_frames=20,
    )
    with server.in_process_server(tmp_path_factory.mktemp("server") / "data", limits=limits) as running:
        yield running


@pytest.fixture(scope="module")
def client(app):
    with TestClient(app, base_url="http://localhost") as client:
        yield client


def assert_valid_response(response) -> None:
    assert response.status_code < 500, response.text
    assert response.headers["x-request-id"]
    if response.status_code >= 400:
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["param"]


def assert_no_orphan_files(app) -> None:
    assert server.job_folders(app.state.server.settings.data_dir) == app.state.server.store.all_ids()


NAMES = st.text(max_size=12) | st.sampled_from(
    [
        "prompt",
        "model",
        "seconds",
        "size",
        "seed",
        "num_inference_steps",
        "guidance_scale",
        "flow_shift",
        "upscale",
        "loop",
        "storyboard",
        "video",
        "video[id]",
        "input_reference[image_url]",
        "storyboard[][prompt]",
        "storyboard[0][prompt]",
        "storyboard[][seconds]",
        "keyframes[][seconds]",
        "keyframes[0][image][image_url]",
        "mask[image_url]",
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
PATHS = st.sampled_from(
    ["/v1/videos", "/v1/videos/edits", "/v1/videos/extensions", "/v1/videos/interpolations"]
)


def test_bracketed_names_become_nested_values():
    assert unflatten([("a", "1"), ("b[c]", "2"), ("b[d][e]", "3"), ("f[]", "4"), ("f[]", "5")]) == {
        "a": "1", "b": {"c": "2", "d": {"e": "3"}}, "f": ["4", "5"]}  # fmt: skip
    assert unflatten([("s[][p]", "1"), ("s[][q]", "2"), ("s[][p]", "3")]) == {
        "s": [{"p": "1", "q": "2"}, {"p": "3"}]
    }
    assert unflatten([("s[0][p]", "1"), ("s[1][p]", "2")]) == {"s": [{"p": "1"}, {"p": "2"}]}


@settings(max_examples=200)
@given(st.lists(st.tuples(st.text(alphabet="ab[]0", max_size=12), st.text(max_size=3)), max_size=8))
def test_malformed_bracketed_names_are_refused(items):
    with contextlib.suppress(ApiError):
        json.dumps(unflatten(items))


def fuzz_forms(app, client, max_examples: int) -> None:
    @settings(max_examples=max_examples, suppress_health_check=HEALTH_CHECKS)
    @given(PATHS, st.lists(st.tuples(NAMES, VALUES), max_size=6), st.booleans())
    def run(path, items, as_files):
        if as_files:
            response = client.post(
                path, files=[(name, (None, value)) for name, value in items] or {"a": (None, "b")}
            )
        else:
            response = client.post(path, json=dict(items))
        assert_valid_response(response)

    run()
    assert_no_orphan_files(app)


def fuzz_bodies(app, client, max_examples: int) -> None:
    """A well-formed multipart body with bytes removed, changed and inserted."""
    whole = (
        b'--B\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na ball\r\n'
        b'--B\r\nContent-Disposition: form-data; name="seconds"\r\n\r\n4\r\n'
        b'--B\r\nContent-Disposition: form-data; name="x"; filename="upload"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\x89PNG\r\n\x1a\n\r\n--B--\r\n"
    )

    @settings(max_examples=max_examples, suppress_health_check=HEALTH_CHECKS)
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


def fuzz_media(app, client, folder, max_examples: int) -> None:
    """Damaged images and videos."""
    files = [server.image_bytes(24, 24, kind) for kind in ("PNG", "JPEG", "WEBP")]
    files.append(server.video_bytes(folder / "video.mp4", frames=5, size=16))

    @settings(max_examples=max_examples, suppress_health_check=HEALTH_CHECKS)
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


def run_schema_fuzz_in_process(data, max_examples: int) -> int:
    """Valid and invalid requests by the OpenAPI document to a server; how many there were."""
    with server.running_server(data) as running:
        return run_schema_fuzz(running.url.removesuffix("/v1"), max_examples)


def run_schema_fuzz(url: str, max_examples: int) -> int:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    num_requests = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in ENDLESS_PATHS:
            continue

        @settings(max_examples=max_examples, suppress_health_check=HEALTH_CHECKS, derandomize=True)
        @given(case=operation.as_strategy())
        def run(case):
            nonlocal num_requests
            num_requests += 1
            response = case.call()
            case.validate_response(response, checks=CHECKS)

        run()
    return num_requests


ENDLESS_PATHS = ("/v1/events",)
"""Streams that end with the connection only."""
CHECKS = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)


def test_random_forms(app, client):
    fuzz_forms(app, client, 100)


def test_damaged_bodies(app, client):
    fuzz_bodies(app, client, 150)


def test_damaged_media(app, client, tmp_path):
    fuzz_media(app, client, tmp_path, 12)


def test_requests_by_schema(tmp_path):
    assert run_schema_fuzz_in_process(tmp_path / "data", 8) > 50


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_random_requests(app, client):
    fuzz_forms(app, client, 4000)
    fuzz_bodies(app, client, 6000)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_thousand_damaged_media(app, client, tmp_path):
    fuzz_media(app, client, tmp_path, 2000)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_five_thousand_requests_by_schema(tmp_path):
    assert run_schema_fuzz_in_process(tmp_path / "data", 250) >= 5000
