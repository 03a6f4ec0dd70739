"""Hostile requests: keys, origins, sizes, encodings and hosts."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib

import pytest
from starlette.testclient import TestClient

from kinema.cli import main
from kinema.errors import UserError
from kinema.server.public_hosts import is_public_address
from kinema.server.settings import (
    ApiKey,
    Limits,
    Settings,
    Webhook,
    hash_key,
    load_settings,
    parse_keys,
)
from tests.fixtures import server
from tests.fixtures.server import ALICE, BOB


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    data = tmp_path_factory.mktemp("server") / "data"
    limits = Limits(
        min_free_bytes=0,
        max_body_bytes=4 * 2**20,
        max_image_bytes=2**20,
        max_image_pixels=10**6,
        max_upload_frames=20,
    )
    with server.in_process_server(data, limits=limits) as running:
        yield running


@pytest.fixture(scope="module")
def client(app):
    with TestClient(app, base_url="http://localhost") as http:
        yield http


def assert_error(response, status: int) -> dict:
    """The error of a response, in the API's form and without internal details."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"]
    for secret in ("Traceback", "site-packages", "/data/videos", ".py"):
        assert secret not in response.text
    return error


def test_other_addresses_than_loopback_need_keys(tmp_path, capsys):
    for host in ("0.0.0.0", "192.168.1.2", "::", "example.org"):
        with pytest.raises(UserError, match="API keys"):
            Settings(data_dir=tmp_path, host=host)
    for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        Settings(data_dir=tmp_path, host=host)
    Settings(data_dir=tmp_path, host="0.0.0.0", api_keys=parse_keys(ALICE))
    with pytest.raises(SystemExit) as stopped:
        main(["serve", "--host", "0.0.0.0", "--data", str(tmp_path)])
    assert stopped.value.code == 2
    assert "API keys" in capsys.readouterr().err


def test_keys_are_stored_as_hashes(tmp_path):
    keys = parse_keys(f"alice:{ALICE}, {BOB}")
    assert keys[0] == ApiKey(owner="alice", sha256=hash_key(ALICE))
    assert ALICE not in repr(Settings(data_dir=tmp_path, api_keys=keys))
    for wrong in ("short", "a b:0123456789", "ü" * 20):
        with pytest.raises(UserError):
            parse_keys(wrong)


