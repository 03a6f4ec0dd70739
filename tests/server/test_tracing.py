"""OpenTelemetry: one trace for each video, from the server that accepted it to the worker's steps."""

from __future__ import annotations

import contextlib
import http.server
import sys
import threading

import pytest
from fastapi.testclient import TestClient

from kinema.errors import UserError
from kinema.server.tracing import open_tracing
from tests.fixtures import server

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """A receiver of OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

                message = ExportTraceServiceRequest()
                message.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
                collector.spans += [
                    span
                    for resource in message.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector(monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with contextlib.closing(Collector()) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        yield collector


def test_a_video_has_a_trace_from_its_request_to_the_steps_of_its_worker(tmp_path, collector):
    with (
        server.in_process_server(tmp_path / "data", with_worker=True, tracing=True) as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        body = {"prompt": "a ball", "num_inference_steps": 4}
        video = client.post("/v1/videos", json=body, headers={"traceparent": CALLER}).json()["id"]
        server.wait_until(lambda: client.get(f"/v1/videos/{video}").json()["status"] == "completed")
    spans = collector.spans
    trace_id = bytes.fromhex(video.removeprefix("video_"))
    own = [span for span in spans if span.trace_id == trace_id]
    (root,) = [span for span in own if span.name == "video"]
    assert root.parent_span_id == b""
    (attempt,) = [span for span in own if span.name == "attempt"]
    assert attempt.parent_span_id == root.span_id
    steps = [span for span in own if span.name == "sample"]
    assert len(steps) == 4
    assert {span.parent_span_id for span in own} == {b"", root.span_id, attempt.span_id}
    assert own[-1].end_time_unix_nano >= own[0].start_time_unix_nano
    (request,) = [span for span in spans if span.name == "POST /v1/videos"]
    assert request.trace_id.hex() == CALLER.split("-")[1]
    assert request.parent_span_id.hex() == CALLER.split("-")[2]
    assert root.links[0].span_id == request.span_id
    assert request.links[0].trace_id == trace_id


def test_without_its_packages_tracing_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(UserError, match="tracing needs packages that are not installed") as caught:
        open_tracing(True, "kinema-server")
    assert "\n" not in str(caught.value)
