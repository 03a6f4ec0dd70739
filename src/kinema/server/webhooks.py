"""Webhooks: a signed POST for each finished video (Standard Webhooks), repeated until it is accepted.

The store records an event in the transaction that finishes a job: no event is lost if the server dies. Each
endpoint has its own queue: one that is slow or down delays no other.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
from standardwebhooks.webhooks import EmptyWebhookSecretError
from standardwebhooks.webhooks import Webhook as Signer

from kinema.errors import UserError
from kinema.server.dialects.events import event_body
from kinema.server.dialects.signed_links import LinkSigner
from kinema.server.job_store import JobStore, StoreBusyError, WebhookEvent
from kinema.server.public_hosts import HostError, pin_url
from kinema.server.settings import Settings

log = logging.getLogger("kinema.server")

POLL_INTERVAL_S = 0.5
REQUEST_TIMEOUT_S = 10.0
MAX_PARALLEL = 8
"""Requests to one endpoint at a time."""
RETRY_DELAYS_S = (2, 5, 30, 300, 1800, 3600, 7200, 10_800, 14_400, 21_600, 26_640)
"""Waits between attempts: 24 hours altogether, after which an event is given up."""


def load_signer(secret: str) -> Signer:
    """What signs events with a secret.

    Raises:
        UserError: what follows whsec_ is not base64.
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        return Signer(key)
    except (ValueError, EmptyWebhookSecretError):
        raise UserError("the webhook's secret is whsec_ followed by a key in base64") from None


@contextlib.asynccontextmanager
async def run_delivery(settings: Settings, store: JobStore, links: LinkSigner) -> AsyncIterator[None]:
    """Deliver events while the block runs; where there can be no receiver do nothing.

    Raises:
        UserError: the secret is invalid.
    """
    webhook = settings.webhook
    if webhook is None and not settings.callback_hosts:
        yield
        return
    signer = None if webhook is None else load_signer(webhook.secret)
    delivery = _Delivery("" if webhook is None else webhook.url, signer, store, links)
    task = asyncio.create_task(delivery.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class _Delivery:
    """Delivers the events of each endpoint independently of the others.

    Args:
        url: the operator's receiver; empty: none, and only receivers that requests name get events.
        signer: of the operator; None: events are not signed.
        store: of the jobs.
        links: signer of links to videos.
    """

    def __init__(self, url: str, signer: Signer | None, store: JobStore, links: LinkSigner) -> None:
        self._url, self._signer, self._store, self._links = url, signer, store, links
        self._in_flight: dict[str, set[str]] = defaultdict(set)

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with (
            httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S, trust_env=False) as client,
            asyncio.TaskGroup() as posts,
        ):
            while True:
                try:
                    events = await asyncio.to_thread(self._due_events)
                except StoreBusyError as error:
                    log.warning("webhooks: %s", error)
                    events = []
                for event in events:
                    busy = self._in_flight[event.endpoint]
                    if event.id not in busy and len(busy) < MAX_PARALLEL:
                        busy.add(event.id)
                        posts.create_task(self._deliver(client, event))
                await asyncio.sleep(POLL_INTERVAL_S)

    def _due_events(self) -> list[WebhookEvent]:
        return self._store.due_events(limit_per_endpoint=2 * MAX_PARALLEL) if self._store.lead() else []

    async def _deliver(self, client: httpx.AsyncClient, event: WebhookEvent) -> None:
        try:
            is_delivered = await self._post(client, event)
            retry_in_s = None
            if not is_delivered and event.attempts < len(RETRY_DELAYS_S):
                retry_in_s = float(RETRY_DELAYS_S[event.attempts])
            elif not is_delivered:
                log.error("webhook: %s of %s is given up", event.kind, event.video_id)
            await asyncio.to_thread(self._store.record_delivery, event.id, retry_in_s=retry_in_s)
        except StoreBusyError as error:  # It is delivered again: receivers see the same event id.
            log.warning("webhooks: %s", error)
        finally:
            self._in_flight[event.endpoint].discard(event.id)

    async def _post(self, client: httpx.AsyncClient, event: WebhookEvent) -> bool:
        if not event.endpoint and not self._url:
            return True
        now = datetime.now(UTC)
        job = await asyncio.to_thread(self._store.get, event.video_id, owner=None, deleted=True)
        body = event_body(event, job, self._links).decode()
        headers = {
            "content-type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._signer is not None:
            headers["webhook-signature"] = self._signer.sign(event.id, now, body)
        try:
            # A deadline for the whole exchange: httpx's own is for each read.
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                if event.endpoint:
                    # A request named it: another DNS answer must not lead into the operator's network.
                    pinned = await pin_url(event.endpoint)
                    response = await client.post(
                        pinned.url, content=body, headers={**headers, **pinned.headers},
                        extensions=pinned.extensions,
                    )  # fmt: skip
                else:
                    response = await client.post(self._url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, HostError, ValueError) as error:
            log.info("webhook: %s", type(error).__name__)
            return False
        return response.is_success