def test_settings_are_read_from_a_file(tmp_path):
    file = tmp_path / "kinema.toml"
    file.write_text(
        f"""host = "0.0.0.0"
image_hosts = ["example.org"]
[limits]
max_seconds = 8.0
[webhook]
url = "https://example.org/events"
secret = "whsec_c2VjcmV0"
[[api_keys]]
owner = "alice"
sha256 = "{hash_key(ALICE)}"
"""
    )
    settings = load_settings(file, data_dir=tmp_path)
    assert (settings.host, settings.limits.max_seconds, settings.api_keys[0].owner) == (
        "0.0.0.0",
        8.0,
        "alice",
    )
    assert settings.image_hosts == ("example.org",)
    assert "c2VjcmV0" not in repr(settings)
    for text, message in (
        ("prot = 1", "did you mean 'port'"),
        ("[limits]\nmax_second = 1", "did you mean 'max_seconds'"),
        ("[[api_keys]]\nowner = 'a'", "sha256"),
        ("workers = 'many'", "workers"),
        ("port = ", "not TOML"),
        ("host = '0.0.0.0'", "API keys"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=message) as caught:
            load_settings(file, data_dir=tmp_path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="whsec_"):
        Settings(data_dir=tmp_path, webhook=Webhook(url="https://example.org", secret="secret"))


def test_flags_override_the_environment_and_the_environment_the_file(tmp_path, monkeypatch):
    file = tmp_path / "kinema.toml"
    file.write_text(f'port = 1\n[[api_keys]]\nowner = "alice"\nsha256 = "{hash_key(ALICE)}"\n')
    monkeypatch.setenv("KINEMA_WEBHOOK_URL", "https://example.org/events")
    monkeypatch.setenv("KINEMA_WEBHOOK_SECRET", "whsec_c2VjcmV0")
    monkeypatch.setenv("KINEMA_PORT", "tcp://10.0.0.1:8000")
    settings = load_settings(file, data_dir=tmp_path)
    assert (settings.port, settings.webhook.url) == (1, "https://example.org/events")
    assert [key.owner for key in settings.api_keys] == ["alice"]
    monkeypatch.setenv("KINEMA_API_KEYS", f"bob:{BOB}")
    settings = load_settings(file, data_dir=tmp_path, port=2)
    assert settings.port == 2
    assert [key.owner for key in settings.api_keys] == ["bob"]
    monkeypatch.setenv("KINEMA_API_KEYS", "short")
    with pytest.raises(UserError, match="8 or more"):
        load_settings(file, data_dir=tmp_path)


def test_foreign_web_pages_can_t_call_a_server_without_keys(client):
    plain = {"prompt": "x"}
    ok = client.post("/v1/videos", json=plain, headers={"origin": "http://localhost"})
    assert ok.status_code == 200
    assert_error(client.post("/v1/videos", data=plain, headers={"origin": "https://evil.example"}), 403)
    assert_error(client.post("/v1/videos", data=plain, headers={"origin": "null"}), 403)
    assert_error(client.get("/v1/videos", headers={"host": "evil.example"}), 403)
    assert_error(client.get("/v1/videos", headers={"host": "127.0.0.1.evil.example"}), 403)
    assert "access-control-allow-origin" not in ok.headers


def test_allowed_origins_may_call(tmp_path):
    page = "https://webui.example"
    with (
        server.in_process_server(tmp_path / "data", api_keys=parse_keys(ALICE), origins=(page,)) as app,
        TestClient(app) as client,
    ):
        preflight = client.options(
            "/v1/videos", headers={"origin": page, "access-control-request-method": "POST"}
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == page
        response = client.get("/v1/videos", headers={"origin": page, "authorization": f"Bearer {ALICE}"})
        assert response.headers["access-control-allow-origin"] == page
        other = client.get(
            "/v1/videos", headers={"origin": "https://evil.example", "authorization": f"Bearer {ALICE}"}
        )
        assert "access-control-allow-origin" not in other.headers
        for header in ("", "Bearer", f"Basic {ALICE}", ALICE, "Bearer " + "x" * 5000, "Bearer \xff\xfe"):
            assert_error(client.get("/v1/videos", headers={"authorization": header.encode("latin-1")}), 401)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'{"prompt": NaN}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"a":' * 50_000, "application/json"),
        (b'{"prompt": "\\ud800"}', "application/json"),
        (b'{"prompt": 1e999999}', "application/json"),
        (b'{"prompt": "x", "seed": ' + b"9" * 10_000 + b"}", "application/json"),
        (b'{"prompt": "x", "loop": [[[]]]}', "application/json"),
        (b"\xff\xfe\x00", "application/json"),
        (b"", "application/json"),
        (b"prompt=x", "text/plain"),
        (b"prompt=x", "multipart/form-data"),
        (b"prompt=x", "multipart/form-data; boundary="),
        (b"prompt=x", "multipart/form-data; boundary=" + "x" * 500),
        (b"--b\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx', "multipart/form-data; boundary=b"),
        (b"prompt=x&prompt=y", "application/x-www-form-urlencoded"),
        (b"prompt=x&a[b][c][d][e][f]=1", "application/x-www-form-urlencoded"),
        (b"prompt=x&a[=1", "application/x-www-form-urlencoded"),
        (b"prompt=x&video[id]=1&video=2", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(2000)), "application/x-www-form-urlencoded"),
    ],
)  # fmt: skip
def test_malformed_bodies_are_400s(client, body, kind):
    assert_error(client.post("/v1/videos", content=body, headers={"content-type": kind}), 400)


