"""OpenTelemetry traces of requests and videos; off by default.

The trace of a video has the video's id: `video_4bf9...` is trace 4bf9.... It begins with the span `video`,
which the server that accepted the request writes, and continues in the workers, whichever processes and
machines they are. The request's own span has the trace of its caller (`traceparent`); the two are linked.

Exporter, endpoint and sampling are set by the environment variables of OpenTelemetry, for example
`OTEL_EXPORTER_OTLP_ENDPOINT`.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from kinema.errors import missing_extra
from kinema.server.backends.base import JobProgress
from kinema.server.job import Job

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

_IDS: ContextVar[tuple[int, int] | None] = ContextVar("ids of the next span", default=None)


class Tracing:
    """Writes spans; without a tracer it does nothing.

    Args:
        tracer: of OpenTelemetry; None: tracing is off.
        provider: of the tracer.
    """

    def __init__(self, tracer: Any = None, provider: Any = None) -> None:
        self._tracer, self._provider = tracer, provider

    @contextlib.contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[Any]:
        """The span of an HTTP request; call `finish_request` at its end.

        Args:
            method: of the request.
            headers: with the trace of the caller, if there is one.
        """
        if self._tracer is None:
            yield None
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract(headers)
        with self._tracer.start_as_current_span(
            method, context=context, kind=SpanKind.SERVER, attributes={"http.request.method": method}
        ) as span:
            yield span

    @staticmethod
    def finish_request(span: Any, *, method: str, route: str, status: int) -> None:
        """Name the span after its route."""
        if span is None:
            return
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status})

    def submitted(self, job: Job) -> None:
        """A video was accepted: its trace begins."""
        if self._tracer is None:
            return
        from opentelemetry import trace

        current = trace.get_current_span().get_span_context()
        token = _IDS.set(_ids_of(job.id))
        try:
            span = self._tracer.start_span(
                "video",
                context=trace.set_span_in_context(trace.INVALID_SPAN),
                links=[trace.Link(current)] if current.is_valid else [],
                attributes={"kinema.video": job.id, "kinema.model": job.model},
            )
        finally:
            _IDS.reset(token)
        trace.get_current_span().add_link(span.get_span_context())
        span.end()

    @contextlib.contextmanager
    def attempt(self, job: Job, worker_id: str) -> Iterator[_Steps]:
        """A worker makes a video; report each of its steps."""
        if self._tracer is None:
            yield _Steps(None)
            return
        from opentelemetry import trace

        trace_id, span_id = _ids_of(job.id)
        parent = trace.SpanContext(
            trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
        )
        attributes = {"kinema.video": job.id, "kinema.worker": worker_id, "kinema.attempts": job.attempts}
        with self._tracer.start_as_current_span(
            "attempt",
            context=trace.set_span_in_context(trace.NonRecordingSpan(parent)),
            attributes=attributes,
        ):
            steps = _Steps(self._tracer)
            try:
                yield steps
            finally:
                steps.end()

    def close(self) -> None:
        """Send what is still in memory."""
        if self._provider is not None:
            self._provider.shutdown()


class _Steps:
    """The spans within an attempt, each from one event of the backend to the next."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer
        self._span = None if tracer is None else tracer.start_span("start")

    def report(self, event: JobProgress) -> None:
        """What was done since the last report."""
        if self._tracer is None:
            return
        assert self._span is not None
        self._span.update_name(event.stage)
        self._span.set_attributes({"kinema.step": event.step, "kinema.steps": event.total_steps})
        self._span.end()
        self._span = self._tracer.start_span("next")

    def end(self) -> None:
        """The attempt has ended: what followed its last event is writing the video."""
        if self._span is not None:
            self._span.update_name("write")
            self._span.end()


def open_tracing(enabled: bool, service: str, *, exporter: SpanExporter | None = None) -> Tracing:
    """Start tracing in this process.

    Args:
        enabled: otherwise nothing is imported.
        service: `kinema-server` or `kinema-worker`.
        exporter: where spans go; by default OTLP over HTTP.

    Raises:
        UserError: OpenTelemetry is not installed.
    """
    if not enabled:
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import IdGenerator
    except ModuleNotFoundError:
        raise missing_extra("tracing", "tracing") from None

    class Ids(IdGenerator):
        """Random ones, except for the first span of a video."""

        def generate_trace_id(self) -> int:
            ids = _IDS.get()
            return random.SystemRandom().getrandbits(128) or 1 if ids is None else ids[0]

        def generate_span_id(self) -> int:
            ids = _IDS.get()
            return random.SystemRandom().getrandbits(64) or 1 if ids is None else ids[1]

    provider = TracerProvider(
        resource=Resource.create({"service.name": service}), id_generator=Ids(), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter() if exporter is None else exporter))
    return Tracing(provider.get_tracer("kinema"), provider)


def _ids_of(job_id: str) -> tuple[int, int]:
    """Trace and first span of a job: the two are never 0."""
    number = int(job_id.rpartition("_")[2], 16)
    return number or 1, number & (2**64 - 1) or 1
