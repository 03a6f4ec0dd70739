"""Webhook events of a job in the shape of the dialect in which it was submitted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from kinema.server.dialects import fal, openrouter
from kinema.server.dialects.signed_links import LinkSigner
from kinema.server.job import Job
from kinema.server.job_store import WebhookEvent


def event_body(event: WebhookEvent, job: Job | None, signer: LinkSigner) -> bytes:
    """The body of an event.

    Args:
        event: what has happened.
        job: to which; None: it is removed by now.
        signer: of links to videos.
    """
    shape, _, base = event.body_format.partition(" ")
    if shape == "openrouter" and job is not None:
        data = openrouter.to_job(base, signer, job).model_dump(exclude_none=True)
        body: dict[str, Any] = {
            "type": f"video.generation.{data['status']}",
            "created_at": datetime.fromtimestamp(event.created_at, UTC).isoformat(),
            "data": data,
        }
    elif shape == "fal" and job is not None:
        body = {"request_id": job.id, "gateway_request_id": job.id}
        if job.status == "completed":
            body |= {"status": "OK", "payload": fal.to_result(base, signer, job)}
        else:
            message = job.error_message or "The video failed."
            body |= {"status": "ERROR", "error": message, "payload": {"detail": message}}
    else:
        body = {
            "id": event.id, "object": "event", "created_at": event.created_at, "type": event.kind,
            "data": {"id": event.video_id},
        }  # fmt: skip
    return json.dumps(body).encode()
