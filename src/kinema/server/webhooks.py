"""Webhooks: a signed POST for each finished video (Standard Webhooks), repeated until it is accepted.

The database records an event in the transaction that finishes a job: no event is lost if the server dies.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
from standardwebhooks.webhooks import EmptyWebhookSecretError
from standardwebhooks.webhooks import Webhook as Signer

from kinema.errors import UserError
from kinema.server.database import Database
from kinema.server.settings import Webhook

log = logging.getLogger("kinema.server")

POLL_INTERVAL_S = 0.5
REQUEST_TIMEOUT_S = 10.0
MAX_ATTEMPTS = 8


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
async def run_delivery(webhook: Webhook | None, database: Database) -> AsyncIterator[None]:
    """Deliver events while the block runs; without a webhook do nothing.

    Raises:
        UserError: the secret is invalid.
    """
    if webhook is None:
        yield
        return
    task = asyncio.create_task(_delivery_loop(webhook.url, load_signer(webhook.secret), database))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _delivery_loop(url: str, signer: Signer, database: Database) -> None:
    async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S, trust_env=False) as client:
        while True:
            try:
                rows = await asyncio.to_thread(
                    database.fetch_all,
                    "SELECT * FROM events WHERE next_attempt_at <= :now ORDER BY next_attempt_at LIMIT 16",
                    {"now": time.time()},
                )
                await asyncio.gather(*(_post_event(client, url, signer, database, row) for row in rows))
            except sqlite3.Error as error:
                rows = []
                log.warning("database: %s", error)
            if not rows:
                await asyncio.sleep(POLL_INTERVAL_S)


async def _post_event(
    client: httpx.AsyncClient,
    url: str,
    signer: Signer,
    database: Database,
    row: sqlite3.Row,
) -> None:
    now = datetime.now(UTC)
    body = json.dumps({
        "id": row["id"], "object": "event", "created_at": row["created_at"], "type": row["kind"],
        "data": {"id": row["video_id"]},
    })  # fmt: skip
    try:
        response = await client.post(
            url,
            content=body,
            headers={
                "content-type": "application/json",
                "webhook-id": row["id"],
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": signer.sign(row["id"], now, body),
            },
        )
        is_delivered = response.is_success
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.info("webhook: %s", type(error).__name__)
        is_delivered = False
    attempts = row["attempts"] + 1
    is_finished = is_delivered or attempts >= MAX_ATTEMPTS
    await asyncio.to_thread(_record_attempt, database, row["id"], is_finished, attempts)


def _record_attempt(database: Database, event_id: str, is_finished: bool, attempts: int) -> None:
    with database.transaction() as connection:
        if is_finished:
            connection.execute("DELETE FROM events WHERE id = ?", (event_id,))
        else:
            # 1, 4, 16, ... seconds, about six hours altogether.
            connection.execute(
                "UPDATE events SET attempts = ?, next_attempt_at = ? WHERE id = ?",
                (attempts, time.time() + 4 ** (attempts - 1), event_id),
            )