def test_bodies_beyond_the_limit_are_413s_with_and_without_a_length(client):
    big = b'{"prompt": "' + b"x" * (5 * 2**20) + b'"}'
    assert_error(client.post("/v1/videos", content=big, headers={"content-type": "application/json"}), 413)
    parts = (big[at : at + 2**16] for at in range(0, len(big), 2**16))
    assert_error(client.post("/v1/videos", content=parts, headers={"content-type": "application/json"}), 413)
    files = {"prompt": (None, "x"), "input_reference": ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 2**21)}
    assert_error(client.post("/v1/videos", files=files), 413)
    url = "data:image/png;base64," + base64.b64encode(b"\0" * (2 * 2**20)).decode()
    assert_error(client.post("/v1/videos", json={"prompt": "x", "input_reference": {"image_url": url}}), 413)


def png_bomb(side: int) -> bytes:
    """A small PNG whose header declares a large image."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * (3 * side + 1) * 64, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif_in_png() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"GIF89a" + b"\0" * 100


def test_hostile_images_are_400s_and_name_the_parameter(client, app):
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    tiff = b"II*\0" + b"\0" * 100
    cut = server.image_bytes()[:300]
    for data in (
        b"",
        b"GIF89a" + b"\0" * 50,
        svg,
        tiff,
        gif_in_png(),
        cut,
        png_bomb(30_000),
        b"%PDF-1.4",
        b"\xff\xd8\xff",
    ):
        error = assert_error(
            client.post("/v1/videos", files={"prompt": (None, "x"), "input_reference": data}), 400
        )
        assert error["param"] == "input_reference", error
        assert error["code"] in ("invalid_image", "invalid_value"), error
    assert server.job_folders(app.state.server.settings.data_dir) == app.state.server.store.all_ids()


def test_only_the_pixels_of_an_image_are_stored(client, app):
    """A PNG that is also a zip and has a comment: the stored file is neither."""
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "<script>alert(1)</script>")
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG", pnginfo=info)
    polyglot = buffer.getvalue() + b"PK\x03\x04 a zip follows"
    files = {"prompt": (None, "x"), "input_reference": ("../../../../tmp/evil.png\0.exe", polyglot)}
    video = client.post("/v1/videos", files=files).json()
    folder = app.state.server.settings.data_dir / "videos" / video["id"]
    assert sorted(path.name for path in folder.iterdir()) == ["input_reference.png", "job.json"]
    stored = (folder / "input_reference.png").read_bytes()
    assert b"PK" not in stored
    assert b"script" not in stored
    with Image.open(folder / "input_reference.png") as image:
        assert image.size == (40, 30)


def test_videos_beyond_the_limits_and_other_files_are_400s(client, tmp_path):
    long = server.video_bytes(tmp_path / "long.mp4", frames=40)
    for data in (long, b"\0\0\0\x20ftypisom" + b"\0" * 100, b"not a video", long[: len(long) // 3]):
        response = client.post("/v1/videos/edits", files={"prompt": (None, "x"), "video": data})
        error = assert_error(response, 400)
        assert (error["code"], error["param"]) == ("invalid_video", "video")
    fine = server.video_bytes(tmp_path / "fine.mp4", frames=9)
    video = client.post("/v1/videos/edits", files={"prompt": (None, "x"), "video": fine}).json()
    assert (video["seconds"], video["size"]) == ("1.125", "64x64")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/videos/..%2f..%2fetc%2fpasswd", "/v1/videos/%2e%2e", "/v1/videos/video_%00",
        "/v1/videos/" + "a" * 5000,
        "/v1/videos/video_00000000000000000000000000000000", "/v1/nothing", "/v1/videos/", "/nothing",
        "/v1/videos/edits",
        "/v1/videos/video_00000000000000000000000000000000/content",
    ],
)  # fmt: skip
def test_unknown_paths_and_videos_are_404s(client, path):
    assert_error(client.get(path), 404)


def test_unsupported_methods_are_405s(client):
    assert_error(client.put("/v1/videos"), 405)
    assert_error(client.request("TRACE", "/v1/videos"), 405)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "order=up", "after=x", "after=" + "x" * 500]
)
def test_invalid_queries_are_400s(client, query):
    assert_error(client.get(f"/v1/videos?{query}"), 400)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "172.16.0.1", "0.0.0.0", "::1", "::",
     "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "100.64.0.1",
     "224.0.0.1", "nonsense"],
)  # fmt: skip
def test_private_addresses_are_not_public(address):
    assert not is_public_address(address)


def test_public_addresses_are_public():
    assert is_public_address("93.184.215.14")
    assert is_public_address("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


@pytest.mark.parametrize(
    "url",
    ["http://localhost/a.png", "https://localhost/a.png", "https://localhost:22/", "https://evil.example/a.png",
     "ftp://localhost/",
     "https://user@localhost/", "https://[::1/", "gopher://x", "//localhost/a", "data:image/png,abc",
     "data:image/png;base64,***", "data:text/html;base64,PGI+"],
)  # fmt: skip
def test_urls_that_may_not_be_downloaded_are_400s(tmp_path, url):
    with (
        server.in_process_server(tmp_path / "data", image_hosts=("localhost",)) as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        body = {"prompt": "x", "input_reference": {"image_url": url}}
        error = assert_error(client.post("/v1/videos", json=body), 400)
        assert error["param"] == "input_reference"


def test_a_full_queue_is_a_429_with_retry_after(tmp_path):
    with (
        server.in_process_server(tmp_path / "data", limits=Limits(max_queued=2, min_free_bytes=0)) as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        for _ in range(2):
            assert client.post("/v1/videos", json={"prompt": "x"}).status_code == 200
        response = client.post("/v1/videos", json={"prompt": "x"})
        assert assert_error(response, 429)["type"] == "rate_limit_error"
        assert int(response.headers["retry-after-ms"]) > 0
        assert len(server.job_folders(tmp_path / "data")) == 2


def test_a_full_disk_is_a_503(tmp_path):
    with (
        server.in_process_server(tmp_path / "data", limits=Limits(min_free_bytes=2**62)) as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        assert assert_error(client.post("/v1/videos", json={"prompt": "x"}), 503)["code"] == "disk_full"
        assert client.get("/v1/videos").status_code == 200


def test_before_the_model_is_loaded_requests_are_503s(tmp_path):
    from kinema.server.app import create_app

    app = create_app(
        Settings(data_dir=tmp_path / "data", model="testcard", workers=0, limits=Limits(min_free_bytes=0))
    )
    with TestClient(app, base_url="http://localhost") as client:
        assert assert_error(client.get("/readyz"), 503)["code"] == "starting"
        response = client.post("/v1/videos", json={"prompt": "x"})
        assert assert_error(response, 503)["code"] == "starting"
        assert response.headers["retry-after-ms"]


def test_bugs_are_500s_without_details(tmp_path, monkeypatch):
    with (
        server.in_process_server(tmp_path / "data") as app,
        TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client,
    ):
        monkeypatch.setattr(app.state.server.store, "list_jobs", lambda *_, **__: 1 / 0)
        error = assert_error(client.get("/v1/videos"), 500)
        assert error["type"] == "server_error"
        assert "division" not in json.dumps(error)


def test_a_second_server_on_the_same_data_is_refused(tmp_path, capsys):
    from kinema.server.data_dir import ensure_data_dir, lock_for_server

    with lock_for_server(ensure_data_dir(tmp_path / "data")), pytest.raises(SystemExit):
        main(["serve", "--data", str(tmp_path / "data"), "--port", "0", "--model", "testcard"])
    assert "another server uses" in capsys.readouterr().err
